"""The distribution view: coins whose returns are distributed alike (Hist-DAWass of Lorenzo & Arroyo 2022).

Each coin is its quantile function, coins are apart by the l2 Wasserstein distance, and prototypes are mean quantile
functions. On exact order statistics this is k-means on sorted returns / sqrt(T), to the last digit, and so it is
computed. ``as_published`` takes histograms of 20 quantiles and the random starts of HistDAWass instead. With
``segments`` the window is cut into spans of time, each a distribution of its own; squared distances are added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.distribution_search import Found, choose, cold, warm
from models.partitions import adjusted_rand
from models.prepare import FitInput, prepare
from models.quantiles import (
    Distributions,
    features,
    fixed_quantiles,
    from_features,
    moments,
    order_statistics,
    quantiles_at,
    resampled,
)
from models.returns import ReturnKind
from models.threads import one_thread
from models.view import Prototype, ViewFit, curve, numbered_by_exemplar, scalar, without_clusters
from models.wasserstein import decompose, distances, explained_share, silhouettes, squares_about, total_squares

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]

SNAPSHOT_VERSION: Final = 1

POSITIONS: Final = np.arange(101) / 100
"""Where the quantile functions of prototypes are given."""


@dataclass(frozen=True, slots=True)
class DistributionConfig:
    """Settings of the view, named as in the configuration file.

    ``clusters`` 0 chooses between 2 and ``most_clusters`` (:func:`models.distribution_search.choose`), at cold starts
    only, so that the number does not flap. A fit starts from the prototypes of the fit before if ``warm_start`` says
    so; every ``audit_every_fits`` of them (1 day of hours, say) it starts anew as well, and the better one stays.
    ``as_published`` uses histograms of ``bins`` quantiles, random balanced starts and returns that are not clipped,
    each fit anew.
    """

    clusters: int = 5
    starts: int = 20
    segments: int = 1
    as_published: bool = False
    bins: int = 20
    warm_start: bool = True
    audit_every_fits: int = 24
    most_clusters: int = 10
    least_gain: float = 0.05
    returns: ReturnKind = "log"
    winsorise_quantile: float = 0.001
    duplicates_above_correlation: float = 0.995
    exclude: tuple[str, ...] = ("stablecoins", "wrapped")
    size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("starts", "segments", "bins", "audit_every_fits"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.clusters < 0 or self.most_clusters < 2:
            raise ValueError("clusters must be 0 (chosen) or more, and most_clusters at least 2")

    def build(self, state: bytes | None = None) -> DistributionView:
        """Make the view, cold or as it was when ``state`` was taken.

        Raises
        ------
        ValueError
            If the state is not one of this view with this number of segments and clusters.
        """
        return DistributionView(self, None if state is None else _restored(state, self))


class _State(msgspec.Struct, frozen=True):
    """What a view carries from fit to fit; ``bins`` per segment, ``centres`` float64[k, sum of bins]."""

    version: int
    clusters: int
    fits_since_cold: int
    bins: list[int]
    centres: bytes

    def prototypes(self) -> list[Distributions]:
        """Return the prototypes, segment by segment."""
        centres = np.frombuffer(self.centres).reshape(-1, sum(self.bins))
        parts = np.split(centres, np.cumsum(self.bins)[:-1], axis=1)
        return [
            from_features(part, Distributions(np.full(m, 1.0 / m), part, None))
            for part, m in zip(parts, self.bins, strict=True)
        ]


class DistributionView:
    """A running view; nothing but the prototypes of the last fit passes from one fit to the next."""

    def __init__(self, config: DistributionConfig, state: _State | None) -> None:
        self.config = config
        self._state = state

    def fit(self, window: FitInput) -> ViewFit:
        """Cluster one window.

        Raises
        ------
        ValueError
            If the window is malformed or has fewer returns than segments.
        """
        config = self.config
        with one_thread():
            settings = replace(config, winsorise_quantile=0.0) if config.as_published else config
            universe = prepare(window, settings, keep_flat=True)
            if not universe.coin_ids:
                return without_clusters((), universe.excluded)
            spans = _spans(universe.returns, config.segments)
            present = np.all([np.isfinite(span).any(axis=0) for span in spans], axis=0)
            ids = tuple(np.array(universe.coin_ids, dtype=np.object_)[present].tolist())
            absent = np.array(universe.coin_ids, dtype=np.object_)[~present].tolist()
            excluded = universe.excluded | dict.fromkeys(absent, "no return in one of the segments")
            excluded = dict(sorted(excluded.items()))
            if not ids:
                return without_clusters(ids, excluded)
            variables = [_distributions(span[:, present], config) for span in spans]
            X = np.hstack([features(variable) for variable in variables])
            found, diagnostics = self._clusters(X, variables)
            if not found.converged:
                return without_clusters(ids, excluded, found.iterations, dict(sorted(diagnostics.items())))
            whole = variables if len(spans) == 1 else [_distributions(universe.returns[:, present], config)]
            return _described(ids, excluded, X, variables, whole[0], found, diagnostics)

    def snapshot(self) -> bytes:
        """Return the state from which ``build`` makes a view that goes on exactly as this one would."""
        return b"" if self._state is None else msgspec.msgpack.encode(self._state)

    def _clusters(self, X: Float64, variables: list[Distributions]) -> tuple[Found, dict[str, float]]:
        """Return the clusters, from the prototypes before or anew, and keep theirs."""
        state, fits = self._state, 0
        before = None if state is None else _carried(state, variables)
        if state is None or before is None or len(before) > len(X):
            found, clusters, diagnostics = self._cold(X)
        else:
            found, clusters, diagnostics = warm(X, before), state.clusters, {"warm": 1.0}
            fits = state.fits_since_cold + 1
            if fits >= self.config.audit_every_fits:
                fits = 0
                anew, clusters, diagnostics = self._cold(X)
                found, audit = _audited(found, anew)
                diagnostics |= audit
        if found.converged and self.config.warm_start and not self.config.as_published:
            bins = [variable.columns for variable in variables]
            carried = len(found.centres) == clusters
            self._state = _State(SNAPSHOT_VERSION, clusters, fits, bins, found.centres.tobytes()) if carried else None
        return found, diagnostics

    def _cold(self, X: Float64) -> tuple[Found, int, dict[str, float]]:
        """Return the clusters from new starts, how many were asked for, and the figures of the choice."""
        config = self.config
        if config.clusters:
            found = cold(X, config.clusters, config.starts, config.seed, as_published=config.as_published)
            return found, config.clusters, {"warm": 0.0}
        found, figures = choose(
            X, config.most_clusters, config.least_gain, config.starts, config.seed, as_published=config.as_published
        )
        return found, len(found.centres), {"warm": 0.0} | figures


def _spans(R: Float64, segments: int) -> list[Float64]:
    """Return the rows of each segment; their lengths differ by one at most."""
    if len(R) < segments:
        raise ValueError(f"{len(R)} returns cannot be cut into {segments} segments: lower segments, or wait")
    return np.array_split(R, segments)


def _distributions(R: Float64, config: DistributionConfig) -> Distributions:
    return fixed_quantiles(R, config.bins) if config.as_published else order_statistics(R)


def _restored(saved: bytes, config: DistributionConfig) -> _State | None:
    if not saved:
        return None
    try:
        state = msgspec.msgpack.decode(saved, type=_State)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"the state is not one of the distribution view ({error}): start it cold") from None
    if state.version != SNAPSHOT_VERSION:
        raise ValueError(f"the distribution view's state has version {state.version}, not {SNAPSHOT_VERSION}")
    if len(state.bins) != config.segments or config.clusters not in (0, state.clusters):
        raise ValueError(
            f"the distribution view's state is of {state.clusters} clusters over {len(state.bins)} segments, "
            f"not {config.clusters} over {config.segments}"
        )
    if len(state.centres) != 8 * state.clusters * sum(state.bins):
        raise ValueError("the prototypes in the distribution view's state do not fit their bins: start it cold")
    return state


def _carried(state: _State, variables: list[Distributions]) -> Float64:
    """Return the prototypes before as features on today's bins."""
    return np.hstack(
        [
            features(before if before.columns == now.columns else resampled(before, now.columns))
            for before, now in zip(state.prototypes(), variables, strict=True)
        ]
    )


