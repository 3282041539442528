"""The squared envelope of a stream, hop by hop, and the spectrum of its last window."""

from __future__ import annotations

import numpy as np
import scipy.fft  # type: ignore[import-untyped]

from gateway.features.reduction import reduction
from gateway.features.spec import Spec
from gateway.model import Array


class Envelope:
    """Squared envelope of the band of a spec, of C channels, at a reduced rate.

    Each hop, with some samples on both sides, is transformed; the lines of the band are moved to
    zero frequency and transformed back with as few points as the band needs: the analytic signal z
    (Randall and Antoni 2011, MSSP 25:485-520, section 5). The low end of abs(z)^2 is kept at a
    lower rate, joined to that of the hops before, and transformed with a Hann window.
    A (1 + m cos) gives lines of 2 m A^2 and m^2 A^2 / 2.

    The envelope lies ``delay`` samples behind the stream. Before the first hop the signal is taken
    as its own mirror image, which a window holds until ``settling`` hops more than its own came.
    ValueError where the spec has no envelope.
    """

    def __init__(self, spec: Spec, channels: int) -> None:
        plan = reduction(spec)
        self.delay = plan.side
        self.settling = -(-2 * plan.side // plan.hop)
        """Hops after a hop, or the stream's start, whose envelope depends on what is before it."""
        self.lines = int(plan.limit_hz / spec.line_hz) + 1
        """Lines of the spectrum, from zero; as far apart as those of the window's spectrum."""
        self._hop, self._hops, self._pushed = plan.hop, spec.hops, 0
        self._valid, self._kept = plan.middle(plan.first), plan.middle(plan.second)
        # what the mirror image before the stream's start has touched has no part in RMS and peak
        self._touched = -(-(plan.side + plan.reach(plan.edge_hz)) * plan.first // plan.grain)
        self._skip = self._touched
        self._band, response = plan.band()
        # once for each part of a complex number: twice as fast as to multiply those by reals
        self._response = np.repeat(response.astype(np.float32), 2)
        self._smooth = np.repeat(plan.smooth().astype(np.float32), 2)

        points, self._out = plan.grains * plan.first, plan.grains * plan.second
        size = spec.hops * (self._kept.stop - self._kept.start)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        self._window = window.astype(np.float32)
        self._to_amplitude = 2 / window.sum()
        self._pivot = np.zeros((channels, 1), np.float32)
        self._segment = np.zeros((channels, plan.length), np.float32)
        self._z = np.zeros((channels, points), np.complex64)
        self._squared = np.zeros((channels, points), np.float32)
        self._ring = np.zeros((channels, size), np.float32)
        self._weighted = np.zeros((channels, size), np.float32)
        self._sum, self._top = np.zeros((2, channels, spec.hops))
        self._count = np.zeros(spec.hops)
        self.spectrum: Array = np.zeros((channels, self.lines), np.float32)
        """Amplitudes that ``transform`` found, in the unit squared; float32 [C, lines]."""

    def reset(self) -> None:
        """Forget the stream, as after a gap."""
        self._pushed = 0
        self._skip = self._touched

    def push(self, block: Array, known: Array) -> None:
        """Take the next hop, float32 or float64 [C, H]; ``known`` [C]: whether its envelope is."""
        all_known = bool(known.all())
        if not all_known:
            # they shall not stay: the next hop's transform has samples of this one
            block = np.where(np.isfinite(block), block, self._pivot)
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
        valid = self._squared[:, self._valid][:, self._skip :]
        self._skip = max(self._skip - (self._valid.stop - self._valid.start), 0)
        self._count[at] = valid.shape[1]
        np.add.reduce(valid, axis=1, out=self._sum[:, at])
        np.maximum.reduce(valid, axis=1, initial=0.0, out=self._top[:, at])
        lines = scipy.fft.rfft(self._squared, axis=-1)[:, : len(self._smooth) // 2]
        parts = lines.view(np.float32)
        parts *= self._smooth
        kept = scipy.fft.irfft(lines, self._out, axis=-1)[:, self._kept]
        size = kept.shape[1]
        self._ring[:, at * size : (at + 1) * size] = kept
        if not all_known:
            self._ring[~known, at * size] = self._sum[~known, at] = np.nan
            self._top[~known, at] = np.nan
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
        np.sqrt(self._sum.sum(axis=1) / self._count.sum(), out=rms)
        np.sqrt(self._top.max(axis=1), out=peak)
