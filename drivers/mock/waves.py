"""Signals as arrays: all signals of one kind are computed by a few array operations per row.

A value is a pure function of its key (drawn from seed, device, table and column) and the time, so
that any cycle can be computed again. Times stay whole nanoseconds until they are parts of a cycle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from gateway.model import Array

COUNTER_ORIGIN_NS = 1_735_689_600 * 10**9
"""2025-01-01T00:00Z: counters start here."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def draw(*names: object) -> int:
    """A 64-bit key that depends on these names alone."""
    text = "\0".join(map(str, names)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def mix(keys: Array, number: Array | int) -> Array:
    """Random 64-bit words, one a key, for this number (the finaliser of splitmix64).

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    with np.errstate(over="ignore"):
        z = keys + np.asarray(number, "i8").astype("u8") * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: Array = z ^ (z >> np.uint64(31))
        return mixed


def uniform(keys: Array, number: Array | int) -> Array:
    """Random numbers in [0, 1), one a key."""
    numbers: Array = (mix(keys, number) >> np.uint64(11)) * 2.0**-53
    return numbers


def gaussian(keys: Array, number: Array | int) -> Array:
    """Random numbers of the standard normal distribution, one a key (Box and Muller, 1958)."""
    word = mix(keys, number)
    radius = ((word >> np.uint64(32)) + 1.0) * 2.0**-32
    angle = (word & np.uint64(0xFFFFFFFF)) * (2.0 * math.pi * 2.0**-32)
    numbers: Array = np.sqrt(-2.0 * np.log(radius)) * np.cos(angle)
    return numbers


class Cycles:
    """Repeating cycles, one a key; ``phase`` None: it begins where its key says."""

    def __init__(
        self, keys: Sequence[int], periods_ns: Sequence[int], phases: Sequence[float | None]
    ) -> None:
        self.period = np.array(periods_ns, "i8")
        passed = [
            (key >> 11) * 2.0**-53 if phase is None else phase
            for key, phase in zip(keys, phases, strict=True)
        ]
        self.shift = (np.array(passed, "f8") * self.period).astype("i8")

    def passed_ns(self, time_ns: int) -> Array:
        """Time since the present cycle began."""
        passed: Array = (time_ns + self.shift) % self.period
        return passed

    def number(self, time_ns: int) -> Array:
        """Number of the present cycle since 1970."""
        number: Array = (time_ns + self.shift) // self.period
        return number


class Picks:
    """Which value of its list each Steps or Choice shows."""

    def __init__(self, keys: Sequence[int], specs: Sequence[Any]) -> None:
        self._keys = np.array(keys, "u8")
        self._counts = np.array([len(s.values) for s in specs], "i8")
        self._random = np.array([s.kind == "choice" for s in specs], "b1")
        hold = [round(s.hold_s * 1e9) for s in specs]
        self._hold = np.array(hold, "i8")
        periods = [
            h if s.kind == "choice" else h * len(s.values) for h, s in zip(hold, specs, strict=True)
        ]
        self._cycles = Cycles(keys, periods, [s.phase for s in specs])

    def index(self, time_ns: int) -> Array:
        """Position in each list."""
        drawn = (uniform(self._keys, self._cycles.number(time_ns)) * self._counts).astype("i8")
        in_turn = self._cycles.passed_ns(time_ns) // self._hold
        index: Array = np.where(self._random, drawn, in_turn)
        return index


class Term(NamedTuple):
    """One signal that is added at one place of a row."""

    place: int
    key: int
    spec: Any
    """A signal of `signals`, but no sum."""


class Wave:
    """All terms of one kind: where their values go, and their settings as arrays by name."""

    def __init__(self, terms: Sequence[Term]) -> None:
        specs = [t.spec for t in terms]
        keys = [t.key for t in terms]
        self.places = np.array([t.place for t in terms], "i8")
        self.keys = np.array(keys, "u8")
        first = specs[0]
        self.settings = {
            name: np.array([getattr(s, name) for s in specs], "f8")
            for name in type(first).model_fields
            if name not in ("kind", "phase", "values")
        }
        self.cycles = Cycles([], [], [])
        if "phase" in type(first).model_fields:
            name = "period_s" if "period_s" in self.settings else "hold_s"
            periods = [round(getattr(s, name) * 1e9) for s in specs]
            self.cycles = Cycles(keys, periods, [s.phase for s in specs])
        if "values" in type(first).model_fields:
            counts = [len(s.values) for s in specs]
            self.starts = np.cumsum([0, *counts[:-1]])
            self.choices = np.array([float(v) for s in specs for v in s.values], "f8")
            self.picks = Picks(keys, specs)
        self._compute = _COMPUTE[first.kind]

    def __getitem__(self, name: str) -> Array:
        return self.settings[name]

    def add_to(self, values: Array, time_ns: int) -> None:
        """Add each term at its place."""
        np.add.at(values, self.places, self._compute(self, time_ns))

    def passed(self, time_ns: int) -> Array:
        """Part of each cycle that has passed, in [0, 1)."""
        part: Array = self.cycles.passed_ns(time_ns) / self.cycles.period
        return part

    def between(self, part: Array) -> Array:
        """The values at this part of the way from low to high."""
        values: Array = self["low"] + (self["high"] - self["low"]) * part
        return values


def _constant(w: Wave, time_ns: int) -> Array:
    return w["value"]


def _sine(w: Wave, time_ns: int) -> Array:
    values: Array = w["mean"] + w["amplitude"] * np.sin(2.0 * math.pi * w.passed(time_ns))
    return values


def _ramp(w: Wave, time_ns: int) -> Array:
    return w.between(w.passed(time_ns))


def _triangle(w: Wave, time_ns: int) -> Array:
    return w.between(1.0 - abs(2.0 * w.passed(time_ns) - 1.0))


def _square(w: Wave, time_ns: int) -> Array:
    values: Array = np.where(w.passed(time_ns) < w["duty"], w["high"], w["low"])
    return values


def _picked(w: Wave, time_ns: int) -> Array:
    values: Array = w.choices[w.starts + w.picks.index(time_ns)]
    return values


def _walk(w: Wave, time_ns: int) -> Array:
    knot = w.cycles.number(time_ns)
    part = w.passed(time_ns)
    smooth = part * part * (3.0 - 2.0 * part)
    here, there = uniform(w.keys, knot), uniform(w.keys, knot + 1)
    return w.between(here + (there - here) * smooth)


def _counter(w: Wave, time_ns: int) -> Array:
    elapsed_s = max(0, time_ns - COUNTER_ORIGIN_NS) / 1e9
    values: Array = (w["start"] + w["rate_per_s"] * elapsed_s) % w["rollover"]
    return values


def _gaussian(w: Wave, time_ns: int) -> Array:
    values: Array = w["mean"] + w["deviation"] * gaussian(w.keys, time_ns)
    return values


def _uniform(w: Wave, time_ns: int) -> Array:
    return w.between(uniform(w.keys, time_ns))


_COMPUTE: dict[str, Callable[[Wave, int], Array]] = {
    "constant": _constant,
    "sine": _sine,
    "ramp": _ramp,
    "triangle": _triangle,
    "square": _square,
    "steps": _picked,
    "choice": _picked,
    "walk": _walk,
    "counter": _counter,
    "gaussian": _gaussian,
    "uniform": _uniform,
}
