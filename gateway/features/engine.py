"""All features of a chunk of channels from one window: one FFT, shared by everything."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft  # type: ignore[import-untyped]

from gateway.features.lines import Lines, interpolate
from gateway.features.moments import Central, Moments
from gateway.features.spec import ACCELERATIONS, Spec
from gateway.features.table import ORDERS, features_of
from gateway.model import Array

_LOWEST = 2
"""First line of the spectrum that the removed mean has not touched: Hann's main lobe is 2 wide."""

_ORDER_TOLERANCE = 0.01

_ORDER_LINES = 3
"""Lines from one order to the next at least, or the lobe of one is read for the other."""

_ROWS = 8
"""Channels at a time: their arrays stay in a core's cache, and the FFT fills its vectors."""


class Engine:
    """Computes the features of a spec, of up to ``channels`` (best 16 or more) channels at a time.

    All tables and work arrays are made once. Not for two threads at a time.
    """

    def __init__(self, spec: Spec, channels: int) -> None:
        n = spec.samples
        self.spec = spec
        self.features = features_of(spec)
        self.names: tuple[str, ...] = tuple(f.name for f in self.features)
        self._column = {name: i for i, name in enumerate(self.names)}
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
        self._window = window.astype(np.float32)
        self._ones = np.ones(n, np.float32)
        self._to_amplitude = 2 / window.sum()
        # sum of squared one-sided lines to mean square: Parseval for a weighted window
        self._to_power = 2 / (n * np.square(window).sum())
        self._freqs = np.arange(n // 2 + 1) * spec.line_hz
        rows = min(_ROWS, channels)
        self._x = np.empty((rows, n), np.float32)
        self._weighted = np.empty((rows, n), np.float32)
        # of each line |X|^2, one half of it for the two that have no mirror image
        self._power = np.zeros((channels, n // 2 + 1), np.float32)
        self._largest = np.zeros(channels, np.intp)
        self.central: Central | None = None
        """Moments of the window that was computed last."""
        self._weights()
        self._envelope: Array | None = None
        self._lines: Lines | None = None
        if "ftf_hz" in self._column:
            self._lines = Lines(spec)
            self._lines_from = self._column["ftf_hz"]

    def _weights(self) -> None:
        """Tables of what is summed over lines, in float32."""
        spec, freqs = self.spec, self._freqs
        self._moment = np.ones((len(freqs) - _LOWEST, 2), np.float32)
        self._moment[:, 1] = freqs[_LOWEST:] / spec.rate_hz
        if spec.is_acceleration:
            self._velocity_bins = spec.bins(*spec.velocity_band_hz)
            omega = 2 * np.pi * freqs[self._velocity_bins]
            metric = ACCELERATIONS[spec.unit]
            velocity = self._to_power * (1e3 * metric / omega) ** 2
            displacement = self._to_power * (1e6 * metric / omega**2) ** 2
            self._integral = np.stack([velocity, displacement], axis=1).astype(np.float32)
        self._bands = [
            (self._column[f"band_{band}"], spec.bins(low, high))
            for band, low, high in spec.bands_hz
        ]

    def compute(
        self, older: Array, newer: Array, moments: Moments, speed_hz: float | None
    ) -> Array:
        """The features [C, F] of one window, float64, in the order of ``names``.

        ``older`` [C, a] and ``newer`` [C, b] are the two pieces of a ring buffer, a + b = N, of
        whose hops ``moments`` has the sums. NaN where a feature has no value: no speed, a line
        beyond the envelope's spectrum, a signal that is zero throughout, a sample that is not
        finite, a square that float32 cannot hold.
        """
        channels = older.shape[0]
        out = np.full((channels, len(self.names)), np.nan)
        central = self.central = moments.window()
        mean = central.mean.astype(np.float32)[:, None]
        sizes = np.empty((2, channels), np.float32)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for first in range(0, channels, _ROWS):
                rows = slice(first, min(first + _ROWS, channels))
                self._weigh(older[rows], newer[rows], mean[rows], sizes[:, rows])
                self._sum(rows, out[rows])
            self._time_domain(central, sizes, out)
            self._dominant(out)
            if moments.envelope is not None:
                at = self._column["envelope_rms"]
                moments.envelope.transform(out[:, at], out[:, at + 1])
                self._envelope = moments.envelope.spectrum
            if self.spec.has_speed and speed_hz is not None and 0.0 < speed_hz < math.inf:
                self._shaft(speed_hz, out)
        out[np.isinf(out)] = np.nan  # beyond float32, or a ratio to zero
        return out

    def spectrum(self, channel: int) -> tuple[Array, Array]:
        """Frequencies and amplitudes (peak) of the last window; both float32 [N/2+1]."""
        amplitude = np.sqrt(self._power[channel])
        amplitude *= np.float32(self._to_amplitude)
        amplitude[[0, -1]] *= np.float32(math.sqrt(0.5))
        return self._freqs.astype(np.float32), amplitude

    def envelope_spectrum(self, channel: int) -> tuple[Array, Array]:
        """The same of the squared envelope, in the unit squared; empty where there is none."""
        if self._envelope is None:
            return np.empty(0, np.float32), np.empty(0, np.float32)
        amplitude = self._envelope[channel].copy()
        return self._freqs[: len(amplitude)].astype(np.float32), amplitude

    def _weigh(self, older: Array, newer: Array, mean: Array, sizes: Array) -> None:
        """Leave the Hann-weighted window without its mean in the work array.

        ``sizes`` [2, C] become the means of the magnitude and of its square root.
        """
        rows, split = older.shape
        x = self._x[:rows]
        np.subtract(older, mean, out=x[:, :split])
        np.subtract(newer, mean, out=x[:, split:])
        np.multiply(x, self._window, out=self._weighted[:rows])
        np.abs(x, out=x)
        np.dot(x, self._ones, out=sizes[0])
        np.sqrt(x, out=x)
        np.dot(x, self._ones, out=sizes[1])

    def _sum(self, rows: slice, out: Array) -> None:
        """Transform the weighted rows, keep their power and fill what is a sum over lines."""
        power = self._power[rows]
        np.abs(scipy.fft.rfft(self._weighted[: len(out)], axis=-1, overwrite_x=True), out=power)
        np.multiply(power, power, out=power)
        power[:, [0, -1]] *= np.float32(0.5)
        if self.spec.is_acceleration:
            at = self._column["velocity_rms"]
            out[:, at : at + 2] = np.sqrt(power[:, self._velocity_bins] @ self._integral)
        for column, bins in self._bands:
            out[:, column] = np.sqrt(power[:, bins].sum(axis=1) * self._to_power)
        total, first = (power[:, _LOWEST:] @ self._moment).T.astype(np.float64)
        out[:, self._column["centroid_hz"]] = first / total * self.spec.rate_hz
        # not the last line either: it has no neighbour to interpolate with
        self._largest[rows] = power[:, _LOWEST:-1].argmax(axis=1)

    def _time_domain(self, central: Central, sizes: Array, out: Array) -> None:
        size, root = sizes.astype(np.float64) / self.spec.samples
        rms = np.sqrt(central.m2)
        peak = np.maximum(central.high - central.mean, central.mean - central.low)
        out[:, 0] = central.mean
        out[:, 1] = rms
        out[:, 2] = peak
        out[:, 3] = central.high - central.low
        out[:, 4] = peak / rms
        out[:, 5] = central.m4 / central.m2**2
        out[:, 6] = central.m3 / (central.m2 * rms)
        out[:, 7] = rms / size
        out[:, 8] = peak / size
        out[:, 9] = peak / root**2
        out[~np.isfinite(central.m2), :10] = np.nan

    def _dominant(self, out: Array) -> None:
        largest = self._largest[: len(out)] + _LOWEST
        flat = largest + np.arange(len(out)) * len(self._freqs)
        before, peak, after = (
            np.sqrt(self._power.take(flat + i), dtype=np.float64) for i in (-1, 0, 1)
        )
        offset, gain = interpolate(peak, before, after)
        at = self._column["dominant_hz"]
        out[:, at] = (largest + offset) * self.spec.line_hz
        out[:, at + 1] = peak * gain * self._to_amplitude

    def _shaft(self, speed_hz: float, out: Array) -> None:
        column = self._column["speed_hz"]
        out[:, column] = speed_hz
        power = self._power[: len(out)]
        for i, order in enumerate(ORDERS, 1):
            if speed_hz >= _ORDER_LINES * self.spec.line_hz:
                largest = _peak(power, order * speed_hz / self.spec.line_hz)
                out[:, column + i] = np.sqrt(largest) * self._to_amplitude
        if self._lines is not None and self._envelope is not None:
            self._lines.find(self._envelope[: len(out)], speed_hz, out[:, self._lines_from :])


def _peak(power: Array, centre: float) -> Array:
    """The largest peak [C] near a line; where there is none, or only a flank, the line itself."""
    tolerance = max(2.0, _ORDER_TOLERANCE * centre)
    low, high = max(math.ceil(centre - tolerance), _LOWEST), math.floor(centre + tolerance)
    if high + 2 > power.shape[1]:
        return np.full(len(power), np.nan)
    inside = power[:, low : high + 1]
    rises = (inside >= power[:, low - 1 : high]) & (inside >= power[:, low + 1 : high + 2])
    largest: Array = np.where(rises, inside, np.float32(-1.0)).max(axis=1)
    return np.where(largest < 0, inside[:, round(centre) - low], largest)
