"""What a Redis payload is in the spool: one entry for each stream, ready to be added as it is.

A line of JSON ``[[stream, rows, bytes], ...]``, then the bodies one after another. Dead letters
are bodies alone (`gateway.wire`, not packed): their streams are found anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import orjson

from gateway.model import Selected, Table
from gateway.sinks.packing import compress
from gateway.wire import decode_batch, encode_batch

FORMAT: Final = "redis1"


class Entry(NamedTuple):
    """One entry of one stream."""

    stream: str
    rows: int
    body: bytes


def entries_of(
    rows: Sequence[Selected], stream: Callable[[Table], str], *, pack: bool
) -> list[Entry]:
    """The rows as one entry for each stream."""
    groups: dict[str, list[Selected]] = {}
    names: dict[Table, str] = {}
    for selected in rows:
        table = selected.row.table
        if table not in names:
            names[table] = stream(table)
        groups.setdefault(names[table], []).append(selected)
    out = []
    for name, chosen in groups.items():
        body = encode_batch(chosen)
        out.append(Entry(name, len(chosen), compress(body) if pack else body))
    return out


def framed(entries: Sequence[Entry]) -> bytes:
    """The entries as a payload."""
    head = orjson.dumps([[e.stream, e.rows, len(e.body)] for e in entries])
    return b"%b\n%b" % (head, b"".join(e.body for e in entries))


def unframed(payload: bytes) -> list[Entry]:
    """The entries of a payload. ValueError where it is none."""
    head, end, bodies = payload.partition(b"\n")
    listed = orjson.loads(head) if end else None
    if not isinstance(listed, list):
        raise ValueError("its head is missing")
    out = []
    at = 0
    for entry in listed:
        if not isinstance(entry, list) or [type(x) for x in entry] != [str, int, int]:
            raise ValueError(f"its head has {entry!r}")
        stream, rows, size = entry
        out.append(Entry(stream, rows, bodies[at : at + size]))
        at += size
    if at != len(bodies):
        raise ValueError(f"{len(bodies):,} bytes; expected {at:,}")
    return out


def rows_of(entries: Sequence[Entry]) -> list[Selected]:
    """All rows of the entries. ValueError."""
    return [selected for entry in entries for selected in decode_batch(entry.body)]
