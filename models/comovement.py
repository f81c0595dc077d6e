"""The comovement view: which coins move together in one window of closes.

Closes become returns (screened, masked, clipped), returns a correlation (shrunk or sparse), the correlation
clusters with exemplars (affinity propagation), edges (partial correlations) and a map (locally linear embedding).
The fit is a pure function of its input: coins are sorted by id first, so their order is irrelevant, and BLAS runs
on one thread, so that sums keep their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from models import covariance as cov
from models.affinity import AffinityResult, affinity_propagation
from models.embedding import embed
from models.partial import edge_density, edges_above, partial_correlations, strongest_edges
from models.prepare import FitInput, prepare
from models.returns import ReturnKind, market_factor, remove_market, small_gram, unit_columns
from models.silhouette import silhouettes
from models.threads import one_thread
from models.view import ViewFit, scalar, without_clusters

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
__all__ = ["EDGE_THRESHOLD", "Comovement", "ComovementConfig", "ComovementFit", "FitInput", "as_view", "fit"]

Covariance = Literal["empirical", "ledoit_wolf", "oas", "graphical_lasso", "as_published"]

EDGE_THRESHOLD: Final = 0.02
"""|partial correlation| above which a pair counts in the edge density, and is an edge ``as_published``."""

FEWEST_COINS_WITH_MARKET: Final = 3
"""With fewer coins the first factor is all there is, and removing it would leave nothing to compare."""


@dataclass(frozen=True, slots=True)
class ComovementConfig:
    """Settings of the view, named as in the configuration file.

    ``size`` is the number of coins by market capitalisation (0: all), counted after the exclusions.
    ``graphical_lasso_alpha`` is fixed, because a penalty that is chosen anew in each window moves by itself.
    The fit draws nothing at random; ``seed`` is carried so that a result states everything it may depend on.
    """

    covariance: Covariance = "ledoit_wolf"
    preference_quantile: float = 0.5
    damping: float = 0.7
    max_iterations: int = 400
    edges_per_coin: int = 3
    market_mode: Literal["keep", "remove"] = "remove"
    returns: ReturnKind = "log"
    winsorise_quantile: float = 0.001
    duplicates_above_correlation: float = 0.995
    exclude: tuple[str, ...] = ("stablecoins", "wrapped")
    size: int = 0
    seed: int = 0
    graphical_lasso_alpha: float = 0.2
    neighbours: int = 20

    def build(self, state: bytes | None = None) -> Comovement:
        """Make the view; it carries nothing from fit to fit, so its state is empty.

        Raises
        ------
        ValueError
            If the state is not one of this view.
        """
        if state:
            raise ValueError("the state is not one of the comovement view: start it cold")
        return Comovement(self)


@dataclass(frozen=True, slots=True)
class ComovementFit:
    """Result of one fit; n coins took part, sorted by id.

    If affinity propagation did not converge, all labels are -1, there are no exemplars, and what depends on them
    (``silhouette``, ``silhouettes``, ``distance``) is NaN. Two coins are always two clusters, one coin is one.
    """

    coin_ids: tuple[str, ...]
    labels: Int32
    exemplars: Int64
    converged: bool
    iterations: int
    damping: float
    shrinkage: float
    """Weight of the identity in the covariance; of a graphical lasso: its penalty; 0 for the empirical one."""
    silhouette: float
    """Mean of ``silhouettes``; NaN with fewer than two clusters."""
    silhouettes: Float64
    """Of the distance 1 - correlation; 0 for a coin alone in its cluster."""
    distance: Float64
    """1 - correlation with the own exemplar."""
    effective_rank: float
    """exp of the entropy of the correlation's eigenvalues (Roy & Vetterli 2007), the market still in; 0 if n = 0."""
    first_share: float
    """Share of the first eigenvalue, the market's own, likewise."""
    edge_density: float
    """Share of all pairs with |partial correlation| > 0.02."""
    edges: tuple[Int64, Int64, Float64]
    """Ends a < b (indices of coins) and partial correlations; positive ones alone, but for ``as_published``."""
    embedding: Float64
    """float64[n, 3]."""
    Z: Float64
    """float64[T, n] standardised returns as they were clustered (market removed or not), 0 where masked."""
    market_correlation: Float64
    """float64[n]: correlation of each coin with the market's first factor, before any removal."""
    mean_correlation: float
    """Mean correlation over pairs, before any removal; NaN with fewer than two coins."""
    excluded: dict[str, str]
    """Coins of the window that did not take part, and why, sorted by id."""


