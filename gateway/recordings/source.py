"""What every format of a recording is turned into: named tracks, and a way to read one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from gateway.model import Array

Pieces: TypeAlias = Callable[[Sequence[str], int], Iterator[Array]]
"""(names of tracks, samples at a time) -> their samples in order, [track, sample]."""

MAX_BYTES = 1 << 30
"""Largest array that is read from a file, so that a damaged header cannot take all memory."""


class Track(NamedTuple):
    """One waveform of a file, as its header tells; its samples are not read yet."""

    name: str
    samples: int | None = None
    """None where only reading the whole file tells it."""
    rate_hz: float | None = None
    unit: str | None = None
    start_ns: int | None = None
    """Time of the first sample, UTC, where the file says it."""


@dataclass(slots=True)
class Source:
    """A recording whose headers were read; no file is kept open."""

    tracks: dict[str, Track]
    read: Callable[[str], Array]
    """The samples of a track by its name, one dimension, of any type of number.

    It may put into ``tracks`` what only the samples tell.
    """
    aliases: dict[str, str] = field(default_factory=dict)
    """Shorter name -> name of a track, where that is not ambiguous."""
    pieces: Pieces | None = None
    """Reads tracks of equal length piece by piece, so that a file of any size takes little memory.

    None where the format has to be read as a whole.
    """


def numbered(name: str, count: int) -> list[str]:
    """Names of the columns of an array: ``name[0]``, ``name[1]``...; one column has its name."""
    return [name] if count == 1 else [f"{name}[{i}]" for i in range(count)]
