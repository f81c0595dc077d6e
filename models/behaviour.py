"""Behaviours: optimists, pessimists, positive and negative traders.

Aspembitova, Feng & Chew 2021, "Methods": k-means with four clusters on the logarithms of the features, rules that
name the clusters and remove who breaks them, and a linear support vector machine on the rest, which then
classifies whole windows. Training is a function of the set of rows and the configuration: the order of the rows
and the number of threads do not matter.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit

from models.amounts import Float64, Int64, UInt64
from models.features import (
    BALANCE,
    FEATURES,
    IN_DEGREE,
    OUT_DEGREE,
    Bool,
    Chain,
    feature_columns,
    log_form,
    log_value,
)
from models.segments import Int8

BEHAVIOURS: Final = ("optimist", "pessimist", "positive_trader", "negative_trader")
NO_BEHAVIOUR: Final = -1
FLOOR: Final = 1e-8

_ELBOW_CLUSTERS: Final = 6
_ELBOW_STARTS: Final = 3
_ELBOW_ROWS: Final = 10_000
_SILHOUETTE_ROWS: Final = 2_000


@dataclass(frozen=True, slots=True)
class BehaviourConfig:
    """How the classifier of a chain is trained.

    Attributes
    ----------
    chain : str
        ``ethereum`` or ``bitcoin``.
    feature_set : int
        1, 2 or 3; 0 is the chain's default.
    seed : int
        Of the samples and of k-means.
    clusters : int
        k of k-means.
    sample : int
        Rows that are trained on at most.
    svm_limit : int
        Rows up to which the SVM is one-against-one with hinge loss (as published); beyond, one-against-rest with
        squared hinge, which trains a hundred times faster.
    """

    chain: Chain = "ethereum"
    feature_set: int = 0
    seed: int = 0
    clusters: int = 4
    sample: int = 50_000
    svm_limit: int = 10_000

    def __post_init__(self) -> None:
        feature_columns(self.chain, self.feature_set)
        if min(self.clusters, self.sample, self.svm_limit) < 1:
            raise ValueError("clusters, sample and svm_limit must be at least 1")


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What the training saw.

    Attributes
    ----------
    rows, trained : int
        Rows offered; rows that the SVM was trained on.
    elbow_inertia : tuple of float
        Inertia of k-means with k = 1 .. 6 (fewer if there are fewer distinct rows).
    elbow : int
        The k with the largest second difference of log inertia; 0 if there are too few k.
    silhouette : float
        Mean over a sample of 2,000; NaN with a single cluster.
    misclassified : float
        Share of rows that break the rule of their cluster's type.
    cluster_types : tuple of int
        The type of each cluster (index into BEHAVIOURS), -1 where no member fulfils any rule.
    """

    rows: int
    trained: int
    elbow_inertia: tuple[float, ...]
    elbow: int
    silhouette: float
    misclassified: float
    cluster_types: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class BehaviourModel:
    """A trained classifier: small, without scikit-learn in it, picklable.

    Attributes
    ----------
    columns : int64 [d]
        The features used.
    mean, scale : float64 [d]
        Of the standardised log form.
    classes : int8 [c]
        The types known, ascending indices into BEHAVIOURS.
    weights, bias : float64 [s, d], float64 [s]
        Linear scores: one per pair of classes if ``one_against_one``, else one per class; none for one class.
    """

    columns: Int64
    mean: Float64
    scale: Float64
    classes: Int8
    weights: Float64
    bias: Float64
    one_against_one: bool
    report: TrainingReport

    def classify(self, X: Float64) -> tuple[Int8, Float64]:
        """Return the behaviour of each entity.

        Parameters
        ----------
        X : float64 [n, 7]
            Features, columns as in ``FEATURES``.

        Returns
        -------
        labels : int8 [n]
            Index into BEHAVIOURS.
        margin : float64 [n]
            How clear the decision is: the smallest score for the winner against any rival (one against one; below
            0 where the votes form a circle), or its score minus the second best. NaN where there is one class.
        """
        if X.ndim != 2 or X.shape[1] != len(FEATURES):
            raise ValueError(f"features must be [n, {len(FEATURES)}], not {list(X.shape)}")
        labels, margin = classify_rows(
            np.ascontiguousarray(X, dtype=np.float64), self.columns, self.mean, self.scale,
            self.classes, self.weights, self.bias, self.one_against_one,
        )  # fmt: skip
        return labels, margin


@njit(cache=True)
def _by_votes(score, c):  # type: ignore[no-untyped-def]
    """Return winner and clearness from one score per pair of classes; of equal votes the first class, as libsvm."""
    votes = np.zeros(c, np.int64)
    s = 0
    for a in range(c):
        for b in range(a + 1, c):
            votes[a if score[s] > 0.0 else b] += 1
            s += 1
    best, clear, s = np.argmax(votes), np.inf, 0
    for a in range(c):
        for b in range(a + 1, c):
            if best in (a, b):
                clear = min(clear, score[s] if a == best else -score[s])
            s += 1
    return best, clear


