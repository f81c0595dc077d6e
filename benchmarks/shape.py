"""Dynamic time warping of a year of days, and the shape view that stands on it.

Rivals, on one thread: the same recursion compiled pair by pair with one row in memory (what a C library does), then
dtaidistance and tslearn where they are installed (they are no dependencies), and plain Python; the slower ones on fewer
pairs. `pruned` is TADPole as published, which computes a distance only where its bounds leave a doubt; `share` is how
many that is, `bounds` the time of the bounds alone. Peak memory (Linux only) is what one fit adds to a process that has
its imports and its input.
"""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from benchmarks.timing import head, in_turn, row, seconds
from models.dtw import WINDOW, dtw_between, dtw_matrix, euclid_matrix, lb_improved_matrix, lb_keogh_matrix
from models.prepare import FitInput
from models.shape import ShapeConfig
from models.tadpole import density_peaks, tadpole

Float64 = npt.NDArray[np.float64]
Distances = Callable[[Float64], Any]

SIZES = (100, 500, 1_000, 2_500)
BARS = 364
VIEW = ShapeConfig(exclude=())


def returns(coins: int, bars: int = BARS, seed: int = 0) -> Float64:
    """A common mode, groups that move up to two days late, heavy tails, deviations as the market of 2021 has them."""
    rng = np.random.default_rng([coins, seed])
    group, late = rng.integers(6, size=coins), rng.integers(3, size=coins)
    modes = rng.standard_t(4, size=(6, bars + 2)) + 1.5 * rng.standard_t(4, size=bars + 2)
    moves = np.array([modes[g, 2 - s : 2 - s + bars] for g, s in zip(group, late, strict=True)])
    wild = 0.6 * moves + 1.2 * rng.standard_t(4, size=(coins, bars))
    return np.clip(0.03 * rng.lognormal(0.0, 0.5, (coins, 1)) * wild, -1.0, 1.0)


def window(X: Float64) -> FitInput:
    n = len(X)
    closes = np.exp(np.vstack([np.zeros(n), np.cumsum(X.T, axis=0)]))
    return FitInput(tuple(f"coin-{i:04}" for i in range(n)), closes, np.zeros(n))


@njit(cache=True)
def _pair(x: Float64, y: Float64, width: int) -> float:
    bars = len(x)
    before = np.full(bars + 1, np.inf)
    before[0] = 0.0
    for i in range(bars):
        first, last = max(i - width, 0), min(i + width, bars - 1)
        diagonal, left = before[first], np.inf
        before[first] = np.inf
        for j in range(first, last + 1):
            above = before[j + 1]
            left = (x[i] - y[j]) ** 2 + min(diagonal, above, left)
            before[j + 1] = left
            diagonal = above
    return np.sqrt(before[bars])


@njit(cache=True)
def pair_by_pair(X: Float64) -> Float64:
    """The obvious way, compiled: one pair after the other."""
    D = np.zeros((len(X), len(X)))
    for i in range(len(X)):
        for j in range(i):
            D[i, j] = D[j, i] = _pair(X[i], X[j], WINDOW)
    return D


def plain_python(X: Float64) -> Float64:
    rows = X.tolist()
    return np.array([[_pair.py_func(np.array(x), np.array(y), WINDOW) for y in rows] for x in rows])


def dtaidistance(X: Float64) -> Any:
    """Its window counts the diagonal: 4 there is 3 here."""
    return importlib.import_module("dtaidistance.dtw").distance_matrix_fast(X, window=WINDOW + 1, parallel=False)


def tslearn(X: Float64) -> Any:
    metrics = importlib.import_module("tslearn.metrics")
    return metrics.cdist_dtw(X, global_constraint="sakoe_chiba", sakoe_chiba_radius=WINDOW)


def rivals() -> dict[str, tuple[Distances | None, int]]:
    """Return each rival, None if it is not installed, and on how many series it is timed."""
    found: dict[str, tuple[Distances | None, int]] = {"compiled pair by pair": (pair_by_pair, 300)}
    for name, call, most in (("dtaidistance", dtaidistance, 300), ("tslearn", tslearn, 60)):
        try:
            importlib.import_module(name)
            found[name] = (call, most)
        except ImportError:
            found[name] = (None, 0)
    found["plain Python"] = (plain_python, 8)
    return found


