"""Prototypes of a view with their largest coins beside them, and medoids with their year and its quarters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from dashboards.study.charts import counted, shortened
from dashboards.study.style import EDGE, FAINT, GRID, INK, SOFT, Float64, colour, figure, styled

_DRAWN = 4_000


@dataclass(frozen=True, slots=True)
class DistributionPrototype:
    """A prototype of the distribution view."""

    number: int
    size: int
    positions: Float64
    """float64[m], probabilities."""
    quantiles: Float64
    """float64[m], returns."""
    statistics: Sequence[tuple[str, float]]
    coins: Sequence[str]
    """The largest coins of the cluster."""


@dataclass(frozen=True, slots=True)
class MedoidSeries:
    """A medoid of the shape view."""

    number: int
    size: int
    coin_id: str
    returns: Float64
    """float64[T]."""
    coins: Sequence[str]


@styled
def prototypes(shown: Sequence[DistributionPrototype]) -> Figure:
    """Draw the density of each prototype on one scale, with its statistics and largest coins beside it."""
    rows = max(len(shown), 1)
    fig = figure(10.5, 1.45 * rows + 0.5)
    axes = np.atleast_2d(fig.subplots(rows, 2, width_ratios=(1.35, 1), squeeze=False))
    bound = _bound([one.quantiles for one in shown])
    for rank, one in enumerate(shown):
        left, right = axes[rank]
        right.axis("off")
        grid, density = _density(_sample(one), bound)
        left.fill_between(grid, density, color=colour(rank), alpha=0.22, linewidth=0)
        left.plot(grid, density, color=colour(rank), linewidth=1.4)
        left.axvline(0, color=EDGE, linewidth=0.8)
        left.set(xlim=(-bound, bound), ylim=(0, None), yticks=[])
        left.spines["left"].set_visible(False)
        left.tick_params(labelbottom=rank == rows - 1)
        left.set_title(f"{one.number}: {counted(one.size)}", color=colour(rank), fontsize=9.5)
        words = "   ".join(f"{name} {value:.3g}" for name, value in one.statistics[:3])
        more = "   ".join(f"{name} {value:.3g}" for name, value in one.statistics[3:])
        right.text(0, 0.92, words, fontsize=8.2, color=SOFT, va="top", transform=right.transAxes)
        right.text(0, 0.72, more, fontsize=8.2, color=SOFT, va="top", transform=right.transAxes)
        lines = _wrapped(one.coins, 62)
        right.text(0, 0.47, "\n".join(lines), fontsize=8.2, color=INK, va="top", transform=right.transAxes)
    axes[-1][0].set_xlabel("daily return")
    return fig


def _wrapped(names: Sequence[str], width: int) -> list[str]:
    lines, line = [], ""
    for name in names:
        joined = f"{line}, {name}" if line else name
        if len(joined) > width:
            lines.append(line + ",")
            joined = name
        line = joined
    return [*lines, line][:3]


def _bound(samples: Sequence[Float64]) -> float:
    """Return how far densities are drawn: by the widest cluster but one, so that the others have a shape."""
    widths = sorted(float(np.quantile(np.abs(one), 0.9)) for one in samples if one.size)
    if not widths:
        return 1.0
    return max(2.2 * widths[max(len(widths) - 2, 0)], 1e-6)


def _sample(one: DistributionPrototype) -> Float64:
    at = (np.arange(_DRAWN) + 0.5) / _DRAWN
    return np.interp(at, one.positions, one.quantiles)


def _density(sample: Float64, bound: float) -> tuple[Float64, Float64]:
    grid = np.linspace(-bound, bound, 241)
    inside = sample[np.abs(sample) <= 1.5 * bound]
    if len(inside) < 3 or float(np.ptp(inside)) <= 1e-12:
        return grid, np.zeros_like(grid)
    thinned = inside[:: max(len(inside) // 1_500, 1)]
    return grid, np.asarray(gaussian_kde(thinned, 0.18)(grid), dtype=np.float64)


@styled
def medoids(shown: Sequence[MedoidSeries], quarters: Sequence[tuple[str, slice]]) -> Figure:
    """Draw each medoid's returns, their density over the span, and a violin per quarter.

    Parameters
    ----------
    shown
        The medoids.
    quarters
        Names and rows of the returns of each.
    """
    rows = max(len(shown), 1)
    fig = figure(10.5, 1.9 * rows + 0.5)
    axes = np.atleast_2d(fig.subplots(rows, 3, width_ratios=(1.5, 0.9, 1.1), squeeze=False))
    for rank, one in enumerate(shown):
        line, density, violins = axes[rank]
        shade = colour(rank)
        known = one.returns[np.isfinite(one.returns)]
        bound = max(float(np.quantile(np.abs(known), 0.995)), 1e-6) * 1.15 if known.size else 1.0
        line.plot(one.returns, color=shade, linewidth=0.8)
        line.axhline(0, color=GRID, linewidth=0.8)
        line.set(ylim=(-bound, bound), xlim=(0, len(one.returns)))
        line.set_title(f"{one.number}: {one.coin_id}, medoid of {counted(one.size)}", color=shade, fontsize=9.5)
        line.set_xlabel(shortened("with " + ", ".join(one.coins), 70), fontsize=7.8, color=FAINT)
        line.set_ylabel("daily return")
        grid, height = _density(known, bound)
        density.fill_betweenx(grid, height, color=shade, alpha=0.22, linewidth=0)
        density.plot(height, grid, color=shade, linewidth=1.3)
        density.set(ylim=(-bound, bound), xlim=(0, None), xticks=[])
        density.tick_params(labelleft=False)
        density.set_title("whole span", color=SOFT, fontweight="normal", fontsize=8.5)
        _violins(violins, one.returns, quarters, bound, shade)
    return fig


def _violins(axes: Any, returns: Float64, quarters: Sequence[tuple[str, slice]], bound: float, shade: str) -> None:
    axes.set_title("by quarter", color=SOFT, fontweight="normal", fontsize=8.5)
    axes.set(ylim=(-bound, bound), xlim=(0.4, len(quarters) + 0.6))
    axes.tick_params(labelleft=False)
    axes.axhline(0, color=GRID, linewidth=0.8)
    axes.set_xticks(range(1, len(quarters) + 1), [name for name, _ in quarters])
    for at, (_, rows) in enumerate(quarters, start=1):
        own = returns[rows]
        own = own[np.isfinite(own)]
        grid, height = _density(own, bound)
        widest = float(height.max())
        if widest > 0:
            half = 0.4 * height / widest
            axes.fill_betweenx(grid, at - half, at + half, color=shade, alpha=0.35, linewidth=0)
        if own.size:
            low, middle, high = np.quantile(own, (0.25, 0.5, 0.75))
            axes.plot([at, at], [low, high], color=INK, linewidth=2)
            axes.plot(at, middle, marker="o", markersize=3, color="white", markeredgecolor=INK, markeredgewidth=0.7)
