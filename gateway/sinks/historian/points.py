"""Fewer points for a chart: the least and the greatest value of each stretch of time, and gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from gateway.model import Array, Kind, Scalar

_POINTS_PER_STRETCH: Final = 3
"""Least, greatest, and a BAD one."""
_AT_ONCE: Final = 50_000


class Point(NamedTuple):
    """``value`` None where BAD; ``quality`` is e.g. ``GOOD`` or ``BAD:timeout``."""

    time_ns: int
    value: Scalar
    quality: str = "GOOD"


def extremes(time_ns: Array, value: Array, bad: Array, stretch: Array) -> Array:
    """Which points to keep, in order of time.

    Of each stretch: the first with the least value, the first with the greatest, and the first
    BAD one.
    """
    place = np.arange(len(time_ns))
    good = place[~bad]
    chosen = []
    for key in (value[good], _descending(value[good])):
        order = good[np.lexsort((good, key, stretch[good]))]
        chosen.append(_first_of_each(order, stretch))
    gaps = place[bad]
    chosen.append(_first_of_each(gaps[np.argsort(stretch[gaps], kind="stable")], stretch))
    kept = np.unique(np.concatenate(chosen))
    return kept[np.argsort(time_ns[kept], kind="stable")]


def _descending(values: Array) -> Array:
    # ~x reverses the order of integers without the overflow that -x has
    return -values if values.dtype.kind == "f" else ~values


def _first_of_each(order: Array, stretch: Array) -> Array:
    if not len(order):
        return order
    ordered = stretch[order]
    return order[np.concatenate(([True], ordered[1:] != ordered[:-1]))]


class Collector:
    """Takes any number of points of one tag and gives at most ``max_points``."""

    def __init__(self, kind: Kind, from_ns: int, to_ns: int, max_points: int) -> None:
        self._kind = kind
        self._most = max_points
        stretches = max(1, max_points // _POINTS_PER_STRETCH)
        self._from_ns = from_ns
        self._width_ns = max(1, (to_ns - from_ns) // stretches + 1)
        self._points: list[Point] = []
        self.decimated = False

    def add(self, points: Iterable[Point]) -> None:
        """Take some, in any order; of text only those that change it."""
        if self._kind == "str":
            for point in points:
                if not self._points or self._points[-1][1:] != point[1:]:
                    self._points.append(point)
                else:
                    self.decimated = True
            return
        self._points.extend(points)
        if len(self._points) > max(_AT_ONCE, 4 * self._most):
            self._reduce()

    def result(self) -> list[Point]:
        """What was taken, in order of time."""
        self._points.sort(key=lambda p: p.time_ns)
        if len(self._points) > self._most:
            if self._kind == "str":
                self._points = _fewer_texts(self._points, self._most)
                self.decimated = True
            else:
                self._reduce()
        if len(self._points) > self._most:  # 2 were asked for: no room for a gap
            self._points = [p for p in self._points if p.value is not None]
            self.decimated = True
        return [Point(p.time_ns, self._typed(p.value), p.quality) for p in self._points]

    def _reduce(self) -> None:
        times = np.array([p.time_ns for p in self._points], "i8")
        bad = np.array([p.value is None for p in self._points], "b1")
        values = _array([p.value for p in self._points], self._kind)
        kept = extremes(times, values, bad, (times - self._from_ns) // self._width_ns)
        self.decimated |= len(kept) < len(self._points)
        self._points = [self._points[i] for i in kept.tolist()]

    def _typed(self, value: Scalar) -> Scalar:
        if value is None or self._kind in ("f4", "f8", "str"):
            return value
        return bool(value) if self._kind == "b1" else int(value)


def _fewer_texts(points: list[Point], most: int) -> list[Point]:
    """Texts at about equal distances, and gaps with what follows them: none seems to last."""
    count = len(points)
    gaps = [i for i, p in enumerate(points) if p.value is None]
    if 4 * len(gaps) > most:  # too many: of each run its first point and its first gap
        every = -(-count // max(1, most // _POINTS_PER_STRETCH))
        gaps = list({i // every: i for i in reversed(gaps)}.values())
    else:
        every = -(-count // (most - 2 * len(gaps)))
    kept = {*range(0, count, every), *gaps, *(i + 1 for i in gaps if i + 1 < count)}
    return [points[i] for i in sorted(kept)]


def _array(values: Sequence[Any], kind: Kind) -> Array:
    """The values with all their digits, zero where there is none."""
    if kind in ("f4", "f8"):
        return np.array([0.0 if v is None else float(v) for v in values], "f8")
    dtype = "u8" if kind == "u8" else "i8"
    return np.array([0 if v is None else int(v) for v in values], dtype)
