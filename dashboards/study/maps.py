"""Market maps as the tutorial draws them: coins placed by embedding, sized by precision, joined by edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection  # type: ignore[import-untyped]
from mpl_toolkits.mplot3d.proj3d import proj_transform  # type: ignore[import-untyped]

from dashboards.study.labels import place
from dashboards.study.style import BAD, EDGE, GRID, HALO, INK, LINE, SUNK, Float64, Int64, colour, figure, styled

STRONG = 0.5
"""Edges whose min-max-normalised strength is above this are red and solid."""


@dataclass(frozen=True, slots=True)
class MarketMap:
    """What a map shows of n coins."""

    coin_ids: Sequence[str]
    positions: Float64
    """float64[n, 3]."""
    labels: npt.NDArray[np.integer[Any]]
    """Cluster of each coin, negative for none."""
    sizes: Float64
    """float64[n]: d = 1 / sqrt of the precision's diagonal; the area of a node is in proportion to its square."""
    ends: tuple[Int64, Int64]
    """int64[m] each: the coins that an edge joins."""
    strength: Float64
    """float64[m]: partial correlations."""

    def colours(self) -> list[str]:
        """Return each coin's colour: clusters by size, largest first, equal ones by number."""
        names, counts = np.unique(self.labels[self.labels >= 0], return_counts=True)
        rank = {int(names[i]): at for at, i in enumerate(np.argsort(-counts, kind="stable").tolist())}
        return [colour(rank[label]) if label >= 0 else EDGE for label in self.labels.tolist()]

    def edges(self) -> tuple[list[str], Float64, list[bool], Int64]:
        """Return colour, width, whether it is solid, and number of each edge, weakest first."""
        size = np.abs(self.strength)
        spread = float(np.ptp(size)) if size.size else 0.0
        scaled = (size - size.min()) / spread if spread > 0 else np.zeros_like(size)
        own = self.colours()
        order = np.argsort(size, kind="stable")
        shades, solid = [], []
        for i in order.tolist():
            a, b = int(self.ends[0][i]), int(self.ends[1][i])
            inside = self.labels[a] == self.labels[b] and self.labels[a] >= 0
            shades.append(BAD if scaled[i] > STRONG else own[a] if inside else EDGE)
            solid.append(bool(scaled[i] > STRONG or inside))
        return shades, 3.2 * scaled[order] + 0.3, solid, order


@styled
def flat(shown: MarketMap, named: int = 60) -> Figure:
    """Draw the map in the plane; the ``named`` coins that come first bear their names."""
    fig = figure(10.5, 8.6)
    axes = fig.add_subplot()
    axes.axis("off")
    xy = spread(shown.positions[:, :2])
    axes.set(xlim=(-0.07, 1.07), ylim=(-0.05, 1.05))
    shades, widths, solid, order = shown.edges()
    segments = np.stack([xy[shown.ends[0][order]], xy[shown.ends[1][order]]], axis=1)
    for style, wanted in (("dashed", False), ("solid", True)):
        chosen = [i for i, one in enumerate(solid) if one is wanted]
        axes.add_collection(
            LineCollection(
                [segments[i] for i in chosen], colors=[shades[i] for i in chosen],
                linewidths=[float(widths[i]) for i in chosen], linestyles=style, alpha=0.4, zorder=1,
            )
        )  # fmt: skip
    area = 350 * shown.sizes**2 * min(1.0, (50 / max(len(xy), 1)) ** 0.75)
    axes.scatter(xy[:, 0], xy[:, 1], s=area, c=shown.colours(), edgecolors="white", linewidths=0.8, zorder=2)
    _names(axes, xy, shown.coin_ids[:named], fig, np.sqrt(area))
    return fig


def _names(axes: Any, xy: Float64, names: Sequence[str], fig: Figure, diameter: Float64) -> None:
    """Write names beside their coins, where they cover the fewest others."""
    width, height = fig.get_size_inches() * 72
    points = (xy + np.array([0.07, 0.05])) / [1.14, 1.1] * [width, height]
    spots = place(points, names, diameter / 2, size=8.0)
    for i, (name, spot) in enumerate(zip(names, spots, strict=True)):
        back = spot / [width, height] * [1.14, 1.1] - np.array([0.07, 0.05])
        if np.hypot(*(spot - points[i])) > 30:
            axes.plot([xy[i, 0], back[0]], [xy[i, 1], back[1]], color=EDGE, linewidth=0.5, zorder=1.5)
        text = axes.text(*back, name, fontsize=8, color=INK, ha="center", va="center", zorder=3)
        text.set_gid(f"{HALO}-{i}")


def spread(xy: Float64) -> Float64:
    """Return positions in the unit square, half as they are and half by rank, so that a dense middle can be read."""
    n = len(xy)
    if n < 2:
        return np.full((n, 2), 0.5)
    out = np.empty((n, 2))
    for axis in range(2):
        values = xy[:, axis]
        extent = float(np.ptp(values))
        linear = (values - values.min()) / extent if extent > 0 else np.full(n, 0.5)
        rank = np.empty(n)
        rank[np.argsort(values, kind="stable")] = np.linspace(0.0, 1.0, n)
        out[:, axis] = 0.3 * linear + 0.7 * rank
    return out


@styled
def solid(shown: MarketMap, named: int = 60) -> Figure:
    """Draw the map in space, with names, as seen from one corner."""
    fig = figure(10.5, 7.8)
    axes: Any = fig.add_subplot(projection="3d")
    xyz = np.column_stack([spread(shown.positions[:, :2]), spread(shown.positions[:, [2, 2]])[:, 0]])
    shades, widths, _, order = shown.edges()
    segments = np.stack([xyz[shown.ends[0][order]], xyz[shown.ends[1][order]]], axis=1)
    if len(segments):
        axes.add_collection3d(Line3DCollection(segments, colors=shades, linewidths=widths * 0.7, alpha=0.35))
    few = len(xyz) <= 80
    axes.scatter(
        *xyz.T, s=100 if few else 14, c=shown.colours(), edgecolors="white", linewidths=0.7, depthshade=False, alpha=1.0
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), zlim=(0, 1), xticklabels=[], yticklabels=[], zticklabels=[])
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.pane.set(facecolor=SUNK, edgecolor=LINE, alpha=1.0)
        axis._axinfo["grid"].update(color=GRID, linewidth=0.6)  # noqa: SLF001 - there is no other way to colour it
    axes.view_init(elev=22, azim=-58)
    axes.set_box_aspect((1, 1, 0.75), zoom=1.2)
    seen = np.column_stack(proj_transform(*xyz.T, axes.get_proj())[:2])
    points = seen * 3_400  # the projection's unit is about so many points of type
    spots = place(points, shown.coin_ids[:named], np.full(len(xyz), 5.0 if few else 2.0), size=7.0) / 3_400
    for i, name in enumerate(shown.coin_ids[:named]):
        text = axes.annotate(name, spots[i], fontsize=7, color=INK, ha="center", va="center", zorder=10)
        text.set_gid(f"{HALO}-{i}")
    return fig
