"""Dynamic clustering as published: its rules, on small tables."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from models.dynamic_clustering import balanced_starts, dynamic_clustering


def test_starts_are_balanced_and_repeat_with_the_seed() -> None:
    starts = list(balanced_starts(11, 3, 4, seed=1))
    assert [sorted(np.bincount(start).tolist()) for start in starts] == [[3, 4, 4]] * 4
    assert not np.array_equal(starts[0], starts[1])
    np.testing.assert_array_equal(starts, list(balanced_starts(11, 3, 4, seed=1)))
    assert not np.array_equal(starts, list(balanced_starts(11, 3, 4, seed=2)))


def test_it_is_lloyds_algorithm_from_the_means_of_the_start(rng: np.random.Generator) -> None:
    X = rng.normal(size=(90, 6))
    for start in balanced_starts(90, 4, 5, seed=3):
        found = dynamic_clustering(X, 4, [start])
        means = np.array([X[start == k].mean(axis=0) for k in range(4)])
        reference = KMeans(4, init=means, n_init=1, tol=0.0, algorithm="lloyd").fit(X)
        np.testing.assert_array_equal(found.labels, reference.labels_)
        assert found.criterion == pytest.approx(reference.inertia_)
        np.testing.assert_allclose(found.centres, reference.cluster_centers_)
        assert found.converged


def test_the_best_repetition_counts(rng: np.random.Generator) -> None:
    X = rng.normal(size=(60, 3))
    starts = list(balanced_starts(60, 5, 8, seed=0))
    alone = [dynamic_clustering(X, 5, [start]).criterion for start in starts]
    assert len(set(np.round(alone, 9))) > 1
    assert dynamic_clustering(X, 5, starts).criterion == min(alone)


def test_an_empty_cluster_is_given_the_farthest() -> None:
    """Both prototypes of the start are 0: the second is nearest to nothing."""
    X = np.array([[-1.0], [1.0], [-3.0], [3.0]])
    found = dynamic_clustering(X, 2, [np.array([0, 0, 1, 1], dtype=np.int32)])
    assert sorted(np.bincount(found.labels).tolist()) == [1, 3]
    assert np.isfinite(found.centres).all()


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_equal_distributions_end_at_once(k: int) -> None:
    found = dynamic_clustering(np.ones((4, 2)), k, balanced_starts(4, k, 3, seed=0))
    assert found.converged
    assert found.criterion == 0.0
    assert (np.bincount(found.labels, minlength=k) > 0).all()


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot make 5 clusters"):
        dynamic_clustering(np.ones((4, 2)), 5, [])
    with pytest.raises(ValueError, match="one start at least"):
        dynamic_clustering(np.ones((4, 2)), 2, [])
