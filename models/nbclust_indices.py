"""The indices of NbClust 3.0.1 for given partitions, as it computes them (see :mod:`models.nbclust`).

They are described by Charrad et al. 2014, Journal of Statistical Software 61(6). Points are float64[n, d], labels
int64[n] from 0 to k - 1, each present; ``now`` is the partition in question, ``before`` and ``after`` those into one
cluster less and more.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.kmeans import centres_of
from models.validity import Distances, silhouettes

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_BEST_STANDARD_SCORE = 3.20
"""Of Duda and Hart's criterion, from Milligan & Cooper 1985."""


def _within(X: Float64, labels: Int64) -> float:
    return float(np.square(X - centres_of(X, labels)[labels]).sum())


def of_scatter(X: Float64, labels: Int64) -> dict[str, float]:
    """CCC, Scott, Marriot, TrCovW, TraceW, Friedman, Rubin."""
    n, d = X.shape
    k = int(labels.max()) + 1
    T = X.T @ X  # about the origin: NbClust expects centred data and does not centre it
    residual = X - centres_of(X, labels)[labels]
    W = residual.T @ residual
    return {
        "CCC": _cubic_criterion(n, d, k, T, W),
        "Scott": n * float(np.log(np.linalg.det(T) / np.linalg.det(W))),
        "Marriot": k * k * float(np.linalg.det(W)),
        "TrCovW": float(W.var(axis=0, ddof=1).sum()),
        "TraceW": float(np.trace(W)),
        "Friedman": _friedman(T, W),
        "Rubin": float(np.trace(T) / np.trace(W)),
    }


def _friedman(T: Float64, W: Float64) -> float:
    """Return the sum of products of diagonals, where the criterion has the trace of the matrix product."""
    try:
        return float((np.diag(np.linalg.inv(W)) * np.diag(T - W)).sum())
    except np.linalg.LinAlgError:  # all points of a cluster on one line
        return np.nan


def _cubic_criterion(n: int, d: int, k: int, T: Float64, W: Float64) -> float:
    s = np.sqrt(np.linalg.eigvalsh(T / (n - 1))[::-1])
    s[s == 0.0] = 1.0
    u = s / (s.prod() / k) ** (1.0 / d)
    dims = min(int((u >= 1.0).sum()), k - 1)
    if 0 < dims < d:
        u = s / (s[:dims].prod() / k) ** (1.0 / dims)
        expected = (1.0 / (n + u[:dims])).sum() + (u[dims:] ** 2 / (n + u[dims:])).sum()
    else:
        dims = d
        expected = (1.0 / (n + u)).sum()
    r2 = 1.0 - np.trace(W) / np.trace(T)
    expected_r2 = 1.0 - expected / (u**2).sum() * ((n - k) ** 2 / n) * (1.0 + 4.0 / n)
    return float(np.log((1.0 - expected_r2) / (1.0 - r2)) * np.sqrt(n * dims / 2.0) / (0.001 + expected_r2) ** 1.2)


def of_traces(X: Float64, before: Int64, now: Int64, after: Int64) -> dict[str, float]:
    """KL, CH, Hartigan, Ratkowsky, Ball."""
    n, d = X.shape
    k = int(now.max()) + 1
    w_before, w, w_after = (_within(X, labels) for labels in (before, now, after))
    step = abs((k - 1) ** (2 / d) * w_before - k ** (2 / d) * w)
    next_step = abs(k ** (2 / d) * w - (k + 1) ** (2 / d) * w_after)
    centred = X - X.mean(axis=0)
    total = np.square(centred).sum(axis=0)
    within = np.square(X - centres_of(X, now)[now]).sum(axis=0)
    return {
        "KL": float(np.divide(step, next_step)),
        "CH": (float(total.sum()) - w) / (k - 1) / (w / (n - k)),
        "Hartigan": (w / w_after - 1.0) * (n - k),
        "Ratkowsky": float(np.sqrt((total - within) / total).mean() / np.sqrt(k)),
        "Ball": w / k,
    }


def of_pairs(given: Distances, now: Int64, after: Int64) -> dict[str, float]:
    """Silhouette, Cindex, Ptbiserial, Frey, McClain."""
    upper = np.triu_indices(len(now), 1)
    distance = given.D[upper]
    same, same_after = now[upper[0]] == now[upper[1]], after[upper[0]] == after[upper[1]]
    within, between = distance[same], distance[~same]
    share = same.mean()
    # a cluster of one point counts as perfect, once
    own = silhouettes(given.D, now)
    alone = int((np.bincount(now) == 1).sum())
    return {
        "Silhouette": (float(own.sum()) + alone) / len(now),
        "Cindex": _c_index(given.D, now),
        "Ptbiserial": float(
            (between.mean() - within.mean()) * np.sqrt(share * (1.0 - share)) / distance.std(ddof=1)
        ),
        "Frey": float(
            (distance[~same_after].mean() - between.mean()) / (distance[same_after].mean() - within.mean())
        ),
        "McClain": float((within.mean() / within.size) / (between.mean() / between.size)),
    }  # fmt: skip


def _c_index(D: Float64, labels: Int64) -> float:
    """Take the extremes of distances within clusters, at least 1 and at most 1 for clusters of one point."""
    total, pairs = 0.0, 0
    largest, least = [], []
    for c in range(int(labels.max()) + 1):
        block = D[np.ix_(labels == c, labels == c)]
        size = len(block)
        if size < 2:
            largest.append(1.0)
            least.append(1.0)
            continue
        total += float(block.sum()) / 2.0
        pairs += size * (size - 1) // 2
        largest.append(float(block.max()))
        only_diagonal = int((block == 0.0).sum()) == size
        least.append(float(block[block != 0.0].min()) if only_diagonal else 0.0)
    low, high = min(least), max(largest)
    return (total - pairs * low) / (high * pairs - low * pairs) if low != high else np.nan


