"""The shape view: coins whose returns rise and fall alike, up to a shift of a few bars (TADPole).

Density peaks under dynamic time warping on the coins' returns, as Lorenzo & Arroyo 2022 cluster them. The matrix of
all distances is computed once per window (0.3 microseconds a pair and 364 bars) and serves the densities, the choice
of k, the silhouettes and the prototypes; the pruning that gives the method its name would save none of it.

Series are returns as they are, so that a coin's volatility is part of its shape, or standardised ones. A masked cell
holds the coin's own mean return: 0 once standardised, as in every other view.

``as_published`` repeats R's dtwclust with the paper's settings: any positive price, unclipped returns, cutoff
distance 2, clusters in dtwclust's order, k by dtwclust's Calinski-Harabasz index (:mod:`models.dtwclust`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from models import dtwclust
from models.distance_memory import DistanceMemory, KeptDistances
from models.dtw import Precision, dtw_matrix
from models.medoids import calinski_harabasz, medoid, medoid_indices, silhouettes
from models.prepare import FitInput, Prepared, prepare
from models.returns import ReturnKind, remove_market
from models.tadpole import LowerBound, Order, Peaks, assign, assign_nearest, density_peaks, knee, tadpole
from models.threads import one_thread
from models.view import Prototype, ViewFit, curve, scalar, without_clusters

Floats = npt.NDArray[Any]  # float64 or float32
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]

SNAPSHOT_VERSION: Final = 1
PUBLISHED_CUTOFF: Final = 2.0
FEWEST_COINS_WITH_MARKET: Final = 3


@dataclass(frozen=True, slots=True)
class ShapeConfig:
    """Settings of the view, named as in the configuration file.

    ``clusters`` 0 chooses between 2 and ``most_clusters``, by ``choose_by`` (the index of Calinski and Harabasz or
    the knee of the sorted products of density and delta), anew every ``choose_every_fits`` fits, so that the number
    does not flap. ``dc`` is the cutoff distance, 0 the quantile ``dc_quantile`` of all distances (Rodriguez & Laio
    advise that 1 to 2% of the others be neighbours; the paper's 2 is about the median of the real market, and leaves
    one cluster and a few outliers). ``window`` is the half width of the warping band in bars.

    ``series`` are ``returns``, ``standardised`` ones, or the ``residual`` of those after the market's first factor.
    ``assignment`` sends a coin after its nearest ``denser`` neighbour, as the papers do, or to the ``nearest`` medoid
    [ours], which moves fewer coins from fit to fit. ``order`` and ``lower_bound`` are those of
    :func:`models.tadpole.tadpole`; the bound matters under the order of dtwclust alone. ``keep_distances`` says where
    the distances of the last window wait, of which those between two unchanged series are used again: in ``memory``,
    in the ``snapshot`` as well (4 n^2 bytes), or nowhere (``no``). A bar later all series have changed; it pays where
    a refit follows a correction of a few coins. The fit draws nothing at random; ``seed`` is carried so that a result
    states everything it may depend on.
    """

    clusters: int = 3
    window: int = 3
    dc: float = 0.0
    dc_quantile: float = 0.015
    choose_by: Literal["calinski_harabasz", "knee"] = "calinski_harabasz"
    most_clusters: int = 10
    choose_every_fits: int = 24
    series: Literal["returns", "standardised", "residual"] = "returns"
    assignment: Literal["denser", "nearest"] = "denser"
    order: Order = "rho"
    lower_bound: LowerBound = "keogh"
    as_published: bool = False
    precision: Precision = "float64"
    threads: int = 1
    keep_distances: Literal["no", "memory", "snapshot"] = "memory"
    returns: ReturnKind = "log"
    winsorise_quantile: float = 0.001
    duplicates_above_correlation: float = 0.995
    exclude: tuple[str, ...] = ("stablecoins", "wrapped")
    size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clusters < 0 or self.most_clusters < 2:
            raise ValueError("clusters must be 0 (chosen) or more, and most_clusters at least 2")
        if self.window < 0 or self.threads < 1 or self.choose_every_fits < 1:
            raise ValueError("window must be 0 or more, threads and choose_every_fits at least 1")
        if not self.dc >= 0.0 or not 0.0 < self.dc_quantile <= 1.0:
            raise ValueError("dc must be 0 (the quantile) or a distance, and dc_quantile in (0, 1]")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")

    def build(self, state: bytes | None = None) -> ShapeView:
        """Make the view, cold or as it was when ``state`` was taken.

        Raises
        ------
        ValueError
            If the state is not one of this view with these settings.
        """
        return ShapeView(self) if not state else _restored(state, self)


_CHOICES: Final = {
    "choose_by": ("calinski_harabasz", "knee"),
    "series": ("returns", "standardised", "residual"),
    "assignment": ("denser", "nearest"),
    "order": ("rho", "dtwclust"),
    "lower_bound": ("keogh", "improved"),
    "precision": ("float64", "float32"),
    "keep_distances": ("no", "memory", "snapshot"),
}


class _State(msgspec.Struct, frozen=True):
    """What a view carries: the number of clusters last chosen (0: none), and the distances if they are to be kept."""

    version: int
    clusters: int
    fits_since_choice: int
    kept: KeptDistances | None


class ShapeView:
    """A running view; what it carries changes the time that a fit takes and, if k is chosen, its hold on k."""

    def __init__(self, config: ShapeConfig, clusters: int = 0, fits_since_choice: int = 0) -> None:
        self.config = config
        self._clusters = clusters
        self._fits_since_choice = fits_since_choice
        precision: Precision = "float64" if config.as_published else config.precision
        self._memory = DistanceMemory(config.window, precision, config.threads)

    def fit(self, window: FitInput) -> ViewFit:
        """Cluster one window.

        Raises
        ------
        ValueError
            If the window is malformed or a setting is out of range.
        """
        config = self.config
        with one_thread():
            ids, X, excluded = _series(prepared_returns(window, config), config)
            if not ids:
                return without_clusters(ids, excluded)
            D, reused = self._distances(X)
            dc = _cutoff(D, config)
            figures = {"dc": dc, "reused_share": reused}
            try:
                peaks = _peaks(X, D, dc, config)
            except ValueError:  # no two coins are within a fixed cutoff distance: the method has no answer
                return without_clusters(ids, excluded, diagnostics=figures)
            k = self._number_of_clusters(X, D, peaks)
            labels, exemplars = _cut(D, peaks, k, config)
            figures |= {"clusters": float(k), "computed_share": peaks.computed_share}
            return _described(ids, excluded, X, D, labels, exemplars, figures)

    def snapshot(self) -> bytes:
        """Return the state from which ``build`` makes a view that goes on exactly as this one would."""
        kept = self._memory.kept() if self.config.keep_distances == "snapshot" else None
        return msgspec.msgpack.encode(_State(SNAPSHOT_VERSION, self._clusters, self._fits_since_choice, kept))

    def _distances(self, X: Float64) -> tuple[Floats, float]:
        """Return all distances, and the share of coins whose series has not changed since the window before."""
        memory = self._memory
        if self.config.keep_distances == "no":
            return dtw_matrix(X, memory.window, memory.precision, memory.threads), 0.0
        return memory.matrix(X)

    def _number_of_clusters(self, X: Float64, D: Floats, peaks: Peaks) -> int:
        config = self.config
        if config.clusters:
            return min(config.clusters, len(D))
        if not self._clusters or self._fits_since_choice + 1 >= config.choose_every_fits:
            self._clusters, self._fits_since_choice = _choice(X, D, peaks, config), 0
        else:
            self._fits_since_choice += 1
        return min(self._clusters, len(D))


def prepared_returns(window: FitInput, config: ShapeConfig) -> Prepared:
    """Return the coins that take part and their returns, which are not touched if ``as_published``.

    Raises
    ------
    ValueError
        If the window is malformed or a setting cannot be used.
    """
    keep_flat = config.series == "returns"
    if config.as_published:
        return prepare(window, replace(config, winsorise_quantile=0.0), keep_flat=keep_flat, least_price=0.0)
    return prepare(window, config, keep_flat=keep_flat)


def _series(universe: Prepared, config: ShapeConfig) -> tuple[tuple[str, ...], Float64, dict[str, str]]:
    """Return the coins, their series as rows without a gap, and who was left out."""
    real = np.isfinite(universe.returns)
    if config.series == "returns":
        mean = np.where(real, universe.returns, 0.0).sum(axis=0) / np.maximum(real.sum(axis=0), 1)
        filled = np.where(real, universe.returns, mean)
        return universe.coin_ids, np.ascontiguousarray(filled.T), universe.excluded
    ids, Z, excluded = universe.coin_ids, universe.Z, universe.excluded
    if config.series == "residual" and len(ids) >= FEWEST_COINS_WITH_MARKET:
        Z = remove_market(Z, real)[0]
        left = (Z != 0.0).any(axis=0)
        gone = {coin: "moves with the market alone" for coin, stays in zip(ids, left, strict=True) if not stays}
        excluded = dict(sorted((excluded | gone).items()))
        ids, Z = tuple(coin for coin in ids if coin not in gone), Z[:, left]
    return ids, np.ascontiguousarray(Z.T), excluded


def _cutoff(D: Floats, config: ShapeConfig) -> float:
    """Return the cutoff distance: one that occurs, so that at least one pair is within it."""
    if config.as_published:
        return PUBLISHED_CUTOFF
    if config.dc > 0.0 or len(D) < 2:
        return config.dc
    between = D[np.tri(len(D), k=-1, dtype=np.bool_)]
    return float(np.quantile(between, config.dc_quantile, method="higher"))


def _peaks(X: Float64, D: Floats, dc: float, config: ShapeConfig) -> Peaks:
    if len(D) == 1:
        return Peaks(np.ones(1), np.ones(1), np.zeros(1, np.int64), np.full(1, -1, np.int64), 1.0)
    if config.as_published or config.order == "dtwclust":
        return tadpole(X, dc, config.window, "dtwclust", config.lower_bound, config.threads, known=D)
    return density_peaks(D, dc)


def _cut(D: Floats, peaks: Peaks, k: int, config: ShapeConfig) -> tuple[Int32, Int64]:
    if config.assignment == "nearest" and not config.as_published:
        return assign_nearest(D, peaks, k)
    return assign(peaks, k)


def _choice(X: Float64, D: Floats, peaks: Peaks, config: ShapeConfig) -> int:
    """Return the number of clusters with the largest index, the smallest of equal ones."""
    if config.choose_by == "knee" and not config.as_published:
        return min(knee(peaks, config.most_clusters), len(D))
    index: Callable[[Int32, Int64], float]
    if config.as_published:

        def index(labels: Int32, exemplars: Int64) -> float:
            return dtwclust.calinski_harabasz(X, labels, exemplars, config.window)
    else:
        centre = medoid(D)

        def index(labels: Int32, exemplars: Int64) -> float:
            return calinski_harabasz(D, labels, exemplars, centre)

    best, chosen = -np.inf, 1
    for k in range(2, min(config.most_clusters, len(D) - 1) + 1):
        value = index(*_cut(D, peaks, k, config))
        if value > best:
            best, chosen = value, k
    return chosen


def _described(
    ids: tuple[str, ...],
    excluded: dict[str, str],
    X: Float64,
    D: Floats,
    labels: Int32,
    exemplars: Int64,
    figures: dict[str, float],
) -> ViewFit:
    """Return everything that a partition says."""
    distances = np.ascontiguousarray(D[:, exemplars], dtype=np.float64)
    own = distances[np.arange(len(D)), labels]
    silhouette = silhouettes(D, labels)
    indices = asdict(medoid_indices(D, labels, exemplars))
    del indices["silhouette"]
    return ViewFit(
        coin_ids=ids,
        labels=labels,
        exemplars=exemplars,
        converged=True,
        iterations=1,
        silhouette=float(silhouette.mean()),
        silhouettes=silhouette,
        distance=own,
        distances=distances,
        prototypes=_prototypes(X, labels, exemplars, own),
        diagnostics=dict(sorted((figures | indices).items())),
        excluded=excluded,
    )


def _prototypes(X: Float64, labels: Int32, exemplars: Int64, own: Float64) -> tuple[Prototype, ...]:
    """Return, per cluster, its size, the distances of all members to the medoid (its own 0 too), and its series."""
    size = np.bincount(labels, minlength=len(exemplars))
    mean = np.bincount(labels, weights=own) / size
    deviation = np.sqrt(np.bincount(labels, weights=(own - mean[labels]) ** 2) / size)
    variation = np.divide(deviation, mean, out=np.full(len(size), np.nan), where=mean > 0.0)
    return (
        scalar("size", size),
        scalar("share", size / len(labels)),
        scalar("distance_mean", mean),
        scalar("distance_deviation", deviation),
        scalar("distance_coefficient_of_variation", variation),
        curve("medoid_return", np.arange(X.shape[1]), X[exemplars]),
    )


def _restored(saved: bytes, config: ShapeConfig) -> ShapeView:
    try:
        state = msgspec.msgpack.decode(saved, type=_State)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a state of the shape view: {error}") from None
    if state.version != SNAPSHOT_VERSION:
        raise ValueError(f"the shape view's state has version {state.version}, not {SNAPSHOT_VERSION}")
    if state.clusters < 0 or state.fits_since_choice < 0:
        raise ValueError(f"the shape view's state speaks of {state.clusters} clusters: start without it")
    view = ShapeView(config, state.clusters, state.fits_since_choice)
    if state.kept is not None:
        view._memory.restore(state.kept)  # noqa: SLF001 - one module, two halves of one thing
    return view
