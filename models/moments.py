"""The moments view: which coins have alike returns, judged by their mean and their deviation alone.

Each coin is a point (mean, deviation of its returns), standardised over the coins, and the points are clustered by
K-means (Lorenzo & Arroyo 2022, Financial Innovation 8:7). The market's own movement stays in: what is left without it
has no mean to speak of. What ``as_published`` changes is said at its setting, and
in docs/methods/moments.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from models.ensemble import dissimilarities, medoid
from models.hopkins import hopkins
from models.kmeans import KMeansResult, kmeans
from models.nbclust import nbclust
from models.partitions import adjusted_rand
from models.prepare import FitInput, Prepared, prepare
from models.returns import ReturnKind
from models.threads import one_thread
from models.validity import Distances, indices, majority, silhouettes, votes
from models.view import Prototype, ViewFit, numbered_by_exemplar, scalar, without_clusters

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_HOPKINS_DRAWS: Final = 10
"""The statistic is averaged over so many draws of points: one of them moves by 0.015 on a real market."""

_FEWEST_FOR_GATE: Final = 30
"""With fewer coins the Hopkins statistic compares three pairs of distances, which decide nothing."""

_R_ITERATIONS: Final = 10
"""R's ``kmeans`` stops after so many rounds."""


@dataclass(frozen=True, slots=True)
class MomentsConfig:
    """Settings of the view, named as in the configuration file."""

    clusters: int = 3
    """Number of clusters; 0: chosen at each cold fit by the vote of the validity indices."""
    most_clusters: int = 8
    """Most clusters that the vote may choose."""
    starts: int = 50
    """Starts of each K-means run, of which the best is kept."""
    runs: int = 10
    """Runs of a cold fit, each with starts of its own; their medoid is the result."""
    warm_start: bool = True
    """Whether a fit goes on from the centres of the fit before, so that the number and the clusters do not flap."""
    audit_every_fits: int = 24
    """Every so many fits one starts cold beside the warm one, and the better stays."""
    hopkins_gate: float = 0.5
    """Where the number is chosen and the Hopkins statistic is above this, all coins are one cluster; 1: no gate."""
    as_published: bool = False
    """As Lorenzo & Arroyo: any positive price taken, returns not clipped, the number by NbClust's vote (26 indices,
    partitions from one start), ten iterations at most, every fit cold."""
    returns: ReturnKind = "log"
    winsorise_quantile: float = 0.001
    duplicates_above_correlation: float = 0.995
    exclude: tuple[str, ...] = ("stablecoins", "wrapped")
    size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("starts", "runs", "audit_every_fits"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.clusters < 0 or self.most_clusters < 2:
            raise ValueError("clusters must be 0 (chosen) or more, and most_clusters at least 2")

    def build(self, state: bytes | None = None) -> Moments:
        """Make the view, cold or as it was when ``state`` was taken.

        Raises
        ------
        ValueError
            If the state is not one of this view.
        """
        return Moments(self, state)


class Moments:
    """The running view: the centres of the fit before, in units of returns, and the number of fits."""

    def __init__(self, config: MomentsConfig, state: bytes | None = None) -> None:
        self._config = config
        self._fits = 0
        self._centres: Float64 | None = None
        if state is not None:
            self._fits, self._centres = _restored(state)

    def snapshot(self) -> bytes:
        """Return the state from which ``build`` makes a view that goes on exactly as this one would."""
        centres = None if self._centres is None else self._centres.tolist()
        return json.dumps({"view": "moments", "fits": self._fits, "centres": centres}).encode()

    def fit(self, window: FitInput) -> ViewFit:
        """Cluster one window.

        Raises
        ------
        ValueError
            If the window is malformed or a setting cannot be used; the text says how to mend it.
        """
        prepared = prepared_returns(window, self._config)
        number, self._fits = self._fits, self._fits + 1
        if not prepared.coin_ids:
            return without_clusters((), prepared.excluded)
        with one_thread():
            features = moments(prepared.returns)
            points, middle, scale = standardised(features)
            start = None if self._centres is None else (self._centres - middle) / scale
            found, diagnostics = self._clusters(points, start, number)
            if not found.converged:
                return without_clusters(prepared.coin_ids, prepared.excluded, found.iterations, diagnostics)
            fitted = _result(prepared.coin_ids, prepared.excluded, points, features, found, diagnostics)
        # where each coin is a cluster of its own there were too few of them for the number that is wanted
        few = len(fitted.exemplars) == len(fitted.coin_ids)
        self._centres = None if few else np.column_stack([_values(fitted, name) for name in ("mean", "deviation")])
        return fitted

    def _clusters(self, points: Float64, start: Float64 | None, number: int) -> tuple[KMeansResult, dict[str, float]]:
        """Return the clusters, warm or cold, and what the audit or the choice of their number found."""
        config = self._config
        warm = self._warm(points, start) if config.warm_start and not config.as_published else None
        cold_due = number % config.audit_every_fits == 0
        if warm is not None and not cold_due:
            return warm, {"warm": 1.0}
        k, diagnostics = _number_of_clusters(points, config)
        cold = self._cold(points, k, diagnostics)
        diagnostics["warm"] = 0.0
        if warm is None:
            return cold, diagnostics
        diagnostics["audit_ari"] = adjusted_rand(warm.labels, cold.labels)
        if len(warm.centres) != len(cold.centres):
            return cold, diagnostics
        diagnostics["audit_inertia_ratio"] = warm.inertia / cold.inertia if cold.inertia > 0.0 else 1.0
        # a warm partition that is as good stays, so that an audit alone moves no coin
        better = cold.inertia < warm.inertia * (1.0 - 1e-9) or not warm.converged
        diagnostics["warm"] = float(not better)
        return (cold if better else warm), diagnostics

    def _warm(self, points: Float64, start: Float64 | None) -> KMeansResult | None:
        """Return the clusters from the centres of before; None where their number no longer fits."""
        config = self._config
        if start is None or (config.clusters and len(start) != config.clusters):
            return None
        found = kmeans(points, len(start), initial=start, seed=config.seed)
        return found if len(found.centres) == len(start) else None

    def _cold(self, points: Float64, k: int, diagnostics: dict[str, float]) -> KMeansResult:
        """Return the medoid of several runs (clue's ``cl_medoid``), the first of equal ones."""
        config = self._config
        limit = _R_ITERATIONS if config.as_published else 300
        results = [
            kmeans(points, k, starts=config.starts, seed=config.seed + run, max_iterations=limit)
            for run in range(config.runs)
        ]
        partitions = [result.labels for result in results]
        diagnostics["ensemble_dissimilarity"] = float(dissimilarities(partitions).max())
        return results[medoid(partitions)]


def prepared_returns(window: FitInput, config: MomentsConfig) -> Prepared:
    """Return the coins that take part and their returns, which are not touched if ``as_published``.

    Raises
    ------
    ValueError
        If the window is malformed or a setting cannot be used.
    """
    if config.as_published:
        return prepare(window, replace(config, winsorise_quantile=0.0), keep_flat=True, least_price=0.0)
    return prepare(window, config, keep_flat=True)


def moments(R: Float64) -> Float64:
    """Return float64[n, 2]: mean and deviation (ddof 1) of each column's finite returns, of which it has two or more.

    Parameters
    ----------
    R
        float64[T, n], NaN where there is no return.
    """
    real = np.isfinite(R)
    count = real.sum(axis=0)
    X = np.where(real, R, 0.0)
    mean = X.sum(axis=0) / np.maximum(count, 1)
    X -= mean
    X[~real] = 0.0
    deviation = np.sqrt((X * X).sum(axis=0) / np.maximum(count - 1, 1))
    deviation[deviation < 1e-12 + 1e-9 * np.abs(mean)] = 0.0  # rounding, not movement
    return np.column_stack([mean, deviation])


def standardised(features: Float64) -> tuple[Float64, Float64, Float64]:
    """Return features with zero mean and unit deviation (ddof 1, R's ``scale``), and the means and deviations.

    A feature that does not vary stays at 0.
    """
    middle = features.mean(axis=0)
    centred = features - middle
    scale = np.sqrt((centred * centred).sum(axis=0) / max(len(features) - 1, 1))
    flat = scale <= 1e-12 * np.abs(features).max()  # features of one unit: what varies by so little is rounding
    scale[flat] = 1.0
    centred[:, flat] = 0.0
    return centred / scale, middle, scale


def _number_of_clusters(points: Float64, config: MomentsConfig) -> tuple[int, dict[str, float]]:
    """Return the number of clusters as set or chosen, and the statistics that led to it."""
    tendency = float(np.mean([hopkins(points, seed=config.seed + draw) for draw in range(_HOPKINS_DRAWS)]))
    diagnostics = {"hopkins": tendency}
    if config.clusters:
        return config.clusters, diagnostics
    distinct = len(np.unique(points, axis=0))
    most = min(config.most_clusters, distinct - 1)
    if len(points) >= _FEWEST_FOR_GATE and tendency > config.hopkins_gate:
        return 1, diagnostics
    if most < 2:
        return min(distinct, 2), diagnostics
    if config.as_published and distinct >= 6:
        vote = nbclust(points, 2, max(min(most, distinct - 2), 4))
        chosen, preferred = vote.chosen, vote.best
    else:
        given = Distances(points)
        values = {}
        for k in range(2, most + 1):
            values[k] = indices(given, kmeans(points, k, starts=config.starts, seed=config.seed).labels)
        preferred = votes(values)
        chosen = majority(preferred)
    diagnostics |= {f"vote_{name.lower()}": float(k) for name, k in preferred.items()}
    return chosen, diagnostics


def _result(
    coin_ids: tuple[str, ...],
    excluded: dict[str, str],
    points: Float64,
    features: Float64,
    found: KMeansResult,
    diagnostics: dict[str, float],
) -> ViewFit:
    distances = np.sqrt(np.square(points[:, None] - found.centres[None]).sum(axis=2))
    own = distances[np.arange(len(points)), found.labels]
    exemplars = np.array([_nearest(own, found.labels == c) for c in range(len(found.centres))], dtype=np.int64)
    labels, exemplars, order = numbered_by_exemplar(found.labels, exemplars)
    score = silhouettes(Distances(points).D, labels)
    total = float(np.square(points).sum())
    diagnostics |= {
        "chosen_k": float(len(exemplars)),
        "inertia": found.inertia,
        "explained_share": 1.0 - found.inertia / total if total > 0.0 else 1.0,
    }
    return ViewFit(
        coin_ids=coin_ids,
        labels=labels,
        exemplars=exemplars,
        converged=True,
        iterations=found.iterations,
        silhouette=float(score.mean()),
        silhouettes=score,
        distance=own,
        distances=np.ascontiguousarray(distances[:, order]),
        prototypes=_prototypes(features, labels),
        diagnostics=dict(sorted(diagnostics.items())),
        excluded=excluded,
    )


def _nearest(distance: Float64, members: npt.NDArray[np.bool_]) -> int:
    return int(np.argmin(np.where(members, distance, np.inf)))


def _prototypes(features: Float64, labels: npt.NDArray[np.int32]) -> tuple[Prototype, ...]:
    """Return each cluster's mean of means and of deviations (in units of returns), its size and its share of coins."""
    size = np.bincount(labels)
    mean, deviation = (np.bincount(labels, weights=column) / size for column in features.T)
    return (
        scalar("mean", mean),
        scalar("deviation", deviation),
        scalar("size", size),
        scalar("share", size / len(labels)),
    )


def _values(fitted: ViewFit, statistic: str) -> Float64:
    return next(prototype.value for prototype in fitted.prototypes if prototype.statistic == statistic)


def _restored(state: bytes) -> tuple[int, Float64 | None]:
    try:
        held = json.loads(state)
        centres = held["centres"]
        if held["view"] == "moments":
            return int(held["fits"]), None if centres is None else np.array(centres, dtype=np.float64).reshape(-1, 2)
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError("the state is not one of the moments view: start it cold")
