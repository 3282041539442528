"""Rows of a mock table: every signal of the table is computed at once for one time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from drivers.mock.signals import BadWindow, Counter, Gaussian, Signal, Sum
from drivers.mock.waves import Cycles, Picks, Term, Wave, draw
from gateway.decode import Scaling
from gateway.model import ALL, Array, Mark, Quality, Row, Table, Values, bad

TEXT = "str"
"""``Shape.dtype`` of a text."""


class Shape(NamedTuple):
    """What one column shows: a signal as the device would hold it, then scaled."""

    signal: Signal
    dtype: str
    """numpy type in the device: ``i2``, ``f4``, ``b1``..., or TEXT."""
    scaling: Scaling
    bad: BadWindow | None = None


class Windows:
    """Times of faults: which of several windows are open."""

    def __init__(self, keys: Sequence[int], windows: Sequence[Any]) -> None:
        self._cycles = Cycles(
            keys, [round(w.every_s * 1e9) for w in windows], [w.phase for w in windows]
        )
        self._open = np.array([round(w.for_s * 1e9) for w in windows], "i8")

    def open(self, time_ns: int) -> list[int]:
        """Indexes of the windows that are open at that time."""
        found: list[int] = np.flatnonzero(self._cycles.passed_ns(time_ns) < self._open).tolist()
        return found


class _Numbers:
    """How the raw numbers of one part become its values."""

    def __init__(self, kind: str, shapes: Sequence[Shape]) -> None:
        self.kind = kind
        ranges = [_range(s.dtype) for s in shapes]
        self.low, self.high = np.array(ranges, "f8").T.copy()
        self.whole = np.array([s.dtype[0] in "iu" for s in shapes], "b1")
        self.scale: tuple[Array, Array, Array] | None = None
        if any(not s.scaling.trivial for s in shapes):
            num, den, off = np.array([s.scaling for s in shapes], "f8").T.copy()
            self.scale = (num, den, off)
        # what a double cannot hold exactly
        self.exact = {
            i: s.signal.value
            for i, s in enumerate(shapes)
            if kind in ("i8", "u8") and s.signal.kind == "constant" and not s.signal.noise
        }

    def values(self, raw: Array) -> Array:
        """The part's values; ``raw`` is used up."""
        if self.kind == "b1":
            bits: Array = raw >= 0.5
            return bits
        with np.errstate(all="ignore"):
            if self.whole.any():
                np.rint(raw, out=raw, where=self.whole)
                np.clip(raw, self.low, self.high, out=raw)
            if self.scale is not None:
                num, den, off = self.scale
                raw = (raw * num + off) / den
            values: Array = raw.astype(self.kind)
        for place, value in self.exact.items():
            values[place] = value
        return values


def _range(dtype: str) -> tuple[float, float]:
    if dtype[0] not in "iu":
        return -np.inf, np.inf
    limits = np.iinfo(dtype)
    # the highest double that still fits: 2**63 itself does not
    high = float(limits.max) if limits.bits < 64 else float(np.nextafter(float(limits.max), 0.0))
    return float(limits.min), high


class _Texts:
    """The texts of a table."""

    def __init__(self, keys: Sequence[int], signals: Sequence[Any]) -> None:
        self._fixed = [s.value if s.kind == "constant" else "" for s in signals]
        moving = [i for i, s in enumerate(signals) if s.kind != "constant"]
        self._lists = [(i, signals[i].values) for i in moving]
        self._picks = Picks([keys[i] for i in moving], [signals[i] for i in moving])

    def values(self, time_ns: int) -> list[str]:
        """The texts at that time."""
        texts = self._fixed.copy()
        if self._lists:
            indexes = self._picks.index(time_ns).tolist()
            for (place, values), index in zip(self._lists, indexes, strict=True):
                texts[place] = values[index]
        return texts


class TableSignals:
    """Computes the rows of one table."""

    def __init__(self, table: Table, shapes: Sequence[Shape], *names: object) -> None:
        self.table = table
        keys = [draw(*names, table.key, column) for column in table.columns]
        numeric = [c for part in table.parts if part.kind != "str" for c in part.columns]
        self._size = len(numeric)
        terms: dict[str, list[Term]] = {}
        for place, column in enumerate(numeric):
            for term in _terms(place, keys[column], shapes[column]):
                terms.setdefault(term.spec.kind, []).append(term)
        self._waves = [Wave(chosen) for chosen in terms.values()]
        self._numbers = {
            p: _Numbers(part.kind, [shapes[c] for c in part.columns])
            for p, part in enumerate(table.parts)
            if part.kind != "str"
        }
        texts = [i for i, kind in enumerate(table.kinds) if kind == "str"]
        self._texts = _Texts([keys[i] for i in texts], [shapes[i].signal for i in texts])
        self._sick: list[tuple[int, Mark]] = []
        windows: list[BadWindow] = []
        for column, shape in enumerate(shapes):
            if shape.bad is not None:
                quality = Quality.BAD if shape.bad.quality == "bad" else Quality.UNCERTAIN
                self._sick.append((column, Mark(quality, shape.bad.reason)))
                windows.append(shape.bad)
        self._windows = Windows([draw(keys[c], "bad") for c, _ in self._sick], windows)

    def row(self, time_ns: int) -> Row:
        """The row at that time."""
        marks = {self._sick[i][0]: self._sick[i][1] for i in self._windows.open(time_ns)}
        raw = np.zeros(self._size, "f8")
        with np.errstate(all="ignore"):
            for wave in self._waves:
                wave.add_to(raw, time_ns)
        parts: list[Values] = []
        at = 0
        for number, part in enumerate(self.table.parts):
            if part.kind == "str":
                parts.append(self._texts.values(time_ns))
                continue
            values = self._numbers[number].values(raw[at : at + len(part.columns)])
            at += len(part.columns)
            if part.kind[0] == "f" and not np.isfinite(values).all():
                for i in np.flatnonzero(~np.isfinite(values)).tolist():
                    reason = "nan" if np.isnan(values[i]) else "infinite"
                    marks[part.columns[i]] = bad(reason)
            parts.append(values)
        if len(marks) == len(self.table.columns) and all(
            mark.quality is Quality.BAD for mark in marks.values()
        ):
            reasons = {mark.reason for mark in marks.values()}
            if len(reasons) == 1:
                marks = {ALL: bad(*reasons)}
            return Row(self.table, time_ns, (), marks)
        return Row(self.table, time_ns, tuple(parts), marks)


def _terms(place: int, key: int, shape: Shape) -> list[Term]:
    """The signals that are added for one number, each with a key of its own."""
    parts = shape.signal.of if isinstance(shape.signal, Sum) else [shape.signal]
    terms = []
    for i, spec in enumerate(parts):
        its_key = draw(key, i) if i else key
        if isinstance(spec, Counter) and spec.rollover is None:
            highest = np.inf if shape.dtype[0] not in "iu" else float(np.iinfo(shape.dtype).max) + 1
            spec = spec.model_copy(update={"rollover": highest})
        terms.append(Term(place, its_key, spec))
        if deviation := getattr(spec, "noise", 0.0):
            noise = Gaussian.model_validate({"kind": "gaussian", "deviation": deviation})
            terms.append(Term(place, draw(its_key, "noise"), noise))
    return terms
