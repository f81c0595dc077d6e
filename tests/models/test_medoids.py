from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples

from models import dtwclust
from models.medoids import calinski_harabasz, cluster_sums, medoid, medoid_indices, silhouettes

Float64 = npt.NDArray[np.float64]


def distances(rng: np.random.Generator, n: int) -> Float64:
    points = rng.standard_normal((n, 3))
    return np.linalg.norm(points[:, None] - points[None, :], axis=2)


def partition(rng: np.random.Generator, n: int, k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    labels = np.concatenate([np.arange(k), rng.integers(k, size=n - k)]).astype(np.int32)
    labels = labels[rng.permutation(n)]
    exemplars = np.array([rng.choice(np.flatnonzero(labels == c)) for c in range(k)])
    return labels, exemplars


@given(st.integers(0, 2**32 - 1), st.integers(4, 20), st.integers(2, 3))
@settings(max_examples=40)
def test_indices_equal_their_definitions(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    D = distances(rng, n)
    labels, exemplars = partition(rng, n, k)
    found = medoid_indices(D, labels, exemplars)
    members = [np.flatnonzero(labels == c) for c in range(k)]
    centre = min(range(n), key=lambda i: D[i].sum())
    own = [D[i, exemplars[labels[i]]] for i in range(n)]
    mean = [np.mean([own[i] for i in group]) for group in members]
    between = sum(len(group) * D[exemplars[c], centre] for c, group in enumerate(members))
    others = [[d for d in range(k) if d != c] for c in range(k)]
    cop = sum(
        sum(own[i] for i in group) / min(max(D[j, i] for j in range(n) if labels[j] != c) for i in group)
        for c, group in enumerate(members)
    )
    widest = max(D[np.ix_(group, group)].max() for group in members)
    closest = min(D[np.ix_(members[c], members[d])].min() for c in range(k) for d in others[c])
    close = {"rel": 1e-12}
    assert medoid(D) == centre
    assert found.calinski_harabasz == pytest.approx((n - k) / (k - 1) * between / sum(own), **close)
    assert calinski_harabasz(D, labels, exemplars, centre) == pytest.approx(found.calinski_harabasz, **close)
    assert found.dunn == pytest.approx(closest / widest, **close)
    assert found.cop == pytest.approx(cop / n, **close)
    ratios = [[(mean[c] + mean[d]) / D[exemplars[c], exemplars[d]] for d in others[c]] for c in range(k)]
    assert found.davies_bouldin == pytest.approx(np.mean([max(row) for row in ratios]), **close)
    star = [
        max(mean[c] + mean[d] for d in others[c]) / min(D[exemplars[c], exemplars[d]] for d in others[c])
        for c in range(k)
    ]
    assert found.davies_bouldin_star == pytest.approx(np.mean(star), **close)
    assert found.score == pytest.approx(1 - 1 / math.exp(math.exp(between / (n * k) - sum(mean))), rel=1e-9)
    np.testing.assert_allclose(silhouettes(D, labels), silhouette_samples(D, labels, metric="precomputed"), atol=1e-12)
    assert found.silhouette == pytest.approx(silhouettes(D, labels).mean())


def test_single_precision_costs_digits_only(rng: np.random.Generator) -> None:
    D = distances(rng, 30)
    labels, exemplars = partition(rng, 30, 4)
    half = medoid_indices(D.astype(np.float32), labels, exemplars)
    np.testing.assert_allclose(astuple(half), astuple(medoid_indices(D, labels, exemplars)), rtol=1e-5)


def test_sums_by_cluster(rng: np.random.Generator) -> None:
    D = distances(rng, 12)
    labels, _ = partition(rng, 12, 3)
    np.testing.assert_allclose(cluster_sums(D, labels, 3), D @ np.eye(3)[labels], rtol=1e-14)


def test_without_meaning(rng: np.random.Generator) -> None:
    D = distances(rng, 4)
    one = np.zeros(4, dtype=np.int32)
    assert np.isnan(astuple(medoid_indices(D, one, np.array([2])))).all()
    assert np.isnan(silhouettes(D, one)).all()
    every = np.arange(4, dtype=np.int32)
    assert np.isnan(astuple(medoid_indices(D, every, np.arange(4)))).all()
    np.testing.assert_array_equal(silhouettes(D, every), 0.0)
    assert np.isnan(calinski_harabasz(D, one, np.array([0]), 0))
    pair = np.array([0, 0, 1, 1], dtype=np.int32)
    flat = medoid_indices(np.zeros((4, 4)), pair, np.array([0, 2]))
    assert flat.silhouette == 0.0
    assert calinski_harabasz(np.zeros((4, 4)), pair, np.array([0, 2]), 0) == np.inf


def plain_symmetric2(x: Float64, y: Float64, window: int) -> float:
    cell: dict[tuple[int, int], float] = {}
    for i in range(len(x)):
        for j in range(max(i - window, 0), min(i + window + 1, len(y))):
            cost = (x[i] - y[j]) ** 2
            steps = [
                cell.get((i - 1, j - 1), np.inf) + 2 * cost,
                cell.get((i - 1, j), np.inf) + cost,
                cell.get((i, j - 1), np.inf) + cost,
            ]
            cell[i, j] = cost if i == j == 0 else min(steps)
    return math.sqrt(cell[len(x) - 1, len(y) - 1])


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.integers(0, 12))
@settings(max_examples=40)
def test_symmetric2_equals_its_recursion(seed: int, bars: int, window: int) -> None:
    rng = np.random.default_rng(seed)
    A, B = rng.standard_normal((3, bars)), rng.standard_normal((2, bars))
    expected = [[plain_symmetric2(a, b, window) for b in B] for a in A]
    np.testing.assert_allclose(dtwclust.symmetric2(A, B, window), expected, rtol=1e-14)


def test_the_index_of_dtwclust_alone_is_that_of_all(rng: np.random.Generator) -> None:
    X = rng.standard_normal((12, 9))
    labels, exemplars = partition(rng, 12, 3)
    alone = dtwclust.calinski_harabasz(X, labels, exemplars)
    assert alone == pytest.approx(dtwclust.indices(X, labels, exemplars).calinski_harabasz, rel=1e-14)
    assert np.isnan(dtwclust.calinski_harabasz(X, np.zeros(12, dtype=np.int32), np.array([0])))
    constant = np.ones((4, 5))
    pair = np.array([0, 0, 1, 1], dtype=np.int32)
    assert dtwclust.calinski_harabasz(constant, pair, np.array([0, 2])) == np.inf
