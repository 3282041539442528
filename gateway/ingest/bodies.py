"""A body of a request in pieces: unpacked, read, published, never whole in memory twice."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

from gateway.hub import Published
from gateway.ingest.intake import Intake, joined
from gateway.ingest.jsonrows import MAX_LIST_BYTES, JsonReader
from gateway.ingest.lineprotocol import MAX_LINE, LineReader
from gateway.ingest.points import Faults, Points

Form: TypeAlias = Literal["lines", "json", "ndjson"]

MAX_PACKED: Final = 4_194_304
MAX_TEXT: Final = 33_554_432
"""Of one body: as it is sent, and unpacked."""

PIECE: Final = 65_536


class TooMuch(Exception):
    """The body is too large, or damaged; says which."""


class Taken(NamedTuple):
    """What came of a body."""

    rows: int
    faults: Faults
    published: Published


def take_body(
    intake: Intake, sender: str, body: bytes, *, form: Form, is_gzip: bool, precision: str,
    timeout_s: float,
) -> Taken:  # fmt: skip
    """Read a body and publish its rows. Blocks; for a thread.

    Raises:
        Busy: there is no room for all of its rows in time; some may have been published.
        TooMuch: it is too large, or no gzip; what came before that place was published.
        Refused: no such precision.
    """
    ends_s = time.monotonic() + timeout_s
    faults = Faults()
    points = Points()
    published: list[Published] = []
    lines = LineReader(intake.shapes, sender, precision)
    documents = JsonReader(intake.shapes, sender)
    number = 1
    rows = 0
    for piece in _pieces(_unpacked(body, is_gzip), whole=form == "json"):
        now_ns = time.time_ns()
        if form == "json":
            documents.read_document(piece, points, faults, now_ns)
        elif form == "ndjson":
            number += documents.read_lines(piece, number, points, faults, now_ns)
        else:
            number += lines.read(piece, number, points, faults, now_ns)
        if points.rows:
            made = points.made(intake.stamp, intake.clock_mark())
            rows += len(made)
            published.append(intake.publish(made, max(0.0, ends_s - time.monotonic())))
    intake.note(sender, rows, faults.by_reason)
    return Taken(rows, faults, joined(published))


def _unpacked(body: bytes, is_gzip: bool) -> Iterator[bytes]:
    """The text in pieces. TooMuch where it is too long, or not what it says it is."""
    if not is_gzip:
        view = memoryview(body)
        for at in range(0, len(view), PIECE):
            yield bytes(view[at : at + PIECE])
        return
    total = 0
    packer = zlib.decompressobj(wbits=31)
    rest = body
    while not packer.eof:
        try:
            piece = packer.decompress(rest, PIECE)
        except zlib.error as error:
            raise TooMuch(f"damaged gzip: {error}") from None
        rest = packer.unconsumed_tail
        total += len(piece)
        if total > MAX_TEXT:
            raise TooMuch(f"unpacked it is longer than {MAX_TEXT:,} bytes")
        if not piece and not rest and not packer.eof:
            raise TooMuch("damaged gzip: its end is missing")
        yield piece
    if packer.unused_data:
        raise TooMuch("damaged gzip: something follows its end")


def _pieces(texts: Iterator[bytes], *, whole: bool) -> Iterator[bytes]:
    """Whole lines, or the whole text."""
    limit = MAX_LIST_BYTES if whole else MAX_LINE + PIECE + MAX_LIST_BYTES
    rest = b""
    for text in texts:
        rest += text
        if not whole:
            end = rest.rfind(b"\n") + 1
            if end:
                yield rest[:end]
                rest = rest[end:]
        if len(rest) > limit:
            if whole:
                raise TooMuch(
                    f"JSON of more than {limit:,} bytes; send one object a line, "
                    "as application/x-ndjson"
                )
            raise TooMuch("a line without an end")
    if rest:
        yield rest
