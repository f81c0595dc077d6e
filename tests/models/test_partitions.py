"""Comparison of partitions against scikit-learn, against definitions, and at the edges."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, mutual_info_score

from models.partitions import (
    PartitionDrift,
    adjusted_mutual_information,
    adjusted_rand,
    churn,
    compare,
    contingency,
    variation_of_information,
)

Labels = npt.NDArray[np.int64]

_pairs = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 7), min_size=n, max_size=n),
        st.lists(st.integers(0, 7), min_size=n, max_size=n),
    )
)


def _sklearn(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[float, float, float]:
    mutual, own_a, own_b = mutual_info_score(a, b), mutual_info_score(a, a), mutual_info_score(b, b)
    return adjusted_rand_score(a, b), adjusted_mutual_info_score(a, b), own_a + own_b - 2 * mutual


@pytest.mark.parametrize(("n", "ka", "kb"), [(2, 2, 2), (10, 3, 4), (200, 9, 12), (2200, 130, 125), (500, 500, 3)])
def test_equals_scikit_learn(rng: np.random.Generator, n: int, ka: int, kb: int) -> None:
    for share_kept in (0.0, 0.5, 0.9, 1.0):
        a = rng.integers(0, ka, n)
        b = np.where(rng.random(n) < share_kept, a % kb, rng.integers(0, kb, n))
        ours = compare(a, b)
        ari, ami, vi = _sklearn(a, b)
        assert ours.ari == pytest.approx(ari, abs=1e-10)
        assert ours.ami == pytest.approx(ami, abs=1e-10)
        assert ours.vi == pytest.approx(vi, abs=1e-10)


@settings(deadline=None, max_examples=60)
@given(_pairs)
def test_equals_scikit_learn_on_small_partitions(pair: tuple[list[int], list[int]]) -> None:
    a, b = pair
    ari, ami, vi = _sklearn(a, b)
    assert adjusted_rand(a, b) == pytest.approx(ari, abs=1e-10)
    assert adjusted_mutual_information(a, b) == pytest.approx(ami, abs=1e-10)
    assert variation_of_information(a, b) == pytest.approx(vi, abs=1e-10)


@settings(deadline=None, max_examples=60)
@given(_pairs)
def test_adjusted_rand_by_counting_pairs(pair: tuple[list[int], list[int]]) -> None:
    a, b = pair
    counts = {(x, y): 0 for x in (True, False) for y in (True, False)}
    for i, j in combinations(range(len(a)), 2):
        counts[a[i] == a[j], b[i] == b[j]] += 1
    pairs = sum(counts.values())
    same_a = counts[True, True] + counts[True, False]
    same_b = counts[True, True] + counts[False, True]
    chance, best = same_a * same_b / pairs, (same_a + same_b) / 2
    expected = (
        1.0 if counts[True, False] == counts[False, True] == 0 else (counts[True, True] - chance) / (best - chance)
    )
    assert adjusted_rand(a, b) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(_pairs, st.permutations(range(8)), st.randoms(use_true_random=False))
def test_names_order_and_sides_do_not_matter(
    pair: tuple[list[int], list[int]], names: list[int], random: object
) -> None:
    a, b = np.array(pair[0]), np.array(pair[1])
    order = np.array(random.sample(range(a.size), a.size))  # type: ignore[attr-defined]
    renamed = np.array(names)[a] * 1000
    first, other, swapped = compare(a, b), compare(renamed[order], b[order]), compare(b, a)
    for drift in (other, swapped):
        assert drift.ari == pytest.approx(first.ari, abs=1e-12)
        assert drift.ami == pytest.approx(first.ami, abs=1e-10)
        assert drift.vi == pytest.approx(first.vi, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(_pairs, st.lists(st.integers(0, 7), min_size=60, max_size=60))
def test_variation_of_information_is_a_metric(pair: tuple[list[int], list[int]], third: list[int]) -> None:
    a, b = pair
    c = third[: len(a)]
    ab, bc, ac = (variation_of_information(*p) for p in ((a, b), (b, c), (a, c)))
    assert 0.0 <= ab <= math.log(len(a)) + 1e-12
    assert ac <= ab + bc + 1e-9
    assert variation_of_information(a, a) == 0.0


def test_contingency_counts_pairs_of_labels() -> None:
    table = contingency([5, 5, -1, 2, 5], [1, 1, 1, 9, 9])
    assert table.tolist() == [[1, 0], [0, 1], [2, 1]]  # rows -1, 2, 5; columns 1, 9
    assert contingency([], []).shape == (0, 0)


@pytest.mark.parametrize("labels", [[], [3], [4, 4, 4, 4]])
def test_no_coin_one_coin_and_one_cluster_agree_perfectly(labels: list[int]) -> None:
    assert compare(labels, labels) == PartitionDrift(1.0, 1.0, 0.0)


def test_one_cluster_against_many() -> None:
    drift = compare([0, 0, 0, 0], [0, 1, 2, 3])
    assert (drift.ari, drift.ami) == (0.0, 0.0)
    assert drift.vi == pytest.approx(math.log(4))


def test_all_singletons_agree_with_themselves() -> None:
    assert compare([0, 1, 2], [7, 8, 9]) == PartitionDrift(1.0, 1.0, 0.0)


def test_coins_without_a_label_take_no_part() -> None:
    assert compare([0, 0, 1, 1, -1, 2], [3, 3, 4, 4, 4, -1]) == compare([0, 0, 1, 1], [3, 3, 4, 4])
    assert churn([1, 1, 2, -1, 3], [1, 2, 2, 5, -1]) == pytest.approx(1 / 3)
    assert churn([], []) == 0.0
    assert churn([-1], [4]) == 0.0


@pytest.mark.data
def test_equals_the_adjusted_rand_index_of_r(golden: Path) -> None:
    """K-means of R for k = 3 and 5, and mclust's index of the two."""
    runs = json.loads((golden / "R_kmeans_clue_meanstd.json").read_text())
    expected = json.loads((golden / "R_assoc_ari.json").read_text())["ari_k3_k5"]
    assert adjusted_rand(runs["k3"]["hw_cl"], runs["k5"]["hw_cl"]) == pytest.approx(expected, abs=1e-12)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="align"):
        contingency([0, 1], [0])
    with pytest.raises(ValueError, match="align"):
        compare([0, 1], [0])
    with pytest.raises(ValueError, match="align"):
        churn([0, 1], [0])
    with pytest.raises(ValueError, match="dimensions"):
        contingency([[0, 1]], [0, 1])
    with pytest.raises(ValueError, match="integers"):
        compare([0.5, 1.0], [0, 1])
