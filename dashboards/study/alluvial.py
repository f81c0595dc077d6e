"""The alluvial diagram: how the coins of one view's clusters spread over those of the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from dashboards.study.style import EDGE, HALO, INK, Int64, colour, figure, styled

_GAP = 0.02
_BAR = 0.05


@styled
def alluvial(columns: Sequence[str], labels: Mapping[str, Int64]) -> Figure:
    """Draw the flows between neighbouring columns.

    Parameters
    ----------
    columns
        Names of the columns, left to right.
    labels
        For each int64[n], the levels of the same n coins; coins with a negative one in a column take no part.
    """
    fig = figure(9.5, 5.2)
    axes = fig.add_subplot()
    axes.axis("off")
    axes.set(xlim=(-0.16, len(columns) - 1 + 0.16), ylim=(-0.05, 1.08))
    chosen = np.stack([labels[name] for name in columns])
    chosen = chosen[:, (chosen >= 0).all(axis=0)]
    total = max(chosen.shape[1], 1)
    stacks = [_stack(column, total) for column in chosen]
    for at, (name, stack) in enumerate(zip(columns, stacks, strict=True)):
        axes.text(at, 1.045, name, ha="center", fontsize=10, fontweight="bold", color=INK)
        free = 2.0
        for rank, (level, (low, high)) in enumerate(stack.items()):
            axes.add_patch(Rectangle((at - _BAR / 2, low), _BAR, high - low, color=colour(rank), linewidth=0))
            size = round((high - low) * total / _room(stack))
            side = -1 if at == 0 else 1
            middle = min((low + high) / 2, free - 0.034)
            free = middle
            axes.text(
                at + side * (_BAR / 2 + 0.015), middle, f"{level}  ({size:,})", va="center",
                ha="right" if side < 0 else "left", fontsize=8.5, color=INK,
            ).set_gid(f"{HALO}-{at}-{rank}")  # fmt: skip
    for at in range(len(columns) - 1):
        for shade, path in _flows(chosen[at], chosen[at + 1], stacks[at], stacks[at + 1], at, total):
            axes.add_patch(PathPatch(path, facecolor=shade, alpha=0.32, linewidth=0))
    return fig


def _room(stack: Mapping[int, tuple[float, float]]) -> float:
    return 1.0 - _GAP * (len(stack) - 1)


def _stack(column: Int64, total: int) -> dict[int, tuple[float, float]]:
    """Return the span of each level on the vertical, the largest at the top."""
    names, counts = np.unique(column, return_counts=True)
    order = np.argsort(-counts, kind="stable").tolist()
    room = 1.0 - _GAP * (len(names) - 1)
    spans, top = {}, 1.0
    for i in order:
        height = counts[i] / total * room
        spans[int(names[i])] = (top - height, top)
        top -= height + _GAP
    return spans


def _flows(
    a: Int64, b: Int64, left: Mapping[int, tuple[float, float]], right: Mapping[int, tuple[float, float]], at: int,
    total: int,
) -> list[tuple[str, Path]]:  # fmt: skip
    """Return a ribbon per pair of levels; each takes its part of both bars, in the order of the other side."""
    out = []
    taken_right = {level: span[1] for level, span in right.items()}
    for rank, (level_a, span) in enumerate(left.items()):
        top = span[1]
        for level_b in right:
            count = int(((a == level_a) & (b == level_b)).sum())
            if not count:
                continue
            height_a, height_b = count / total * _room(left), count / total * _room(right)
            out.append(
                (
                    colour(rank),
                    _ribbon(at, (top - height_a, top), (taken_right[level_b] - height_b, taken_right[level_b])),
                )
            )
            top -= height_a
            taken_right[level_b] -= height_b
    return out or [(EDGE, Path(np.zeros((0, 2))))]


def _ribbon(at: int, a: tuple[float, float], b: tuple[float, float]) -> Path:
    x0, x1 = at + _BAR / 2, at + 1 - _BAR / 2
    middle = (x0 + x1) / 2
    points = [
        (x0, a[1]), (middle, a[1]), (middle, b[1]), (x1, b[1]),
        (x1, b[0]), (middle, b[0]), (middle, a[0]), (x0, a[0]), (x0, a[1]),
    ]  # fmt: skip
    curve = Path.CURVE4
    return Path(points, [Path.MOVETO, curve, curve, curve, Path.LINETO, curve, curve, curve, Path.CLOSEPOLY])
