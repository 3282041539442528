"""Recordings as Parquet: a column of numbers is a channel, a row a sample; by pyarrow.

Source of the format: Apache Parquet, and the key-value metadata of its schema.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.errors import GatewayError
from gateway.model import Array
from gateway.recordings.arrays import RATE_KEYS, START_KEYS, UNIT_KEY
from gateway.recordings.source import MAX_BYTES, Source, Track
from gateway.recordings.text import even_rate

TIME_COLUMNS = ("time", "timestamp", "time_ns", "time_s", "t")
"""A column of this name is the time: a time stamp, seconds, or whole nanoseconds (``time_ns``)."""

_LOOK = 65_536
"""Rows at the beginning that tell the rate."""


def open_parquet(path: Path) -> Source:
    """The channels have the names of their columns.

    The rate stands in the schema's metadata (``rate_hz``), or follows from the column of the time,
    which must rise in even steps. The unit stands in the metadata of a column or of the schema.
    GatewayError where pyarrow is not installed.
    """
    library = _library()
    with library.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        said = _texts(schema.metadata)
        fields = {f.name: f for f in schema}
        time = next((n for n in TIME_COLUMNS if n in fields), None)
        head = _first_times(file, time) if time is not None else np.empty(0)
    rate_hz = next((float(said[k]) for k in RATE_KEYS if k in said), None)
    if rate_hz is None and len(head):
        rate_hz = even_rate((head - head[0]) * 1e-9)
    start_ns = next((int(said[k]) for k in START_KEYS if k in said), None)
    if start_ns is None and len(head) and head[0] > 0:
        start_ns = int(head[0])
    tracks = {
        name: Track(name, rows, rate_hz, _texts(f.metadata).get(UNIT_KEY, said.get(UNIT_KEY)),
                    start_ns)
        for name, f in fields.items()
        if name != time and _is_number(f.type)
    }  # fmt: skip

    def read(name: str) -> Array:
        if rows * 8 > MAX_BYTES:
            raise ValueError(f"{rows:,} samples are too many; at most {MAX_BYTES // 8:,}")
        return np.concatenate([piece[0] for piece in pieces([name], _LOOK)])

    def pieces(names: Sequence[str], count: int) -> Iterator[Array]:
        asked = [*names, *([] if time is None else [time])]
        last_ns: float | None = None
        with library.ParquetFile(path) as file:
            for batch in file.iter_batches(count, columns=asked):
                if time is not None and rate_hz is not None:
                    last_ns = _check_steps(_nanoseconds(batch.column(time)), last_ns, rate_hz)
                yield np.stack([_numbers(batch.column(name)) for name in names])

    return Source(tracks, read, pieces=pieces)


def _library() -> Any:
    try:
        from pyarrow import parquet  # type: ignore[import-untyped]  # only where it is needed
    except ModuleNotFoundError as error:
        raise GatewayError(
            f".parquet needs: pip install 'edge-gateway[reprocess]' (missing: {error.name})"
        ) from error
    return parquet


def _texts(metadata: Any) -> dict[str, str]:
    found = {}
    for key, value in (metadata or {}).items():
        with contextlib.suppress(UnicodeDecodeError):
            found[key.decode()] = value.decode()
    return found


def _is_number(kind: Any) -> bool:
    with contextlib.suppress(NotImplementedError, TypeError):
        return np.dtype(kind.to_pandas_dtype()).kind in "iuf"
    return False


def _first_times(file: Any, time: str) -> Array:
    batch = next(file.iter_batches(_LOOK, columns=[time]), None)
    return np.empty(0) if batch is None else _nanoseconds(batch.column(time))


def _nanoseconds(column: Any) -> Array:
    """Times in ns; int64 where they are time stamps, whose ns a float would round."""
    values: Array = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "M":
        return values.astype("M8[ns]").astype("i8")
    if values.dtype.kind in "iu":
        return values.astype("i8")
    return values.astype("f8") * 1e9


def _numbers(column: Any) -> Array:
    """What is null becomes NaN."""
    values: Array = column.to_numpy(zero_copy_only=False)
    return values


def _check_steps(time_ns: Array, last_ns: float | None, rate_hz: float) -> float:
    """ValueError where samples are missing or twice there; the last time."""
    whole = time_ns if last_ns is None else np.concatenate(([last_ns], time_ns))
    steps = np.diff(whole) * rate_hz * 1e-9
    wrong = np.flatnonzero((steps <= 0.5) | (steps >= 1.5))
    if wrong.size:
        seconds = steps[wrong[0]] / rate_hz
        raise ValueError(f"its time goes on by {seconds:g} s at a sample; expected {1 / rate_hz:g}")
    found: float = time_ns[-1]
    return found
