"""What every view of the market returns, and how a view is built, fitted and carried over a restart.

A view is a way to cluster one window of coins. Its settings are frozen; ``settings.build(state)`` makes the running
view, cold or from the bytes of an earlier ``snapshot``; ``fit`` takes one window after the other. A view that starts
from the fit before compares itself with a cold start at an interval and says in ``diagnostics`` how far the two are
apart (``audit_inertia_ratio``: warm over cold, 1 is equal and more is worse; ``audit_ari``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.prepare import FitInput

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Prototype:
    """One statistic of the prototypes: rows of the table ``prototypes`` as columns.

    A scalar has one row per cluster, at position 0; a curve has one per cluster and position (the quantile's
    probability, the bar's number).
    """

    statistic: str
    label: Int32
    position: Float64
    value: Float64


@dataclass(frozen=True, slots=True)
class ViewFit:
    """Result of one fit; n coins took part, sorted by id, in k clusters.

    If the fit did not converge, all labels are -1 and there are no clusters: ``exemplars`` and ``prototypes`` are
    empty, ``distances`` has no columns, and ``silhouettes`` and ``distance`` are NaN.
    """

    coin_ids: tuple[str, ...]
    labels: Int32
    """int32[n], 0 to k - 1, numbered by their exemplar's position; all -1 if the fit did not converge."""
    exemplars: Int64
    """int64[k]: index of the coin nearest to each prototype, ascending."""
    converged: bool
    iterations: int
    silhouette: float
    """Mean of ``silhouettes``; NaN with fewer than two clusters."""
    silhouettes: Float64
    """float64[n], in the view's measure; 0 for a coin alone in its cluster, NaN with fewer than two clusters."""
    distance: Float64
    """float64[n]: distance to the own prototype, in the view's measure."""
    distances: Float64
    """float64[n, k]: distance to every prototype."""
    prototypes: tuple[Prototype, ...]
    diagnostics: dict[str, float]
    """What else describes the fit as a whole (explained share, chosen k, audit), sorted by name."""
    excluded: dict[str, str] = field(default_factory=dict)
    """Coins of the window that did not take part, and why, sorted by id."""


class View(Protocol):
    """A running view; windows are given to it in order of time."""

    def fit(self, window: FitInput) -> ViewFit:
        """Cluster one window.

        Raises
        ------
        ValueError
            If the window is malformed or a setting cannot be used; the text says how to mend it.
        """

    def snapshot(self) -> bytes:
        """Return the state from which ``build`` makes a view that goes on exactly as this one would."""


class ViewConfig(Protocol):
    """The settings of a view."""

    def build(self, state: bytes | None = None) -> View:
        """Make the view, cold or as it was when ``state`` was taken.

        Raises
        ------
        ValueError
            If the state is not one of this view.
        """


def scalar(statistic: str, values: npt.ArrayLike) -> Prototype:
    """Return one value per cluster, float64[k], as a prototype's statistic."""
    value = np.asarray(values, dtype=np.float64)
    return Prototype(statistic, np.arange(len(value), dtype=np.int32), np.zeros(len(value)), value)


def curve(statistic: str, positions: npt.ArrayLike, values: npt.ArrayLike) -> Prototype:
    """Return float64[k, m] values at float64[m] positions as a prototype's statistic, cluster by cluster."""
    position, value = np.asarray(positions, dtype=np.float64), np.asarray(values, dtype=np.float64)
    k, m = value.shape
    label = np.repeat(np.arange(k, dtype=np.int32), m)
    return Prototype(statistic, label, np.tile(position, k), value.reshape(-1))


def numbered_by_exemplar(labels: Int32, exemplars: Int64) -> tuple[Int32, Int64, Int64]:
    """Renumber clusters by their exemplar's position.

    Parameters
    ----------
    labels
        int32[n], 0 to k - 1.
    exemplars
        int64[k], the index of each cluster's exemplar in the numbering of ``labels``.

    Returns
    -------
    labels : int32[n]
    exemplars : int64[k]
        Ascending.
    order : int64[k]
        The old number of each new one: reorder rows and columns per cluster with it.
    """
    order = np.argsort(exemplars, kind="stable")
    number = np.empty(len(order), dtype=np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    return number[labels], exemplars[order], order


def without_clusters(
    coin_ids: tuple[str, ...],
    excluded: dict[str, str],
    iterations: int = 0,
    diagnostics: dict[str, float] | None = None,
) -> ViewFit:
    """Return a fit that did not converge, or that had no coins: nothing that it could say."""
    n, nan = len(coin_ids), float("nan")
    return ViewFit(
        coin_ids=coin_ids, labels=np.full(n, -1, dtype=np.int32), exemplars=np.empty(0, dtype=np.int64),
        converged=False, iterations=iterations, silhouette=nan, silhouettes=np.full(n, nan),
        distance=np.full(n, nan), distances=np.empty((n, 0)), prototypes=(), diagnostics=diagnostics or {},
        excluded=excluded,
    )  # fmt: skip
