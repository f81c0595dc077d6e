import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sandbox.groups import Groups
from connectors.sandbox.regime import GENESIS_US
from tests.connectors.sandbox.places import SEED, T0_US

EVERY_US = 150_000_000
GROUPS = Groups(SEED, 40, 5, EVERY_US)


def test_homes_are_balanced() -> None:
    assert np.bincount(GROUPS.home).tolist() == [8] * 5


def test_moves_and_group_of_tell_the_same_story() -> None:
    moves = GROUPS.moves(T0_US, T0_US + 80 * EVERY_US)
    assert moves == sorted(moves, key=lambda move: move.at_us)
    for move in moves:
        assert GROUPS.group_of(move.coin, move.at_us - 1) == move.from_group
        assert GROUPS.group_of(move.coin, move.at_us) == move.to_group
        assert move.from_group != move.to_group
        assert int(GROUPS.home[move.coin]) in (move.from_group, move.to_group)


def test_one_coin_of_the_market_moves_in_each_interval() -> None:
    moves = GROUPS.moves(T0_US, T0_US + 400 * EVERY_US)
    assert abs(len(moves) - 400) <= 1
    gaps = np.diff([move.at_us for move in moves])
    assert gaps.min() > 0.7 * EVERY_US
    assert gaps.max() < 1.3 * EVERY_US


def test_the_first_two_coins_never_move() -> None:
    movers = {move.coin for move in GROUPS.moves(T0_US, T0_US + 100 * EVERY_US)}
    assert movers == set(range(2, 40))


def test_matrix_equals_group_of_at_every_time() -> None:
    times = T0_US + np.arange(0, 8 * EVERY_US, 7_300_000, dtype=np.int64)
    expected = [[GROUPS.group_of(coin, int(t)) for coin in range(40)] for t in times]
    assert GROUPS.matrix(times).tolist() == expected


def test_before_the_first_moves_all_are_at_home() -> None:
    assert [GROUPS.group_of(coin, GENESIS_US) for coin in range(2, 40)].count(-1) == 0
    assert [GROUPS.group_of(coin, GENESIS_US - 1) for coin in range(40)] == GROUPS.home.tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**16), st.integers(1, 10**10), st.integers(1, 10**10))
def test_moves_of_two_adjoining_spans_are_those_of_both(start: int, first: int, second: int) -> None:
    a, b, c = GENESIS_US + start, GENESIS_US + start + first, GENESIS_US + start + first + second
    assert GROUPS.moves(a, b) + GROUPS.moves(b, c) == GROUPS.moves(a, c)


@pytest.mark.parametrize(("coins", "groups"), [(40, 1), (3, 4)])
def test_groups_that_cannot_be_are_refused(coins: int, groups: int) -> None:
    with pytest.raises(ValueError, match="two groups and a coin for each"):
        Groups(SEED, coins, groups, EVERY_US)
