"""A machine that is not there: signals and faults by YAML, the same for the same seed and time."""

from drivers.mock.driver import MockDriver

__all__ = ["MockDriver"]