def _audited(continued: Found, anew: Found) -> tuple[Found, dict[str, float]]:
    """Return the better of both and how far they are apart; a new number of clusters always wins."""
    figures = {"audit_ari": adjusted_rand(continued.labels, anew.labels), "warm": 0.0}
    if len(continued.centres) != len(anew.centres):
        return anew, figures
    figures["audit_inertia_ratio"] = continued.inertia / anew.inertia if anew.inertia > 0.0 else 1.0
    # a partition that is as good stays, so that an audit alone moves no coin
    if anew.inertia < continued.inertia * (1.0 - 1e-9) or not continued.converged:
        return anew, figures
    return continued, figures | {"warm": 1.0}


def _described(
    ids: tuple[str, ...],
    excluded: dict[str, str],
    X: Float64,
    variables: list[Distributions],
    whole: Distributions,
    found: Found,
    diagnostics: dict[str, float],
) -> ViewFit:
    """Return everything that a partition says; clusters are numbered by their exemplar."""
    k = len(found.centres)
    distance = distances(X, found.centres)
    own = np.where(found.labels[:, np.newaxis] == np.arange(k), distance, np.inf)
    labels, exemplars, order = numbered_by_exemplar(found.labels, own.argmin(axis=0))
    distance, centres = np.ascontiguousarray(distance[:, order]), found.centres[order]
    silhouette = silhouettes(X, [labels])[0]
    prototypes, figures = _prototypes(X, labels, centres, variables, whole)
    return ViewFit(
        coin_ids=ids,
        labels=labels,
        exemplars=exemplars,
        converged=True,
        iterations=found.iterations,
        silhouette=float(silhouette.mean()),
        silhouettes=silhouette,
        distance=distance[np.arange(len(X)), labels],
        distances=distance,
        prototypes=prototypes,
        diagnostics=dict(sorted((diagnostics | figures).items())),
        excluded=excluded,
    )


