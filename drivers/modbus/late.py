"""Answers that may still come after we stopped waiting for them, on lines without numbers.

An RTU answer does not say which request it answers. After a timeout, the late answer to that
request would pass for the answer to the next one of the same length: wrong values with a right
checksum. A unit answers in order, though. So nothing of the same shape is asked again before an
answer of another shape has shown that what was open is settled.

What an earlier process asked and never heard (it was stopped, or it crashed) nobody remembers. So
a unit may owe anything until it has answered requests of shapes that were drawn at random.
"""

from __future__ import annotations

import random
from typing import Final

from drivers.modbus.frames import EXCEPTION, Read, Shape

KEEP_S: Final = 60.0
"""What a unit has not said after this long it will not say any more, in seconds."""

MARKERS: Final = 4
"""Most requests that find out whether a unit owes answers to an earlier process."""

INSIDE: Final = 32
"""Markers are drawn from this many lengths shorter than the request, so that they stay short."""

BEYOND: Final = 8
"""And from this many longer ones, which may reach beyond what the unit has, where it is short."""


class LateAnswers:
    """The answers that each unit still owes, oldest first."""

    def __init__(self) -> None:
        self._owed: dict[int, dict[Shape, float]] = {}
        self._trusted: set[int] = set()

    def is_trusted(self, unit: int) -> bool:
        """Whether the unit owes nothing but what is noted here."""
        return unit in self._trusted

    def trust(self, unit: int) -> None:
        """Nothing that an earlier process asked can come from the unit any more."""
        self._trusted.add(unit)

    def markers(self, read: Read, now: float) -> list[Read]:
        """Requests whose answers cannot pass for each other, for this one's or for a late one."""
        others = [o for o in read.others() if not self.is_owed(o, now)]
        inside = [o for o in others if o.length < read.length][:INSIDE]
        beyond = [o for o in others if o.length > read.length][:BEYOND]
        return [*random.sample(inside, len(inside)), *random.sample(beyond, len(beyond))][:MARKERS]

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
