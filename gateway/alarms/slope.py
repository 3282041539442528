"""The slope of a value over a window of time: a straight line by least squares."""

from __future__ import annotations

from collections import deque

MOST = 64
"""Points that are kept: those of a fast tag are thinned to that many a window, at most twice."""

FULL = 0.5
"""Part of the window that the points have to span before there is a slope."""


class Slope:
    """The newest points of one tag. Times are those of its rows, so a late row does no harm."""

    def __init__(self, window_s: float) -> None:
        self._window_ns = round(window_s * 1e9)
        self._points: deque[tuple[int, float]] = deque()

    def clear(self) -> None:
        """Begin anew."""
        self._points.clear()

    def add(self, time_ns: int, value: float) -> None:
        """Take a point; one that is not later than the last begins anew (the clock was set)."""
        points = self._points
        if points and time_ns <= points[-1][0]:
            points.clear()
        if len(points) > 1 and time_ns - points[-2][0] < self._window_ns // MOST:
            points.pop()  # the newest always counts, what lies close before it does not
        points.append((time_ns, value))
        while points[0][0] < time_ns - self._window_ns:
            points.popleft()

    def per_s(self) -> float | None:
        """Change a second; None while there are fewer than 3 points or half a window."""
        points = self._points
        if len(points) < 3:
            return None
        first_ns, base = points[0]
        if points[-1][0] - first_ns < FULL * self._window_ns:
            return None
        count = len(points)
        times = [(at - first_ns) * 1e-9 for at, _ in points]
        values = [value - base for _, value in points]
        mean = sum(times) / count
        spread = sum((t - mean) ** 2 for t in times)
        return sum((t - mean) * v for t, v in zip(times, values, strict=True)) / spread
