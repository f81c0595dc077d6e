from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.view import curve, numbered_by_exemplar, scalar, without_clusters


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 6))
def test_clusters_are_numbered_by_their_exemplar(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    k = min(n, k)
    labels = rng.permutation(np.concatenate([np.arange(k), rng.integers(0, k, n - k)])).astype(np.int32)
    exemplars = np.array([rng.choice(np.flatnonzero(labels == c)) for c in range(k)])
    renamed, ascending, order = numbered_by_exemplar(labels, exemplars)
    assert renamed.dtype == np.int32
    assert (np.diff(ascending) > 0).all()
    np.testing.assert_array_equal(renamed[ascending], np.arange(k))
    np.testing.assert_array_equal(order[renamed], labels)
    np.testing.assert_array_equal(exemplars[order], ascending)


def test_prototypes_are_rows_per_cluster_and_position() -> None:
    one = scalar("size", [3, 1])
    assert (one.statistic, one.label.tolist(), one.position.tolist(), one.value.tolist()) == (
        "size", [0, 1], [0.0, 0.0], [3.0, 1.0],
    )  # fmt: skip
    many = curve("quantile", [0.25, 0.5, 0.75], [[1, 2, 3], [4, 5, 6]])
    assert many.label.tolist() == [0, 0, 0, 1, 1, 1]
    assert many.position.tolist() == [0.25, 0.5, 0.75] * 2
    assert many.value.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert many.label.dtype == one.label.dtype == np.int32


def test_a_fit_without_clusters_says_nothing() -> None:
    nothing = without_clusters(("a", "b"), {"c": "why"}, 7, {"x": 1.0})
    assert not nothing.converged
    assert nothing.labels.tolist() == [-1, -1]
    assert nothing.distances.shape == (2, 0)
    assert np.isnan(nothing.distance).all()
    assert (nothing.iterations, nothing.diagnostics, nothing.excluded) == (7, {"x": 1.0}, {"c": "why"})
