"""The distribution view on a year of days: distances against transport pair by pair, search against scikit-learn.

The rival of the distances sorts both coins for each pair, as one-dimensional transport routines do (its time is that of
2,000 pairs). The rival of the search is KMeans with as many k-means++ starts on the same sorted returns; `squares` is
our sum of squares over its own. Peak memory (Linux only) is what one fit adds to a process that has its imports and
its input; ours makes silhouettes and prototypes too.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

from benchmarks.timing import head, in_turn, row, seconds
from models.distribution import DistributionConfig
from models.distribution_search import cold, warm
from models.prepare import FitInput
from models.quantiles import features, order_statistics
from models.threads import one_thread
from models.wasserstein import distances

Float64 = npt.NDArray[np.float64]

SIZES = (100, 500, 1_000, 2_500)
BARS, CLUSTERS, STARTS, PAIRS = 364, 5, 20, 2_000
VIEW = DistributionConfig(clusters=CLUSTERS, starts=STARTS, exclude=())


def returns(coins: int, seed: int = 0) -> Float64:
    """Heavy tails and deviations as the market of 2021 has them (median 0.07, one coin in a hundred above 0.25)."""
    rng = np.random.default_rng([coins, seed])
    wild = rng.standard_t(rng.uniform(3.0, 8.0, coins), size=(BARS + 1, coins))
    skew = rng.exponential(size=wild.shape) - 1.0
    return np.clip(0.07 * rng.lognormal(0.0, 0.55, coins) * (wild + rng.uniform(0.0, 1.0, coins) * skew), -1.0, 1.0)


def window(R: Float64) -> FitInput:
    n = R.shape[1]
    closes = np.exp(np.vstack([np.zeros(n), np.cumsum(R, axis=0)]))
    return FitInput(tuple(f"coin-{i:04}" for i in range(n)), closes, np.zeros(n))


def pair_by_pair(R: Float64, pairs: npt.NDArray[np.int64]) -> list[float]:
    columns = np.ascontiguousarray(R.T)
    return [float(np.sqrt(np.mean((np.sort(columns[a]) - np.sort(columns[b])) ** 2))) for a, b in pairs.tolist()]


def all_distances(R: Float64) -> Float64:
    X = features(order_statistics(R))
    return distances(X, X)


def memory_of(kind: str, coins: int) -> float:
    """Return the megabytes that one call adds to a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_added, (kind, coins))


def _added(kind: str, coins: int) -> float:
    R = returns(coins)[:BARS]
    VIEW.build().fit(window(returns(20)[:BARS]))  # imports, compiled code
    X, given = features(order_statistics(R)), window(R)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is held now
    before = _peak_kilobytes()
    with one_thread():
        if kind == "ours":
            VIEW.build().fit(given)
        else:
            KMeans(CLUSTERS, n_init=STARTS, random_state=0).fit(X)
    return (_peak_kilobytes() - before) / 1024


def _peak_kilobytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def print_distances() -> None:
    head("coins", "ours us/pair", "pair by pair us/pair", "ratio", "largest difference")
    for coins in SIZES:
        R = returns(coins)[:BARS]
        pairs = np.random.default_rng(1).integers(0, coins, (PAIRS, 2))
        a, b, ratio = in_turn(lambda R=R: all_distances(R), lambda R=R, p=pairs: pair_by_pair(R, p), runs=3)
        apart = np.abs(all_distances(R)[pairs[:, 0], pairs[:, 1]] - pair_by_pair(R, pairs)).max()
        per_rival = coins * (coins - 1) / 2 / PAIRS  # ours makes each pair twice, and is charged for it
        row(coins, 1e6 * a / (PAIRS * per_rival), 1e6 * b / PAIRS, ratio * per_rival, float(apart))


def print_search() -> None:
    head("coins", "cold s", "KMeans s", "ratio", "squares", "warm s", "KMeans / warm", "cold / warm", "squares of warm")
    for coins in SIZES:
        R = returns(coins)
        X, later = features(order_statistics(R[:BARS])), features(order_statistics(R[1:]))
        with one_thread():
            reference = KMeans(CLUSTERS, n_init=STARTS, random_state=0)
            a, b, ratio = in_turn(
                lambda X=later: cold(X, CLUSTERS, STARTS, 0), lambda X=later, m=reference: m.fit(X), runs=3
            )
            before = cold(X, CLUSTERS, STARTS, 0).centres
            w, _, to_cold = in_turn(
                lambda X=later, c=before: warm(X, c), lambda X=later: cold(X, CLUSTERS, STARTS, 0), runs=3
            )
            anew, on = cold(later, CLUSTERS, STARTS, 0), warm(later, before)
        squares = anew.inertia / float(reference.inertia_)
        row(coins, a, b, ratio, round(squares, 6), w, b / w, to_cold, round(on.inertia / anew.inertia, 6))


def print_view() -> None:
    head("coins", "cold s", "warm s", "number chosen s", "as published s", "peak MB", "KMeans peak MB")
    for coins in SIZES:
        R = returns(coins)
        first, later = window(R[:BARS]), window(R[1:])
        view = VIEW.build()
        view.fit(first)
        chosen, published = replace(VIEW, clusters=0), replace(VIEW, as_published=True)
        row(
            coins,
            min(seconds(lambda w=later: VIEW.build().fit(w)) for _ in range(3)),
            min(seconds(lambda w=later, v=view: v.fit(w)) for _ in range(3)),
            seconds(lambda w=later, c=chosen: c.build().fit(w)),
            seconds(lambda w=later, c=published: c.build().fit(w)),
            round(memory_of("ours", coins), 1),
            round(memory_of("KMeans", coins), 1),
        )


def main() -> None:
    print_distances()
    print()
    print_search()
    print()
    print_view()


if __name__ == "__main__":
    main()
