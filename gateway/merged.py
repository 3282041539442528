"""Merged reads: the tags of one group become the fewest requests that a protocol allows.

Shared by every driver of a register- or memory-oriented protocol. The driver says where a tag
lies (`parse`), what the protocol allows (`limits`) and how one request is exchanged; this module
plans, reads, isolates a bad tag by bisection and decodes.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from gateway.blocks import Block, Item, Layout, Limits, Refused, divided, merge, pack
from gateway.decode import Scaling, Slot, TableDecoder, column_of, kind_of, scaling
from gateway.driver import (
    DeviceConfig,
    DeviceMap,
    PlannedRequest,
    PolledDriver,
    TableSpec,
    Tag,
    check_columns,
)
from gateway.errors import ConfigError, DeviceUnavailable, Fault
from gateway.model import ALL, Column, Group, Mark, Quality, Row, Table, bad

ISOLATION_REQUESTS = 16
"""Extra requests a poll may spend on finding bad tags: a poll stays near its planned length."""

RETRY_S = 60.0
"""How often a tag that the device refused is tried again, in seconds."""

_PAST_ANY = 1 << 62

SPLIT = Mark(Quality.UNCERTAIN, "split")
"""A value longer than one request: read in pieces, so its ends may be of different moments."""


class _Request(NamedTuple):
    blocks: tuple[Block, ...]
    places: tuple[int, ...]
    """Where each block's bytes go in the buffer."""
    prepared: Any


class _GroupState:
    """One group's buffer and plan, and the values that are left out of the plan for now."""

    def __init__(
        self,
        layout: Layout,
        tables: Sequence[Table],
        parsed: Sequence[tuple[Item, Scaling]],
        limits: Callable[[Any], Limits],
    ) -> None:
        self.layout = layout
        self.requests: list[_Request] | None = None
        self.split: set[int] = set()
        """Values that the plan reads in pieces, or partly twice."""
        self.looked_into: list[Block] = []
        """Blocks that were read in this poll besides the plan."""
        self.suspended: dict[int, str] = {}
        """Value -> reason: BAD until it has been read again with success."""
        self.suspects: list[tuple[tuple[int, ...], bool]] = []
        """Runs of suspended values to look into, and whether the run is known to fail whole."""
        self.cuts: set[int] = set()
        """Values before which a block must begin: the gap before them cannot be read."""
        self.retry_at = 0.0
        self._islands: dict[Any, list[tuple[int, int, int]]] = {}
        slots: list[list[Slot]] = [[] for _ in tables]
        whole = {space: limits(space)._replace(block=1 << 40) for space in layout.spaces}
        size = 0
        for block in merge(layout, layout.order, whole.__getitem__):
            self._islands.setdefault(block.space, []).append((block.start, block.size, size))
            for i in block.items:
                item, by = parsed[i]
                table, column = int(layout.owner_table[i]), int(layout.owner_column[i])
                at = size + item.start - block.start
                slots[table].append(Slot(column, at, item.size, item.wire, by))
            size += block.size
        self.buffer = np.zeros(size, "u1")
        self.decoders = [TableDecoder(t, s) for t, s in zip(tables, slots, strict=True)]

    def place(self, block: Block) -> int:
        """Where the bytes of a block go in the buffer."""
        islands = self._islands[block.space]
        start, size, at = islands[bisect_right(islands, (block.start, _PAST_ANY)) - 1]
        if not start <= block.start <= block.start + block.size <= start + size:
            raise AssertionError(f"block outside the layout: {block}")
        return at + block.start - start

    def wanted(self) -> list[int]:
        """The values of the merged plan, in order."""
        return [i for i in self.layout.order if i not in self.suspended]

    def barred(self, chosen: Collection[int]) -> set[int]:
        """The values behind a suspended one that is not chosen: no gap may reach over that."""
        if not self.suspended:
            return set()
        return {
            i
            for before, i in pairwise(self.layout.order)
            if before in self.suspended and before not in chosen
        }

    def blocks(self, chosen: Sequence[int], limits: Callable[[Any], Limits]) -> list[Block]:
        """The chosen values as blocks, with what was learned about this device."""
        barred = self.barred(frozenset(chosen) if self.suspended else ())
        return merge(self.layout, chosen, limits, self.cuts, barred)

    def suspend(self, items: Iterable[int], reason: str) -> None:
        for i in items:
            self.suspended[i] = reason
        self.requests = None

    def release(self, items: Iterable[int]) -> None:
        for i in items:
            self.suspended.pop(i, None)
        self.requests = None


