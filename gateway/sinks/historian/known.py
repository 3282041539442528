"""Which rows are in the file already: the same source, the same time, the same values.

A row that comes again (a batch whose answer was lost) is not stored again; another one of the same
time is. An index of all times would cost 20 bytes a row and a page of each source in every commit,
so what is remembered is where nothing is stored: mostly, after the newest row. Only where the times
of a source go back, and once after the file was opened, its rows of that minute are looked up, by
way of `minute_time`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from gateway.model import Selected
from gateway.sinks.historian.file import SPAN
from gateway.sinks.historian.minutes import MINUTE_NS, Minute
from gateway.sinks.historian.rows import Run, Source, samples

RUNS: Final = 3
"""Places of one source where rows come in turn: live ones, and those of an outage."""

END_NS: Final = 1 << 63

Content: TypeAlias = dict[int, tuple[Any, str | None]]
"""Value and quality by position."""


class Given(NamedTuple):
    """A row, and where it goes to."""

    source: Source
    selected: Selected

    @property
    def time_ns(self) -> int:
        """The row's."""
        return self.selected.row.time_ns

    @property
    def minute(self) -> tuple[int, int]:
        """Its source and minute."""
        return self.source.id, self.time_ns // MINUTE_NS

    def content(self) -> Content:
        """What would be stored."""
        out: Content = {}
        for piece in samples(self.selected, self.source, 0).pieces:
            if isinstance(piece, Run):
                out |= {piece.first_id + at: (v, None) for at, v in enumerate(piece.values)}
            else:
                out |= {id_: (value, quality) for id_, value, quality in piece}
        return out


class Known:
    """For one thread, within one file; `forget` when a commit may have failed."""

    def __init__(self, near_ns: int) -> None:
        """``near_ns``: of rows that come again so near to a stored one, thinning left some out."""
        self._near_ns = near_ns
        self._runs: dict[int, list[list[int]]] = {}
        """By source: [last, end], between which nothing is stored; the newest run first."""

    def forget(self) -> None:
        """Look everything up again."""
        self._runs.clear()

    def sift(
        self,
        connection: sqlite3.Connection,
        chunk: Sequence[Selected],
        sources: Sequence[Source],
        unwritten: Callable[[], Iterable[Minute]],
    ) -> Sequence[Selected]:
        """The rows that are new. ``unwritten``: the minutes that are not in the file."""
        known = self._runs
        for at, (selected, source) in enumerate(zip(chunk, sources, strict=True)):
            time_ns = selected.row.time_ns
            for run in known.get(source.id, ()):
                if run[0] < time_ns < run[1]:
                    run[0] = time_ns
                    break
            else:
                given = [*map(Given, sources, chunk)]
                return self._sifted(given, at, _Look(connection, [*unwritten()], self._near_ns))
        return chunk

    def _sifted(self, rows: Sequence[Given], first: int, look: _Look) -> list[Selected]:
        for earlier in rows[:first]:
            look.accept(earlier)
        fresh = [given.selected for given in rows[:first]]
        for at, given in enumerate(rows[first:], first):
            if not self._comes_next(given):
                if not look.has_minute(given):
                    look.read([g for g in rows[at:] if not self._covers(g)])
                if look.is_known(given):
                    continue
                its = self._runs.setdefault(given.source.id, [])
                # what another run has seen is not stored yet
                seen = (run[0] for run in its if run[0] > given.time_ns)
                its.insert(0, [given.time_ns, min([look.following(given), *seen])])
                del its[RUNS:]
            look.accept(given)
            fresh.append(given.selected)
        return fresh

    def _comes_next(self, given: Given) -> bool:
        time_ns = given.time_ns
        for run in self._runs.get(given.source.id, ()):
            if run[0] < time_ns < run[1]:
                run[0] = time_ns
                return True
        return False

    def _covers(self, given: Given) -> bool:
        time_ns = given.time_ns
        return any(run[0] < time_ns < run[1] for run in self._runs.get(given.source.id, ()))


