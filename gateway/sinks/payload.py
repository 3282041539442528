"""What a delivery may ask of a payload that was refused."""

from __future__ import annotations

import zlib
from typing import NamedTuple, Protocol, runtime_checkable


class Described(NamedTuple):
    """What a refused line is about."""

    device: str
    table: str
    time_ns: int
    values: int


@runtime_checkable
class Describes(Protocol):
    """A sink that can say what a payload of one line is about."""

    def describe(self, body: bytes, format: str) -> Described:
        """Device, table, time and number of values of the line."""


def plain_body(body: bytes, format: str) -> bytes:
    """A payload as text."""
    return zlib.decompress(body, wbits=47) if format.endswith("+gzip") else body
