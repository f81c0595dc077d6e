"""Evidence of membership against its definition, coin by coin."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evidence import (
    chance_similarity,
    largest_changes,
    margins,
    member_similarities,
    members,
    similarities,
    standing_members,
)

Array = npt.NDArray[np.float64]


def _by_definition(Z: Array, shoal: npt.NDArray[np.int64], numbers: list[int]) -> Array:
    """Correlate each coin with the mean of each shoal's other members, one pair at a time."""
    n = Z.shape[1]
    result = np.full((n, len(numbers)), np.nan)
    for i in range(n):
        for j, number in enumerate(numbers):
            others = [c for c in range(n) if shoal[c] == number and c != i]
            if not others:
                continue
            mean = Z[:, others].mean(axis=1)
            if Z[:, i].std() > 0 and mean.std() > 1e-9:
                result[i, j] = np.corrcoef(Z[:, i], mean)[0, 1]
    return result


def _panel(seed: int, T: int, n: int, k: int) -> tuple[Array, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    shoal = rng.integers(0, k + 1, n) - 1
    X = rng.standard_normal((T, n)) + rng.standard_normal((T, k + 1))[:, shoal]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    Z[rng.random((T, n)) < 0.05] = 0.0
    return Z, shoal.astype(np.int64)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.integers(1, 25), st.integers(1, 8))
def test_equals_the_definition(seed: int, T: int, n: int, k: int) -> None:
    Z, shoal = _panel(seed, T, n, k)
    numbers = list(range(k))
    np.testing.assert_allclose(similarities(Z, shoal, numbers), _by_definition(Z, shoal, numbers), atol=1e-8)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_order_of_coins_and_numbers_of_shoals_do_not_matter(seed: int) -> None:
    Z, shoal = _panel(seed, 30, 20, 5)
    rng = np.random.default_rng(seed)
    order, renamed = rng.permutation(20), rng.permutation(5)
    expected = similarities(Z, shoal, range(5))
    got = similarities(Z[:, order], np.where(shoal < 0, -1, renamed[shoal])[order], renamed)
    np.testing.assert_allclose(got, expected[order], atol=1e-10)


def test_a_coin_alone_in_its_shoal_has_no_similarity_to_it(rng: np.random.Generator) -> None:
    Z = rng.standard_normal((50, 4))
    similarity = similarities(Z, np.array([1, 2, 2, 2]), [1, 2, 3])
    assert np.isnan(similarity[0, 0])
    assert np.isfinite(similarity[1:, 0]).all()
    assert np.isfinite(similarity[:, 1]).all()
    assert np.isnan(similarity[:, 2]).all()  # nobody is in shoal 3


def test_a_coin_that_does_not_move_and_a_shoal_that_cancels_have_none(rng: np.random.Generator) -> None:
    Z = rng.standard_normal((50, 4))
    Z[:, 0] = 0.0
    Z[:, 2] = -Z[:, 1]
    similarity = similarities(Z, np.array([2, 1, 1, 2]), [1, 2])
    assert np.isnan(similarity[0]).all()
    assert np.isnan(similarity[3, 0])
    assert similarity[1, 0] == pytest.approx(-1.0)
    assert np.isnan(similarity[3, 1])  # its only companion does not move


def test_a_coin_may_belong_to_several_shoals(rng: np.random.Generator) -> None:
    Z = rng.standard_normal((40, 5))
    member = np.array([[1, 1], [1, 0], [0, 1], [1, 1], [0, 0]], dtype=np.bool_)
    both = member_similarities(Z, member)
    for j in range(2):
        one = similarities(Z, np.where(member[:, j], 7, -1).astype(np.int64), [7])
        np.testing.assert_allclose(both[:, j], one[:, 0], atol=1e-12)


