"""Values as the bytes of a binary COPY: whole arrays at once, no value goes through Python.

The format: PostgreSQL's documentation of COPY, "Binary Format"; a numeric is sent in digits of
base 10,000 (`numeric_recv` in its source).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gateway.model import Array, Values

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"
GOOD = -1
"""Instead of the number of a quality."""

_FORMS = {"f8": ">f8", "i8": ">i8", "b1": "i1"}
_BASE = 10_000


class Lines(NamedTuple):
    """Values of one column of ``sample``, each with its time, series and quality."""

    times: Array
    series: Array
    qualities: Array
    """Numbers of qualities; GOOD where it is."""
    values: Values | None
    """None: there are none, as of what is BAD."""


def copy_text(target: str, column: str | None) -> str:
    """The statement that takes what `copy_bytes` makes."""
    columns = "time_ns, series_id, quality_id" + (f", {column}" if column else "")
    return f"COPY {target} ({columns}) FROM STDIN (FORMAT BINARY)"


def copy_bytes(column: str | None, groups: Iterable[Lines]) -> Iterator[bytes]:
    """The whole stream of one COPY."""
    yield HEADER
    for group in groups:
        good = group.qualities == GOOD
        for is_good in (True, False):
            chosen = good if is_good else ~good
            if chosen.any():
                yield _some(column, group, chosen, with_quality=not is_good)
    yield END


def _some(column: str | None, group: Lines, chosen: Array, *, with_quality: bool) -> bytes:
    fields = [("count", ">i2"), ("time_size", ">i4"), ("time", ">i8")]
    fields += [("series_size", ">i4"), ("series", ">i4"), ("quality_size", ">i4")]
    if with_quality:
        fields.append(("quality", ">i4"))
    form = _FORMS.get(column or "")
    if form is not None:
        fields += [("value_size", ">i4"), ("value", form)]
    made = np.empty(int(chosen.sum()), np.dtype(fields))
    made["count"] = 4 if column else 3
    made["time_size"], made["time"] = 8, group.times[chosen]
    made["series_size"], made["series"] = 4, group.series[chosen]
    made["quality_size"] = 4 if with_quality else -1
    if with_quality:
        made["quality"] = group.qualities[chosen]
    if form is not None and isinstance(group.values, np.ndarray):
        made["value_size"] = np.dtype(form).itemsize
        made["value"] = group.values[chosen]
    if column is None or form is not None:
        return made.tobytes()
    width = made.dtype.itemsize
    heads = made.tobytes()
    values = group.values if group.values is not None else []
    out: list[bytes] = []
    for n, place in enumerate(np.flatnonzero(chosen).tolist()):
        value = values[place]
        data = value.encode() if isinstance(value, str) else numeric(int(value))
        out += (heads[n * width : (n + 1) * width], struct.pack(">i", len(data)), data)
    return b"".join(out)


def numeric(number: int) -> bytes:
    """A whole number that is not negative as a numeric."""
    digits: list[int] = []
    while number:
        number, digit = divmod(number, _BASE)
        digits.append(digit)
    digits.reverse()
    weight = len(digits) - 1
    return struct.pack(f">4h{len(digits)}h", len(digits), weight, 0, 0, *digits)


def joined(groups: Sequence[Lines]) -> Lines:
    """Several groups of one column as one, ordered as the index of ``sample`` is."""
    times = np.concatenate([g.times for g in groups])
    series = np.concatenate([g.series for g in groups])
    qualities = np.concatenate([g.qualities for g in groups])
    order = np.lexsort((times, series))
    values: Values | None = None
    if isinstance(groups[0].values, np.ndarray):
        values = np.concatenate([np.asarray(g.values) for g in groups])[order]
    elif groups[0].values is not None:
        listed = [value for g in groups for value in g.values or []]
        values = [listed[i] for i in order.tolist()]
    return Lines(times[order], series[order], qualities[order], values)
