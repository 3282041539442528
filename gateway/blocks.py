"""Plans of merged reads: values become blocks, blocks become requests.

Blocks are cut between values: one that is divided over two requests can be torn, when the device
changes it in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from gateway.decode import Wire


class Item(NamedTuple):
    """One value of a tag. ``space`` is what one block may not leave (a DB, a register kind)."""

    space: Hashable
    start: int
    size: int
    wire: Wire


class Limits(NamedTuple):
    """What the protocol allows, in bytes (a coil counts as one byte)."""

    block: int
    """Longest block."""
    gap: int
    """Longest run of unused bytes that is read along to save a block."""
    items: int = 1
    """Most blocks in one request."""
    reply: int = 1 << 30
    """Most bytes of all blocks of a request together, each rounded up to even plus 4."""


class Block(NamedTuple):
    """One run of bytes in one space, and the values (by index) that it completes."""

    space: Any
    start: int
    size: int
    items: tuple[int, ...]


class Refused(NamedTuple):
    """The device's answer to one block: no. ``all_of_space``: nothing is there (wrong DB).

    ``passing``: it says nothing about the values (busy), so they are BAD in this poll only.
    """

    reason: str
    all_of_space: bool = False
    passing: bool = False


class Layout:
    """Where the values of a group lie, as columns of numbers (60,000 objects would be 15 MB)."""

    def __init__(self, items: Sequence[Item], owners: Sequence[tuple[int, int]]) -> None:
        ids: dict[Any, int] = {}
        self.space_of = np.array([ids.setdefault(i.space, len(ids)) for i in items], "i4")
        self.spaces: list[Any] = list(ids)
        self.start = np.array([i.start for i in items], "i8")
        self.size = np.array([i.size for i in items], "i8")
        self.owner_table = np.array([t for t, _ in owners], "i4")
        self.owner_column = np.array([c for _, c in owners], "i4")
        self._order = np.lexsort((self.size, self.start, self.space_of)).astype("i4")

    def __len__(self) -> int:
        return len(self.start)

    @property
    def order(self) -> list[int]:
        """All indexes by space and address."""
        indexes: list[int] = self._order.tolist()
        return indexes

    def spans(self, chosen: Iterable[int]) -> Iterator[tuple[int, int, int, int]]:
        """(index, space id, start, size) of each, as Python ints."""
        for i in chosen:
            yield i, int(self.space_of[i]), int(self.start[i]), int(self.size[i])


def merge(
    layout: Layout,
    chosen: Iterable[int],
    limits: Callable[[Any], Limits],
    cuts: Collection[int] = (),
) -> list[Block]:
    """Blocks within the limits that cover each chosen value (given in order of address).

    A value is cut in two only if it is itself longer than a block, into blocks that all name it.
    Before the values in ``cuts`` a new block begins.
    """
    blocks: list[Block] = []
    run: list[int] = []
    space = -1
    start = end = 0
    limit = Limits(0, 0)

    def flush() -> None:
        if run:
            blocks.append(Block(layout.spaces[space], start, end - start, tuple(run)))
            run.clear()

    for i, its_space, first, size in layout.spans(chosen):
        reach = max(end, first + size)
        if run and (
            its_space != space
            or i in cuts
            or first - end > limit.gap
            or reach - start > limit.block
        ):
            flush()
        if its_space != space:
            space = its_space
            limit = limits(layout.spaces[space])
        if size > limit.block:
            flush()
            for at in range(first, first + size, limit.block):
                piece = min(limit.block, first + size - at)
                blocks.append(Block(layout.spaces[space], at, piece, (i,)))
            end = first + size
            continue
        if not run:
            start, end = first, first + size
        run.append(i)
        end = max(end, first + size)
    flush()
    return blocks


def pack(blocks: Sequence[Block], limits: Callable[[Any], Limits]) -> list[tuple[Block, ...]]:
    """Requests of as many blocks as the protocol allows in one."""
    requests: list[tuple[Block, ...]] = []
    current: list[Block] = []
    used = 0
    for block in blocks:
        limit = limits(block.space)
        cost = block.size + (block.size & 1) + 4
        if current and (len(current) >= limit.items or used + cost > limit.reply):
            requests.append(tuple(current))
            current, used = [], 0
        current.append(block)
        used += cost
    if current:
        requests.append(tuple(current))
    return requests
