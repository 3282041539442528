"""Peers whose every answer is another number, and which log each number: the ledger of a test.

The log has a line ``NUMBER TIME_NS`` for each answer, written before the answer is given. It
outlives the peer: after a restart the numbers go on.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple


class Answered(NamedTuple):
    """A value that a peer gave, and when (wall clock, ns)."""

    number: int
    time_ns: int


class NumberLog:
    """The file of one peer; used by the thread that answers."""

    def __init__(self, path: Path) -> None:
        known = read_log(path)
        self.number = known[-1].number if known else 0
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def next(self) -> int:
        """The next number, logged."""
        self.number += 1
        os.write(self._fd, b"%d %d\n" % (self.number, time.time_ns()))
        return self.number


def read_log(path: Path) -> list[Answered]:
    """All answers so far, in order."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [Answered(int(number), int(time_ns)) for number, time_ns in map(bytes.split, lines)]


def wait_for_end() -> None:
    """Say that all is ready, and wait until the standard input ends."""
    print("ready", flush=True)
    while sys.stdin.buffer.read(4096):
        pass