class _Look:
    """What is stored in the minutes of some rows."""

    def __init__(
        self, connection: sqlite3.Connection, unwritten: Sequence[Minute], near_ns: int
    ) -> None:
        self._connection = connection
        self._near_ns = near_ns
        self._unwritten: dict[int, list[Minute]] = {}
        for minute in unwritten:
            if minute.first_row is not None:
                self._unwritten.setdefault(minute.source.id, []).append(minute)
        self._stored: dict[tuple[int, int], dict[int, list[int]]] = {}
        """By source and minute, then by time: numbers of rows."""
        self._accepted: dict[int, dict[int, list[Given]]] = {}
        """Of this batch, by source and time."""
        self._again: set[int] = set()
        """Sources of which a row has come again."""

    def has_minute(self, given: Given) -> bool:
        """Whether it was read."""
        return given.minute in self._stored

    def read(self, rows: Sequence[Given]) -> None:
        """Read the minutes of these rows."""
        wanted = {given.minute for given in rows} - self._stored.keys()
        self._stored |= {pair: {} for pair in wanted}
        for first, last, sources in _merged(self._ranges(wanted)):
            found = self._connection.execute(
                "SELECT id, source, time_ns FROM row_time WHERE id BETWEEN ? AND ?"
                " AND source IN (SELECT value FROM json_each(?))",
                (first, last, orjson.dumps(sorted(sources)).decode()),
            )
            for row_id, source, time_ns in found:
                times = self._stored.get((source, time_ns // MINUTE_NS))
                if times is not None:
                    times.setdefault(time_ns, []).append(row_id)
        self._again |= {given.source.id for given in rows if given.time_ns in self._its(given)}

    def _ranges(self, wanted: set[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """(first row, last row, source)."""
        found: list[tuple[int, int, int]] = self._connection.execute(
            "SELECT m.first_row, m.last_row, m.source FROM json_each(?) AS w"
            " CROSS JOIN minute_time AS m ON m.source = json_extract(w.value, '$[0]')"
            " AND m.minute = json_extract(w.value, '$[1]') WHERE m.first_row IS NOT NULL",
            (orjson.dumps(sorted(wanted)).decode(),),
        ).fetchall()
        for source, minute in wanted:
            found += [
                (m.first_row, m.last_row, source)
                for m in self._unwritten.get(source, ())
                if m.minute == minute and m.first_row is not None and m.last_row is not None
            ]
        return found

    def is_known(self, given: Given) -> bool:
        """Whether the row is stored, or was left out beside one that is, when it came first."""
        source, time_ns, times = given.source.id, given.time_ns, self._its(given)
        rows, accepted = times.get(time_ns), self._accepted.get(source, {}).get(time_ns)
        if rows or accepted:
            wanted = given.content().items()
            within = chain(
                map(self._content, rows or ()), (other.content() for other in accepted or ())
            )
            return any(wanted <= found.items() for found in within)
        if not self._near_ns or source not in self._again:
            return False
        return any(abs(time_ns - stored_ns) < self._near_ns for stored_ns in times)

    def _content(self, row_id: int) -> Content:
        base = row_id * SPAN
        found = self._connection.execute(
            "SELECT id - ?, value, quality FROM sample WHERE id BETWEEN ? AND ?",
            (base, base, base + SPAN - 1),
        )
        return {position: (value, quality) for position, value, quality in found}

    def accept(self, given: Given) -> None:
        """It will be stored."""
        its = self._accepted.setdefault(given.source.id, {})
        its.setdefault(given.time_ns, []).append(given)

    def following(self, given: Given) -> int:
        """A time up to which nothing of the source is stored after this one."""
        source, minute = given.minute
        near = chain(self._its(given), self._accepted.get(source, ()))
        later = min((time_ns for time_ns in near if time_ns > given.time_ns), default=END_NS)
        (found,) = self._connection.execute(
            "SELECT min(minute) FROM minute_time WHERE source = ? AND minute > ?", (source, minute)
        ).fetchone()
        minutes = [m.minute for m in self._unwritten.get(source, ()) if m.minute > minute]
        minutes += [] if found is None else [found]
        return min([later, *(m * MINUTE_NS for m in minutes)])

    def _its(self, given: Given) -> dict[int, list[int]]:
        return self._stored.get(given.minute, {})


def _merged(ranges: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, set[int]]]:
    """Ranges that overlap as one, with the sources of all."""
    out: list[tuple[int, int, set[int]]] = []
    for first, last, source in sorted(ranges):
        if out and first <= out[-1][1]:
            low, high, sources = out.pop()
            out.append((low, max(high, last), sources | {source}))
        else:
            out.append((first, last, {source}))
    return out