def test_membership_of_no_coins_and_no_shoals() -> None:
    assert similarities(np.empty((5, 0)), np.empty(0, dtype=np.int64), [1, 2]).shape == (0, 2)
    assert similarities(np.ones((5, 3)), np.array([1, 1, 1]), []).shape == (3, 0)
    assert np.isnan(similarities(np.empty((0, 3)), np.array([1, 1, 1]), [1])).all()
    with pytest.raises(ValueError, match="do not fit"):
        member_similarities(np.ones((5, 3)), np.ones((2, 1), dtype=np.bool_))


def test_a_young_shoal_is_made_up_of_the_fits_members() -> None:
    home = np.array([1, 1, 1, 1, 2, 2, 2])
    shoal = np.array([1, 3, 3, 3, 2, 2, 1])
    standing = standing_members(home, shoal, [1, 2, 3])
    assert np.array_equal(standing[:, :2], members(home, [1, 2]))
    assert np.array_equal(standing[:, 2], members(shoal, [3])[:, 0])
    home[1] = 3  # one of three has moved in: still young
    assert standing_members(home, shoal, [3])[:, 0].tolist() == [False, True, True, True, False, False, False]
    home[2] = 3  # two of three: settled
    assert standing_members(home, shoal, [3])[:, 0].tolist() == [False, True, True, False, False, False, False]


def test_margins_compare_home_with_the_best_other() -> None:
    nan = np.nan
    similarity = np.array([[0.5, 0.2, 0.4], [0.1, 0.7, nan], [nan, 0.3, 0.3], [nan, nan, nan], [0.6, nan, nan]])
    margin, best = margins(similarity, np.array([0, 0, -1, 1, 0]))
    np.testing.assert_allclose(margin, [0.1, -0.6, nan, nan, nan])
    assert best.tolist() == [2, 1, 1, -1, -1]


def test_margins_of_nothing() -> None:
    margin, best = margins(np.empty((2, 0)), np.array([-1, -1]))
    assert np.isnan(margin).all()
    assert best.tolist() == [-1, -1]
    with pytest.raises(ValueError, match="no columns"):
        margins(np.zeros((2, 1)), np.array([0, 1]))


def test_chance_similarity_is_a_little_above_the_best_of_unrelated_shoals(rng: np.random.Generator) -> None:
    for bars, shoals in [(60, 100), (120, 5)]:
        best = [similarities(rng.standard_normal((bars, 2 * shoals + 1)), np.arange(2 * shoals + 1) // 2,
                             range(shoals))[-1].max() for _ in range(300)]  # fmt: skip
        assert 0.0 < chance_similarity(bars, shoals) - np.mean(best) < 0.1
    assert chance_similarity(0, 0) > 1.0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.integers(1, 12))
def test_largest_changes_by_definition(seed: int, T: int, n: int) -> None:
    Z, _ = _panel(seed, T + 4, n + 1, 3)
    half = Z.shape[0] // 2
    others = np.arange(1, n + 1)
    chosen, before, after = largest_changes(Z, 0, others, 5)

    def correlation(part: Array, j: int) -> float:
        moves = part[:, 0].std() > 0 and part[:, j].std() > 0
        return float(np.corrcoef(part[:, 0], part[:, j])[0, 1]) if moves else 0.0

    first = np.array([correlation(Z[:half], j) for j in others])
    second = np.array([correlation(Z[half:], j) for j in others])
    change = np.abs(second - first)
    assert chosen.size == min(5, n)
    np.testing.assert_allclose(before, first[chosen - 1], atol=1e-9)
    np.testing.assert_allclose(after, second[chosen - 1], atol=1e-9)
    np.testing.assert_allclose(np.sort(change)[::-1][: chosen.size], change[chosen - 1], atol=2e-6)


def test_changes_that_are_equal_go_by_column() -> None:
    Z = np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]])
    chosen, before, after = largest_changes(Z, 0, np.array([1, 2]), 1)
    assert (chosen.tolist(), before.tolist(), after.tolist()) == ([1], [1.0], [-1.0])
    empty, *_ = largest_changes(Z[:1], 0, np.array([1, 2]), 3)
    assert empty.tolist() == [1, 2]
