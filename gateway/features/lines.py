"""The lines of a bearing in its envelope's spectrum: where each is looked for, what is found."""

from __future__ import annotations

import numpy as np

from gateway.features.bearings import LINES
from gateway.features.spec import Spec
from gateway.features.table import harmonics_of
from gateway.model import Array

NEIGHBOURHOOD = 0.15
"""A line is compared with the band of this part of its frequency on both sides."""

_FEWEST_SIDE = 8
"""Lines of the neighbourhood on each side at least, where 15 % are too few."""

_FEWEST = 6
"""Lines that a neighbourhood must have of these, so near zero or the limit, to give a median."""

_LOBE = 2
"""Half width of the main lobe of a Hann window, in lines."""

_FIRST = 2
"""First line of the spectrum that the constant part of the envelope has not touched."""

_SAME_SPEED = 2e-4
"""Tables are kept while the speed changes by less than this part of it."""


class Lines:
    """Finds the lines of the spec's bearing, all harmonics of all channels in one go.

    Which lines of the spectrum are looked at depends on the speed alone, never on the data, so
    their indices are tables that belong to one speed.
    """

    def __init__(self, spec: Spec) -> None:
        if spec.bearing is None:
            raise ValueError("no bearing")
        self._spec = spec
        multiples = spec.bearing.multiples()
        wanted: list[float] = []
        groups: list[list[int]] = []
        hz: list[int] = []
        amplitude: list[int] = []
        ratio: list[int] = []
        count: list[int] = []
        columns = 0
        for line in LINES:
            harmonics = harmonics_of(line, spec)
            first = len(wanted)
            wanted += [multiples[line] * h for h in range(1, harmonics + 1)]
            # the column after the last harmonic stands for one that is not there
            groups.append([*range(first, len(wanted)), *[-1] * (spec.harmonics - harmonics)])
            hz.append(columns)
            amplitude += [columns + 1 + 2 * h for h in range(harmonics)]
            ratio += [columns + 2 + 2 * h for h in range(harmonics)]
            count.append(columns + 1 + 2 * harmonics)
            columns += 2 + 2 * harmonics
        self._multiples, self._groups = np.array(wanted), np.array(groups)
        self._firsts = self._groups[:, 0]
        self._hz, self._amplitude, self._ratio, self._count = hz, amplitude, ratio, count
        self._speed_hz = 0.0
        self._padded: Array = np.empty((0, 0), np.float32)

    def find(self, spectrum: Array, speed_hz: float, out: Array) -> None:
        """Fill ``out`` [C, columns of the lines] from the envelope's spectrum [C, lines]."""
        channels, lines = spectrum.shape
        if self._padded.shape != (channels, lines + 2):
            self._padded = np.zeros((channels, lines + 2), np.float32)
            self._padded[:, -1] = np.inf
            self._speed_hz = 0.0
        self._padded[:, :lines] = spectrum
        if abs(speed_hz - self._speed_hz) > _SAME_SPEED * self._speed_hz:
            self._speed_hz = speed_hz
            self._tables(self._multiples * (speed_hz / self._spec.line_hz), lines)
        at, is_peak, before, peak, after = self._peaks()
        around = np.take(self._padded, self._around, axis=1)
        around.sort(axis=-1)
        around = around.reshape(channels, -1)
        middle = np.take(around, self._below, axis=1) + np.take(around, self._above, axis=1)
        ratio = peak / (middle / 2)
        offset, gain = interpolate(peak, before, after)
        offset[~is_peak], gain[~is_peak] = 0.0, 1.0
        out[:, self._hz] = ((at + offset) * self._spec.line_hz)[:, self._firsts]
        out[:, self._amplitude] = peak * gain
        out[:, self._ratio] = ratio
        enough = np.zeros((channels, ratio.shape[1] + 1), bool)
        enough[:, :-1] = (ratio >= self._spec.threshold) & is_peak
        unbroken = np.logical_and.accumulate(enough[:, self._groups], axis=2)
        found = unbroken.sum(axis=2).astype(np.float64)
        found[np.isnan(ratio[:, self._firsts])] = np.nan
        out[:, self._count] = found

    def _tables(self, centres: Array, lines: int) -> None:
        """Indices of where each line may be and of its neighbourhood.

        Shorter ranges end with pads: index ``lines``, whose value is 0, among the former, and
        ``lines`` + 1, whose value is infinite, among the latter.
        """
        tolerance = np.maximum(2.0, self._spec.slip * centres)
        low = np.maximum(np.ceil(centres - tolerance), _FIRST + 1)
        high = np.floor(centres + tolerance)
        inner = tolerance + _LOBE
        outer = np.maximum(NEIGHBOURHOOD * centres, inner + _FEWEST_SIDE)
        left = np.maximum(np.ceil(centres - outer), _FIRST)
        on_left = np.maximum(np.ceil(centres - inner) - left, 0)
        right = np.floor(centres + inner) + 1
        size = on_left + np.maximum(np.minimum(np.floor(centres + outer), lines - 1) - right + 1, 0)
        self._lost = np.rint(centres) < _FIRST + 1
        self._lost |= (low > high) | (high + 2 > lines) | (size < _FEWEST)
        size[self._lost] = 0
        high[self._lost] = low[self._lost] = _FIRST + 1
        n = np.arange(max(int(size.max()), 1))
        around = n + np.where(n < on_left[:, None], left[:, None], (right - on_left)[:, None])
        self._around = np.where(n < size[:, None], around, lines + 1).astype(np.intp)
        rows = np.arange(len(centres)) * len(n)
        self._below = (rows + np.maximum(size - 1, 0) // 2).astype(np.intp)
        self._above = (rows + np.minimum(size // 2, len(n) - 1)).astype(np.intp)
        width = high - low + 1
        n = np.arange(int(width.max()) + 2)
        where = n + low[:, None] - 1
        self._where = np.where(n < width[:, None] + 2, where, lines).astype(np.intp)
        self._outside = np.where(n[:-2] < width[:, None], 0, -np.inf).astype(np.float32)
        self._low, self._centre = low, (np.clip(np.rint(centres), low, high) - low).astype(np.intp)

    def _peaks(self) -> tuple[Array, Array, Array, Array, Array]:
        """Line number of the largest peak in each range, whether it is one, and three amplitudes.

        Only a local maximum is a peak: the largest of a range may be the flank of a line outside.
        Where there is none, the line is the one next to the calculated frequency. The amplitudes
        are of the line before, itself and after; NaN, as the line, where the range is lost.
        """
        found = np.take(self._padded, self._where, axis=1)
        inside = found[:, :, 1:-1]
        rises = (inside >= found[:, :, :-2]) & (inside >= found[:, :, 2:])
        height = np.where(rises, inside, np.float32(-1.0))
        height += self._outside
        best = height.argmax(axis=2)
        is_peak = height.max(axis=2) >= 0
        best = np.where(is_peak, best, self._centre)
        flat = best + np.arange(best.size).reshape(best.shape) * found.shape[2]
        before, peak, after = (found.take(flat + i).astype(np.float64) for i in range(3))
        peak[:, self._lost] = np.nan
        at = np.where(np.isnan(peak), np.nan, self._low + best)
        return at, is_peak, before, peak, after


def interpolate(peak: Array, before: Array, after: Array) -> tuple[Array, Array]:
    """Offset of a sine from its largest line, in lines, and its amplitude over that line's.

    Exact for one sine under a Hann window, from the larger neighbour (Grandke 1983, IEEE Trans.
    Instrum. Meas. 32:350-355). NaN where there is nothing.
    """
    right = after >= before
    part = np.where(right, after, before) / peak
    size = np.clip((2 * part - 1) / (part + 1), 0.0, 0.5)
    return np.where(right, size, -size), (1 - size * size) / np.sinc(size)