def of_split(X: Float64, now: Int64, after: Int64) -> tuple[dict[str, float], dict[str, float]]:
    """Duda, Pseudot2, Beale and their limits.

    They compare a cluster with the two that it is split into, as in a hierarchy. K-means has none: NbClust takes
    the first number whose clusters differ in size, and the last one, whatever their points.
    """
    d = X.shape[1]
    sizes, sizes_after = np.bincount(now), np.bincount(after)
    first = next(c for c in range(len(sizes_after)) if c >= len(sizes) or sizes[c] != sizes_after[c])
    last = len(sizes_after) - 1
    while last > 0 and sizes[last - 1] == sizes_after[last]:
        last -= 1
    parts = [X[after == first], X[after == last]]
    whole = X[now == first]
    left, right, total = _spread(parts[0]), _spread(parts[1]), _spread(whole)
    # numpy's numbers: where R divides by zero and goes on, so does this
    n_whole, n_parts = np.float64(len(whole)), np.float64(len(parts[0]) + len(parts[1]))
    gain = total - left - right
    beale = np.divide(np.divide(gain, left + right), (n_whole - 1) / (n_whole - 2) * (2 ** (2 / d) - 1))
    limit = 1.0 - 2.0 / (np.pi * d)
    limit -= _BEST_STANDARD_SCORE * np.sqrt(2.0 * (1.0 - 8.0 / (np.pi**2 * d)) / (n_whole * d))
    from scipy.stats import f  # noqa: PLC0415 - a second, for those who ask for this vote

    values = {
        "Duda": float(np.divide(left + right, total)),
        "Pseudot2": float(np.divide(gain, (left + right) / (n_parts - 2))),
        "Beale": float(beale),
    }
    limits = {
        "Duda": float(limit),
        "Pseudot2": float((1.0 - limit) / limit * (n_parts - 2)),
        "Beale": float(f.sf(beale, d, (n_whole - 2) * d)),
    }
    return values, limits


def _spread(X: Float64) -> float:
    """Return the sum of squares about the mean; of one point that of its coordinates, which R takes for a column."""
    return float(np.square(X - X.mean(axis=0)).sum()) if len(X) != 1 else float(np.square(X - X.mean()).sum())


def of_centres(X: Float64, labels: Int64, scale: float) -> dict[str, float]:
    """DB, SDindex, Dindex, SDbw."""
    centres, size = centres_of(X, labels), np.bincount(labels)
    k = len(size)
    distance = np.sqrt(np.square(X - centres[labels]).sum(axis=1))
    rms = np.sqrt(np.bincount(labels, weights=distance**2) / size)
    apart = np.sqrt(np.square(centres[:, None] - centres[None]).sum(axis=2))
    ratio = (rms[:, None] + rms[None]) / apart
    ratio[~np.isfinite(ratio)] = -np.inf
    variances = np.array([X[labels == c].var(axis=0) for c in range(k)])
    lengths = float(np.sqrt(np.square(variances).sum(axis=1)).sum())
    scattering = lengths / k / float(np.sqrt(np.square(X.var(axis=0)).sum()))
    return {
        "DB": float(ratio.max(axis=1).mean()),
        "SDindex": scale * scattering + total_separation(X, labels),
        "Dindex": float(distance.mean()),
        "SDbw": scattering + _density_between(X, labels, centres, distance, np.sqrt(lengths) / k),
    }


def total_separation(X: Float64, labels: Int64) -> float:
    """Return how unevenly the centres lie apart (Halkidi, Vazirgiannis & Batistakis 2000)."""
    centres = centres_of(X, labels)
    apart = np.sqrt(np.square(centres[:, None] - centres[None]).sum(axis=2))
    pairs = apart[np.triu_indices(len(centres), 1)]
    return float(pairs.max() / pairs.min() * (1.0 / apart.sum(axis=1)).sum())


def _density_between(X: Float64, labels: Int64, centres: Float64, distance: Float64, radius: float) -> float:
    """Sum, over pairs of clusters, the points near their midpoint over those near the denser centre.

    The sum goes over both orders of each pair and is divided by their number.
    """
    k = len(centres)
    near = np.bincount(labels, weights=distance <= radius, minlength=k)
    total = 0.0
    for u in range(k):
        for v in range(k):
            denser = max(near[u], near[v])
            if u == v or denser == 0.0:
                continue
            both = X[(labels == u) | (labels == v)]
            off = np.sqrt(np.square(both - (centres[u] + centres[v]) / 2.0).sum(axis=1))
            total += float((off <= radius).sum()) / float(denser)
    return total / (k * (k - 1))


def hubert(given: Distances, labels: Int64) -> float:
    """Return the normalised correlation of distances with those of the centres."""
    P = given.D
    centres = centres_of(given.X, labels)
    apart = np.sqrt(np.square(centres[:, None] - centres[None]).sum(axis=2))
    Q = apart[np.ix_(labels, labels)]
    n = len(labels)
    upper = np.triu_indices(n, 1)
    total = float(((P[upper] - P.mean()) * (Q[upper] - Q.mean())).sum())
    # the length of the vector of columns' variances takes the place of the product of deviations
    length_p, length_q = (float(np.sqrt(np.square(A.var(axis=0)).sum())) for A in (P, Q))
    return total / (n * (n - 1) / 2 * length_p * length_q)
