"""Whether points cluster at all: the Hopkins statistic, in the form of the R package clustertend.

Hopkins & Skellam 1954 compare nearest-neighbour distances of data points with those of uniform points. clustertend
(used by Lorenzo & Arroyo 2022, who find 0.0155) reports the share of the data's own: about 0.5 for uniform points,
towards 0 for clustered ones, so "below 0.5" means structure. It uses plain distances; the statistic as most books
write it is 1 minus this, of distances to the power of the dimension.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def hopkins(X: Float64, *, points: int = 0, seed: int = 0) -> float:
    """Return the statistic.

    Parameters
    ----------
    X
        float64[n, d], finite.
    points
        How many data points and how many uniform ones in their bounding box; 0: a tenth of n, at least 1.
    seed
        Of the choice of points.

    Returns
    -------
    float
        In [0, 1]; NaN with fewer than two points, or where all are equal.

    Raises
    ------
    ValueError
        If more points are asked for than there are.

    Notes
    -----
    clustertend draws with replacement and passes over neighbours that are equal to the point drawn; here points are
    drawn without replacement and an equal neighbour is one at distance 0.
    """
    n = len(X)
    count = points or max(n // 10, 1)
    if n < 2:
        return math.nan
    if count > n:
        raise ValueError(f"{count} points cannot be drawn from {n}: ask for at most {n}")
    from scipy.spatial import cKDTree  # noqa: PLC0415 - not needed by those who only import the view

    rng = np.random.default_rng(seed)
    low, high = X.min(axis=0), X.max(axis=0)
    # in an order that depends on the values alone, so that permuting the rows changes nothing
    ordered = X[np.lexsort(X.T[::-1])]
    uniform = rng.uniform(low, high, size=(count, X.shape[1]))
    drawn = ordered[rng.choice(n, size=count, replace=False)]
    tree = cKDTree(ordered)
    of_uniform = float(np.sort(tree.query(uniform)[0]).sum())
    of_data = float(np.sort(tree.query(drawn, k=2)[0][:, 1]).sum())
    return of_data / (of_data + of_uniform) if of_data + of_uniform > 0.0 else math.nan
