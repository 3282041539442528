"""Every error of the gateway, split by what the caller must do about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Place(NamedTuple):
    """Where something stands in a configuration file: 1-based line and column, and its key path."""

    file: str
    line: int
    col: int
    path: str

    def fault(self, message: str) -> Fault:
        """A fault at this place."""
        return Fault(self, message)


class Fault(NamedTuple):
    """One mistake of a user, with its place: ``file:line:col: path: what is wrong; expected``."""

    place: Place
    message: str

    def __str__(self) -> str:
        file, line, col, path = self.place
        head = f"{file}:{line}:{col}: " if line else f"{file}: "
        return f"{head}{path}: {self.message}" if path else f"{head}{self.message}"


class GatewayError(Exception):
    """Base of all errors that the gateway raises on purpose."""


class ConfigError(GatewayError):
    """The configuration cannot be used; carries all its faults. Exit code 78."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(
            sorted(set(faults), key=lambda f: (f.place.file, f.place[1:3], f.message))
        )
        super().__init__("\n".join(map(str, self.faults)))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Fault, ...]]]:
        return (type(self), (self.faults,))


class DeviceUnavailable(GatewayError):
    """The device does not answer (any more): close, back off, connect again.

    ``reason`` is the short word that becomes the quality reason of its tags, e.g. ``timeout``,
    ``refused``, ``closed``, ``protocol``; ``detail`` is for the log.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self) -> tuple[type[DeviceUnavailable], tuple[str, str]]:
        return (type(self), (self.reason, self.detail))


class AddressRefused(GatewayError, ValueError):
    """The machine says no to an address that is written well, e.g. of a block it has not got."""


class SinkUnavailable(GatewayError):
    """The sink did not store the payload: keep it and try again, not before ``retry_after_s``."""

    def __init__(
        self, message: str, retry_after_s: float | None = None, *, operator: bool = False
    ) -> None:
        self.retry_after_s = retry_after_s
        self.operator = operator
        """True where only a person can mend it (token, bucket): retried slowly, shown in status."""
        super().__init__(message)


class TooLarge(GatewayError):
    """The sink refuses the payload for its size: split it."""


class Rejected(GatewayError):
    """The sink refuses this payload for good, in its own words: bisect, then dead letter."""
