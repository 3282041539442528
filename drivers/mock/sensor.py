"""Times of faults counted in samples, and what a faulty sensor shows meanwhile."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from drivers.mock.channels import Clipping, DcShift, OpenCircuit
from drivers.mock.signals import Window
from gateway.model import Array


class Spells:
    """A fault window as runs of samples; sample 0 is taken at ``origin_ns``."""

    def __init__(self, key: int, window: Window, rate_hz: float, origin_ns: int = 0) -> None:
        self._period_ns = round(window.every_s * 1e9)
        self._open_ns = round(window.for_s * 1e9)
        phase = (key >> 11) * 2.0**-53 if window.phase is None else window.phase
        self._shift_ns = int(phase * self._period_ns) + origin_ns
        self._rate_hz = rate_hz

    def within(self, first: int, count: int) -> list[tuple[int, int]]:
        """The faulty runs among these samples: (first, one past the last), not cut to them."""
        runs: list[tuple[int, int]] = []
        cycle = (math.floor(first / self._rate_hz * 1e9) + self._shift_ns) // self._period_ns
        while True:
            begin_ns = cycle * self._period_ns - self._shift_ns
            begin, end = self._sample(begin_ns), self._sample(begin_ns + self._open_ns)
            if begin >= first + count:
                return runs
            if end > max(first, begin):
                runs.append((begin, end))
            cycle += 1

    def _sample(self, time_ns: int) -> int:
        return math.ceil(time_ns * self._rate_hz / 1e9)


class FaultySensor:
    """Puts a sensor's fault on the samples of a channel."""

    def __init__(self, spec: Any, key: int, rate_hz: float, full_scale: float) -> None:
        self._spec = spec
        self._spells = Spells(key, spec, rate_hz)
        self._full_scale = full_scale

    def apply(self, out: Array, first: int) -> None:
        """Change samples ``first``, ``first + 1``... where the fault is on."""
        spec, limit = self._spec, self._full_scale
        for begin, end in self._spells.within(first, out.size):
            part = out[max(begin - first, 0) : end - first]
            if isinstance(spec, OpenCircuit):
                part.fill(limit)
            elif isinstance(spec, Clipping):
                part *= spec.gain
                np.clip(part, -limit, limit, out=part)
            elif isinstance(spec, DcShift):
                part += spec.shift
                np.clip(part, -limit, limit, out=part)
            else:
                part.fill(0.0)
