"""Samples of a mock stream: what a channel shows is computed in chunks, each from its number alone.

So a sample depends on its key and its number, and not on how a stream is cut into blocks. All of
it is a few array operations a chunk and channel, none of them near a millisecond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from drivers.mock.channels import Degradation, Shaft, Turning
from gateway.model import Array

CHUNK = 4096
"""Samples that are computed at a time."""

TURN = 2.0 * math.pi


class Part(Protocol):
    """One signal of a channel."""

    def add(self, out: Array, first: int) -> None:
        """Add samples ``first``, ``first + 1``... to ``out``, float32[CHUNK]."""


class Workshop:
    """What all channels of one stream share: tables of sines, work space, a source of noise."""

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self.scratch = np.empty(CHUNK, "f4")
        self._tables: dict[float, tuple[Array, Array]] = {}
        # counter-based, so that any chunk is drawn without those before it (Salmon et al.,
        # "Parallel random numbers: as easy as 1, 2, 3", 2011)
        self._bits = np.random.Philox(key=[0, 0])
        self._state: Any = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def tables(self, hz: float) -> tuple[Array, Array]:
        """Cosine and sine of this frequency, float32[CHUNK] each, from phase 0 on."""
        if hz not in self._tables:
            angle = TURN * hz / self.rate_hz * np.arange(CHUNK)
            self._tables[hz] = (np.cos(angle).astype("f4"), np.sin(angle).astype("f4"))
        return self._tables[hz]

    def gaussian(self, key: int, number: int, out: Array) -> Array:
        """Standard normal numbers that depend on key and number alone; float32, into ``out``."""
        state = self._state
        state["state"]["key"][:] = (key, 0)
        state["state"]["counter"][:] = (0, 0, number % 2**64, 0)
        state.update(buffer_pos=4, has_uint32=0, uinteger=0)
        self._bits.state = state
        self._generator.standard_normal(dtype="f4", out=out)
        return out


class Waveform:
    """The samples of one channel."""

    def __init__(self, parts: Sequence[Part], key: int, limit: float | None) -> None:
        self._parts = parts
        self._limit = limit
        # each channel begins its chunks elsewhere, so that no block has to compute all of them
        self._shift = key % CHUNK
        self._number: int | None = None
        self._chunk = np.empty(CHUNK, "f4")

    def fill(self, out: Array, first: int) -> None:
        """Samples ``first``, ``first + 1``... into ``out``, float32, of any length."""
        done = 0
        while done < out.size:
            number, start = divmod(first + done + self._shift, CHUNK)
            if number != self._number:
                self._compute(number)
            take = min(CHUNK - start, out.size - done)
            out[done : done + take] = self._chunk[start : start + take]
            done += take

    def _compute(self, number: int) -> None:
        chunk = self._chunk
        chunk.fill(0.0)
        for part in self._parts:
            part.add(chunk, number * CHUNK - self._shift)
        if self._limit is not None:
            np.clip(chunk, -self._limit, self._limit, out=chunk)
        self._number = number


class Tones:
    """Sines of a fixed frequency: two multiplications each, with tables that are turned."""

    def __init__(
        self, shop: Workshop, tones: Sequence[tuple[float, float, float]], mean: float = 0.0
    ) -> None:
        self._shop = shop
        self._mean = mean
        self._tones = [(hz, height, angle, *shop.tables(hz)) for hz, height, angle in tones]

    def add(self, out: Array, first: int) -> None:
        """See `Part`."""
        scratch = self._shop.scratch
        for hz, height, angle, cosine, sine in self._tones:
            turned = TURN * (math.fmod(hz * first, self._shop.rate_hz) / self._shop.rate_hz) + angle
            out += np.multiply(sine, height * math.cos(turned), out=scratch)
            out += np.multiply(cosine, height * math.sin(turned), out=scratch)
        if self._mean:
            out += self._mean


class White:
    """Gaussian noise."""

    def __init__(self, shop: Workshop, key: int, rms: float) -> None:
        self._shop = shop
        self._key = key
        self._rms = rms

    def add(self, out: Array, first: int) -> None:
        """See `Part`."""
        drawn = self._shop.gaussian(self._key, first, self._shop.scratch)
        drawn *= self._rms
        out += drawn


class Rotation:
    """The angle of a shaft whose speed may swing slowly about its mean."""

    def __init__(self, spec: Turning) -> None:
        self.hz = spec.hz
        self.steady = not spec.wander
        self._rate = TURN / spec.wander_period_s
        self._depth = self.hz * spec.wander / self._rate

    def turns(self, time_s: Array) -> Array:
        """Turns of the shaft since the first sample."""
        turns: Array = self.hz * time_s
        if not self.steady:
            turns = turns + self._depth * (1.0 - np.cos(self._rate * time_s))
        return turns

    def time_s(self, turns: Array) -> Array:
        """When the shaft has made so many turns: the inverse of `turns`."""
        time_s: Array = turns / self.hz
        if not self.steady:
            for _ in range(6):  # Newton; the speed differs from its mean by a fifth at most
                speed = self.hz + self._depth * self._rate * np.sin(self._rate * time_s)
                time_s = time_s - (self.turns(time_s) - turns) / speed
        return time_s


class Growth:
    """By how much a fault has grown."""

    def __init__(self, spec: Degradation | None) -> None:
        self._spec = spec

    def factor(self, time_s: Array) -> Array | float:
        """The multiple of the first amplitude at these times, in s after the first sample."""
        spec = self._spec
        if spec is None:
            return 1.0
        doublings = (time_s - spec.onset_s) / spec.doubling_s
        factor: Array = np.exp2(np.clip(doublings, 0.0, math.log2(spec.max_factor)))
        return factor


class Orders:
    """Sines at multiples of a shaft's speed, which may swing and grow."""

    def __init__(self, shop: Workshop, spec: Shaft, orders: Sequence[tuple[int, float, float]]):
        self._shop = shop
        self._rotation = Rotation(spec)
        self._growth = Growth(spec.degradation)
        self._orders = orders

    def add(self, out: Array, first: int) -> None:
        """See `Part`."""
        time_s = np.arange(first, first + CHUNK) / self._shop.rate_hz
        turns = self._rotation.turns(time_s)
        turns -= np.floor(turns)
        angle = (TURN * turns).astype("f4")
        total = np.zeros(CHUNK, "f4")
        for order, height, start in self._orders:
            total += height * np.sin(order * angle + start)
        out += (total * self._growth.factor(time_s)).astype("f4")