def _prototypes(
    X: Float64, labels: Int32, centres: Float64, variables: list[Distributions], whole: Distributions
) -> tuple[tuple[Prototype, ...], dict[str, float]]:
    """Return the prototypes' statistics and the shares of all squares, within and between, part by part."""
    k, size = len(centres), np.bincount(labels)
    parts = np.split(centres, np.cumsum([variable.columns for variable in variables])[:-1], axis=1)
    means = [from_features(part, variable) for part, variable in zip(parts, variables, strict=True)]
    member = np.arange(k)[:, np.newaxis] == labels
    rows = _statistics("", means[0] if len(means) == 1 else _mean_of(whole, member))
    if len(means) > 1:
        for number, mean in enumerate(means, start=1):
            rows += _statistics(f"segment_{number}_", mean)

    rows += [scalar("size", size), scalar("share", size / len(labels))]

    total = total_squares(X)
    everyone = [_mean_of(variable, np.ones((1, len(labels)), dtype=np.bool_)) for variable in variables]
    within, between = decompose(variables, means), decompose(means, everyone)
    figures = {
        "chosen_k": float(k),
        "inertia": float(squares_about(X, labels, k).sum()),
        "bins": float(sum(len(variable.weights) for variable in variables)),
    }
    figures["explained_share"] = explained_share(figures["inertia"], total)
    rows.append(scalar("wasserstein_variance", squares_about(X, labels, k) / size))
    for name in ("location", "spread", "shape"):
        own = getattr(within, name)[np.arange(len(labels)), labels]
        inside = np.bincount(labels, weights=own)
        rows.append(scalar(f"wasserstein_variance_{name}", inside / size))
        if total > 0.0:
            figures[f"within_{name}"] = float(inside.sum()) / total
            figures[f"between_{name}"] = float(size @ getattr(between, name)[:, 0]) / total
    return tuple(rows), figures


def _mean_of(distributions: Distributions, member: npt.NDArray[np.bool_]) -> Distributions:
    """Return the mean quantile functions of the members, bool[k, n]."""
    X = features(distributions)
    return from_features(np.array([X[row].mean(axis=0) for row in member]), distributions)


def _statistics(prefix: str, means: Distributions) -> list[Prototype]:
    """Return the quantile functions and moments of prototypes, one per cluster."""
    quantiles, of = quantiles_at(means, POSITIONS), moments(means)
    return [
        curve(f"{prefix}quantile", POSITIONS, quantiles),
        scalar(f"{prefix}mean", of.mean),
        scalar(f"{prefix}median", quantiles[:, 50]),
        scalar(f"{prefix}deviation", of.deviation),
        scalar(f"{prefix}skewness", of.skewness),
        scalar(f"{prefix}kurtosis", of.kurtosis),
        scalar(f"{prefix}coefficient_of_variation", of.coefficient_of_variation),
        scalar(f"{prefix}minimum", quantiles[:, 0]),
        scalar(f"{prefix}maximum", quantiles[:, -1]),
    ]
