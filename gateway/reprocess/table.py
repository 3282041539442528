"""Rows as Parquet and CSV: one row a window and channel, the same columns for every file."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.analysis.plan import StreamPlan
from gateway.model import ALL, Array, Mark, Quality, Row, Table
from gateway.reprocess.recompute import Told
from gateway.reprocess.sources import missing

COMPRESSION = "zstd"

BATCH_ROWS = 4096
"""Rows that become a row group."""

TEXTS = ("zone", "state", "setup")


class Layout:
    """The columns of the output: of all channels together, null where a channel has it not."""

    def __init__(self, plan: StreamPlan) -> None:
        self.device = plan.device
        units: dict[str, str | None] = {}
        texts: set[str] = set()
        for table in plan.tables:
            for name, kind, unit in zip(table.columns, table.kinds, table.units, strict=True):
                if kind == "str":
                    texts.add(name)
                elif units.setdefault(name, unit) != unit:
                    units[name] = None  # the set-up of the channel says which
        self.numbers: dict[str, str | None] = units
        """Column -> unit."""
        self.texts = [name for name in TEXTS if name in texts]

    def schema(self, setups: Mapping[str, str]) -> Any:
        """The schema of pyarrow, with the set-ups (hash -> JSON) that its rows name."""
        arrow, _ = _library()
        fields = [
            arrow.field("source", arrow.string()),
            arrow.field("device", arrow.string()),
            arrow.field("channel", arrow.string()),
            arrow.field("time", arrow.timestamp("ns", "UTC")),
            arrow.field("end_s", arrow.float64(), metadata={"unit": "s"}),
        ]
        for name, unit in self.numbers.items():
            said = None if unit is None else {"unit": unit}
            fields.append(arrow.field(name, arrow.float32(), metadata=said))
        fields += [arrow.field(name, arrow.string()) for name in (*self.texts, "_quality")]
        return arrow.schema(fields, metadata={"setups": json.dumps(setups, sort_keys=True)})


def encode(layout: Layout, source: str, told: Iterable[Told]) -> tuple[bytes, int, dict[str, str]]:
    """Rows of one file as Parquet, their number, and their set-ups (hash -> JSON).

    ``told`` may be without end: no more than a row group of it is kept as rows.
    """
    _, parquet = _library()
    setups: dict[str, str] = {}
    out = io.BytesIO()
    kept: list[Told] = []
    count = 0
    with contextlib.ExitStack() as stack:
        writer: Any = None

        def write() -> Any:
            # as late as this, for the set-ups are told before the first rows
            found = writer or stack.enter_context(
                parquet.ParquetWriter(out, layout.schema(setups), compression=COMPRESSION)
            )
            found.write_batch(_batch(layout, found.schema, source, kept))
            kept.clear()
            return found

        for each in told:
            table = each.row.table
            if "config" in table.columns:  # tells a set-up
                values = dict(zip(table.columns, each.row.values(), strict=True))
                setups[str(values["setup"])] = str(values["config"])
                continue
            kept.append(each)
            count += 1
            if len(kept) == BATCH_ROWS:
                writer = write()
        if kept:
            write()
    return out.getvalue(), count, setups


def _batch(layout: Layout, schema: Any, source: str, told: Sequence[Told]) -> Any:
    arrow, _ = _library()
    rows = [each.row for each in told]
    place = {name: i for i, name in enumerate(layout.numbers)}
    values: Array = np.zeros((len(rows), len(place)), "f4")
    unknown: Array = np.ones((len(rows), len(place)), "b1")
    texts: dict[str, list[str | None]] = {name: [None] * len(rows) for name in layout.texts}
    for index, row in enumerate(rows):
        _place(row, index, place, values, unknown, texts)
    times = [e.row.time_ns if e.has_time else None for e in told]
    columns = [
        arrow.array([source] * len(rows)),
        arrow.array([layout.device] * len(rows)),
        arrow.array([row.table.channel for row in rows]),
        arrow.array(times, arrow.int64()).cast(schema.field("time").type),
        arrow.array([each.end_s for each in told], arrow.float64()),
        *(arrow.array(values[:, i], mask=unknown[:, i]) for i in range(len(place))),
        *(arrow.array(texts[name], arrow.string()) for name in layout.texts),
        arrow.array([_quality(row) for row in rows], arrow.string()),
    ]
    return arrow.record_batch(columns, schema=schema)


def _place(
    row: Row,
    index: int,
    place: Mapping[str, int],
    values: Array,
    unknown: Array,
    texts: Mapping[str, list[str | None]],
) -> None:
    """One row's values at ``index``; what is BAD stays unknown."""
    table = row.table
    for part, found in zip(table.parts, row.parts, strict=False):
        names = [table.columns[c] for c in part.columns]
        if isinstance(found, list):
            for name, text in zip(names, found, strict=True):
                texts[name][index] = text or None
        else:
            at = [place[name] for name in names]
            values[index, at] = found
            unknown[index, at] = False
    for column, mark in (row.marks or {}).items():
        if mark.quality is not Quality.BAD:
            continue
        for name in table.columns if column == ALL else (table.columns[column],):
            if name in place:
                unknown[index, place[name]] = True
            else:
                texts[name][index] = None


def _quality(row: Row) -> str | None:
    """As the sinks write it: ``peak=BAD:clipped,*=UNCERTAIN:clipped``; None where all is GOOD."""
    if not row.marks:
        return None
    return ",".join(_marked(row.table, c, m) for c, m in sorted(row.marks.items()))


def _marked(table: Table, column: int, mark: Mark) -> str:
    return f"{'*' if column == ALL else table.columns[column]}={mark}"


def merge_parquet(parts: Sequence[Path], layout: Layout, target: Path) -> None:
    """One file of all parts in their order, never more of it in memory than a row group."""
    _, parquet = _library()
    setups: dict[str, str] = {}
    for part in parts:
        setups.update(json.loads(parquet.read_schema(part).metadata[b"setups"]))
    schema = layout.schema(setups)

    def write(temporary: Path) -> None:
        with parquet.ParquetWriter(temporary, schema, compression=COMPRESSION) as writer:
            _copy_rows(parts, schema, writer)

    _replace(target, write)


def merge_csv(parts: Sequence[Path], layout: Layout, target: Path) -> None:
    """The same as CSV: times as in ISO 8601, nothing where there is no value."""
    _library()
    from pyarrow import csv  # type: ignore[import-untyped]

    schema = layout.schema({})

    def write(temporary: Path) -> None:
        with temporary.open("wb") as out, csv.CSVWriter(out, schema) as writer:
            _copy_rows(parts, schema, writer)

    _replace(target, write)


def _copy_rows(parts: Sequence[Path], schema: Any, writer: Any) -> None:
    arrow, parquet = _library()
    for part in parts:
        with parquet.ParquetFile(part) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                writer.write_batch(arrow.record_batch(batch.columns, schema=schema))


def _replace(target: Path, write: Callable[[Path], None]) -> None:
    """The whole file or the one of before, whatever happens meanwhile."""
    temporary = target.with_name(f".{target.name}.new")
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def check_library() -> None:
    """GatewayError where pyarrow is not installed."""
    _library()


def _library() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise missing(error) from error
    return pyarrow, parquet
