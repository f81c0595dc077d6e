"""Evidence of membership: how well a coin's returns are explained by the common movement of each shoal.

The similarity of a coin to a shoal is the correlation of its returns with the equal-weighted mean of the shoal's
standardised members, the coin itself left out. Computed from one matrix product of coins and shoal sums: for a
member the sum without itself follows from its own square, so no coin x coin matrix is needed.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]
Bool: TypeAlias = npt.NDArray[np.bool_]

# Below this share of its terms a squared norm is rounding error.
_ROUNDING = 1e-12


def members(shoal: Int64, numbers: npt.ArrayLike) -> Bool:
    """Return which coin is a member of which shoal: bool[n, k] of shoal int64[n] and ascending numbers int[k]."""
    return np.equal(shoal[:, None], np.asarray(numbers, dtype=np.int64)[None, :])


def standing_members(home: Int64, shoal: Int64, numbers: npt.ArrayLike) -> Bool:
    """Return whose movement makes up each shoal: bool[n, k].

    Those at home in it, since homes are steadier than the labels of one fit. A young shoal, in which the fit puts more
    than twice as many coins as are at home there, is made up of the fit's members instead.
    """
    settled, labelled = members(home, numbers), members(shoal, numbers)
    young = 2 * settled.sum(axis=0) < labelled.sum(axis=0)
    return np.where(young, labelled, settled)


def similarities(Z: Float64, shoal: Int64, numbers: npt.ArrayLike) -> Float64:
    """Correlate each coin with the leave-one-out mean of each shoal's members.

    Parameters
    ----------
    Z
        Standardised returns, float64[T, n]; masked cells are 0.
    shoal
        The shoal of which each coin is a member, int64[n]; a number that is not asked for means none.
    numbers
        The shoals to compare with, int[k].

    Returns
    -------
    float64[n, k] in [-1, 1]; NaN where the coin does not move, or where the shoal has no member but the coin itself.
    """
    return member_similarities(Z, members(shoal, numbers))


def member_similarities(Z: Float64, member: Bool) -> Float64:
    """Do as :func:`similarities` for any membership, bool[n, k]: a coin may belong to several shoals or none."""
    if Z.ndim != 2 or member.ndim != 2 or member.shape[0] != Z.shape[1]:
        raise ValueError(f"returns of shape {Z.shape} do not fit members of shape {member.shape}")
    centred = Z - Z.mean(axis=0) if Z.shape[0] else Z
    weight = member.astype(np.float64)
    own = np.einsum("tn,tn->n", centred, centred)
    total = centred @ weight
    square, terms = np.einsum("tk,tk->k", total, total), own @ weight
    product = centred.T @ total
    similarity = product * _inverse_root(own, 0.0)[:, None] * _inverse_root(square, _ROUNDING * terms)
    # Members alone need themselves left out: a few cells of the matrix.
    coin, shoal = np.nonzero(member)
    rest = square[shoal] - 2.0 * product[coin, shoal] + own[coin]
    apart = (product[coin, shoal] - own[coin]) * _inverse_root(own[coin], 0.0)
    similarity[coin, shoal] = apart * _inverse_root(rest, _ROUNDING * terms[shoal])
    lonely = weight.sum(axis=0)[shoal] == 1.0
    similarity[coin[lonely], shoal[lonely]] = np.nan
    return np.clip(similarity, -1.0, 1.0, out=similarity)


def _inverse_root(square: Float64, least: Float64 | float) -> Float64:
    """Return 1 / sqrt of squares greater than the least that is no rounding error, NaN of the others."""
    defined = square > least
    return np.where(defined, 1.0 / np.sqrt(np.where(defined, square, 1.0)), np.nan)


def margins(similarity: Float64, home: Int64) -> tuple[Float64, Int64]:
    """Compare each coin's home with the best other shoal.

    Parameters
    ----------
    similarity
        float64[n, k] as of :func:`similarities`.
    home
        The *column* of each coin's home, int64[n]; -1 for none.

    Returns
    -------
    margin
        float64[n]: similarity to home minus that to the best other; NaN without either of them.
    best_other
        int64[n]: the column of the best other shoal, the first of equals; -1 where there is none.
    """
    n, k = similarity.shape
    if home.shape != (n,) or (n and (home.min() < -1 or home.max() >= k)):
        raise ValueError(f"homes of shape {home.shape} are no columns of similarities of shape {similarity.shape}")
    if k == 0:
        return np.full(n, np.nan), np.full(n, -1, dtype=np.int64)
    coin = np.arange(n)
    own = np.where(home >= 0, similarity[coin, home], np.nan)
    others = np.where(np.isnan(similarity), -np.inf, similarity)
    others[coin[home >= 0], home[home >= 0]] = -np.inf
    best = others.argmax(axis=1)
    value = others[coin, best]
    found = np.isfinite(value)
    return np.where(found, own - np.where(found, value, 0.0), np.nan), np.where(found, best, -1)


def chance_similarity(bars: int, shoals: int) -> float:
    """Return a similarity that the best of several unrelated shoals does not reach by chance, on average.

    The greatest of k independent normal variables of variance 1/T has a mean of at most sqrt(2 ln k / T).
    """
    return float(np.sqrt(2.0 * np.log(max(shoals, 2)) / max(bars, 1)))


def largest_changes(Z: Float64, coin: int, others: Int64, count: int) -> tuple[Int64, Float64, Float64]:
    """Find the coins whose correlation with one coin changed most from the first half of the window to the second.

    Parameters
    ----------
    Z
        Standardised returns, float64[T, n].
    coin, others
        The coin, and those to compare with, int64[m] of columns.
    count
        How many to return at most.

    Returns
    -------
    Their columns, the greatest change first (the lower column of equals), and their correlation before and after.
    """
    half = Z.shape[0] // 2
    before, after = _correlations(Z[:half], coin, others), _correlations(Z[half:], coin, others)
    # Rounded, so that equals are told apart by their column and not by rounding errors.
    change = np.round(np.abs(after - before), 6)
    order = np.argsort(-change, kind="stable")[:count]
    return others[order], before[order], after[order]


def _correlations(Z: Float64, coin: int, others: Int64) -> Float64:
    """Return the correlation of one coin with others, float64[m]; 0 where one of the two does not move."""
    if Z.shape[0] == 0:
        return np.zeros(others.size)
    own, rest = Z[:, coin] - Z[:, coin].mean(), Z[:, others]
    rest = rest - rest.mean(axis=0)
    scale = np.sqrt((own @ own) * np.einsum("tm,tm->m", rest, rest))
    return np.where(scale > 0.0, (own @ rest) / np.where(scale > 0.0, scale, 1.0), 0.0)


def nearness(distances: Float64) -> Float64:
    """Return how near coins are to prototypes: minus the distance, in units of a typical distance to another one.

    The margin of a home over the best other is then the distance to the nearest other prototype less that to the own
    one; the unit, the median over coins of the distance to their second nearest prototype, makes thresholds mean the
    same in every view and at every time.

    Parameters
    ----------
    distances
        float64[n, k] to each prototype, in the view's measure.

    Returns
    -------
    float64[n, k]
        NaN where there is only one prototype.
    """
    if distances.shape[1] < 2 or not len(distances):
        return np.full(distances.shape, np.nan)
    unit = float(np.median(np.partition(distances, 1, axis=1)[:, 1]))
    return -distances / unit if unit > 0.0 else np.zeros(distances.shape)
