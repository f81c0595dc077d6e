"""The comovement view on sixty days: our whole fit against the same steps with scikit-learn's estimators.

Both screen nothing, remove the market's first factor, shrink the covariance, cluster by affinity propagation, invert
for partial correlations and embed. Ours adds silhouettes, edges and drift measures. Peak memory is what one call adds
to a process that has its imports (Linux only).
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.cluster import affinity_propagation
from sklearn.covariance import LedoitWolf
from sklearn.manifold import locally_linear_embedding
from sklearn.metrics import adjusted_rand_score

from benchmarks.memory import megabytes
from benchmarks.timing import head, in_turn, row
from models.comovement import ComovementConfig, fit
from models.prepare import FitInput
from models.threads import one_thread

BARS = 60
VIEW = ComovementConfig(exclude=(), winsorise_quantile=0.0, duplicates_above_correlation=1.0)


def window(n: int) -> FitInput:
    rng = np.random.default_rng(n)
    groups = rng.integers(0, max(2, n // 20), n)
    factors = rng.standard_normal((BARS, groups.max() + 1))
    returns = rng.standard_normal((BARS, 1)) + factors[:, groups] + 1.2 * rng.standard_normal((BARS, n))
    closes = np.exp(0.02 * np.vstack([np.zeros(n), np.cumsum(returns, axis=0)]))
    return FitInput(tuple(f"coin-{i:04d}" for i in range(n)), closes, np.zeros(n))


def ours(given: FitInput) -> object:
    return fit(given, VIEW)


def rival(given: FitInput) -> np.ndarray:
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")
        X = np.diff(np.log(given.closes), axis=0)
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        u, s, v = np.linalg.svd(X, full_matrices=False)
        X = X - s[0] * np.outer(u[:, 0], v[0])
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        S = LedoitWolf().fit(X).covariance_
        off = S[~np.eye(len(S), dtype=bool)]
        labels = affinity_propagation(S, preference=np.median(off), damping=0.7, max_iter=400, random_state=0)[1]
        np.linalg.inv(S)
        locally_linear_embedding(X.T, n_neighbors=20, n_components=3, eigen_solver="dense")
    return np.asarray(labels)


def main() -> None:
    head("coins", "ours s", "scikit-learn s", "ratio", "ARI of labels", "ours MB", "scikit-learn MB")
    for n in (100, 500, 1_000, 2_500):
        given = window(n)
        a, b, ratio = in_turn(
            lambda given=given: ours(given), lambda given=given: rival(given), runs=1 if n > 1_000 else 3
        )
        agree = adjusted_rand_score(fit(given, VIEW).labels, rival(given))
        row(n, a, b, ratio, agree, megabytes(window, ours, n), megabytes(window, rival, n))


if __name__ == "__main__":
    main()
