"""The nouns that flow: Quality, Table and Row, and what a device map says of a Tag.

A row keeps its values as one array per kind of column ("part"), because then decoding, dead band
and encoding each cost a few array operations per row instead of something per value.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson

Kind: TypeAlias = Literal["f4", "f8", "i8", "u8", "b1", "str"]
"""How a column's values are kept: float32, float64, int64, uint64, bool or text."""

KINDS: tuple[Kind, ...] = ("f4", "f8", "i8", "u8", "b1", "str")
Array: TypeAlias = npt.NDArray[Any]
Values: TypeAlias = Array | list[str]
Scalar: TypeAlias = float | int | bool | str | None

ALL = -1
"""Key of ``Row.marks`` for a mark that holds for every column of the row."""

RESERVED = frozenset({"gateway", "device", "module", "channel", "time", "_quality"})
"""Names that a column or a user's label may not have."""

OWN_TABLES = frozenset({"gateway_alarm", "gateway_audit", "gateway_event", "gateway_loss"})
"""Tables of what the gateway says of itself: spooled apart, given up last, never thinned out."""

OWN_PREFIX = "gateway_"
"""So begin the names of those, and of no table of the plant's."""

VIA = ("via", "ingest")
"""The label of every table that other programs fill, and of no other one."""


class Quality(IntEnum):
    """OPC UA's three severities."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class Mark(NamedTuple):
    """A quality that is not GOOD, with a short reason such as ``timeout``."""

    quality: Quality
    reason: str

    def __str__(self) -> str:
        return f"{self.quality.name}:{self.reason}"


def bad(reason: str) -> Mark:
    """A BAD mark."""
    return Mark(Quality.BAD, reason)


class Column(NamedTuple):
    """One column of a table. ``deadband`` None: every value is sent; times in seconds."""

    name: str
    kind: Kind
    unit: str | None = None
    deadband: float | None = None
    max_silence_s: float = 60.0
    store_int: bool = False


class Part(NamedTuple):
    """The columns of one kind: ``columns[i]`` is the table's column whose value stands at i."""

    kind: Kind
    columns: Sequence[int]
    """Ascending; a range or an array, because a tuple costs 40 bytes a column."""


def _compact(numbers: list[int]) -> Sequence[int]:
    run = range(numbers[0], numbers[0] + len(numbers))
    return run if numbers == list(run) else array("i", numbers)


class Table:
    """The fixed shape of rows. Two tables are the same only if they are the same object.

    ``labels`` are the index labels in the order in which they are written: gateway, device,
    module where placed or channel where streamed, then the user's own, sorted.
    """

    __slots__ = (
        "columns",
        "deadbands",
        "device",
        "group",
        "interval_s",
        "kinds",
        "labels",
        "name",
        "parts",
        "silences",
        "steady",
        "stores_int",
        "units",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        device: str,
        columns: Sequence[Column],
        labels: Sequence[tuple[str, str]] = (),
        group: str = "",
        interval_s: float = 0.0,
        *,
        steady: bool = True,
    ) -> None:
        self.name = name
        self.device = device
        self.group = group
        self.interval_s = interval_s
        self.steady = steady
        """Whether rows come at each interval; else only now and then, as of a machine that runs."""
        self.labels = tuple(labels)
        self.columns = tuple(c.name for c in columns)
        self.kinds = tuple(c.kind for c in columns)
        self.units = tuple(c.unit for c in columns)
        self.stores_int = frozenset(i for i, c in enumerate(columns) if c.store_int)
        # None where no column has one, so that the common case costs nothing
        self.deadbands: Array | None = None
        self.silences: Array | None = None
        if any(c.deadband is not None for c in columns):
            self.deadbands = np.array(
                [np.nan if c.deadband is None else c.deadband for c in columns], "f8"
            )
            self.silences = np.array([c.max_silence_s for c in columns], "f8")
        self.parts = tuple(
            Part(kind, _compact([i for i, k in enumerate(self.kinds) if k == kind]))
            for kind in KINDS
            if kind in self.kinds
        )

    def __repr__(self) -> str:
        return f"<Table {self.device}/{self.key} {len(self.columns)} columns>"

    def position(self, column: int) -> tuple[int, int]:
        """(part, index in that part) of a column."""
        kind = self.kinds[column]
        part = next(p for p, part in enumerate(self.parts) if part.kind == kind)
        return part, bisect_left(self.parts[part].columns, column)

    @property
    def module(self) -> str | None:
        """Instance name of the placed module, None for a group's own table."""
        return dict(self.labels).get("module")

    @property
    def channel(self) -> str | None:
        """Name of the channel whose features the table has, None for other tables."""
        return dict(self.labels).get("channel")

    @property
    def part(self) -> str | None:
        """What tells tables of one name and device apart: the placed module or the channel."""
        return self.module or self.channel

    @property
    def key(self) -> str:
        """Name that is unique within the device: ``process``, ``electricity.meter``, ``vib.DE``."""
        part = self.part
        return f"{self.name}.{part}" if part else self.name