@njit(cache=True)
def _by_height(score, c):  # type: ignore[no-untyped-def]
    """Return winner and clearness from one score per class; of equal scores the first class."""
    best, clear = np.argmax(score), np.inf
    for a in range(c):
        if a != best:
            clear = min(clear, score[best] - score[a])
    return best, clear


@njit(cache=True)
def classify_rows(X, columns, mean, scale, classes, weights, bias, one_against_one):  # type: ignore[no-untyped-def]
    """Label rows by linear scores of their standardised log form, one row at a time: no sum depends on the others."""
    n, d, c = X.shape[0], columns.size, classes.size
    labels, margin = np.full(n, classes[0], np.int8), np.full(n, np.nan, np.float64)
    if c == 1:
        return labels, margin
    z, score = np.empty(d, np.float64), np.empty(bias.size, np.float64)
    for i in range(n):
        for j in range(d):
            x = X[i, columns[j]]
            z[j] = (log_value(x, FLOOR, columns[j] == BALANCE) - mean[j]) / scale[j]
        for s in range(bias.size):
            total = bias[s]
            for j in range(d):
                total += weights[s, j] * z[j]
            score[s] = total
        best, margin[i] = _by_votes(score, c) if one_against_one else _by_height(score, c)
        labels[i] = classes[best]
    return labels, margin


def rule_labels(X: Float64) -> Int8:
    """Return the behaviour whose rule each entity fulfils, int8 [n]; -1 for none.

    Optimist: nothing sent, balance above 0. Pessimist: nothing received, balance below 0. Traders do both, with a
    balance of at least 0 or below it. Nobody: all transfers of one direction only and all of value zero.
    """
    out, into, balance = X[:, OUT_DEGREE], X[:, IN_DEGREE], X[:, BALANCE]
    both = (out > 0) & (into > 0)
    labels = np.full(X.shape[0], NO_BEHAVIOUR, np.int8)
    labels[(out == 0) & (balance > 0)] = 0
    labels[(into == 0) & (balance < 0)] = 1
    labels[both & (balance >= 0)] = 2
    labels[both & (balance < 0)] = 3
    return labels


def conformance(X: Float64, labels: Int8) -> float:
    """Return the share of entities that fulfil the rule of their label; NaN without entities."""
    return float(np.mean(rule_labels(X) == labels)) if labels.size else float("nan")


