"""What a delivery may ask of a payload that was refused, and how a sink says that it is slow."""

from __future__ import annotations

import zlib
from typing import NamedTuple, Protocol, runtime_checkable

from gateway.errors import SinkUnavailable


class TooSlow(SinkUnavailable):
    """The time was up while the payload was under way: less at once may get through."""


class Described(NamedTuple):
    """What a refused line is about."""

    device: str
    table: str
    time_ns: int
    values: int
    column: str | None = None
    """The one column that it holds; None: it holds several, or none."""


@runtime_checkable
class Describes(Protocol):
    """A sink that can say what its lines are about."""

    def describe(self, body: bytes, format: str) -> Described:
        """Device, table, time, number of values and column of a payload of one line."""

    def describe_each(self, body: bytes, format: str) -> list[tuple[bytes, Described]]:
        """Each line of a payload; empty where the payload is none of the sink's own."""


@runtime_checkable
class Vouches(Protocol):
    """A sink that knows its store by what it says."""

    def vouches(self, words: str) -> bool:
        """Whether a refusal is that of a store which has looked at the lines; else anything
        between may have said it.
        """


def plain_body(body: bytes, format: str) -> bytes:
    """A payload as text."""
    return zlib.decompress(body, wbits=47) if format.endswith("+gzip") else body
