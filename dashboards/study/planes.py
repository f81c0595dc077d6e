"""The volatility-return plane: each coin by the deviation and the mean of its returns, as a view clusters them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.spatial import ConvexHull, QhullError
from scipy.stats import gaussian_kde

from dashboards.study.charts import counted
from dashboards.study.labels import place
from dashboards.study.style import EDGE, FAINT, HALO, INK, SOFT, Float64, Int64, colour, figure, styled

SHOWN = 8
"""Clusters with a hull and a colour of their own, largest first; a view with more draws the others grey."""

_STEPS = (1.0, 2.0, 5.0)


def clusters_by_size(labels: npt.NDArray[np.integer[Any]]) -> list[tuple[int, Int64]]:
    """Return number and members of each cluster, largest first, equal ones by number."""
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(names[i]), np.flatnonzero(labels == names[i]).astype(np.int64)) for i in order.tolist()]


def hull(points: Float64) -> Int64:
    """Return the indices of the corners of the convex hull, in order; of fewer than three points none."""
    try:
        return np.asarray(ConvexHull(points).vertices, dtype=np.int64)
    except (QhullError, ValueError):
        return np.empty(0, dtype=np.int64)


@styled
def plane(
    coin_ids: Sequence[str], features: Float64, labels: npt.NDArray[np.integer[Any]], market_cap: Float64,
    named: int = 3,
) -> Figure:  # fmt: skip
    """Draw one view's clusters: hulls with their corners and each cluster's largest coins, and density contours.

    Parameters
    ----------
    coin_ids
        The n coins.
    features
        float64[n, 2]: mean and deviation of the returns.
    labels
        Cluster of each coin; negative for none.
    market_cap
        float64[n]; NaN unknown. The largest ``named`` coins of each cluster, and the corners of small hulls, are named.
    """
    fig = figure(10.5, 5.4)
    left, right = fig.subplots(1, 2, width_ratios=(1.75, 1), sharex=True, sharey=True)
    bend = max(float(np.quantile(np.abs(features[:, 0]), 0.9)), 1e-6) if len(features) else 1.0
    points = np.column_stack([np.log10(np.maximum(features[:, 1], 1e-4)), np.arcsinh(features[:, 0] / bend)])
    groups = clusters_by_size(labels)
    few = 0 < len(groups) <= SHOWN
    _frame(left, points, bend)
    _frame(right, points, bend)
    drawn = np.concatenate([np.empty(0, dtype=np.int64), *(members for _, members in groups[:SHOWN])])
    rest = np.setdiff1d(np.arange(len(points)), drawn)
    left.scatter(*points[rest].T, s=6, color=EDGE, alpha=0.45, linewidths=0)
    names: dict[int, str] = {}
    for rank, (number, members) in enumerate(groups[:SHOWN]):
        shade = colour(rank)
        left.scatter(
            *points[members].T, s=9, color=shade, alpha=0.55, linewidths=0, label=f"{number}: {counted(len(members))}"
        )
        corners = members[hull(_scaled(points)[members])]
        left.fill(*points[corners].T, facecolor=shade, alpha=0.06, linewidth=0)
        closed = np.append(corners, corners[:1])
        left.plot(*points[closed].T, color=shade, linewidth=1.1, marker="o", markersize=3, markerfacecolor="white")
        order = np.argsort(-np.nan_to_num(market_cap[members]), kind="stable")
        names |= {int(members[i]): coin_ids[members[i]] for i in order[: named if few else 1].tolist()}
        if few:
            _contours(right, points[members], shade)
    if few:
        _name_corners(names, coin_ids, points, groups)
    else:
        _contours(right, points, FAINT)
    _write(left, points, names)
    if groups:
        left.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4, fontsize=8, labelcolor=SOFT, handletextpad=0.1,
            markerscale=2,
        )  # fmt: skip
    left.set_title("Clusters, their hulls and their largest coins")
    right.set_title("Density")
    return fig


def _name_corners(
    names: dict[int, str], coin_ids: Sequence[str], points: Float64, groups: list[tuple[int, Int64]]
) -> None:
    """Add the coins at the outermost corners: the extremes of both axes over the whole market."""
    everyone = np.concatenate([members for _, members in groups])
    for axis in range(2):
        order = everyone[np.argsort(points[everyone, axis], kind="stable")]
        for i in (*order[:2].tolist(), *order[-3:].tolist()):
            names.setdefault(int(i), coin_ids[i])


def _scaled(points: Float64) -> Float64:
    extent = np.ptp(points, axis=0)
    return points / np.where(extent > 0, extent, 1.0)


def _frame(axes: Any, points: Float64, bend: float) -> None:
    """Set limits and ticks; the mean is drawn as asinh(mean / bend): even in the bulk, logarithmic far out."""
    if not len(points):
        return
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.where(high > low, 0.06 * (high - low), 0.1)
    axes.set_xlim(low[0] - room[0], high[0] + 1.6 * room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])
    wide = [step * 10.0**power for power in range(-4, 4) for step in _STEPS]
    axes.set_xticks([np.log10(at) for at in wide if low[0] - room[0] <= np.log10(at) <= high[0] + room[0]])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{10**at:.3g}"))
    chosen: list[float] = []
    for value in (0.0, *(sign * at for at in reversed(wide) for sign in (1.0, -1.0) if at < 50)):
        at = float(np.arcsinh(value / bend))
        apart = all(abs(at - other) > 0.09 * (high[1] - low[1]) for other in chosen)
        if low[1] - room[1] <= at <= high[1] + room[1] and apart:
            chosen.append(at)
    axes.set_yticks(sorted(chosen))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{np.sinh(at) * bend:+.2g}" if abs(at) > 1e-9 else "0"))
    axes.grid()
    axes.set_xlabel("deviation of daily returns (logarithmic)")
    axes.set_ylabel("mean daily return")


def _contours(axes: Any, points: Float64, shade: str) -> None:
    if len(points) < 12 or min(np.ptp(points, axis=0)) <= 0:
        axes.scatter(*points.T, s=6, color=shade, alpha=0.6, linewidths=0)
        return
    # the bulk alone: a density over far outliers would be one dot
    low, high = np.quantile(points, 0.02, axis=0), np.quantile(points, 0.98, axis=0)
    bulk = points[np.all((points >= low) & (points <= high), axis=1)]
    try:
        density = gaussian_kde(bulk.T)
    except np.linalg.LinAlgError:
        return
    room = 0.5 * (high - low)
    grid_x = np.linspace(low[0] - room[0], high[0] + room[0], 60)
    grid_y = np.linspace(low[1] - room[1], high[1] + room[1], 60)
    X, Y = np.meshgrid(grid_x, grid_y)
    Z = density(np.vstack([X.ravel(), Y.ravel()])).reshape(X.shape)
    axes.contour(X, Y, Z, levels=Z.max() * np.array([0.1, 0.3, 0.5, 0.7, 0.9]), colors=shade, linewidths=0.9)


def _write(axes: Any, points: Float64, names: dict[int, str]) -> None:
    """Name coins where they cover the fewest others."""
    chosen = np.array(sorted(names), dtype=np.int64)
    if not len(chosen):
        return
    to_unit = axes.transData + axes.transAxes.inverted()
    box = np.array([440.0, 290.0])  # about the size of the axes, in points of type
    units = to_unit.transform(points[chosen]) * box
    spots = place(units, [names[i] for i in chosen.tolist()], np.full(len(chosen), 3.0), size=7.5) / box
    for at, (i, spot) in enumerate(zip(chosen.tolist(), spots, strict=True)):
        axes.plot(*points[i], marker="o", markersize=3.5, color=INK, linestyle="none", zorder=4)
        text = axes.text(
            *spot, names[i], transform=axes.transAxes, fontsize=7.5, color=INK, ha="center", va="center", zorder=5
        )
        text.set_gid(f"{HALO}-{at}")