class Comovement:
    """The view as :mod:`models.view` has it, with what all views have in common."""

    def __init__(self, config: ComovementConfig) -> None:
        self._config = config

    def fit(self, window: FitInput) -> ViewFit:
        """Cluster one window (:func:`fit` says more about it)."""
        return as_view(fit(window, self._config))

    def snapshot(self) -> bytes:
        """Return nothing: a fit depends on its window alone."""
        return b""


def as_view(found: ComovementFit) -> ViewFit:
    """Return what a fit has in common with those of the other views; its prototypes are the exemplars."""
    diagnostics = {
        "damping": found.damping,
        "edge_density": found.edge_density,
        "effective_rank": found.effective_rank,
        "first_share": found.first_share,
        "mean_correlation": found.mean_correlation,
        "shrinkage": found.shrinkage,
    }
    if not found.converged:
        return without_clusters(found.coin_ids, found.excluded, found.iterations, diagnostics)
    unit = unit_columns(found.Z)
    distances = np.maximum(1.0 - unit.T @ unit[:, found.exemplars], 0.0)
    # the own one to the last digit as the fit has it
    distances[np.arange(len(found.labels)), found.labels] = found.distance
    size = np.bincount(found.labels)
    return ViewFit(
        coin_ids=found.coin_ids,
        labels=found.labels,
        exemplars=found.exemplars,
        converged=True,
        iterations=found.iterations,
        silhouette=found.silhouette,
        silhouettes=found.silhouettes,
        distance=found.distance,
        distances=distances,
        prototypes=(scalar("size", size), scalar("share", size / len(found.labels))),
        diagnostics=diagnostics,
        excluded=found.excluded,
    )


def fit(window_arrays: FitInput, config: ComovementConfig) -> ComovementFit:
    """Cluster one window.

    Raises
    ------
    ValueError
        If shapes disagree, ids repeat, or a setting cannot be used with so many coins or bars; the text says how
        to mend it.
    """
    with one_thread():
        prepared = prepare(window_arrays, config)
        ids, Z, excluded = prepared.coin_ids, prepared.Z, dict(prepared.excluded)
        real = np.isfinite(prepared.returns)
        if not ids:
            return _nothing(len(Z), config, excluded)
        factor, share = market_factor(Z)
        unit = unit_columns(Z)
        before = _before_removal(unit, factor)
        if config.market_mode == "remove" and len(ids) >= FEWEST_COINS_WITH_MARKET:
            Z, _, _ = remove_market(Z, real)
            left = (Z != 0.0).any(axis=0)
            excluded |= {ids[i]: "moves with the market alone" for i in np.flatnonzero(~left)}
            ids, Z = tuple(ids[i] for i in np.flatnonzero(left)), np.ascontiguousarray(Z[:, left])
            before = (before[0][left], *before[1:])
            if not ids:
                return _nothing(len(Z), config, excluded)
            unit = unit_columns(Z)
        return _fit(ids, Z, unit, config, before, share, dict(sorted(excluded.items())))


def _fit(
    ids: tuple[str, ...],
    Z: Float64,
    unit: Float64,
    config: ComovementConfig,
    before: tuple[Float64, float, float],
    share: float,
    excluded: dict[str, str],
) -> ComovementFit:
    scaled = unit * np.sqrt(len(Z))  # variances of exactly 1, also with gaps: the covariance is a correlation
    found, rho, shrinkage = _clusters_and_network(scaled, config)
    labels, exemplars = found.labels, found.exemplars
    own = silhouettes(unit, labels) if found.converged else np.full(len(ids), np.nan)
    distance = np.full(len(ids), np.nan)
    if found.converged:
        distance = np.maximum(1.0 - np.einsum("ti,ti->i", unit, unit[:, exemplars[labels]]), 0.0)
        distance[exemplars] = 0.0
    density = edge_density(rho, EDGE_THRESHOLD)
    return ComovementFit(
        coin_ids=ids,
        labels=labels,
        exemplars=exemplars,
        converged=found.converged,
        iterations=found.iterations,
        damping=found.damping,
        shrinkage=shrinkage,
        silhouette=float(own.mean()),
        silhouettes=own,
        distance=distance,
        effective_rank=before[1],
        first_share=share,
        edge_density=density,
        edges=_edges(rho, config),
        embedding=embed(np.ascontiguousarray(Z.T), config.neighbours),
        Z=Z,
        market_correlation=before[0],
        mean_correlation=before[2],
        excluded=excluded,
    )


