"""Thinning: at most one row of a table per ``store_every_s``, and what a row left out still owes.

A dead band upstream sends a value once when it changes. If that row is thinned away, the value
would be missing until the next change, so what was selected is stored with the next row, or with
the row itself where none follows in time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.model import OWN_TABLES, Mark
from gateway.sinks import Selected
from gateway.sinks.historian.rows import all_bad, bad_columns

JITTER = 0.1
"""Part of ``store_every_s`` that a row may come early where its table has no interval."""


class Thin(NamedTuple):
    """What thinning remembers of one table."""

    last_ns: int | None = None
    due_ns: int = 0
    marks: dict[int, Mark] | None = None
    held: Selected | None = None


def thin(state: Thin, selected: Selected, every_ns: int) -> tuple[Selected | None, Thin]:
    """What of this row is stored now (None: nothing), and the new state."""
    row = selected.row
    if all_bad(row):
        selected = Selected(row)
    changed = state.last_ns is None or row.marks != state.marks
    if changed:
        selected = _with_marked(selected)
    if every_ns == 0 or row.table.name in OWN_TABLES:
        return selected, Thin(row.time_ns, 0, row.marks)
    early_ns = min(
        int(row.table.interval_s * 5e8) or int(every_ns * JITTER),
        every_ns // 2,
    )
    stepped_back = state.last_ns is not None and row.time_ns < state.last_ns
    if changed or stepped_back or row.time_ns >= state.due_ns - early_ns:
        on_time = not stepped_back and abs(row.time_ns - state.due_ns) <= early_ns
        due_ns = (state.due_ns if on_time else row.time_ns) + every_ns
        if state.held is not None:
            selected = _merged(state.held, selected)
        return selected, Thin(row.time_ns, due_ns, row.marks)
    if row.table.deadbands is None:
        return None, state
    held = selected if state.held is None else _merged(state.held, selected)
    return None, state._replace(held=held)


def overdue(state: Thin, now_ns: int) -> Selected | None:
    """The row held back, where no later one came by the time that one was due."""
    return state.held if state.held is not None and now_ns >= state.due_ns else None


def after_held(state: Thin, every_ns: int) -> Thin:
    """The state once the row held back is stored."""
    if state.held is None:
        return state
    row = state.held.row
    return Thin(row.time_ns, row.time_ns + every_ns, row.marks)


def _merged(earlier: Selected, later: Selected) -> Selected:
    """The later row with what either selects."""
    if earlier.masks is None or later.masks is None:
        return Selected(later.row)
    masks = tuple(
        None if a is None or b is None else a | b
        for a, b in zip(earlier.masks, later.masks, strict=True)
    )
    return Selected(later.row, masks)


def _with_marked(selected: Selected) -> Selected:
    """A row whose quality changed selects its BAD columns too: the gap must be seen."""
    row, masks = selected
    if masks is None or not row.marks:
        return selected
    chosen = [None if m is None else np.array(m, "b1") for m in masks]
    for column in bad_columns(row):
        part, place = row.table.position(column)
        mask = chosen[part]
        if mask is not None:
            mask[place] = True
    return Selected(row, tuple(chosen))