class Row:
    """One line of one table, taken at ``time_ns`` (UTC, ns since 1970).

    ``parts[p][i]`` is the value of column ``table.parts[p].columns[i]``. It means nothing where
    the column is marked BAD; ``parts`` is empty where every column is. ``marks`` is None when
    all is GOOD, else column index (or ALL) -> Mark.
    """

    __slots__ = ("marks", "parts", "table", "time_ns")

    def __init__(
        self,
        table: Table,
        time_ns: int,
        parts: tuple[Values, ...],
        marks: dict[int, Mark] | None = None,
    ) -> None:
        self.table = table
        self.time_ns = time_ns
        self.parts = parts
        self.marks = marks or None

    def __repr__(self) -> str:
        return f"<Row {self.table.device}/{self.table.key} {self.time_ns} {self.marks or 'GOOD'}>"

    def mark(self, column: int) -> Mark | None:
        """The worse of the column's own mark and the row's; None where GOOD."""
        if self.marks is None:
            return None
        whole, own = self.marks.get(ALL), self.marks.get(column)
        if whole is None or (own is not None and own.quality >= whole.quality):
            return own
        return whole

    def is_bad(self, column: int) -> bool:
        """Whether the column has no value."""
        mark = self.mark(column)
        return mark is not None and mark.quality is Quality.BAD

    @property
    def all_bad(self) -> bool:
        """Whether no column has a value."""
        return not self.parts

    def value(self, column: int) -> Scalar:
        """One value as a plain Python scalar, None where BAD."""
        if not self.parts or self.is_bad(column):
            return None
        part, i = self.table.position(column)
        kind = self.table.parts[part].kind
        values = self.parts[part]
        if isinstance(values, list):
            return values[i]
        if kind == "f4":
            return float(str(values[i]))
        scalar: Scalar = values[i].item()
        return scalar

    def values(self) -> list[Scalar]:
        """All values in column order as plain Python scalars, None where BAD.

        Float32 values come with their shortest digits (408.35, not 408.3500061035156).
        """
        out: list[Scalar] = [None] * len(self.table.columns)
        for part, values in zip(self.table.parts, self.parts, strict=False):
            for column, value in zip(part.columns, plain(values), strict=True):
                out[column] = value
        if self.marks:
            for column, mark in self.marks.items():
                if column == ALL and mark.quality is Quality.BAD:
                    return [None] * len(out)
                if column != ALL and mark.quality is Quality.BAD:
                    out[column] = None
        return out

    def items(self) -> Iterator[tuple[str, Scalar, Mark | None]]:
        """(column name, value, mark) of every column."""
        for i, (name, value) in enumerate(zip(self.table.columns, self.values(), strict=True)):
            yield name, value, self.mark(i)


class Selected(NamedTuple):
    """A row and what of it goes out: for each part a bool array, or None for the whole part."""

    row: Row
    masks: tuple[Array | None, ...] | None = None


def plain(values: Values) -> list[Any]:
    """An array as a list of Python scalars; float32 with the shortest digits that read back."""
    if isinstance(values, list):
        return values
    if values.dtype == np.float32:
        # orjson prints the shortest float32 text, far faster than str() of each; NaN becomes None
        decoded: list[Any] = orjson.loads(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY))
        return decoded
    listed: list[Any] = values.tolist()
    return listed


def make_parts(table: Table, values: Sequence[Scalar]) -> tuple[Values, ...]:
    """Parts of a row from scalars in column order (tests, ingest and small tables; not hot).

    None becomes zero or empty text: mark such a column BAD.
    """
    out: list[Values] = []
    for part in table.parts:
        picked = [values[i] for i in part.columns]
        if part.kind == "str":
            out.append(["" if v is None else str(v) for v in picked])
        else:
            out.append(np.array([0 if v is None else v for v in picked], dtype=part.kind))
    return tuple(out)


def bad_row(table: Table, time_ns: int, reason: str) -> Row:
    """A row of which nothing could be read."""
    return Row(table, time_ns, (), {ALL: bad(reason)})


def marked(row: Row, mark: Mark | None) -> Row:
    """The row, with a mark for all its columns where there is one and it has none yet."""
    if mark is not None and (row.marks is None or ALL not in row.marks):
        row.marks = {**(row.marks or {}), ALL: mark}
    return row


@dataclass(slots=True)
class Group:
    """What is polled together: its tables, all filled by one read with one time."""

    name: str
    interval_s: float
    tables: tuple[Table, ...] = ()
    index: int = 0
    """Position among the device's groups."""


@dataclass(slots=True, frozen=True)
class Channel:
    """A streamed analogue input."""

    name: str
    unit: str
    full_scale: float | None = None
    """Largest magnitude that the input can show, in the unit; None where it is not known."""
    noise_floor: float | None = None
    """Less RMS than this, in the unit, means a shorted or dead sensor; None: not judged."""
    setup: tuple[tuple[str, str | float | int | bool], ...] = ()
    """What a number depends on besides the machine: sensitivity, coupling, address..."""


@dataclass(slots=True)
class Block:
    """A run of samples of all channels of a stream.

    ``data[channel, sample]`` is float32 or float64, C-contiguous, in each channel's unit; it may be
    written over by the next read.
    """

    data: Array
    first: int
    """Number of the first sample since the connection or the last gap: 0, n, 2n..."""
    rate_hz: float
    """The rate that the sample clock really has, as the device says."""
    gap: str | None = None
    """Why samples are missing before this block (``overrun``...); None where it goes on."""
    t0_ns: int = 0
    """Time of the first sample, UTC; the core fills it in."""

    @property
    def samples(self) -> int:
        """Samples of each channel."""
        return int(self.data.shape[1])
