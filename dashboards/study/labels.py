"""Where names stand in a picture so that they cover each other and the points as little as can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboards.study.style import Float64

_WIDTH = 0.57
"""Mean width of a letter over the size of the type."""


def place(points: Float64, names: Sequence[str], radius: Float64, size: float) -> Float64:
    """Return the middles of the names, float64[m, 2], in the units of the points.

    Parameters
    ----------
    points
        float64[n, 2] in points of type; the first m of them are named.
    names
        The m names, the most important ones first: they choose first.
    radius
        float64[n] of the points.
    size
        Of the type, in points.
    """
    middles = np.empty((len(names), 2))
    boxes = np.empty((0, 4))
    discs = np.column_stack([points - radius[:, None], points + radius[:, None]])
    for i, name in enumerate(names):
        half = np.array([0.5 * _WIDTH * size * len(name) + 1.0, 0.62 * size])
        spots = _spots(points[i], half, float(radius[i]))
        costs = np.array(
            [
                4.0 * _overlap(spot, half, boxes) + _overlap(spot, half, discs) + 0.35 * rank * half[1]
                for rank, spot in enumerate(spots)
            ]
        )
        middles[i] = spots[int(np.argmin(costs))]
        boxes = np.vstack([boxes, np.concatenate([middles[i] - half, middles[i] + half])])
    return middles


def _spots(point: Float64, half: Float64, radius: float) -> Float64:
    """Return places around a point, the nearest first."""
    angles = np.deg2rad([90, -90, 0, 180, 45, 135, -45, -135, 65, 115, -65, -115])
    rings = []
    for ring in range(5):
        reach = half + radius + 1.5 + 9.0 * ring
        direction = np.column_stack([np.cos(angles), np.sin(angles)])
        near = np.column_stack([direction[:, 0] * reach[0], direction[:, 1] * (half[1] + radius + 1.5 + 9.0 * ring)])
        rings.append(point + near)
    return np.vstack(rings)


def _overlap(middle: Float64, half: Float64, boxes: Float64) -> float:
    """Return the area that a box shares with others."""
    low = np.maximum(boxes[:, :2], middle - half)
    high = np.minimum(boxes[:, 2:], middle + half)
    side = np.maximum(high - low, 0.0)
    return float((side[:, 0] * side[:, 1]).sum())
