from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from models.returns import unit_columns
from models.silhouette import silhouettes


@pytest.mark.parametrize(("n", "clusters"), [(30, 2), (100, 12), (50, 49)])
def test_silhouettes_equal_the_reference(rng: np.random.Generator, n: int, clusters: int) -> None:
    unit = unit_columns(rng.standard_normal((25, n)))
    labels = np.concatenate([np.arange(clusters), rng.integers(0, clusters, n - clusters)]).astype(np.int32)
    distance = 1.0 - unit.T @ unit
    np.fill_diagonal(distance, 0.0)
    np.testing.assert_allclose(
        silhouettes(unit, labels), silhouette_samples(distance, labels, metric="precomputed"), atol=1e-12
    )


def test_one_cluster_has_none_and_every_coin_alone_has_zero(rng: np.random.Generator) -> None:
    unit = unit_columns(rng.standard_normal((9, 5)))
    assert np.isnan(silhouettes(unit, np.zeros(5, dtype=np.int32))).all()
    assert silhouettes(unit, np.arange(5, dtype=np.int32)).tolist() == [0.0] * 5


def test_equal_series_apart_are_at_no_distance() -> None:
    unit = unit_columns(np.ones((4, 4)))
    np.testing.assert_array_equal(silhouettes(unit, np.array([0, 0, 1, 1], dtype=np.int32)), np.zeros(4))
