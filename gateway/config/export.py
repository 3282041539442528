"""Loads a configuration in a process of its own: `python -m gateway.config.export FILE [--mock]`.

A daemon with threads cannot fork safely, and what loading costs in memory must not stay with it.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

from gateway.config import Plant, load
from gateway.errors import ConfigError, GatewayError

LOAD_S = 120.0
"""Longest that loading may take."""


def load_elsewhere(path: Path, mock: bool = False) -> Plant:
    """The plant of a file; ConfigError with all its faults, GatewayError where loading fails."""
    # -P: modules are not looked for in the working folder, whatever a plant's files are called
    command = [sys.executable, "-P", "-m", "gateway.config.export", str(path)]
    try:
        done = subprocess.run(
            [*command, *(["--mock"] if mock else [])],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=LOAD_S,
        )
        answer = pickle.loads(done.stdout) if done.stdout else None
    except (OSError, subprocess.TimeoutExpired, pickle.UnpicklingError, EOFError) as error:
        raise GatewayError(f"{path} could not be loaded: {error}") from error
    if isinstance(answer, ConfigError):
        raise answer
    if not isinstance(answer, Plant):
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GatewayError(f"{path} could not be loaded: {words[-1] if words else 'no answer'}")
    return answer


def main() -> None:
    """Write the plant, or the error that tells its faults, to stdout as a pickle."""
    answer: object
    try:
        answer = load(Path(sys.argv[1]), mock="--mock" in sys.argv[2:])
    except ConfigError as error:
        answer = error
    sys.stdout.buffer.write(pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))


if __name__ == "__main__":
    main()
