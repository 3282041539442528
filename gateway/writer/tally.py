"""What of one batch was refused: each row once, with its columns, in the server's words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from gateway.sinks.payload import Described
from gateway.spool.manifest import Span, merge_spans

NAMED = 5
"""Columns that a loss names; of more it says how many."""

_CUT = re.compile(r"_\d+(?=\.|$)")


class Refused(NamedTuple):
    """Rows of one table that lack the same columns, or all of them where none is named."""

    span: Span
    columns: frozenset[str]
    words: str
    """With the columns' names before what the server said."""


class Tally:
    """Refused lines of a batch that holds those spans."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self.values = 0
        self.rows = 0
        self._spans = tuple(spans)
        self._known = {span[:2] for span in self._spans}
        self._columns: dict[tuple[str, str, int], set[str] | None] = {}
        """By row; None: a line of several columns was refused as a whole."""
        self._words: dict[tuple[str, str, int], str] = {}
        self._whole: list[Refused] = []
        self.letters: list[tuple[list[bytes], str]] = []
        """Lines that were refused, as they were sent, with the words for them."""
        self.any_stored = False
        """Something of the batch was stored."""
        self.in_doubt = False
        """Something was refused while the server was not believed."""

    @property
    def lines(self) -> int:
        """Lines that were refused."""
        return sum(len(lines) for lines, _ in self.letters)

    def add(self, refused: Iterable[Described], words: str) -> None:
        """These lines were refused."""
        for line in refused:
            row = (line.device, self._table(line), line.time_ns)
            self.values += line.values
            self.rows += row not in self._columns
            columns = self._columns.setdefault(row, set())
            if line.column is None:
                self._columns[row] = None
            elif columns is not None:
                columns.add(line.column)
            self._words.setdefault(row, words)

    def add_all(self, rows: int, values: int, words: str) -> None:
        """The batch was refused whole, and nobody can say what its lines are about."""
        self.rows, self.values = rows, values
        self._whole = [Refused(span, frozenset(), words) for span in self._spans]

    def _table(self, line: Described) -> str:
        """The table of a measurement, which may be a cut of it: ``process_2`` of ``process``."""
        if (line.device, line.table) not in self._known:
            for cut in _CUT.finditer(line.table):
                table = line.table[: cut.start()] + line.table[cut.end() :]
                if (line.device, table) in self._known:
                    return table
        return line.table

    def refused(self) -> list[Refused]:
        """What is to be told: each row is in one of them."""
        groups: dict[tuple[str, str, frozenset[str]], list[Span]] = {}
        words: dict[tuple[str, str, frozenset[str]], str] = {}
        for row, columns in self._columns.items():
            device, table, time_ns = row
            key = (device, table, frozenset(columns or ()))
            groups.setdefault(key, []).append(Span(device, table, 1, time_ns, time_ns))
            words.setdefault(key, self._words[row])
        return self._whole + [
            Refused(span, key[2], _named(key[2]) + words[key])
            for key, spans in groups.items()
            for span in merge_spans(spans)
        ]


def _named(columns: frozenset[str]) -> str:
    if not columns:
        return ""
    names = sorted(columns)
    text = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" * (len(names) > NAMED))
    return f"column{'s' if len(names) > 1 else ''} {text}: "
