"""Charts of prices, histograms and matrices of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dashboards.study.style import (
    ACCENT,
    BAD,
    COLOURS,
    EDGE,
    FAINT,
    GOOD,
    GRID,
    INK,
    LINE,
    SOFT,
    Float64,
    figure,
    styled,
)


@styled
def price_grid(coin_ids: Sequence[str], closes: Float64, columns: int = 5) -> Figure:
    """Draw the closes of every coin, each in a cell of its own on its own logarithmic scale.

    Parameters
    ----------
    coin_ids
        The n coins, in the order of the cells.
    closes
        float64[D, n], NaN where there is none.
    columns
        Cells in a row; there are as many rows as all coins need.
    """
    rows = max(math.ceil(len(coin_ids) / columns), 1)
    fig = figure(11, 0.95 * rows + 0.2)
    axes = fig.add_subplot()
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.axis("off")
    x = np.linspace(0.04, 0.94, len(closes))
    up: list[Float64] = []
    down: list[Float64] = []
    for i, coin in enumerate(coin_ids):
        row, column = divmod(i, columns)
        price = closes[:, i]
        known = np.isfinite(price) & (price > 0)
        axes.text(column + 0.04, row + 0.2, shortened(coin, 20), fontsize=8.5, color=INK, fontweight="bold")
        axes.plot([column + 0.04, column + 0.94], [row + 0.97] * 2, color=GRID, linewidth=0.8)
        if known.sum() < 2:
            continue
        level = np.log(price[known])
        spread = float(np.ptp(level))
        y = row + 0.9 - 0.58 * (level - level.min()) / (spread if spread > 0 else 1.0)
        change = math.expm1(level[-1] - level[0])
        line = np.column_stack([column + x[known], y])
        (up if change >= 0 else down).append(line)
        axes.text(column + 0.94, row + 0.2, percent(change), ha="right", fontsize=8, color=GOOD if change >= 0 else BAD)
    for lines, shade in ((up, GOOD), (down, BAD)):
        axes.add_collection(LineCollection(lines, colors=shade, linewidths=1.0))
    return fig


def percent(change: float) -> str:
    """Return a change as text; a large one as a multiple."""
    return f"{change:+.0%}" if change < 20 else f"x {change + 1:,.0f}"


def counted(coins: int) -> str:
    """Return a number of coins as text."""
    return f"{coins:,} coin" if coins == 1 else f"{coins:,} coins"


def shortened(text: str, most: int) -> str:
    """Return text that is no longer than ``most`` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip("-") + "…"


@styled
def partial_histogram(values: Float64, threshold: float) -> Figure:
    """Draw the histogram of all partial correlations, with the threshold beyond which the tutorial draws an edge."""
    fig = figure(7.2, 3.0)
    axes = fig.add_subplot()
    values = values[np.isfinite(values)]
    if values.size:
        bound = max(1.05 * float(np.abs(values).max()), 1.3 * threshold)
        counts, edges = np.histogram(np.clip(values, -bound, bound), bins=81, range=(-bound, bound))
        middle = (edges[1:] + edges[:-1]) / 2
        strong = np.abs(middle) > threshold
        width = edges[1] - edges[0]
        for keep, shade in ((strong, ACCENT), (~strong, EDGE)):
            axes.bar(middle[keep], counts[keep], width=0.92 * width, color=shade, linewidth=0)
        share = float((np.abs(values) > threshold).mean())
        axes.set_title(f"{share:.1%} of {values.size:,} pairs are beyond ±{threshold:g}")
        axes.set_yscale("log")
    axes.set(xlabel="partial correlation", ylabel="pairs (logarithmic)")
    axes.grid(axis="y")
    return fig


@styled
def association_matrix(names: Sequence[str], p: Float64, cut: float = 0.01) -> Figure:
    """Draw the square matrix of p-values; cells below the cut are coloured.

    Parameters
    ----------
    names
        The m variables.
    p
        float64[m, m], NaN where a pair was not tested.
    cut
        The level below which a pair counts as associated.
    """
    m = len(names)
    fig = figure(0.62 * m + 1.6, 0.5 * m + 1.3)
    axes = fig.add_subplot()
    axes.set(xlim=(0, m), ylim=(m, 0))
    for i in range(m):
        for j in range(m):
            value = float(p[i, j])
            known = math.isfinite(value)
            shade = COLOURS[0] if known and value < cut else (GRID if known else "none")
            axes.add_patch(Rectangle((j + 0.03, i + 0.03), 0.94, 0.94, facecolor=shade, edgecolor="none"))
            if known:
                axes.text(
                    j + 0.5, i + 0.5, p_text(value), ha="center", va="center", fontsize=7.5,
                    color="white" if value < cut else SOFT,
                )  # fmt: skip
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    axes.set_yticks(np.arange(m) + 0.5, names, color=INK)
    axes.set_xticks(np.arange(m) + 0.5, names, color=INK, rotation=40, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    return fig


def p_text(value: float) -> str:
    """Return a p-value as the paper prints it: without the zero before the point."""
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


@styled
def share_bars(names: Sequence[str], sizes: Sequence[int], possible: int) -> Figure:
    """Draw the sizes of the populated intersections, largest first, with their running share."""
    fig = figure(8.2, 3.0)
    axes = fig.add_subplot()
    total = max(sum(sizes), 1)
    place = np.arange(len(sizes))
    main = np.array([size > 100 for size in sizes], dtype=np.bool_)
    heights = np.asarray(sizes, dtype=np.float64)
    axes.bar(place[main], heights[main], color=ACCENT, width=0.8)
    axes.bar(place[~main], heights[~main], color=EDGE, width=0.8)
    axes.set_xticks(place, names, rotation=90, fontsize=7.5)
    axes.set(ylabel="coins", xlim=(-0.7, len(sizes) - 0.3))
    axes.set_title(f"{len(sizes)} of {possible} cells hold a coin")
    running = axes.twinx()
    running.plot(place, np.cumsum(heights) / total * 100, color=FAINT, linewidth=1.2, marker="o", markersize=2.5)
    running.set(ylim=(0, 104), ylabel="running share, %")
    running.spines["right"].set_visible(False)
    running.tick_params(color=LINE, labelcolor=FAINT)
    return fig
