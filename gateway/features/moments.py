"""Sums over the hops of a window, from which its moments follow without a pass over the window."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.features.envelope import Envelope
from gateway.features.spec import Spec
from gateway.model import Array


class Central(NamedTuple):
    """Mean, central moments and extremes of a window; each float64 [C], in the channel's unit."""

    mean: Array
    m2: Array
    m3: Array
    m4: Array
    low: Array
    high: Array


class Moments:
    """The sums of the last K hops of C channels.

    Each hop has a pivot of its own, its mean rounded to float32, about which the first four powers
    are summed in float64. So a large constant part costs no digits, and nothing adds up over time:
    a window's moments are made of its own hops only (Chan, Golub and LeVeque 1983; Pebay 2008).
    """

    def __init__(self, spec: Spec, channels: int) -> None:
        self._hops = hops = spec.hops
        self._pushed = 0
        shape = (channels, hops)
        self._count = np.zeros(hops)
        self._pivot = np.zeros(shape)
        self._sums = np.zeros((4, *shape))
        self._low = np.zeros(shape)
        self._high = np.zeros(shape)
        self._work: Array = np.empty((2, channels, 0))
        self.envelope = Envelope(spec, channels) if spec.envelope_hz is not None else None
        """The squared envelope of the same hops."""
        self.settling = 0 if self.envelope is None else self.envelope.settling
        """Hops more than its own until a window of the envelope is of this stream alone."""
        self._spoilt = np.zeros(channels, np.intp)

    @property
    def full(self) -> bool:
        """Whether the last K hops are there, none older than the last reset."""
        return self._pushed >= self._hops

    @property
    def settled(self) -> bool:
        """Whether also the window of the envelope, which lies behind, begins after the reset."""
        return self._pushed >= self._hops + self.settling

    def reset(self) -> None:
        """Forget all hops, as after a gap."""
        self._pushed = 0
        self._spoilt[:] = 0
        if self.envelope is not None:
            self.envelope.reset()

    def push(self, block: Array) -> None:
        """Take the next hop: float32 or float64 [C, H].

        A sample that is not finite makes all of its channel NaN while the hop is in the window, and
        one whose envelope it has touched.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            self._push(block)

    def _push(self, block: Array) -> None:
        at = self._pushed % self._hops
        samples = block.shape[1]
        if self._work.shape[2] != samples:
            self._work = np.empty((2, block.shape[0], samples))
        y, y2 = self._work
        np.copyto(y, block)
        total = np.add.reduce(y, axis=1)
        self._spoilt[~np.isfinite(total)] = 1 + self.settling
        known = self._spoilt == 0
        total[~known] = np.nan
        self._spoilt[~known] -= 1
        pivot = (total / samples).astype(np.float32).astype(np.float64)
        y -= pivot[:, None]
        np.multiply(y, y, out=y2)
        self._count[at] = samples
        self._pivot[:, at] = pivot
        self._low[:, at] = np.minimum.reduce(block, axis=1)
        self._high[:, at] = np.maximum.reduce(block, axis=1)
        self._sums[0, :, at] = total - samples * pivot
        for power, (a, b) in enumerate(((y, y), (y, y2), (y2, y2)), 1):
            np.einsum("ij,ij->i", a, b, out=self._sums[power, :, at])
        self._pushed += 1
        if self.envelope is not None:
            self.envelope.push(block, known)

    @property
    def means(self) -> Array:
        """Mean of each hop in the window, in no order, to float32's precision; [C, hops]."""
        return self._pivot[:, : min(self._pushed, self._hops)]

    def window(self) -> Central:
        """The moments of the last K hops (of all there are, where there are fewer)."""
        k = min(self._pushed, self._hops)
        n, pivot = self._count[:k], self._pivot[:, :k]
        s1, s2, s3, s4 = self._sums[:, :, :k]
        total = n.sum()
        base = pivot[:, :1]  # a nearby origin, so that the mean keeps its digits
        mean = base[:, 0] + ((pivot - base) * n + s1).sum(axis=1) / total
        d = mean[:, None] - pivot
        d2 = d * d
        m2 = s2 - 2 * d * s1 + n * d2
        m3 = s3 - 3 * d * s2 + 3 * d2 * s1 - n * d2 * d
        m4 = s4 - 4 * d * s3 + 6 * d2 * s2 - 4 * d2 * d * s1 + n * d2 * d2
        return Central(
            mean,
            m2.sum(axis=1) / total,
            m3.sum(axis=1) / total,
            m4.sum(axis=1) / total,
            self._low[:, :k].min(axis=1),
            self._high[:, :k].max(axis=1),
        )