class MergedDriver(PolledDriver):
    """Base of drivers whose tags lie in address spaces and are read in blocks."""

    def __init__(
        self, name: str, config: DeviceConfig, device_map: DeviceMap, bus: Any = None
    ) -> None:
        super().__init__(name, config, device_map, bus)
        faults: list[Fault] = []
        groups: list[Group] = []
        self._states: list[_GroupState] = []
        for index, spec in enumerate(device_map.groups):
            tables: list[Table] = []
            parsed: list[tuple[Item, Scaling]] = []
            owners: list[tuple[int, int]] = []
            for number, table_spec in enumerate(spec.tables):
                columns = self._parse_table(table_spec, parsed, faults)
                owners += [(number, column) for column in range(len(columns))]
                tables.append(
                    Table(
                        table_spec.name,
                        name,
                        columns,
                        table_spec.labels,
                        spec.name,
                        spec.interval_s,
                    )
                )
            groups.append(Group(spec.name, spec.interval_s, tuple(tables), index))
            if not faults:
                layout = Layout([item for item, _ in parsed], owners)
                self._states.append(_GroupState(layout, tables, parsed, self.limits))
        if faults:
            raise ConfigError(faults)
        self.groups = tuple(groups)

    def _parse_table(
        self, spec: TableSpec, parsed: list[tuple[Item, Scaling]], faults: list[Fault]
    ) -> list[Column]:
        columns: list[Column] = []
        places = []
        for tag in spec.tags:
            try:
                items = self.parse(tag)
            except ValueError as error:
                faults.append(tag.place.fault(str(error)))
                continue
            by = scaling(tag.spec.scale, tag.spec.offset)
            for n, item in enumerate(items):
                name = tag.name if len(items) == 1 else f"{tag.name}_{n}"
                try:
                    column = column_of(name, tag.spec, kind_of(item.wire, by), by, item.unit)
                except ValueError as error:
                    faults.append(tag.place.fault(str(error)))
                    break
                columns.append(column)
                places.append(tag.place)
                parsed.append((item, by))
        faults += check_columns(spec, columns, places)
        return columns

    # -- what a driver gives ------------------------------------------------------------------

    @abstractmethod
    def parse(self, tag: Tag) -> list[Item]:
        """Where the tag lies: one item, or one an element. ValueError says the fault."""

    @abstractmethod
    def limits(self, space: Any) -> Limits:
        """Limits in that space: negotiated where connected, else the usual ones.

        ``gap`` may not change after construction.
        """

    @abstractmethod
    def prepare(self, blocks: tuple[Block, ...]) -> Any:
        """What `exchange` needs for this request, built once (the frame to send)."""

    @abstractmethod
    def exchange(self, prepared: Any) -> Sequence[bytes | Refused]:
        """Send one request; the answer to each of its blocks. DeviceUnavailable on any doubt."""

    @abstractmethod
    def describe(self, blocks: tuple[Block, ...]) -> str:
        """The request in the driver's address notation, for `gateway plan`."""

    def row_mark(self) -> Mark | None:
        """A mark for every row of this poll (CPU in STOP), or None. Asked before the reads."""
        return None

    def forget_plan(self) -> None:
        """Cut the requests again at the next read, because the limits changed."""
        for state in self._states:
            state.requests = None

    # -- the contract -------------------------------------------------------------------------

    def plan(self, group: Group) -> list[PlannedRequest]:
        """The requests of one poll, as they would be sent now."""
        state = self._states[group.index]
        blocks = state.blocks(state.wanted(), self.limits)
        return [
            PlannedRequest(
                self.describe(request),
                len({i for block in request for i in block.items}),
                sum(block.size for block in request),
            )
            for request in pack(blocks, self.limits)
        ]

    def read(self, group: Group) -> list[Row]:
        """Read one round; see `PolledDriver.read`."""
        state = self._states[group.index]
        whole = self.row_mark()
        begun_ns = time.time_ns()
        if state.requests is None:
            state.requests = self._requests(state, state.wanted())
            planned = [block for request in state.requests for block in request.blocks]
            state.split = divided(state.layout, planned)
        state.looked_into.clear()
        passing: dict[int, str] = {}
        for request in state.requests:
            for block, refused in self._ask(state, request):
                if refused is None:
                    continue
                if refused.passing:
                    passing.update(dict.fromkeys(block.items, refused.reason))
                else:
                    state.suspend(block.items, refused.reason)
                    state.retry_at = time.monotonic() + RETRY_S
                    if not refused.all_of_space:
                        state.suspects.append((block.items, True))
        if state.suspended:
            self._isolate(state)
        time_ns = (begun_ns + time.time_ns()) // 2
        return self._rows(state, group, time_ns, whole, passing)

    def quarantined(self) -> list[tuple[str, str, str]]:
        """(table key, tag, reason) of tags left out of merged reads for now."""
        out = []
        for group, state in zip(self.groups, self._states, strict=True):
            for i, reason in sorted(state.suspended.items()):
                table = group.tables[state.layout.owner_table[i]]
                out.append((table.key, table.columns[state.layout.owner_column[i]], reason))
        return out

    # -- one poll -----------------------------------------------------------------------------

    def _requests(self, state: _GroupState, chosen: Sequence[int]) -> list[_Request]:
        return [
            _Request(blocks, tuple(state.place(b) for b in blocks), self.prepare(blocks))
            for blocks in pack(state.blocks(chosen, self.limits), self.limits)
        ]

    def _ask(self, state: _GroupState, request: _Request) -> Iterator[tuple[Block, Refused | None]]:
        answers = self.exchange(request.prepared)
        if len(answers) != len(request.blocks):
            raise DeviceUnavailable("protocol", "the answer has another number of items")
        for block, at, answer in zip(request.blocks, request.places, answers, strict=True):
            if isinstance(answer, Refused):
                yield block, answer
            elif len(answer) != block.size:
                raise DeviceUnavailable("protocol", "the answer has another length")
            else:
                state.buffer[at : at + block.size] = np.frombuffer(answer, "u1")
                yield block, None

    def _isolate(self, state: _GroupState) -> None:
        """Find the bad values among the suspended ones by halving, within a budget."""
        now = time.monotonic()
        if not state.suspects:
            if now < state.retry_at:
                return
            again = [i for i in state.layout.order if i in state.suspended]
            blocks = merge(state.layout, again, self.limits, state.cuts)
            # the values of one piecewise-read tag come as several blocks: one is enough
            state.suspects = [(items, False) for items in dict.fromkeys(b.items for b in blocks)]
        budget = ISOLATION_REQUESTS
        while state.suspects and budget > 0:
            chosen, fails = state.suspects.pop()
            middle = len(chosen) // 2
            if fails and not middle:
                continue  # a single bad value: stays suspended until the next retry
            halves = (chosen[:middle], chosen[middle:]) if fails else (chosen,)
            clean = True
            for half in halves:
                budget, good = self._look_into(state, half, budget)
                clean = clean and good
            if fails and clean:
                state.cuts.add(chosen[middle])  # both halves can be read, but not across the gap
        if not state.suspects:
            state.retry_at = now + RETRY_S

    def _look_into(
        self, state: _GroupState, chosen: tuple[int, ...], budget: int
    ) -> tuple[int, bool]:
        refused_items: set[int] = set()
        read_items: set[int] = set()
        for request in self._requests(state, chosen):
            budget -= 1
            for block, refused in self._ask(state, request):
                if refused is None:
                    read_items.update(block.items)
                    state.looked_into.append(block)
                    continue
                refused_items.update(block.items)
                state.suspend(block.items, refused.reason)
                if not refused.all_of_space:
                    state.suspects.append((block.items, not refused.passing))
        state.release(read_items - refused_items)
        return budget, not refused_items

    def _rows(
        self,
        state: _GroupState,
        group: Group,
        time_ns: int,
        whole: Mark | None,
        passing: Mapping[int, str],
    ) -> list[Row]:
        marks: list[dict[int, Mark]] = [{} for _ in group.tables]
        layout = state.layout
        # bytes that were read again now may be half of a value that was read before
        for i in state.split | divided(layout, state.looked_into):
            marks[layout.owner_table[i]][int(layout.owner_column[i])] = SPLIT
        for i, reason in (*passing.items(), *state.suspended.items()):
            marks[layout.owner_table[i]][int(layout.owner_column[i])] = bad(reason)
        rows = []
        for table, decoder, known in zip(group.tables, state.decoders, marks, strict=True):
            refused = sum(mark.quality is Quality.BAD for mark in known.values())
            if refused == len(table.columns):
                reasons = {mark.reason for mark in known.values()}
                same = len(reasons) == 1
                rows.append(Row(table, time_ns, (), {ALL: bad(*reasons)} if same else known))
                continue
            if whole is not None:
                known[ALL] = whole
            rows.append(decoder.row(state.buffer, time_ns, known))
        return rows
