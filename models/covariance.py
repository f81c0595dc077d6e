"""Covariance of standardised returns: empirical, shrunk towards identity, sparse.

The shrunk estimators never form an n x n matrix to find their shrinkage, and their precision is exact by way of
the T x T Gram matrix (the identity of Woodbury): with T bars and n >> T coins the work is O(T n^2) for the product
and O(T^2 n) for everything else. Input is float64[T, n] with (nearly) zero column means, as
:func:`models.returns.standardise` leaves them; means are not removed again.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.returns import small_gram, unit_columns

Float64 = npt.NDArray[np.float64]

GRAPHICAL_LASSO_MOST_COINS: Final = 500
"""Above this the graphical lasso takes minutes, and its result carries no more than shrinkage (METHODS)."""

_ENET_TOL: Final = 1e-7
"""scikit-learn 1.8 and later do not converge at the default tolerance of the inner solver; this cures it."""

_MAX_ITERATIONS: Final = 500
"""Also the limit of the inner solver, which needs more than its default of 100 at that tolerance."""


@dataclass(frozen=True, slots=True)
class SparseCovariance:
    """Result of a graphical lasso: both matrices, and the penalty that they belong to."""

    covariance: Float64
    precision: Float64
    alpha: float
    iterations: int


def correlation(Z: Float64) -> Float64:
    """Return float64[n, n] correlations of the columns: exactly symmetric, 1 on the diagonal (0 for zero columns)."""
    unit = unit_columns(Z)
    C: Float64 = unit.T @ unit
    np.clip(C, -1.0, 1.0, out=C)
    np.fill_diagonal(C, (unit != 0.0).any(axis=0).astype(np.float64))
    return C


def empirical(Z: Float64) -> Float64:
    """Return the maximum-likelihood covariance Z'Z / T (the diagonal is 1 for standardised columns without gaps)."""
    return (Z.T @ Z) / max(len(Z), 1)


def ledoit_wolf(Z: Float64) -> tuple[Float64, float]:
    """Return the covariance shrunk to the identity, and the shrinkage (Ledoit & Wolf 2004, J. Multivar. Anal. 88)."""
    shrinkage = ledoit_wolf_shrinkage(Z)
    return shrunk(Z, shrinkage), shrinkage


def oas(Z: Float64) -> tuple[Float64, float]:
    """Return the covariance shrunk by the oracle approximation, and the shrinkage (Chen et al. 2010, IEEE TSP 58)."""
    shrinkage = oas_shrinkage(Z)
    return shrunk(Z, shrinkage), shrinkage


def ledoit_wolf_shrinkage(Z: Float64) -> float:
    """Return the weight of the identity that minimises the expected squared error (their lemma 3.4).

    The sum of the squares of all covariances is the squared norm of the T x T Gram matrix, and the sum over all
    pairs of sum_t z_ti^2 z_tj^2 is the sum over t of (sum_i z_ti^2)^2: no n x n matrix is needed.
    """
    bars, n = Z.shape
    if bars == 0 or n == 0:
        return 0.0
    per_bar = (Z * Z).sum(axis=1)
    trace = float(per_bar.sum()) / bars
    squares = float(np.square(small_gram(Z)).sum()) / bars**2
    spread = float((per_bar * per_bar).sum()) / bars
    distance = squares - trace * trace / n
    noise = min((spread - squares) / bars, distance)
    return noise / distance if noise > 0.0 else 0.0


def oas_shrinkage(Z: Float64) -> float:
    """Return the weight of the identity by the oracle approximating formula (their equation 23)."""
    bars, n = Z.shape
    if bars == 0 or n == 0:
        return 0.0
    trace = float((Z * Z).sum()) / bars
    squares = float(np.square(small_gram(Z)).sum()) / bars**2
    mean_square, square_mean = squares / n**2, (trace / n) ** 2
    denominator = (bars + 1.0) * (mean_square - square_mean / n)
    return min((mean_square + square_mean) / denominator, 1.0) if denominator > 0.0 else 1.0


def shrunk(Z: Float64, shrinkage: float) -> Float64:
    """Return (1 - s) Z'Z / T + s m I, m the mean variance."""
    C = empirical(Z)
    n = len(C)
    mean_variance = float(np.trace(C)) / max(n, 1)
    C *= 1.0 - shrinkage
    C.reshape(-1)[:: n + 1] += shrinkage * mean_variance
    return C


