"""The moments view on a year of days: our cold and warm fit against scikit-learn's KMeans with as many starts.

A cold fit is an ensemble of ten runs of fifty starts and its medoid, silhouettes and prototypes; the rival is a single
KMeans of five hundred starts on the same two features. Peak memory is what one call adds to a process that has its
imports (Linux only).
"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

from benchmarks.distribution import returns, window
from benchmarks.memory import megabytes
from benchmarks.timing import head, in_turn, row, seconds
from models.moments import MomentsConfig
from models.prepare import FitInput
from models.threads import one_thread

CLUSTERS, STARTS, RUNS = 3, 50, 10
VIEW = MomentsConfig(clusters=CLUSTERS, starts=STARTS, runs=RUNS, exclude=())


def market(n: int) -> FitInput:
    return window(returns(n))


def ours(given: FitInput) -> object:
    return VIEW.build().fit(given)


def rival(given: FitInput) -> float:
    R = np.diff(np.log(given.closes), axis=0)
    X = np.stack([R.mean(axis=0), R.std(axis=0, ddof=1)], axis=1)
    X = (X - X.mean(axis=0)) / X.std(axis=0, ddof=1)
    with one_thread():
        return float(KMeans(CLUSTERS, n_init=STARTS * RUNS, random_state=0).fit(X).inertia_)


def main() -> None:
    head("coins", "cold s", "KMeans s", "ratio", "warm s", "cold MB", "KMeans MB")
    for n in (100, 500, 1_000, 2_500):
        given = market(n)
        a, b, ratio = in_turn(
            lambda given=given: ours(given), lambda given=given: rival(given), runs=1 if n > 1_000 else 3
        )
        view = VIEW.build()
        view.fit(given)
        warm = seconds(lambda view=view, given=given: view.fit(given))
        row(n, a, b, ratio, warm, megabytes(market, ours, n), megabytes(market, rival, n))


if __name__ == "__main__":
    main()
