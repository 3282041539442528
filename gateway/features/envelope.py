"""The squared envelope of a stream, hop by hop, and the spectrum of its last window."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft  # type: ignore[import-untyped]

from gateway.features.spec import Spec, next_smooth
from gateway.model import Array

LIMIT_HZ = 1500.0
"""Highest frequency of the envelope's spectrum: three harmonics of an inner race at 3600 rpm."""

_EDGE_HZ = 200.0
"""Width of the edges of the band; they lie outside of it, but below half the rate."""

_ATTENUATION_DB = 90.0
"""Of both filters beyond their edges; their ripple in the band is then 3e-5."""

_GRAIN = 64


class Envelope:
    """Squared envelope of the band of a spec, of C channels, at a reduced rate.

    Each hop, with some samples before it, is transformed; the lines of the band are moved to zero
    frequency and transformed back with as few points as the band needs: the analytic signal z at a
    reduced rate (Randall and Antoni 2011, MSSP 25:485-520, section 5). abs(z)^2 is cut at
    ``LIMIT_HZ`` and reduced again in the same way, which is exact but for the filters' ripple:
    both are FIR filters by overlap-save (Oppenheim and Schafer, section 8.7), so the hops join
    without a seam. A (1 + m cos) gives lines of 2 m A^2 and m^2 A^2 / 2.

    The envelope lies ``delay`` samples behind the stream. Before the first hop the signal is taken
    as its own mirror image.
    """

    def __init__(self, spec: Spec, channels: int) -> None:
        if spec.envelope_hz is None:
            raise ValueError(f"no envelope at {spec.rate_hz:g} Hz")
        rate, hop = spec.rate_hz, spec.hop
        low, high = spec.envelope_hz
        edge = min(_EDGE_HZ, 0.4 * low)
        high = min(high, rate / 2 - edge)
        limit = min(LIMIT_HZ, high - low)
        grain = max(g for g in range(1, _GRAIN + 1) if hop % g == 0)
        first = min(next_smooth(grain * (high - low + 2 * edge + limit) / rate), grain)
        second = min(next_smooth(grain * 2.4 * limit / rate), first)
        reach_1 = _reach(rate, edge)
        reach_2 = _reach(rate, rate * second / grain - 2 * limit)
        grains = next_smooth((hop + 2 * (reach_1 + reach_2)) / grain)
        while (grains - hop // grain) % 2:
            grains = next_smooth(grains + 1)
        length = grains * grain
        self._hop, self._points, self._out = hop, grains * first, grains * second
        self.delay = (length - hop) // 2
        """Samples between the newest of the stream and of the envelope."""
        self.lines = int(limit / spec.line_hz) + 1
        """Lines of the spectrum, from zero; as far apart as those of the window's spectrum."""
        start = self.delay // grain
        self._valid = slice(start * first, start * first + hop // grain * first)
        self._kept = slice(start * second, start * second + hop // grain * second)
        width = hop // grain * second
        # twice the one-sided spectrum is that of z; and lengths change, so sums do
        response = _band(length, rate, low - edge / 2, high + edge / 2, reach_1) * 2 * first / grain
        lines = slice(
            math.floor((low - edge) * length / rate), math.ceil((high + edge) * length / rate) + 1
        )
        self._band = slice(lines.start, min(lines.stop, lines.start + self._points, length // 2))
        # once for each part of a complex number: twice as fast as to multiply those by reals
        self._response = np.repeat(response[self._band].astype(np.float32), 2)
        cut = limit + (rate * second / grain - 2 * limit) / 2
        smooth = _band(self._points, rate * first / grain, -cut, cut, -(-reach_2 * first // grain))
        smooth = smooth[: self._out // 2 + 1] * second / first
        self._smooth = np.repeat(smooth.astype(np.float32), 2)

        self._hops, self._pushed = spec.hops, 0
        self._pivot = np.zeros((channels, 1), np.float32)
        self._segment = np.zeros((channels, length), np.float32)
        self._z = np.zeros((channels, self._points), np.complex64)
        self._squared = np.zeros((channels, self._points), np.float32)
        self._ring = np.zeros((channels, spec.hops * width), np.float32)
        self._mean = np.zeros((channels, spec.hops))
        self._top = np.zeros((channels, spec.hops))
        size = spec.hops * width
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        self._window = window.astype(np.float32)
        self._to_amplitude = 2 / window.sum()
        self._weighted = np.zeros((channels, size), np.float32)
        self.spectrum: Array = np.zeros((channels, self.lines), np.float32)
        """Amplitudes that ``transform`` found, in the unit squared; float32 [C, lines]."""

    def reset(self) -> None:
        """Forget the stream, as after a gap."""
        self._pushed = 0

    def push(self, block: Array) -> None:
        """Take the next hop, float32 or float64 [C, H]."""
        segment, before = self._segment, 2 * self.delay
        if self._pushed == 0:
            self._pivot[:, 0] = block.mean(axis=1, dtype=np.float64)
            padded = np.pad(block, ((0, 0), (before, 0)), mode="reflect")
            np.subtract(padded, self._pivot, out=segment, casting="same_kind")
        else:
            segment[:, :before] = segment[:, self._hop :]
            np.subtract(block, self._pivot, out=segment[:, before:], casting="same_kind")
        spectrum = scipy.fft.rfft(segment, axis=-1)
        parts, width = self._z.view(np.float32), len(self._response)
        band = spectrum.view(np.float32)[:, 2 * self._band.start : 2 * self._band.stop]
        np.multiply(band, self._response, out=parts[:, :width])
        parts[:, width:] = 0  # the transform before wrote here
        parts = scipy.fft.ifft(self._z, axis=-1, overwrite_x=True).view(np.float32)
        np.multiply(parts, parts, out=parts)
        np.add(parts[:, 0::2], parts[:, 1::2], out=self._squared)
        at = self._pushed % self._hops
        valid = self._squared[:, self._valid]
        np.add.reduce(valid, axis=1, out=self._mean[:, at])
        np.maximum.reduce(valid, axis=1, out=self._top[:, at])
        lines = scipy.fft.rfft(self._squared, axis=-1)[:, : len(self._smooth) // 2]
        parts = lines.view(np.float32)
        parts *= self._smooth
        kept = scipy.fft.irfft(lines, self._out, axis=-1)[:, self._kept]
        size = kept.shape[1]
        self._ring[:, at * size : (at + 1) * size] = kept
        self._pushed += 1

    def transform(self, rms: Array, peak: Array) -> None:
        """Fill ``spectrum``, and RMS and largest value of the envelope [C], of the last window."""
        oldest = self._pushed % self._hops * (self._ring.shape[1] // self._hops)
        weighted, window = self._weighted, self._window
        split = len(window) - oldest
        np.multiply(self._ring[:, oldest:], window[:split], out=weighted[:, :split])
        np.multiply(self._ring[:, :oldest], window[split:], out=weighted[:, split:])
        lines = scipy.fft.rfft(weighted, axis=-1, overwrite_x=True)[:, : self.lines]
        # the constant part reaches lines 0 and 1 of a Hann window and no further
        lines[:, 1] += lines[:, 0] / 2
        lines[:, 0] = 0
        np.abs(lines, out=self.spectrum)
        self.spectrum *= np.float32(self._to_amplitude)
        count = self._hops * (self._valid.stop - self._valid.start)
        np.sqrt(self._mean.sum(axis=1) / count, out=rms)
        np.sqrt(self._top.max(axis=1), out=peak)


def _reach(rate_hz: float, edge_hz: float) -> int:
    """Half length in samples of a Kaiser-windowed filter with such edges (Kaiser 1974)."""
    return math.ceil((_ATTENUATION_DB - 7.95) / (2.285 * 4 * math.pi * edge_hz / rate_hz))


def _band(points: int, rate_hz: float, low_hz: float, high_hz: float, reach: int) -> Array:
    """Real response at ``points`` lines of a zero-phase FIR band filter of 2 reach + 1 taps."""
    n = np.arange(-reach, reach + 1)
    share = (high_hz - low_hz) / rate_hz
    taps = share * np.sinc(share * n) * np.kaiser(len(n), 0.1102 * (_ATTENUATION_DB - 8.7))
    taps = taps * np.exp(1j * np.pi * (low_hz + high_hz) / rate_hz * n)
    placed = np.zeros(points, complex)
    placed[n % points] = taps
    response: Array = scipy.fft.fft(placed).real
    return response
