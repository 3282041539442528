"""Losses that are told too late to be stored as rows: logged, and noted for the next start."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, cast

from gateway.losses import Cause
from gateway.model import Row
from gateway.spool import LOSS_TABLE
from gateway.spool.manifest import Note, Span
from gateway.spool.notes import LossNotes

log = logging.getLogger(__name__)

Place: TypeAlias = tuple[Cause, str, str, str]

MAX_PLACES = 1_000
"""Above that, losses of one cause and table become one, whatever else was said of them."""


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
    """Losses whose rows are lost themselves, merged: one for each cause and table."""

    def __init__(self) -> None:
        self._spans: dict[Place, Span] = {}

    def add(self, notes: Iterable[Note]) -> None:
        """Take losses that nobody else will tell."""
        for cause, span, detail in notes:
            place = (cause, span.device, span.table, detail)
            if len(self._spans) >= MAX_PLACES and place not in self._spans:
                place = (*place[:3], "several")
            known = self._spans.get(place)
            if known is not None:
                span = span._replace(
                    rows=known.rows + span.rows,
                    first_ns=min(known.first_ns, span.first_ns),
                    last_ns=max(known.last_ns, span.last_ns),
                )
            self._spans[place] = span

    def leave(self, sink: str, path: Path) -> None:
        """At the stop: a line in the log for each cause, and a note of each for the next start."""
        notes: list[Note] = [
            (cause, span, detail) for (cause, _, _, detail), span in self._spans.items()
        ]
        self._spans.clear()
        kept = LossNotes(path).load()
        fresh = [note for note in notes if note not in kept]
        if not fresh:
            return
        file = LossNotes(path)
        file.add(fresh)
        with suppress(OSError):
            file.close()
        noted = all(note in LossNotes(path).load() for note in fresh)
        for cause in dict.fromkeys(cause for cause, _, _ in fresh):
            spans = [span for c, span, _ in fresh if c == cause]
            rows, tables = sum(s.rows for s in spans), len({s[:2] for s in spans})
            extra = {"sink": sink, "cause": cause, "rows": rows, "tables": tables, "noted": noted}
            log.error(
                "sink %s: at the stop %d rows of %d tables are lost (%s: %s); %s",
                sink,
                rows,
                tables,
                cause,
                next(detail for c, _, detail in fresh if c == cause),
                "the next start tells of them" if noted else "they could not be noted",
                extra=extra,
            )