def train(X: Float64, config: BehaviourConfig) -> BehaviourModel:
    """Train a classifier.

    Parameters
    ----------
    X : float64 [n, 7]
        Features of entities that are not noisy, in any order.
    config : BehaviourConfig
        Chain, feature set and sizes.

    Returns
    -------
    BehaviourModel
        A behaviour that no cluster stands for is absent from its classes.

    Raises
    ------
    ValueError
        Without rows, with values that are not finite, or if no entity fulfils the rule of its cluster.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415

    if X.ndim != 2 or X.shape[1] != len(FEATURES) or X.shape[0] == 0:
        raise ValueError(f"features must be [n, {len(FEATURES)}] with n > 0, not {list(X.shape)}")
    if not bool(np.isfinite(X).all()):
        raise ValueError("features must be finite")
    rows = _sample(X, config.sample, config.seed)
    columns = np.array(feature_columns(config.chain, config.feature_set), dtype=np.int64)
    logs = log_form(rows, FLOOR)[:, columns]
    mean, scale = logs.mean(axis=0), logs.std(axis=0)
    scale[scale < 1e-12] = 1.0  # a feature that is the same for all says nothing
    Z = (logs - mean) / scale
    with threadpool_limits(limits=1):  # sums of several threads come in any order
        cluster, inertia = _clusters(Z, config)
        silhouette = _silhouette(Z, cluster, config.seed)
        ruled = rule_labels(rows)
        types = _types(cluster, ruled)
        kept = (types[cluster] == ruled) & (ruled != NO_BEHAVIOUR)
        if not bool(kept.any()):
            raise ValueError(f"none of {rows.shape[0]} entities fulfils the rule of a behaviour: nothing to train on")
        classes, weights, bias, one_against_one = _separate(Z[kept], ruled[kept], config)
    report = TrainingReport(
        rows=X.shape[0],
        trained=int(kept.sum()),
        elbow_inertia=inertia,
        elbow=elbow(inertia),
        silhouette=silhouette,
        misclassified=1.0 - float(kept.mean()),
        cluster_types=tuple(int(t) for t in types),
    )
    return BehaviourModel(columns, mean, scale, classes, weights, bias, one_against_one, report)


def elbow(inertia: tuple[float, ...]) -> int:
    """Return the k (from 1) with the largest second difference of log inertia; 0 with fewer than three."""
    if len(inertia) < 3:
        return 0
    floor = max(inertia[0], 1e-300) * 1e-12  # as many clusters as distinct rows leave nothing
    logs = np.log(np.maximum(np.asarray(inertia, dtype=np.float64), floor))
    return int(np.argmax(logs[2:] - 2.0 * logs[1:-1] + logs[:-2])) + 2


@njit(cache=True)
def _row_hashes(X):  # type: ignore[no-untyped-def]
    bits = X.view(np.uint64)
    out = np.empty(bits.shape[0], np.uint64)
    for i in range(bits.shape[0]):
        h = np.uint64(0)
        for j in range(bits.shape[1]):  # splitmix64 over the columns
            h = (h ^ bits[i, j]) + np.uint64(0x9E3779B97F4A7C15)
            h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            h = h ^ (h >> np.uint64(31))
        out[i] = h
    return out


def _sample(X: Float64, size: int, seed: int) -> Float64:
    """Return at most ``size`` rows in lexicographic order; which, does not depend on the order of ``X``.

    The draw is from the rows in order of a hash of their content: sorting ten million of them takes a second, where
    a lexicographic sort takes fifteen.
    """
    rows = np.ascontiguousarray(X, dtype=np.float64) + 0.0  # -0 becomes 0: equal rows have equal bits
    if rows.shape[0] > size:
        hashes: UInt64 = _row_hashes(rows)
        chosen = np.random.default_rng(seed).choice(rows.shape[0], size, replace=False)
        rows = rows[np.argsort(hashes)[chosen]]
    return rows[np.lexsort(rows.T[::-1])]


def _kmeans(Z: Float64, k: int, starts: int, seed: int) -> Any:
    from sklearn.cluster import KMeans  # noqa: PLC0415 - a second of imports that only training needs

    return KMeans(n_clusters=k, n_init=starts, random_state=seed).fit(Z)


def _clusters(Z: Float64, config: BehaviourConfig) -> tuple[Int64, tuple[float, ...]]:
    """Return the cluster of each row, and the inertias of k = 1 .. 6 on a sample."""
    few = Z
    if Z.shape[0] > _ELBOW_ROWS:
        few = Z[np.sort(np.random.default_rng(config.seed + 1).choice(Z.shape[0], _ELBOW_ROWS, replace=False))]
    distinct = int(np.unique(few, axis=0).shape[0])
    largest = min(_ELBOW_CLUSTERS, distinct)
    inertia = tuple(float(_kmeans(few, k, _ELBOW_STARTS, config.seed).inertia_) for k in range(1, largest + 1))
    fit = _kmeans(Z, min(config.clusters, distinct), 10, config.seed)
    return fit.labels_.astype(np.int64), inertia


def _silhouette(Z: Float64, cluster: Int64, seed: int) -> float:
    from sklearn.metrics import silhouette_score  # noqa: PLC0415

    rows = np.arange(Z.shape[0])
    if rows.size > _SILHOUETTE_ROWS:
        rows = np.sort(np.random.default_rng(seed + 2).choice(rows.size, _SILHOUETTE_ROWS, replace=False))
    kinds = np.unique(cluster[rows]).size
    if not 2 <= kinds < rows.size:
        return float("nan")
    return float(silhouette_score(Z[rows], cluster[rows]))


def _types(cluster: Int64, ruled: Int8) -> Int8:
    """Return the type of each cluster: the rule most members fulfil, of equals the first; -1 if none does."""
    counts = np.zeros((int(cluster.max()) + 1, len(BEHAVIOURS)), np.int64)
    some: Bool = ruled >= 0
    np.add.at(counts, (cluster[some], ruled[some]), 1)
    types: Int8 = np.argmax(counts, axis=1).astype(np.int8)
    types[counts.sum(axis=1) == 0] = NO_BEHAVIOUR
    return types


def _separate(Z: Float64, labels: Int8, config: BehaviourConfig) -> tuple[Int8, Float64, Float64, bool]:
    """Fit the linear SVM; return classes, weights, bias and whether they are one against one."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.svm import SVC, LinearSVC  # noqa: PLC0415

    classes: Int8 = np.unique(labels)
    if classes.size == 1:
        return classes, np.empty((0, Z.shape[1])), np.empty(0), False
    one_against_one = labels.size <= config.svm_limit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if one_against_one:
            svm = SVC(kernel="linear", C=1.0).fit(Z, labels)
        else:
            svm = LinearSVC(C=1.0, dual=False, random_state=config.seed).fit(Z, labels)
    weights = np.ascontiguousarray(svm.coef_, dtype=np.float64)
    bias = np.ascontiguousarray(svm.intercept_, dtype=np.float64)
    if classes.size == 2:
        # scikit-learn gives one score, above 0 for the second class; one against one it is for the first
        weights, bias = (
            (-weights, -bias) if one_against_one else (np.vstack([-weights, weights]), np.append(-bias, bias))
        )
    return classes, weights, bias, one_against_one
