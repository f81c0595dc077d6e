"""The vote of the R package NbClust 3.0.1 on the number of clusters, all 26 indices of ``index = "all"``.

Lorenzo & Arroyo 2022 choose their k with it. It is reproduced with its quirks, because the vote depends on them: each
partition comes from *one* random start of Hartigan and Wong's K-means (R's ``set.seed(1)``, ten iterations at most),
several indices differ from the papers that they are named after, and ties go to the smallest k. The default vote of
this project (:mod:`models.validity`) has neither. The indices are described by Charrad, Ghazzali, Boiteau & Niknafs
2014, Journal of Statistical Software 61(6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.hartigan_wong import hartigan_wong
from models.nbclust_indices import hubert, of_centres, of_pairs, of_scatter, of_split, of_traces, total_separation
from models.r_random import RRandom
from models.validity import Distances, dunn

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

NAMES: Final = (
    "KL", "CH", "Hartigan", "CCC", "Scott", "Marriot", "TrCovW", "TraceW", "Friedman", "Rubin", "Cindex", "DB",
    "Silhouette", "Duda", "Pseudot2", "Beale", "Ratkowsky", "Ball", "Ptbiserial", "Frey", "McClain", "Dunn", "Hubert",
    "SDindex", "Dindex", "SDbw",
)  # fmt: skip

GRAPHICAL: Final = ("Hubert", "Dindex")
"""To be read off a picture; they have no vote."""

BEALE_ALPHA: Final = 0.1


@dataclass(frozen=True, slots=True)
class Vote:
    """Indices for k = least to most, and what they prefer."""

    clusters: tuple[int, ...]
    values: dict[str, Float64]
    """Per index float64[m]; NaN where it is undefined."""
    best: dict[str, int]
    """The k that each index prefers; those without a preference are absent. Frey may say 1."""
    chosen: int
    """The k with most votes, the smallest of equal ones."""
    labels: Int64
    """int64[n]: the partition into ``chosen`` clusters."""


def nbclust(X: Float64, least: int = 2, most: int = 8, *, seed: int = 1) -> Vote:
    """Vote on the number of clusters of standardised points.

    Parameters
    ----------
    X
        float64[n, d], finite, d > 1, rows in the order in which R would see them (its one start depends on it).
    least, most
        Range of k; NbClust wants two steps at least.

    Raises
    ------
    ValueError
        If the range is too small, or there are not enough distinct points for ``most + 1`` clusters.
    """
    if least < 2 or most - least < 2:
        raise ValueError(f"clusters from {least} to {most}: from 2 on and over three numbers at least")
    distinct = len(np.unique(X, axis=0))
    if distinct < most + 2:
        raise ValueError(f"{distinct} distinct points are too few for {most + 1} clusters")
    given = Distances(X)
    partitions = {k: r_kmeans(given.X, k, seed) for k in range(max(least - 1, 1), most + 2)}
    values = {name: np.full(most - least + 1, np.nan) for name in NAMES}
    critical = {name: np.full(most - least + 1, np.nan) for name in ("Duda", "Pseudot2", "Beale")}
    scale = total_separation(given.X, partitions[most])
    with np.errstate(divide="ignore", invalid="ignore"):
        for at, k in enumerate(range(least, most + 1)):
            before, now, after = (partitions[j] for j in (k - 1, k, k + 1))
            found = of_scatter(given.X, now) | of_traces(given.X, before, now, after)
            found |= of_pairs(given, now, after) | of_centres(given.X, now, scale)
            found["Dunn"], found["Hubert"] = dunn(given, now), hubert(given, now)
            split, limits = of_split(given.X, now, after)
            for name, value in (found | split).items():
                values[name][at] = value
            for name, value in limits.items():
                critical[name][at] = value
    best = _preferences(least, values, critical)
    ballots = [k for name, k in best.items() if name not in GRAPHICAL]
    chosen = max(set(ballots), key=lambda k: (ballots.count(k), -k))
    labels = partitions[chosen] if chosen in partitions else np.zeros(len(X), dtype=np.int64)
    return Vote(tuple(range(least, most + 1)), values, best, chosen, labels)


def r_kmeans(X: Float64, clusters: int, seed: int = 1) -> Int64:
    """Return the labels of R's ``set.seed(seed); kmeans(X, clusters)$cluster``, counted from 0.

    Raises
    ------
    ValueError
        If two of the points that the start draws are equal, or a centre loses all of its points, as in R.
    """
    if clusters == 1:
        return np.zeros(len(X), dtype=np.int64)
    rng = RRandom(seed)
    start = X[rng.sample(len(X), clusters)]
    if len(np.unique(start, axis=0)) < clusters:  # R then draws again, from the distinct points
        _, first = np.unique(X, axis=0, return_index=True)
        distinct = X[np.sort(first)]
        start = distinct[rng.sample(len(distinct), clusters)]
    return hartigan_wong(X, start, 10)[0]


def _preferences(least: int, values: dict[str, Float64], critical: dict[str, Float64]) -> dict[str, int]:
    """Return the k that each index prefers, by the rule that NbClust has for it."""

    def first(condition: npt.NDArray[np.bool_]) -> int | None:
        hits = np.flatnonzero(condition)
        return int(hits[0]) if hits.size else None

    def largest(of: Float64) -> int | None:
        return None if np.isnan(of).all() else int(np.nanargmax(of))

    names = ("KL", "CH", "CCC", "Silhouette", "Ratkowsky", "Ptbiserial", "Dunn")
    rules: dict[str, Callable[[Float64], int | None]] = dict.fromkeys(names, largest)
    rules |= {name: lambda v: largest(-v) for name in ("Cindex", "DB", "McClain", "SDindex", "SDbw")}
    rules |= {
        name: lambda v: largest(np.abs(np.diff(v, prepend=np.nan)))
        for name in ("Hartigan", "Scott", "TrCovW", "Friedman", "Ball")
    }
    rules |= {name: lambda v: largest(_second_difference(v)) for name in ("Marriot", "TraceW")}
    rules["Rubin"] = lambda v: largest(-_second_difference(v))
    rules["Duda"] = lambda v: first(v >= critical["Duda"])
    rules["Pseudot2"] = lambda v: first(v <= critical["Pseudot2"])
    rules["Beale"] = lambda _: first(critical["Beale"] >= BEALE_ALPHA)
    best: dict[str, int] = {}
    for name in NAMES:
        if name == "Frey":  # the level before the ratio first falls below 1
            found = first(values[name] < 1.0)
            found = None if found is None else found - 1
        elif name in rules:
            found = rules[name](values[name])
        else:
            continue
        if found is not None:
            best[name] = least + found
    return best


def _second_difference(values: Float64) -> Float64:
    return np.concatenate([[np.nan], values[2:] - 2.0 * values[1:-1] + values[:-2], [np.nan]])
