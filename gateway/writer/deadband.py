"""Dead band: which values of a row have changed enough, or been silent long enough, to be sent."""

from __future__ import annotations

import numpy as np

from gateway.model import Array, Mark, Row, Table
from gateway.sinks import Selected

_MAX_SILENCE_S = 4e9
"""What fits int64 in ns."""


class _Band:
    """One part of a table that has a column with a dead band."""

    __slots__ = ("always", "band", "last", "sent_ns", "silence_ns")

    def __init__(self, band: Array, silence_s: Array) -> None:
        self.always = np.isnan(band)
        self.band = np.where(self.always, 0.0, band)
        self.silence_ns = (np.minimum(silence_s, _MAX_SILENCE_S) * 1e9).astype("i8")
        self.last: Array | None = None
        self.sent_ns = np.zeros(len(band), "i8")

    def select(self, values: Array, time_ns: int) -> Array:
        """Which values go out; remembers them as sent."""
        if self.last is None:
            self.last = values.copy()
            self.sent_ns[:] = time_ns
            return np.ones(len(values), bool)
        changed = values != self.last
        with np.errstate(all="ignore"):
            far = np.abs(values.astype("f8") - self.last.astype("f8")) > self.band
        # integers above 2^53 may differ although their doubles do not
        go: Array = changed & (far | (self.band == 0.0))
        silent = time_ns - self.sent_ns
        go |= self.always | (silent >= self.silence_ns) | (silent < 0)
        self.last[go] = values[go]
        self.sent_ns[go] = time_ns
        return go


class _State:
    __slots__ = ("bands", "marks")

    def __init__(self, table: Table) -> None:
        self.marks: dict[int, Mark] | None = None
        self.bands: list[_Band | None] = []
        for part in table.parts:
            places = list(part.columns)
            if table.deadbands is None or table.silences is None or part.kind in ("b1", "str"):
                self.bands.append(None)
                continue
            band = _Band(table.deadbands[places], table.silences[places])
            self.bands.append(None if band.always.all() else band)

    def forget(self) -> None:
        for band in self.bands:
            if band is not None:
                band.last = None


class Deadband:
    """The dead bands of one writer, on scaled values; times are those of the rows.

    A value goes out if it differs by more than its dead band from the one sent last, or if that
    was ``max_silence_s`` ago. Everything goes out at the start, when the quality of any column of
    the table changes, and after `reset` (a loss, a dead letter, a reconnect).
    """

    def __init__(self) -> None:
        self._states: dict[Table, _State] = {}

    def reset(self, table: Table | None = None) -> None:
        """Send everything of the next row of this table, or of every table."""
        if table is None:
            self._states.clear()
        else:
            self._states.pop(table, None)

    def select(self, row: Row) -> Selected | None:
        """What of the row goes out; None where nothing does."""
        table = row.table
        if table.deadbands is None:
            return Selected(row)
        state = self._states.get(table)
        if state is None:
            state = self._states[table] = _State(table)
        if row.marks != state.marks:
            state.forget()
            state.marks = row.marks
        if row.all_bad:
            return Selected(row)
        masks: list[Array | None] = []
        anything = False
        for band, values in zip(state.bands, row.parts, strict=True):
            if band is None or isinstance(values, list):
                masks.append(None)
                anything = True
                continue
            go = band.select(values, row.time_ns)
            masks.append(None if go.all() else go)
            anything = anything or bool(go.any())
        if not anything:
            return None
        return Selected(row, None if all(m is None for m in masks) else tuple(masks))
