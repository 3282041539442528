"""What a server refuses: read from its words, found by division, remembered column by column.

InfluxDB drops a whole line for one field whose type is not the one that its measurement has (of
the shard). So a line is divided below its columns, and a column that was refused goes apart from
the others from then on. Source of the words: InfluxDB 1.6 to 2.7, `PartialWriteError` of tsdb.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gateway.sinks.influxdb import lineprotocol as lp

FORGET_S = 600.0
"""A column that was not refused for so long is no longer known as one that is."""

MAX_COLUMNS = 1_000
"""Columns that are remembered."""

SAVE_EVERY_S = 1.0

VAIN = 16
"""After so many refusals in a row without a good answer nothing is divided below its lines, and
a column that was refused so often is not divided any more at all."""


class Column(NamedTuple):
    """A column of one type as it is written: `process`, `n`, `float`."""

    measurement: bytes
    key: bytes
    kind: str


class Verdict(NamedTuple):
    """What the words of a refusal say."""

    column: Column | None
    dropped: int | None
    """Lines that were refused; the others are stored. None: it is not said."""
    whole_line: bool
    """It is the time of the lines that is refused, so their columns do not matter."""


NO_VERDICT = Verdict(None, None, False)
"""Words that InfluxDB need not have said."""

_CONFLICT = re.compile(r'input field "(.*)" on measurement "(.*)" is type (\w+),')
_DROPPED = re.compile(r"\bdropped=(\d+)\b")
_QUOTED = re.compile(r"'.*'")
"""A line that is quoted; its names are not the server's words."""
_TIME = re.compile(r"retention|outside (of )?the time|time outside range|timestamp", re.IGNORECASE)


def read(words: str) -> Verdict:
    """The verdict in a server's words."""
    found = _CONFLICT.search(words)
    column = None
    if found is not None:
        field, measurement, kind = found.groups()
        column = Column(lp.measurement(measurement).encode(), lp.name(field).encode(), kind)
    dropped = _DROPPED.search(words)
    whole_line = column is None and _TIME.search(_QUOTED.sub("", words)) is not None
    return Verdict(column, int(dropped[1]) if dropped else None, whole_line)


