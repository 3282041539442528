"""Losses that are told too late to be stored as rows: logged, and noted for the next start."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from gateway.losses import Cause
from gateway.model import Row
from gateway.spool import LOSS_TABLE
from gateway.spool.manifest import Note, Span, merge_notes
from gateway.spool.notes import MAX_NOTES, LossNotes

log = logging.getLogger(__name__)


def told_in(rows: Iterable[Row], sink: str) -> list[Note]:
    """The losses of this sink that rows of table ``gateway_loss`` tell of."""
    notes: list[Note] = []
    for row in rows:
        if row.table.name != LOSS_TABLE or row.all_bad:
            continue
        told: dict[str, Any] = dict(zip(row.table.columns, row.values(), strict=True))
        if told.get("sink") == sink:
            span = Span(
                told["device_lost"],
                told["table_lost"],
                told["rows"],
                told["first_ns"],
                told["last_ns"],
            )
            notes.append((cast(Cause, told["cause"]), span, told["detail"]))
    return notes


class LastWords:
    """Losses whose rows are lost themselves, or that come about at the stop."""

    def __init__(self) -> None:
        self._notes: list[Note] = []
        self._own: list[Note] = []

    def add(self, notes: Iterable[Note], *, own: bool = False) -> None:
        """Take losses that nobody else will tell. ``own``: no row has told of them so far."""
        if own:
            self._own = _bounded([*self._own, *notes])
        else:
            self._notes = _bounded([*self._notes, *notes])

    def leave(self, sink: str, path: Path) -> list[Note]:
        """At the stop: a line in the log for each cause, and a note of each for the next start.

        What is in the file already, word by word, is not noted again. Returns those that could
        not be noted and that no row has told of.
        """
        own = dict.fromkeys(self._own)
        kept = set(LossNotes(path).load())
        said = [*own, *(n for n in dict.fromkeys(self._notes) if n not in kept and n not in own)]
        fresh = [note for note in said if note not in kept]
        self._notes, self._own = [], []
        if fresh:
            file = LossNotes(path)
            file.add(fresh)
            with suppress(OSError):
                file.close()
            kept = set(LossNotes(path).load())
        noted = kept.issuperset(said)
        for cause in dict.fromkeys(cause for cause, _, _ in said):
            spans = [span for c, span, _ in said if c == cause]
            rows, tables = sum(s.rows for s in spans), len({s[:2] for s in spans})
            extra = {"sink": sink, "cause": cause, "rows": rows, "tables": tables, "noted": noted}
            log.error(
                "sink %s: at the stop %d rows of %d tables are lost (%s: %s); %s",
                sink,
                rows,
                tables,
                cause,
                next(detail for c, _, detail in said if c == cause),
                "the next start tells of them" if noted else "they could not be noted",
                extra=extra,
            )
        return [note for note in own if note not in kept]


def _bounded(notes: list[Note]) -> list[Note]:
    return merge_notes(notes) if len(notes) > MAX_NOTES else notes
