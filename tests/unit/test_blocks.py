"""Plans of merged reads, over arbitrary layouts and limits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.blocks import Block, Item, Layout, Limits, merge, pack
from gateway.decode import Wire

SPACES = ("DB1", "DB2", "M")
ITEMS = st.lists(
    st.builds(
        Item,
        st.sampled_from(SPACES),
        st.integers(0, 300),
        st.sampled_from([1, 1, 2, 4, 8, 12, 40]),
        st.just(Wire("u1")),
    ),
    min_size=1,
    max_size=40,
)
LIMITS = st.fixed_dictionaries(
    {
        space: st.builds(
            Limits,
            st.integers(8, 120),
            st.integers(0, 30),
            st.integers(1, 20),
            st.integers(12, 200),
        )
        for space in SPACES
    }
)


def planned(
    items: list[Item], limits: Callable[[str], Limits], cuts: set[int]
) -> tuple[Layout, list[Block]]:
    layout = Layout(items, [(0, i) for i in range(len(items))])
    return layout, merge(layout, layout.order, limits, cuts)


@given(ITEMS, LIMITS, st.sets(st.integers(0, 39)))
def test_every_value_is_covered_once_and_whole_within_the_limits(
    items: list[Item], limits: dict[str, Limits], cuts: set[int]
) -> None:
    _, blocks = planned(items, limits.__getitem__, cuts)
    for block in blocks:
        assert 1 <= block.size <= limits[block.space].block
    for i, item in enumerate(items):
        mine = [b for b in blocks if i in b.items]
        assert all(b.space == item.space for b in mine)
        if item.size <= limits[item.space].block:
            (block,) = mine
            assert block.start <= item.start
            assert item.start + item.size <= block.start + block.size
        else:  # longer than a block: pieces that name no other value and join without a gap
            assert all(b.items == (i,) for b in mine)
            assert [b.start for b in mine] == [
                item.start + n * limits[item.space].block for n in range(len(mine))
            ]
            assert sum(b.size for b in mine) == item.size


@given(ITEMS, LIMITS, st.sets(st.integers(0, 39)))
def test_gaps_and_cuts_are_respected(
    items: list[Item], limits: dict[str, Limits], cuts: set[int]
) -> None:
    _, blocks = planned(items, limits.__getitem__, cuts)
    for block in blocks:
        used = set[int]()
        for i in block.items:
            used.update(range(items[i].start, items[i].start + items[i].size))
        used &= set(range(block.start, block.start + block.size))
        assert min(used) == block.start
        assert max(used) == block.start + block.size - 1
        unused = 0
        for byte in range(block.start, block.start + block.size):
            unused = 0 if byte in used else unused + 1
            assert unused <= limits[block.space].gap
        assert not cuts & set(block.items[1:])


@given(ITEMS, LIMITS)
def test_two_neighbouring_blocks_could_not_be_one(
    items: list[Item], limits: dict[str, Limits]
) -> None:
    _, blocks = planned(items, limits.__getitem__, set())
    for before, after in pairwise(blocks):
        if before.space != after.space or set(before.items) & set(after.items):
            continue
        limit = limits[before.space]
        if any(items[i].size > limit.block for i in (*before.items, *after.items)):
            continue
        end = before.start + before.size
        if items[after.items[0]].start < end:
            continue  # they share bytes, and all that share them do not fit into one block
        reach = after.start
        for i in after.items:  # what shares bytes with the first one must come with it
            if items[i].start < reach or i == after.items[0]:
                reach = max(reach, items[i].start + items[i].size)
        length = max(end, reach) - before.start
        assert after.start - end > limit.gap or length > limit.block


@given(ITEMS, LIMITS)
def test_requests_hold_every_block_in_order_within_the_limits(
    items: list[Item], limits: dict[str, Limits]
) -> None:
    _, blocks = planned(items, limits.__getitem__, set())
    requests = pack(blocks, limits.__getitem__)
    assert [block for request in requests for block in request] == blocks
    for request in requests:
        cost = 0
        for number, block in enumerate(request):
            cost += block.size + block.size % 2 + 4
            if number:
                limit = limits[block.space]
                assert number < limit.items
                assert cost <= limit.reply


def test_a_nested_and_an_overlapping_value_share_a_block() -> None:
    wire = Wire("u1")
    items = [Item("M", 0, 20, wire), Item("M", 4, 2, wire), Item("M", 18, 8, wire)]
    _, blocks = planned(items, lambda _: Limits(30, 0), set())
    assert blocks == [Block("M", 0, 26, (0, 1, 2))]
    _, blocks = planned(items, lambda _: Limits(20, 0), set())
    assert blocks == [Block("M", 0, 20, (0, 1)), Block("M", 18, 8, (2,))]