class Refusals:
    """Columns that the server refused lately. One thread delivers; `known` is for any.

    They outlive a restart in the file at ``path``, which is a help only: without it each is refused
    once more.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, path: Path | None = None
    ) -> None:
        self.known: frozenset[Column] = frozenset()
        """Replaced when it changes, so that ``is`` tells whether it did."""
        self._clock = clock
        self._path = path
        self._load_lock = threading.Lock()
        self._is_loaded = path is None
        self._saved: frozenset[Column] = frozenset()
        self._saved_s = clock()
        self._since_s: dict[Column, float] = {}
        self._refused: Counter[Column] = Counter()
        self._in_vain = 0

    def load(self) -> None:
        """Know what an earlier run knew; once. Never raises."""
        if self._is_loaded:
            return
        with self._load_lock:
            if self._is_loaded or self._path is None:
                return
            with suppress(OSError, ValueError, TypeError):
                for measurement, key, kind, count in json.loads(self._path.read_bytes()):
                    column = Column(_bytes(measurement), _bytes(key), str(kind))
                    self._since_s[column] = self._clock()
                    self._refused[column] = int(count)
            self.known = self._saved = frozenset(self._since_s)
            self._is_loaded = True

    def save(self, *, at_once: bool = False) -> None:
        """Leave what is known to the next start, at most once a second. Never raises."""
        now = self._clock()
        if self._path is None or not self._is_loaded or self.known is self._saved:
            return
        if not at_once and now - self._saved_s < SAVE_EVERY_S:
            return
        self._saved, self._saved_s = self.known, now
        listed = [
            [_text(c.measurement), _text(c.key), c.kind, self._refused[c]] for c in self._saved
        ]
        with suppress(OSError):
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps(listed), "ascii")
            temporary.replace(self._path)

    def names(self) -> list[str]:
        """The columns as a person reads them."""
        return sorted(
            f"{lp.plain(c.measurement)}.{lp.plain(c.key)} as {c.kind}" for c in self.known
        )

    def refused(self, text: bytes, words: str) -> None:
        """The server said no to these lines."""
        verdict = read(words)
        lines = text.count(b"\n")
        self._in_vain += lines == 1
        if verdict.column is not None:
            self._learn(verdict.column)
        if verdict.whole_line:
            return
        alone = _alone(text)
        if lines == 1 or self._all_refused(alone, lines, verdict):
            for column, count in alone.items():
                self._learn(column, count)

    def _all_refused(self, alone: Counter[Column], lines: int, verdict: Verdict) -> bool:
        """Whether none of these lines, each of a known column alone, was or will be stored."""
        if not alone or not alone.keys() <= self.known:
            return False
        if verdict.dropped is not None:
            return verdict.dropped == lines
        return all(self._refused[column] >= VAIN for column in alone)

    def stored(self, text: Callable[[], bytes]) -> None:
        """The server took these lines."""
        self._in_vain = 0
        if not self.known:
            return
        for column in {c for line in _with(text(), self.known) for c in _columns(line)}:
            self._forget(column)
        self.forget_old()

    def _learn(self, column: Column, lines: int = 0) -> None:
        if len(self._since_s) >= MAX_COLUMNS and column not in self._since_s:
            self._forget(min(self._since_s, key=self._since_s.__getitem__))
        self._since_s[column] = self._clock()
        self._refused[column] += lines
        if column not in self.known:
            self.known |= {column}

    def _forget(self, column: Column) -> None:
        if self._since_s.pop(column, None) is not None:
            del self._refused[column]
            self.known -= {column}

    def forget_old(self) -> None:
        """Try again what was not refused for a while."""
        limit = self._clock() - FORGET_S
        for column in [c for c, since_s in self._since_s.items() if since_s <= limit]:
            self._forget(column)

    def apart(self, text: bytes) -> list[bytes]:
        """The lines without the known columns, and those with nothing else."""
        concerned = set(_with(text, self.known))
        if not concerned:
            return [text]
        rest: list[bytes] = []
        doubtful: list[bytes] = []
        for raw in text.splitlines(keepends=True):
            line = lp.parse(raw) if raw in concerned else None
            bad = [f for f in line.fields if _column(line, f) in self.known] if line else []
            if line is None or not bad:
                rest.append(raw)
            elif len(bad) == len(line.fields) == 1:
                doubtful.append(raw)
            else:
                doubtful += [line.only([field]) for field in bad]
                good = [field for field in line.fields if field not in bad]
                rest += [line.only(good)] if good else []
        return [b"".join(lines) for lines in (rest, doubtful) if lines]

    def divide(self, text: bytes, words: str) -> list[bytes]:
        """Smaller texts that hold the same, or the text itself where that is of no use.

        Several lines come back undivided where the server has refused each of them.
        """
        if not words:
            return _halves(text)
        verdict = read(words)
        pieces = self.apart(text)
        if len(pieces) > 1:
            return pieces
        lines = text.count(b"\n")
        if verdict.whole_line:
            return [text] if verdict.dropped == lines or lines == 1 else _halves(text)
        alone = _alone(text)
        if self._all_refused(alone, lines, verdict) or (lines == 1 and self._in_vain > VAIN):
            return [text]
        if len(alone) > 1:
            first = set(sorted(alone)[: len(alone) // 2])
            return self._by_column(text, first)
        return _halves(text)

    @staticmethod
    def _by_column(text: bytes, first: set[Column]) -> list[bytes]:
        lines = text.splitlines(keepends=True)
        chosen = [_columns(line)[0] in first for line in lines]
        return [
            b"".join(line for line, c in zip(lines, chosen, strict=True) if c is wanted)
            for wanted in (True, False)
        ]


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _halves(text: bytes) -> list[bytes]:
    """The first and the second half of the lines, or of the columns of the only line."""
    lines = text.splitlines(keepends=True)
    if len(lines) > 1:
        middle = len(lines) // 2
        return [b"".join(lines[:middle]), b"".join(lines[middle:])]
    line = lp.parse(text)
    if line is None or len(line.fields) < 2:
        return [text]
    middle = len(line.fields) // 2
    return [line.only(line.fields[:middle]), line.only(line.fields[middle:])]


def _with(text: bytes, columns: Iterable[Column]) -> Iterator[bytes]:
    """The lines that may hold one of the columns: a look without taking them apart."""
    wanted: dict[bytes, list[bytes]] = {}
    for measurement, key, _ in columns:
        if b" %b=" % key in text or b",%b=" % key in text:
            wanted.setdefault(measurement, []).append(key + b"=")
    if not wanted:
        return
    for raw in text.splitlines(keepends=True):
        keys = wanted.get(lp.measured(raw))
        if keys and any(b" " + key in raw or b"," + key in raw for key in keys):
            yield raw


def _column(line: lp.Line, field: tuple[bytes, bytes]) -> Column:
    return Column(lp.measured(line.head), field[0], lp.kind(field[1]))


def _columns(raw: bytes) -> list[Column]:
    line = lp.parse(raw)
    return [] if line is None else [_column(line, field) for field in line.fields]


def _alone(text: bytes) -> Counter[Column]:
    """How many lines there are of each column; empty if a line holds several."""
    found: Counter[Column] = Counter()
    for raw in text.splitlines():
        columns = _columns(raw)
        if len(columns) != 1:
            return Counter()
        found[columns[0]] += 1
    return found
