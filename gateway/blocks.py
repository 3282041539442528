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
    unit: str | None = None
    """What the type itself counts in, e.g. ms; for where the map names no unit."""


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
        self.by_address = np.lexsort((self.size, self.start, self.space_of)).astype("i4")

    def __len__(self) -> int:
        return len(self.start)

    @property
    def order(self) -> list[int]:
        """All indexes by space and address."""
        indexes: list[int] = self.by_address.tolist()
        return indexes

    def spans(self, chosen: Iterable[int]) -> Iterator[tuple[int, int, int, int]]:
        """(index, space id, start, size) of each, as Python ints."""
        for i in chosen:
            yield i, int(self.space_of[i]), int(self.start[i]), int(self.size[i])


class _Unit(NamedTuple):
    """Values that share bytes, directly or by way of others: read together, or they are torn."""

    space: int
    start: int
    end: int
    items: list[int]


def _units(
    layout: Layout,
    chosen: Iterable[int],
    limits: Callable[[Any], Limits],
    cuts: Collection[int],
) -> Iterator[_Unit]:
    unit: _Unit | None = None
    for i, space, first, size in layout.spans(chosen):
        if unit is not None:
            if space == unit.space and first < unit.end and i not in cuts:
                unit.items.append(i)
                unit = unit._replace(end=max(unit.end, first + size))
                continue
            yield from _fitting(layout, unit, limits)
        unit = _Unit(space, first, first + size, [i])
    if unit is not None:
        yield from _fitting(layout, unit, limits)


def _fitting(layout: Layout, unit: _Unit, limits: Callable[[Any], Limits]) -> Iterator[_Unit]:
    """The unit, or its values one by one where they do not fit into one block together."""
    if len(unit.items) == 1 or unit.end - unit.start <= limits(layout.spaces[unit.space]).block:
        yield unit
        return
    for i, space, first, size in layout.spans(unit.items):
        yield _Unit(space, first, first + size, [i])


def merge(
    layout: Layout,
    chosen: Iterable[int],
    limits: Callable[[Any], Limits],
    cuts: Collection[int] = (),
    barred: Collection[int] = (),
) -> list[Block]:
    """Blocks within the limits that cover each chosen value (given in order of address).

    A value is cut in two only if it is itself longer than a block, into blocks that all name it.
    Values that share bytes come in one block, if that can be. Before the values in ``cuts`` a
    new block begins; the gap before those in ``barred`` is not read.
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

    for its_space, first, reach, items in _units(layout, chosen, limits, cuts):
        if run and (
            its_space != space
            or items[0] in cuts
            or first - end > (0 if items[0] in barred else limit.gap)
            or max(end, reach) - start > limit.block
        ):
            flush()
        if its_space != space:
            space = its_space
            limit = limits(layout.spaces[space])
        if reach - first > limit.block:  # one long value
            flush()
            for at in range(first, reach, limit.block):
                piece = min(limit.block, reach - at)
                blocks.append(Block(layout.spaces[space], at, piece, tuple(items)))
            end = reach
            continue
        if not run:
            start, end = first, reach
        run += items
        end = max(end, reach)
    flush()
    return blocks


def divided(layout: Layout, blocks: Sequence[Block]) -> set[int]:
    """The values of which some block covers a part, but not the whole.

    Such a value can be torn: long ones, and those that share bytes with what another block has.
    """
    found: set[int] = set()
    if not len(layout):
        return found
    end = layout.start + layout.size
    longest = int(layout.size.max())
    sorted_start = layout.start[layout.by_address]
    sorted_space = layout.space_of[layout.by_address]
    for block in blocks:
        space = layout.spaces.index(block.space)
        low, high = np.searchsorted(sorted_space, [space, space + 1])
        first, last = np.searchsorted(
            sorted_start[low:high], [block.start - longest + 1, block.start + block.size]
        )
        near = layout.by_address[low + first : low + last]
        touched = near[end[near] > block.start]
        stop = block.start + block.size
        whole = (layout.start[touched] >= block.start) & (end[touched] <= stop)
        found.update(touched[~whole].tolist())
    return found


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
