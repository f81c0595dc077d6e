"""Distances of one window that are used again in the next, where neither of the two series has changed.

A distance depends on its two series alone, bit by bit, and a series is known by the digest of its bytes: what is kept
is exactly what would be computed, and who forgets it loses time only.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.dtw import Precision, dtw_between, dtw_matrix

Floats = npt.NDArray[Any]  # float64 or float32
Float64 = npt.NDArray[np.float64]

DIGEST_BYTES: Final = 16


class KeptDistances(msgspec.Struct, frozen=True):
    """What goes into a snapshot."""

    window: int
    precision: str
    digests: list[bytes]
    distances: bytes
    """Lower triangle, row by row."""


class DistanceMemory:
    """All distances of the last window, and what they are of."""

    def __init__(self, window: int, precision: Precision, threads: int) -> None:
        self.window, self.precision, self.threads = window, precision, threads
        self._digests: list[bytes] = []
        self._D: Floats = np.empty((0, 0), dtype=precision)

    def matrix(self, X: Float64) -> tuple[Floats, float]:
        """Return the distances float[n, n] of the rows of X, and the share of series that were there before."""
        digests = [blake2b(series.tobytes(), digest_size=DIGEST_BYTES).digest() for series in X]
        row_of = {digest: row for row, digest in enumerate(self._digests)}
        before = np.array([row_of.get(digest, -1) for digest in digests], dtype=np.int64)
        same = before >= 0
        if same.sum() * 2 <= len(X):  # half of the rows are as much work as half of the pairs
            same[:] = False
            D = dtw_matrix(X, self.window, self.precision, self.threads)
        else:
            D = np.empty((len(X), len(X)), dtype=self.precision)
            D[np.ix_(same, same)] = self._D[np.ix_(before[same], before[same])]
            D[~same] = dtw_between(X[~same], X, self.window, self.precision, self.threads)
            D[:, ~same] = D[~same].T
        self._digests, self._D = digests, D
        return D, float(same.mean())

    def kept(self) -> KeptDistances:
        """Return what :meth:`restore` needs, 4 n^2 bytes (float64) and 16 for each series."""
        lower = self._D[np.tri(len(self._D), k=-1, dtype=np.bool_)]
        return KeptDistances(self.window, self.precision, self._digests, lower.tobytes())

    def restore(self, kept: KeptDistances) -> None:
        """Take over what another memory kept.

        Raises
        ------
        ValueError
            If it is of another window or precision, or contradicts itself.
        """
        if (kept.window, kept.precision) != (self.window, self.precision):
            raise ValueError(
                f"the state's distances are of window {kept.window} and {kept.precision}, "
                f"not of {self.window} and {self.precision}: start without it"
            )
        n = len(kept.digests)
        expected = n * (n - 1) // 2 * np.dtype(self.precision).itemsize
        if len(kept.distances) != expected or any(len(digest) != DIGEST_BYTES for digest in kept.digests):
            raise ValueError("the state's distances do not fit its series: start without it")
        D: Floats = np.zeros((n, n), dtype=self.precision)
        D[np.tri(n, k=-1, dtype=np.bool_)] = np.frombuffer(kept.distances, dtype=self.precision)
        self._digests, self._D = kept.digests, D + D.T
