"""Merged reads of a device in memory: what cannot be read is found, alone, and heals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import merged
from gateway.blocks import Block, Item, Limits, Refused
from gateway.decode import Wire, big_endian
from gateway.driver import DeviceConfig, DeviceMap, GroupSpec, TableSpec, Tag, TagConfig
from gateway.errors import ConfigError, DeviceUnavailable, Place
from gateway.merged import ISOLATION_REQUESTS, SPLIT, MergedDriver
from gateway.model import Mark, Quality, Row

PLACE = Place("map.yaml", 3, 5, "tags")
SIZES = {"u1": 1, "u2": 2, "u4": 4}


class MemoryDriver(MergedDriver):
    """Reads ``space:byte`` of a memory in which some bytes, or whole spaces, cannot be read."""

    def __init__(self, tags: Sequence[tuple[str, str]], limits: Limits, **spec: Any) -> None:
        self.limit = limits
        self.memory: dict[str, bytes] = {"a": bytes(range(256)), "b": bytes(range(255, -1, -1))}
        self.forbidden: set[tuple[str, int]] = set()
        self.exchanges = 0
        self.moving = False
        self.mark: Mark | None = None
        made = [
            Tag(f"t{i}", TagConfig(address=address, type=kind, **spec), PLACE)
            for i, (address, kind) in enumerate(tags)
        ]
        table = TableSpec("process", (("device", "d"),), made, PLACE)
        device_map = DeviceMap("map.yaml", [GroupSpec("process", 1.0, [table], PLACE)])
        super().__init__("d", DeviceConfig(map=Path("map.yaml")), device_map)

    def connect(self) -> None: ...

    def close(self) -> None: ...

    def parse(self, tag: Tag) -> list[Item]:
        space, _, start = tag.address.partition(":")
        if not start.isdigit():
            raise ValueError(f"'{tag.address}' is no address")
        size = SIZES[tag.spec.type]
        return [Item(space, int(start), size, Wire(tag.spec.type, big_endian(size)))]

    def limits(self, space: Any) -> Limits:
        return self.limit

    def prepare(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        return blocks

    def exchange(self, prepared: tuple[Block, ...]) -> Sequence[bytes | Refused]:
        self.exchanges += 1
        if self.moving:
            self.memory = {s: bytes([self.exchanges % 256]) * 256 for s in self.memory}
        return [self.answer(block) for block in prepared]

    def answer(self, block: Block) -> bytes | Refused:
        memory = self.memory.get(block.space)
        if memory is None:
            return Refused("no_such_space", all_of_space=True)
        if any((block.space, block.start + i) in self.forbidden for i in range(block.size)):
            return Refused("forbidden")
        return memory[block.start : block.start + block.size]

    def describe(self, blocks: tuple[Block, ...]) -> str:
        return " ".join(f"{b.space}:{b.start}+{b.size}" for b in blocks)

    def row_mark(self) -> Mark | None:
        return self.mark

    # -- for the tests

    def poll(self) -> Row:
        (row,) = self.read(self.groups[0])
        return row

    def readable(self, address: str, kind: str) -> bool:
        space, _, start = address.partition(":")
        return space in self.memory and not any(
            (space, int(start) + i) in self.forbidden for i in range(SIZES[kind])
        )

    def true_value(self, address: str, kind: str) -> int:
        space, _, start = address.partition(":")
        return int.from_bytes(self.memory[space][int(start) :][: SIZES[kind]], "big")


TAGS = st.lists(
    st.tuples(
        st.builds(lambda s, n: f"{s}:{n}", st.sampled_from("aabc"), st.integers(0, 120)),
        st.sampled_from(sorted(SIZES)),
    ),
    min_size=1,
    max_size=40,
)
LIMITS = st.builds(Limits, st.integers(4, 60), st.integers(0, 20), st.integers(1, 8))
FORBIDDEN = st.sets(st.tuples(st.sampled_from("ab"), st.integers(0, 120)), max_size=5)


@settings(deadline=None)  # some examples take a hundred polls
@given(TAGS, LIMITS, FORBIDDEN)
def test_only_what_cannot_be_read_is_bad_and_all_of_it_heals(
    tags: list[tuple[str, str]], limits: Limits, forbidden: set[tuple[str, int]]
) -> None:
    driver = MemoryDriver(tags, limits)
    driver.forbidden = forbidden
    planned = len(driver.plan(driver.groups[0]))
    for _ in range(60):
        before = driver.exchanges
        row = driver.poll()
        # a look costs at most two halves, each of few requests: the poll stays near its plan
        assert driver.exchanges - before <= planned + 2 * len(tags) + ISOLATION_REQUESTS
        for i, tag in enumerate(tags):
            if row.mark(i) is None:  # whatever is GOOD is true, in every single poll
                assert driver.readable(*tag)
                assert row.value(i) == driver.true_value(*tag)
        if not driver._states[0].suspects:
            break
    row = driver.poll()
    for i, tag in enumerate(tags):
        mark = row.mark(i)
        good = mark is None or (mark == SPLIT and shares_bytes(tag, tags))
        assert good == driver.readable(*tag), (tag, mark)
    assert len(driver.quarantined()) == sum(not driver.readable(*tag) for tag in tags)

    driver.forbidden = set()
    driver.memory["c"] = bytes(256)
    for _ in range(60):
        driver._states[0].retry_at = 0.0
        row = driver.poll()
    for i, tag in enumerate(tags):
        assert row.mark(i) is None or (row.mark(i) == SPLIT and shares_bytes(tag, tags))
    assert row.values() == [driver.true_value(*tag) for tag in tags]
    assert not driver.quarantined()


def shares_bytes(tag: tuple[str, str], tags: list[tuple[str, str]]) -> bool:
    """Whether it lies over another one, so that it may have to come in two blocks."""
    space, _, start = tag[0].partition(":")
    for address, kind in tags:
        other, _, first = address.partition(":")
        apart = int(first) - int(start)
        if other == space and -SIZES[kind] < apart < SIZES[tag[1]] and (address, kind) != tag:
            return True
    return False


@settings(deadline=None)
@given(TAGS, LIMITS, FORBIDDEN)
def test_no_good_value_is_torn_while_the_device_changes_at_every_request(
    tags: list[tuple[str, str]], limits: Limits, forbidden: set[tuple[str, int]]
) -> None:
    driver = MemoryDriver(tags, limits)
    driver.forbidden = forbidden
    driver.moving = True
    for _ in range(12):
        driver._states[0].retry_at = 0.0
        row = driver.poll()
        for i, (_, kind) in enumerate(tags):
            value = row.value(i)
            if row.mark(i) is None:
                assert isinstance(value, int)
                assert len(set(value.to_bytes(SIZES[kind], "big"))) == 1, (tags[i], value)


def test_a_number_and_its_own_words_come_in_one_block() -> None:
    driver = MemoryDriver([("a:0", "u4"), ("a:2", "u2"), ("a:4", "u4")], Limits(6, 0))
    assert [r.text for r in driver.plan(driver.groups[0])] == ["a:0+4", "a:4+4"]
    assert driver.poll().marks is None


def words(count: int, space: str = "a", step: int = 2) -> list[tuple[str, str]]:
    return [(f"{space}:{step * i}", "u2") for i in range(count)]


def test_one_bad_value_among_many_is_found_by_bisecting_within_one_poll() -> None:
    driver = MemoryDriver(words(100), Limits(200, 10))
    driver.forbidden = {("a", 77)}
    row = driver.poll()
    assert driver.exchanges <= 1 + 2 * 7  # log2(100) halvings, two requests each
    assert [i for i in range(100) if row.mark(i)] == [38]
    assert str(row.mark(38)) == "BAD:forbidden"
    assert row.value(37) == driver.true_value("a:74", "u2")
    driver.exchanges = 0
    assert [i for i in range(100) if driver.poll().mark(i)] == [38]
    assert driver.exchanges == 100 * 2, "two blocks a poll, nothing else"


def test_a_hole_between_two_values_is_no_longer_read_along() -> None:
    driver = MemoryDriver([("a:0", "u2"), ("a:2", "u2"), ("a:10", "u2"), ("a:12", "u2")],
                          Limits(200, 10))  # fmt: skip
    assert [r.text for r in driver.plan(driver.groups[0])] == ["a:0+14"]
    driver.forbidden = {("a", 6)}
    assert driver.poll().marks is None
    assert [r.text for r in driver.plan(driver.groups[0])] == ["a:0+4", "a:10+4"]
    assert driver.poll().marks is None


def test_a_bad_value_is_tried_again_only_after_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(merged.time, "monotonic", lambda: now)
    driver = MemoryDriver([*words(4), ("c:0", "u2")], Limits(200, 10))
    driver.forbidden = {("a", 2)}
    driver.poll()
    driver.forbidden = set()
    driver.memory["c"] = b"\x00\x2a"
    now += merged.RETRY_S - 1
    assert {i for i in range(5) if driver.poll().mark(i)} == {1, 4}
    now += 2
    assert driver.poll().marks is None
    assert driver.poll().values() == [0x0001, 0x0203, 0x0405, 0x0607, 42]


def test_a_passing_refusal_costs_one_poll_and_no_search() -> None:
    driver = MemoryDriver(words(4), Limits(200, 10))
    answer = driver.answer
    driver.answer = lambda _: Refused("busy", passing=True)  # type: ignore[method-assign]
    row = driver.poll()
    assert row.all_bad
    assert driver.exchanges == 1
    assert driver.quarantined() == []
    driver.answer = answer  # type: ignore[method-assign]
    assert driver.poll().marks is None


@pytest.mark.parametrize("wrong", [[b"\0\0", b"\0\0"], [], [b"\0"]])
def test_an_answer_of_another_shape_is_a_fault_of_the_protocol(wrong: list[bytes]) -> None:
    driver = MemoryDriver([("a:0", "u2")], Limits(200, 10))
    driver.exchange = lambda _: wrong  # type: ignore[method-assign]
    with pytest.raises(DeviceUnavailable, match="protocol"):
        driver.poll()


def test_a_mark_for_the_row_does_not_hide_what_is_bad() -> None:
    driver = MemoryDriver([("a:0", "u2"), ("c:0", "u2")], Limits(200, 0))
    driver.mark = Mark(Quality.UNCERTAIN, "cpu_stop")
    row = driver.poll()
    assert [str(row.mark(i)) for i in range(2)] == ["UNCERTAIN:cpu_stop", "BAD:no_such_space"]
    assert row.values() == [1, None]


def test_a_value_longer_than_a_block_is_split_and_says_so() -> None:
    driver = MemoryDriver([("a:0", "u4"), ("a:4", "u2")], Limits(3, 0))
    row = driver.poll()
    assert row.values() == [0x00010203, 0x0405]
    assert str(row.mark(0)) == "UNCERTAIN:split"
    assert row.mark(1) is None
    driver.forbidden = {("a", 3)}
    assert str(driver.poll().mark(0)) == "BAD:forbidden"
    driver.limit = Limits(200, 0)
    driver.forbidden = set()
    driver.forget_plan()
    driver._states[0].retry_at = 0.0
    driver.poll()
    assert driver.poll().marks is None


def test_all_faults_of_a_map_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        MemoryDriver([("nonsense", "u2"), ("a:0", "u2"), ("rubbish", "u1")], Limits(200, 0))
    assert [str(fault) for fault in caught.value.faults] == [
        "map.yaml:3:5: tags: 'nonsense' is no address",
        "map.yaml:3:5: tags: 'rubbish' is no address",
    ]
    with pytest.raises(ConfigError, match="store: int needs an integer type"):
        MemoryDriver([("a:0", "u2")], Limits(200, 0), store="int", scale=0.1)


def test_a_plan_of_20000_scattered_values_is_made_at_once() -> None:
    """Each value is an island of its own; looking them up one after the other took minutes."""
    tags = [(f"a:{40 * i}", "u2") for i in range(20_000)]
    driver = MemoryDriver(tags, Limits(200, 10, 20))
    driver.memory["a"] = bytes(40 * 20_000)
    begun = merged.time.process_time()
    assert driver.poll().marks is None
    assert merged.time.process_time() - begun < 3
    assert driver.exchanges == 1000
