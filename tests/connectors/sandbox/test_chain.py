import functools
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sandbox.chain import CANONICAL, SIDE, Chain, Reorg
from connectors.sandbox.regime import GENESIS_US
from tests.connectors.sandbox.places import SEED, T0_US

CHAIN = Chain(SEED)
H0 = (T0_US - GENESIS_US) // 2_000_000
HEIGHTS = st.integers(0, 10**8)
OFFSETS = st.integers(0, 3_600_000_000)


def first_reorg(how: str, depth: int) -> Reorg:
    found = CHAIN.reorgs(T0_US, T0_US + 20 * 3_600_000_000)
    return next(reorg for reorg in found if (reorg.how, reorg.depth) == (how, depth))


@settings(deadline=None)
@given(HEIGHTS)
def test_a_block_is_found_by_its_hash(height: int) -> None:
    block_hash = CHAIN.hash_of(height, CANONICAL)
    assert len(block_hash) == 66
    assert CHAIN.find(block_hash) == (height, CANONICAL)
    assert CHAIN.find(block_hash.upper().replace("0X", "0x")) == (height, CANONICAL)
    assert Chain(SEED + 1).find(block_hash) is None


@settings(deadline=None)
@given(HEIGHTS, st.sampled_from([CANONICAL, SIDE]), st.integers(0, 65535))
def test_a_transaction_is_found_by_its_hash(height: int, branch: int, index: int) -> None:
    place = (height, SIDE if branch else CANONICAL, index)
    assert CHAIN.find_transaction(CHAIN.transaction_hash(*place)) == place
    assert CHAIN.find(CHAIN.transaction_hash(*place)) is None


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_strange_hashes_are_nothing(raw: bytes) -> None:
    assert CHAIN.find("0x" + raw.hex()) is None
    assert CHAIN.find_transaction("0x" + raw.hex()) is None


@pytest.mark.parametrize("text", ["", "0x", "0x" + "g" * 64, "ab" * 33, "0x" + "0" * 63])
def test_what_is_no_hash_is_nothing(text: str) -> None:
    assert CHAIN.find(text) is None


def test_a_side_block_exists_only_where_a_reorg_is_planted() -> None:
    reorg = first_reorg("longer", 2)
    assert CHAIN.find(CHAIN.hash_of(reorg.first, SIDE)) == (reorg.first, SIDE)
    assert CHAIN.find(CHAIN.hash_of(reorg.first - 1, SIDE)) is None
    assert CHAIN.find(CHAIN.hash_of(reorg.last + 1, SIDE)) is None


def test_both_branches_hang_on_the_same_block_and_the_canonical_one_goes_on() -> None:
    reorg = first_reorg("sibling", 3)
    for branch in (CANONICAL, SIDE):
        assert CHAIN.parent_of(reorg.first, branch) == CHAIN.hash_of(reorg.first - 1, CANONICAL)
        assert CHAIN.parent_of(reorg.first + 1, branch) == CHAIN.hash_of(reorg.first, branch)
    assert CHAIN.parent_of(reorg.last + 1, CANONICAL) == CHAIN.hash_of(reorg.last, CANONICAL)
    assert CHAIN.parent_of(0, CANONICAL) == "0x" + "0" * 64


@pytest.mark.parametrize("how", ["longer", "sibling"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_side_branch_is_announced_first_and_then_replaced(how: str, depth: int) -> None:
    reorg = first_reorg(how, depth)
    t = CHAIN.due_us(reorg.first - 1) - 1
    seen = []
    for _ in range(depth + 3):
        head = CHAIN.next_head(t)
        seen.append((head.height - reorg.first, head.branch))
        t = head.at_us
    side = [(k, SIDE) for k in range(depth)]
    again = [(depth - 1, CANONICAL)] if how == "sibling" else []
    expected = [(-1, CANONICAL), *side, *again, (depth, CANONICAL), (depth + 1, CANONICAL)]
    assert seen == expected[: depth + 3]


@settings(max_examples=200, deadline=None)
@given(OFFSETS)
def test_the_head_is_the_last_announcement(offset: int) -> None:
    t = T0_US + offset
    head = CHAIN.head(t)
    after = CHAIN.next_head(t)
    assert head is not None
    assert head.at_us <= t < after.at_us
    assert CHAIN.head(after.at_us) == after
    assert CHAIN.head(after.at_us - 1) == head
    assert CHAIN.next_head(head.at_us) == after


@settings(max_examples=200, deadline=None)
@given(OFFSETS)
def test_at_any_time_the_node_knows_its_head_and_all_its_forebears(offset: int) -> None:
    t = T0_US + offset
    head = CHAIN.head(t)
    assert head is not None
    height, branch = head.height, head.branch
    for _ in range(6):
        assert CHAIN.known(height, branch, t)
        assert CHAIN.branch_at(height, t) == branch
        found = CHAIN.find(CHAIN.parent_of(height, branch))
        assert found is not None
        height, branch = found
    assert not CHAIN.known(head.height + 1, CANONICAL, t)


def test_each_span_has_one_reorg_and_the_time_of_none_is_missed() -> None:
    hour = 3_600_000_000
    reorgs = CHAIN.reorgs(T0_US, T0_US + 6 * hour)
    assert abs(len(reorgs) - 72) <= 1
    assert {reorg.depth for reorg in reorgs} == {1, 2, 3}
    pieces = [CHAIN.reorgs(T0_US + k * hour, T0_US + (k + 1) * hour) for k in range(6)]
    assert functools.reduce(operator.iadd, pieces, []) == reorgs


def test_a_chain_without_reorgs_has_none() -> None:
    quiet = Chain(SEED, reorg_every=0)
    assert quiet.reorgs(T0_US, T0_US + 10**10) == []
    assert {quiet.head(T0_US + k * 2_000_000).branch for k in range(500)} == {CANONICAL}  # type: ignore[union-attr]


def test_before_the_world_there_is_no_head() -> None:
    assert CHAIN.head(GENESIS_US - 1) is None
    assert CHAIN.next_head(GENESIS_US - 1).height == 0


@pytest.mark.parametrize("wrong", [{"block_seconds": 0}, {"reorg_every": 3}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Chain(SEED, **wrong)
