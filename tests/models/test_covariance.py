from __future__ import annotations

import numpy as np
import pytest
from sklearn import covariance as reference

from models import covariance as cov
from models.returns import standardise, unit_columns

SHAPES = [(50, 8), (40, 60), (10, 200), (300, 5), (3, 2), (60, 60)]


def returns(rng: np.random.Generator, bars: int, n: int) -> np.ndarray:
    mixed = rng.standard_normal((bars, 3)) @ rng.standard_normal((3, n)) + rng.standard_normal((bars, n))
    return standardise(mixed)[0]


@pytest.mark.parametrize(("bars", "n"), SHAPES)
def test_ledoit_wolf_and_oas_equal_the_reference(rng: np.random.Generator, bars: int, n: int) -> None:
    for Z in (returns(rng, bars, n), returns(rng, bars, n) * rng.uniform(0.1, 9.0, n)):
        for ours, theirs in ((cov.ledoit_wolf, reference.LedoitWolf()), (cov.oas, reference.OAS())):
            C, shrinkage = ours(Z)
            theirs.fit(Z)
            assert shrinkage == pytest.approx(theirs.shrinkage_, abs=1e-10)
            np.testing.assert_allclose(C, theirs.covariance_, atol=1e-10 * np.abs(Z).max() ** 2)


@pytest.mark.parametrize(("bars", "n"), SHAPES)
def test_the_inverse_by_the_small_system_is_the_inverse(rng: np.random.Generator, bars: int, n: int) -> None:
    Z = returns(rng, bars, n)
    for weight in (cov.ledoit_wolf_shrinkage(Z) or 0.1, 1e-3, 1.0):
        P = cov.shrunk_precision(Z, weight)
        np.testing.assert_allclose(P, np.linalg.inv(cov.shrunk(Z, weight)), rtol=1e-8, atol=1e-8 / weight)
        np.testing.assert_allclose(P, P.T, rtol=1e-12, atol=1e-12)


def test_without_shrinkage_enough_bars_are_needed(rng: np.random.Generator) -> None:
    Z = returns(rng, 100, 10)
    np.testing.assert_allclose(cov.shrunk_precision(Z, 0.0), np.linalg.inv(cov.empirical(Z)), rtol=1e-9)
    for bars in (5, 10):
        with pytest.raises(ValueError, match="no inverse"):
            cov.shrunk_precision(returns(rng, bars, 10), 0.0)
    Z[:, 2] = 0.0
    with pytest.raises(ValueError, match="no inverse"):
        cov.shrunk_precision(Z, 0.0)


def test_correlation(rng: np.random.Generator) -> None:
    Z = rng.standard_normal((30, 6))
    Z -= Z.mean(axis=0)
    C = cov.correlation(Z)
    np.testing.assert_allclose(C, np.corrcoef(Z.T), atol=1e-14)
    np.testing.assert_array_equal(np.diag(C), np.ones(6))
    np.testing.assert_array_equal(C, C.T)
    Z[:, 1] = 0.0
    C = cov.correlation(Z)
    assert not C[1].any()


def test_shrinkage_is_affine_off_the_diagonal(rng: np.random.Generator) -> None:
    Z = unit_columns(returns(rng, 20, 30)) * np.sqrt(20)
    C, shrinkage = cov.ledoit_wolf(Z)
    off = ~np.eye(30, dtype=bool)
    np.testing.assert_allclose(C[off], ((1.0 - shrinkage) * cov.correlation(Z))[off], atol=1e-14)
    np.testing.assert_allclose(np.diag(C), 1.0)


@pytest.mark.parametrize("shape", [(0, 0), (5, 0), (0, 3)])
def test_nothing_gives_nothing(shape: tuple[int, int]) -> None:
    Z = np.zeros(shape)
    assert cov.ledoit_wolf_shrinkage(Z) == cov.oas_shrinkage(Z) == 0.0
    assert cov.empirical(Z).shape == (shape[1], shape[1])
    assert cov.correlation(np.zeros((4, 2))).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_graphical_lasso_fulfils_its_optimality_conditions(rng: np.random.Generator) -> None:
    Z = returns(rng, 60, 20)
    alpha = 0.3
    found = cov.graphical_lasso(Z, alpha)
    gap = found.covariance - cov.empirical(Z)
    np.testing.assert_allclose(found.covariance @ found.precision, np.eye(20), atol=2e-3)
    assert np.abs(gap).max() <= alpha + 1e-3
    np.testing.assert_allclose(np.diag(gap), 0.0, atol=1e-12)
    active = (np.abs(found.precision) > 1e-8) & ~np.eye(20, dtype=bool)
    np.testing.assert_allclose(gap[active], alpha * np.sign(found.precision[active]), atol=1e-3)
    assert 0 < found.iterations < 50


def test_graphical_lasso_limits(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="at most 500 coins, not 501"):
        cov.graphical_lasso(np.zeros((5, 501)), 0.1)
    with pytest.raises(ValueError, match="at most 500"):
        cov.graphical_lasso_as_published(np.zeros((5, 501)))
    with pytest.raises(ValueError, match="positive"):
        cov.graphical_lasso(np.zeros((5, 3)), 0.0)
    with pytest.raises(ValueError, match="10 bars"):
        cov.graphical_lasso_as_published(np.zeros((5, 3)))
    alone = cov.graphical_lasso(returns(rng, 30, 1), 0.1)
    np.testing.assert_allclose(alone.precision, 1.0)
    assert cov.graphical_lasso(np.zeros((9, 0)), 0.1).precision.shape == (0, 0)
