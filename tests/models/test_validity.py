from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from models import validity
from models.kmeans import kmeans
from models.nbclust import NAMES, nbclust, r_kmeans
from models.validity import Distances, indices, majority, votes


def case(seed: int, n: int, k: int, coarse: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2)) + 2.0 * rng.integers(0, 3, (n, 1))
    labels = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    return (np.round(X) if coarse else X), rng.permutation(labels)


def plain(X: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The definitions of Arbelaitz et al., one loop after the other."""
    n, k = len(X), labels.max() + 1

    def d(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a - b))

    groups = [X[labels == c] for c in range(k)]
    centre = [group.mean(axis=0) for group in groups]
    gap = min(d(a, b) for i in range(k) for j in range(i) for a in groups[i] for b in groups[j])
    width = max(d(a, b) for group in groups for a in group for b in group)
    cop = 0.0
    for c in range(k):
        inside = np.mean([d(x, centre[c]) for x in groups[c]])
        outside = min(max(d(x, y) for y in groups[c]) for x, label in zip(X, labels, strict=True) if label != c)
        cop += len(groups[c]) / n * inside / outside
    between = sum(len(groups[c]) * d(centre[c], X.mean(axis=0)) for c in range(k)) / (n * k)
    within = sum(np.mean([d(x, centre[c]) for x in groups[c]]) for c in range(k))
    return {"dunn": gap / width, "cop": cop, "score": 1 - 1 / math.exp(math.exp(between - within))}


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(6, 25), st.integers(2, 4))
def test_indices_are_what_their_definitions_say(seed: int, n: int, k: int) -> None:
    X, labels = case(seed, n, k)
    found = indices(Distances(X), labels)
    assert list(found) == list(validity.INDICES)
    for name, value in plain(X, labels).items():
        assert found[name] == pytest.approx(value, rel=1e-9), name
    assert found["silhouette"] == pytest.approx(metrics.silhouette_score(X, labels))
    assert found["davies_bouldin"] == pytest.approx(metrics.davies_bouldin_score(X, labels))
    assert found["calinski_harabasz"] == pytest.approx(metrics.calinski_harabasz_score(X, labels))
    np.testing.assert_allclose(
        validity.silhouettes(Distances(X).D, labels), metrics.silhouette_samples(X, labels), atol=1e-9
    )


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(4, 25), st.integers(2, 4))
def test_neither_order_nor_names_matter_and_nothing_is_negative(seed: int, n: int, k: int) -> None:
    X, labels = case(seed, n, min(k, n), coarse=True)
    with np.errstate(all="raise"):
        found = indices(Distances(X), labels)
    rng = np.random.default_rng(seed)
    order, name = rng.permutation(n), rng.permutation(labels.max() + 1)
    other = indices(Distances(X[order]), name[labels[order]])
    for index, value in found.items():
        assert other[index] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True)
        assert index == "silhouette" or math.isnan(value) or value >= 0.0


def test_one_cluster_has_no_index_and_no_vote() -> None:
    X, _ = case(1, 10, 2)
    found = indices(Distances(X), np.zeros(10, dtype=np.int64))
    assert all(math.isnan(value) for value in found.values())
    assert votes({1: found}) == {}
    with pytest.raises(ValueError, match="vote"):
        majority({})


def test_the_vote_finds_planted_clusters() -> None:
    rng = np.random.default_rng(3)
    for k in (2, 3, 4):
        centres = 5.0 * np.stack([np.cos(np.arange(k) * 2 * np.pi / k), np.sin(np.arange(k) * 2 * np.pi / k)], axis=1)
        X = centres[np.arange(200) % k] + rng.standard_normal((200, 2)) * 0.3
        given = Distances(X)
        values = {j: indices(given, kmeans(X, j).labels) for j in range(2, 8)}
        chosen = votes(values)
        assert set(chosen) == set(validity.INDICES)
        assert majority(chosen) == k


def test_ties_go_to_the_smallest_number() -> None:
    assert majority({"a": 5, "b": 2, "c": 5, "d": 2, "e": 7}) == 2
    same = dict.fromkeys(validity.INDICES, 0.5)
    assert votes({4: same, 2: same, 3: same}) == dict.fromkeys(validity.INDICES, 2)
    assert votes({2: dict.fromkeys(validity.INDICES, math.nan), 3: same}) == dict.fromkeys(validity.INDICES, 3)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(12, 40), st.sampled_from([0, 1, 3]))
def test_nbclust_always_answers(seed: int, n: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    X = np.round(rng.standard_normal((n, 2)), digits)
    distinct = len(np.unique(X, axis=0))
    if distinct < 7:
        with pytest.raises(ValueError, match="too few"):
            nbclust(X, 2, 5)
        return
    vote = nbclust(X, 2, 5)
    assert vote.clusters == (2, 3, 4, 5)
    assert tuple(vote.values) == NAMES
    assert set(vote.best.values()) <= {1, 2, 3, 4, 5}
    assert len(np.unique(vote.labels)) == vote.chosen


def test_nbclust_of_points_on_a_line() -> None:
    X = np.column_stack([np.arange(30.0) - 14.5, np.zeros(30)])
    vote = nbclust(X, 2, 5)
    assert math.isnan(vote.values["Friedman"][0])
    assert "Friedman" not in vote.best


def test_nbclust_refuses_a_range_without_differences() -> None:
    X, _ = case(4, 30, 3)
    for least, most in ((1, 5), (2, 3), (5, 4)):
        with pytest.raises(ValueError, match="clusters from"):
            nbclust(X, least, most)


def test_a_start_with_equal_points_is_drawn_again() -> None:
    X = np.repeat([[0.0, 0.0], [5.0, 5.0], [9.0, 0.0]], 20, axis=0)
    X[0] = [0.1, 0.0]
    for seed in range(20):
        assert len(np.unique(r_kmeans(X, 3, seed))) == 3
    np.testing.assert_array_equal(r_kmeans(X, 1), 0)