def _edges(rho: Float64, config: ComovementConfig) -> tuple[Int64, Int64, Float64]:
    """Return the network's edges: the strongest positive ones of each coin, or all above the threshold as published.

    An edge says that two coins move together. With the market removed returns sum to nearly nothing, so coins of
    different shoals are joined by negative partial correlations that say no more than that (``rho`` is overwritten).
    """
    if config.covariance == "as_published":
        return edges_above(rho, EDGE_THRESHOLD)
    return strongest_edges(np.maximum(rho, 0.0, out=rho), config.edges_per_coin)


def _before_removal(unit: Float64, factor: Float64) -> tuple[Float64, float, float]:
    """Return each coin's correlation with the market, the effective rank and the mean correlation."""
    n = unit.shape[1]
    eigenvalues = np.maximum(np.linalg.eigvalsh(small_gram(unit)), 0.0)
    p = eigenvalues / eigenvalues.sum()
    p = p[p > 0.0]
    total = unit.sum(axis=1)
    mean = float((total @ total - (unit * unit).sum()) / (n * (n - 1))) if n > 1 else float("nan")
    return factor @ unit / np.sqrt(len(unit)), float(np.exp(-(p * np.log(p)).sum())), mean


def _clusters_and_network(Z: Float64, config: ComovementConfig) -> tuple[AffinityResult, Float64, float]:
    """Return the clusters, the partial correlations and the shrinkage (or penalty) of the covariance."""
    try:
        S, precision, weight = _covariance(Z, config)
    except FloatingPointError:  # the sparse solver failed on these bars: a fit that did not converge, not a crash
        n = Z.shape[1]
        nothing = AffinityResult(np.full(n, -1, np.int32), np.empty(0, np.int64), False, 0, config.damping)
        return nothing, np.eye(n), float("nan")
    preference = float(np.quantile(S, config.preference_quantile))
    found = affinity_propagation(S, preference, config.damping, config.max_iterations, overwrite=True)
    del S
    if precision is None:
        precision = _shrunk_precision(Z, weight)
    return found, partial_correlations(precision), weight


def _covariance(Z: Float64, config: ComovementConfig) -> tuple[Float64, Float64 | None, float]:
    """Return the covariance, its precision where the estimate comes with one, and its shrinkage or penalty."""
    match config.covariance:
        case "empirical":
            return cov.empirical(Z), None, 0.0
        case "ledoit_wolf":
            S, weight = cov.ledoit_wolf(Z)
            return S, None, weight
        case "oas":
            S, weight = cov.oas(Z)
            return S, None, weight
        case "graphical_lasso":
            sparse = cov.graphical_lasso(Z, config.graphical_lasso_alpha)
        case "as_published":
            sparse = cov.graphical_lasso_as_published(Z)
        case _:
            raise ValueError(f"unknown covariance {config.covariance!r}")
    return sparse.covariance, sparse.precision, sparse.alpha


def _shrunk_precision(Z: Float64, shrinkage: float) -> Float64:
    """Return the inverse; of a singular covariance that of the Ledoit-Wolf estimate, or of the identity."""
    for weight in (shrinkage, cov.ledoit_wolf_shrinkage(Z)):
        try:
            return cov.shrunk_precision(Z, weight)
        except ValueError:
            continue
    return np.eye(Z.shape[1])


def _nothing(bars: int, config: ComovementConfig, excluded: dict[str, str]) -> ComovementFit:
    """Return the fit of no coins: not converged, since there is nothing that it could say."""
    nan, none = float("nan"), np.empty(0)
    no_index = np.empty(0, dtype=np.int64)
    return ComovementFit(
        coin_ids=(), labels=np.empty(0, dtype=np.int32), exemplars=no_index, converged=False, iterations=0,
        damping=config.damping, shrinkage=0.0, silhouette=nan, silhouettes=none, distance=none, effective_rank=0.0,
        first_share=0.0, edge_density=0.0, edges=(no_index, no_index, none), embedding=np.empty((0, 3)),
        Z=np.empty((bars, 0)), market_correlation=none, mean_correlation=nan, excluded=dict(sorted(excluded.items())),
    )  # fmt: skip
