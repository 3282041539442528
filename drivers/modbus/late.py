"""Answers that may still come after we stopped waiting for them, on lines without numbers.

An RTU answer does not say which request it answers. After a timeout, the late answer to that
request would pass for the answer to the next one of the same length: wrong values with a right
checksum. A unit answers in order, though. So nothing of the same shape is asked again before an
answer of another shape has shown that what was open is settled.
"""

from __future__ import annotations

from typing import Final

from drivers.modbus.frames import EXCEPTION, Read, Shape

KEEP_S: Final = 60.0
"""What a unit has not said after this long it will not say any more, in seconds."""


class LateAnswers:
    """The answers that each unit still owes, oldest first."""

    def __init__(self) -> None:
        self._owed: dict[int, dict[Shape, float]] = {}

    def owe(self, read: Read, now: float) -> None:
        """The wait for this answer was given up at ``now`` (monotonic seconds)."""
        owed = self._owed.setdefault(read.unit, {})
        owed.pop(read.shape, None)
        owed[read.shape] = now + KEEP_S

    def is_owed(self, read: Read, now: float) -> bool:
        """Whether an answer to an older request could be taken for one to this."""
        owed = self._owed.get(read.unit)
        if not owed:
            return False
        for shape in [shape for shape, until in owed.items() if until <= now]:
            del owed[shape]
        return read.shape in owed

    def explain(self, unit: int, pdu: bytes) -> bool:
        """Whether the frame is a late answer; it and what was owed before it are settled then."""
        owed = self._owed.get(unit)
        if not owed:
            return False
        if pdu[0] & EXCEPTION:
            # it could answer any of them: then at least the oldest is settled
            del owed[next(iter(owed))]
            return True
        shape = Shape(pdu[0], len(pdu) - 2)
        if shape not in owed:
            return False
        for older in list(owed):
            del owed[older]
            if older == shape:
                break
        return True

    def settle(self, unit: int) -> None:
        """The unit has answered the latest request: it owes nothing."""
        self._owed.pop(unit, None)
