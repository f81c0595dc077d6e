"""Affinity propagation: ours against scikit-learn's, on correlations of a factor market. Labels must be the same."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.cluster import affinity_propagation as rival

from benchmarks.timing import head, in_turn, row
from models.affinity import affinity_propagation


def correlations(n: int, bars: int = 60) -> np.ndarray:
    rng = np.random.default_rng(n)
    groups = rng.integers(0, max(2, n // 20), n)
    factors = rng.standard_normal((bars, groups.max() + 1))
    return np.corrcoef((factors[:, groups] + 1.2 * rng.standard_normal((bars, n))).T)


def main() -> None:
    head("coins", "ours s", "scikit-learn s", "ratio", "same labels", "iterations")
    for n in (100, 500, 1000, 2000):
        S = correlations(n)
        preference = float(np.median(S))
        settings = {"damping": 0.7, "max_iter": 400, "preference": preference}

        def ours(S: np.ndarray = S, preference: float = preference) -> object:
            return affinity_propagation(S, preference, damping=0.7, max_iterations=400)

        def theirs(S: np.ndarray = S, settings: dict[str, float] = settings) -> object:
            return rival(S, random_state=0, return_n_iter=True, **settings)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            a, b, ratio = in_turn(ours, theirs, runs=3 if n >= 1000 else 5)
            found = affinity_propagation(S, preference, damping=0.7, max_iterations=400)
            _, labels, iterations = rival(S, random_state=0, return_n_iter=True, **settings)
        row(n, a, b, ratio, bool(np.array_equal(found.labels, labels)), f"{found.iterations} / {iterations}")


if __name__ == "__main__":
    main()