def print_pairs() -> None:
    head("one thread, 300 coins", "us/pair", "float64 is faster by", "float32 is faster by", "largest difference")
    X = returns(300)
    exact = dtw_matrix(X)
    pairs = 300 * 299 / 2
    a, b, ratio = in_turn(lambda: dtw_matrix(X), lambda: dtw_matrix(X, precision="float32"))
    row("ours, float64", 1e6 * a / pairs, 1.0, 1.0 / ratio, 0.0)
    apart = float(np.abs(dtw_matrix(X, precision="float32") - exact).max())
    row("ours, float32", 1e6 * b / pairs, ratio, 1.0, apart)
    for name, (call, most) in rivals().items():
        if call is None:
            row(name, "not installed", "", "", "")
            continue
        part = X[:most]
        # ours on all 300 in turn with the rival on its part, both per pair
        computed = most * most if name == "plain Python" else most * (most - 1) / 2
        a, b, ratio = in_turn(lambda: dtw_matrix(X), lambda c=call, p=part: c(p), runs=3)
        to_half = in_turn(lambda: dtw_matrix(X, precision="float32"), lambda c=call, p=part: c(p), runs=3)[2]
        theirs = np.asarray(call(part))
        upper = np.triu_indices(most, 1)
        apart = float(np.abs(theirs[upper] - exact[:most, :most][upper]).max())
        row(name, 1e6 * b / computed, ratio * pairs / computed, to_half * pairs / computed, apart)


def print_matrices() -> None:
    head("coins", "float64 s", "float32 s", "2 threads s", "pair by pair s", "ratio", "LB_Keogh s", "Euclid s")
    for coins in SIZES:
        X = returns(coins)
        a, b, ratio = in_turn(lambda X=X: dtw_matrix(X), lambda X=X: pair_by_pair(X), runs=1 if coins > 1_000 else 3)
        row(
            coins,
            a,
            seconds(lambda X=X: dtw_matrix(X, precision="float32")),
            seconds(lambda X=X: dtw_matrix(X, threads=2)),
            b,
            ratio,
            seconds(lambda X=X: lb_keogh_matrix(X)),
            seconds(lambda X=X: euclid_matrix(X)),
        )


def print_pruning() -> None:
    head("coins", "whole matrix and peaks s", "pruned s", "pruned / whole", "bounds s", "share", "LB_Improved share")
    for coins in SIZES[:3]:
        X = returns(coins)
        D = dtw_matrix(X)
        dc = float(np.quantile(D[np.triu_indices(coins, 1)], 0.015))
        a, b, ratio = in_turn(
            lambda X=X, dc=dc: density_peaks(dtw_matrix(X), dc), lambda X=X, dc=dc: tadpole(X, dc), runs=3
        )
        bounds = seconds(lambda X=X: (lb_keogh_matrix(X), euclid_matrix(X)))
        improved = tadpole(X, dc, lower_bound="improved", known=D).computed_share if coins <= 500 else float("nan")
        row(coins, a, b, ratio, bounds, tadpole(X, dc, known=D).computed_share, improved)
    few = returns(200)
    each = 1e6 * seconds(lambda: lb_improved_matrix(few)) / (200 * 199 / 2)
    print(f"\nLB_Improved takes {each:.1f} us a pair.")


def print_view() -> None:
    head("coins", "fit s", "number chosen s", "float32 s", "as published s", "ten coins corrected s", "peak MB")
    for coins in SIZES:
        X = returns(coins)
        given = window(X)
        corrected = X.copy()
        corrected[:10, 30] += 0.01
        later = window(corrected)
        running = VIEW.build()
        running.fit(given)
        row(
            coins,
            min(seconds(lambda w=given: VIEW.build().fit(w)) for _ in range(3)),
            seconds(lambda w=given: ShapeConfig(clusters=0, exclude=()).build().fit(w)),
            seconds(lambda w=given: ShapeConfig(precision="float32", exclude=()).build().fit(w)),
            seconds(lambda w=given: ShapeConfig(as_published=True, exclude=()).build().fit(w)),
            seconds(lambda v=running, w=later: v.fit(w)),
            round(memory_of(coins), 1),
        )
    X = returns(1_000)
    one, all_others = X[:1].copy(), X
    a, b, ratio = in_turn(lambda: dtw_between(one, all_others), lambda: dtw_matrix(all_others), runs=3)
    print(f"\nOne changed coin among 1,000: {1e3 * a:.2f} ms; all of them: {1e3 * b:.0f} ms, {ratio:.0f} times that.")


def memory_of(coins: int) -> float:
    """Return the megabytes that one fit adds to a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_added, (coins,))


def _added(coins: int) -> float:
    given = window(returns(coins))
    VIEW.build().fit(window(returns(20)))  # imports, compiled code
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is held now
    before = _peak_kilobytes()
    VIEW.build().fit(given)
    return (_peak_kilobytes() - before) / 1024


def _peak_kilobytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def main() -> None:
    print_pairs()
    print()
    print_matrices()
    print()
    print_pruning()
    print()
    print_view()


if __name__ == "__main__":
    main()