def shrunk_precision(Z: Float64, shrinkage: float) -> Float64:
    """Return the inverse of :func:`shrunk`, exactly, by a T x T system where the coins are more than the bars.

    Raises
    ------
    ValueError
        If the matrix has no inverse: no shrinkage, and not enough bars (or columns of zeros).
    """
    bars, n = Z.shape
    ridge = shrinkage * float((Z * Z).sum()) / max(bars * n, 1)
    if n <= bars or ridge == 0.0:
        return _inverse(shrunk(Z, shrinkage))
    U = Z * np.sqrt((1.0 - shrinkage) / bars)
    small = U @ U.T
    small.reshape(-1)[:: bars + 1] += ridge
    # with small = L L', the inverse is (I - V'V) / ridge where V = L^-1 U
    V = np.linalg.solve(np.linalg.cholesky(small), U)
    P: Float64 = V.T @ V
    P *= -1.0 / ridge
    P.reshape(-1)[:: n + 1] += 1.0 / ridge
    return P


def _inverse(C: Float64) -> Float64:
    try:
        root = np.linalg.cholesky(C)
    except np.linalg.LinAlgError:
        root = np.zeros_like(C)
    diagonal = np.diag(root)
    # a factor that is positive only by rounding would give an inverse of noise
    if C.size and diagonal.min() <= 1e-7 * diagonal.max():
        raise ValueError("the covariance has no inverse: more coins than bars and no shrinkage")
    V = np.linalg.solve(root, np.eye(len(C)))
    P: Float64 = V.T @ V
    return P


def graphical_lasso(Z: Float64, alpha: float) -> SparseCovariance:
    """Return the covariance whose inverse is sparse at a given penalty (Friedman et al. 2008; diagonal free).

    Raises
    ------
    ValueError
        If the coins are more than :data:`GRAPHICAL_LASSO_MOST_COINS`, or the penalty is not positive.
    FloatingPointError
        If the solver does not converge or leaves the positive definite matrices: the penalty is too small for so
        few bars.
    """
    from sklearn.covariance import graphical_lasso as solve  # noqa: PLC0415 - takes seconds to import

    _check_size(Z.shape[1])
    if not alpha > 0.0:
        raise ValueError(f"the penalty of the graphical lasso must be positive, not {alpha}")
    if Z.shape[1] < 2:
        C = empirical(Z)
        P: Float64 = np.divide(1.0, C, out=np.zeros_like(C), where=C > 0.0)
        return SparseCovariance(C, P, alpha, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they would say is checked below
        covariance, precision, iterations = solve(
            empirical(Z), alpha, enet_tol=_ENET_TOL, max_iter=_MAX_ITERATIONS, return_n_iter=True
        )
    if iterations >= _MAX_ITERATIONS:
        raise FloatingPointError(f"the graphical lasso did not converge in {iterations} iterations: raise its penalty")
    return SparseCovariance(covariance, precision, alpha, int(iterations))


def graphical_lasso_as_published(Z: Float64) -> SparseCovariance:
    """Return the tutorial's estimate: the penalty chosen by five-fold cross-validation, as scikit-learn does it.

    With fewer bars per fold than coins the chosen penalty is merely the smallest at which the solver survives
    (every smaller one scores -inf), and it jumps from window to window: a fixed penalty is the sound choice.
    """
    from sklearn.covariance import GraphicalLassoCV  # noqa: PLC0415 - takes seconds to import

    _check_size(Z.shape[1])
    if Z.shape[1] < 2 or len(Z) < 10:
        raise ValueError("cross-validation needs at least 2 coins and 10 bars: use another covariance")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the folds that score -inf are the method's own
        model = GraphicalLassoCV(enet_tol=_ENET_TOL).fit(Z)
    return SparseCovariance(model.covariance_, model.precision_, float(model.alpha_), int(model.n_iter_))


def _check_size(n: int) -> None:
    if n > GRAPHICAL_LASSO_MOST_COINS:
        raise ValueError(
            f"the graphical lasso takes at most {GRAPHICAL_LASSO_MOST_COINS} coins, not {n}: "
            "set [universe] size, or covariance = 'ledoit_wolf'"
        )
