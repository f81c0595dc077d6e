"""Training and classification of behaviours, on planted agents and on the real chain of 2015."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC, LinearSVC

from models import behaviour
from models.addresses import hash_column
from models.amounts import from_ints
from models.behaviour import BEHAVIOURS, BehaviourConfig, classify_rows, conformance, elbow, rule_labels, train
from models.composition import shares
from models.features import features, log_form, noisy
from models.panes import PaneConfig, split


def agents(rng: np.random.Generator, counts: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return features and true behaviours of planted agents with heavy-tailed activity."""
    n, kind = sum(counts), np.repeat(np.arange(4), counts)
    into, out = 1.0 + rng.zipf(2.2, n), 1.0 + rng.zipf(2.2, n)
    into[kind == 1], out[kind == 0] = 0.0, 0.0
    received, sent = rng.lognormal(0.0, 1.5, n), rng.lognormal(0.0, 1.5, n)
    received[kind == 1], sent[kind == 0] = 0.0, 0.0
    less, more = np.minimum(received, sent), np.maximum(received, sent)
    received, sent = np.where(kind == 3, less, received), np.where(kind == 3, more * 1.01, sent)
    received, sent = np.where(kind == 2, more, received), np.where(kind == 2, less, sent)
    X = np.stack([into + out, into, out, sent, received, received - sent, received + sent], axis=1)
    return X, kind.astype(np.int8)


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    return agents(np.random.default_rng(7), (700, 300, 600, 400))


@pytest.fixture(scope="module")
def model(planted: tuple[np.ndarray, np.ndarray]) -> behaviour.BehaviourModel:
    return train(planted[0], BehaviourConfig(seed=3))


def test_planted_behaviours_are_recovered(
    planted: tuple[np.ndarray, np.ndarray], model: behaviour.BehaviourModel
) -> None:
    X, kind = planted
    labels, margin = model.classify(X)
    assert float(np.mean(labels == kind)) > 0.995
    assert conformance(X, labels) > 0.995
    assert np.array_equal(rule_labels(X), kind)
    assert model.classes.tolist() == [0, 1, 2, 3]
    assert sorted(model.report.cluster_types) == [0, 1, 2, 3]
    assert model.report.elbow == 4
    assert model.report.misclassified < 0.01
    assert 0.4 < model.report.silhouette <= 1.0
    assert (model.report.rows, len(model.report.elbow_inertia)) == (2_000, 6)
    assert np.all(np.diff(model.report.elbow_inertia) < 0)
    assert np.all(margin[labels == kind] > 0)


def as_tuple(model: behaviour.BehaviourModel) -> tuple[Any, ...]:
    arrays = (model.columns, model.mean, model.scale, model.classes, model.weights, model.bias)
    return (*(a.tobytes() for a in arrays), model.one_against_one, model.report)


@pytest.mark.parametrize("sample", [50_000, 900])
def test_the_order_of_rows_does_not_matter(planted: tuple[np.ndarray, np.ndarray], sample: int) -> None:
    X, _ = planted
    config = BehaviourConfig(seed=3, sample=sample)
    shuffled = np.random.default_rng(1).permutation(X, axis=0)
    shuffled[shuffled == 0.0] *= -1.0  # minus zero is zero
    assert as_tuple(train(shuffled, config)) == as_tuple(train(X, config))


def test_a_sample_is_of_the_size_asked_for_and_seeded(planted: tuple[np.ndarray, np.ndarray]) -> None:
    X, kind = planted
    many = np.concatenate([X] * 5)
    rows = behaviour._sample(many, 1_000, 4)
    assert rows.shape == (1_000, 7)
    assert np.array_equal(rows, behaviour._sample(many, 1_000, 4))
    assert not np.array_equal(rows, behaviour._sample(many, 1_000, 5))
    share = np.bincount(rule_labels(rows), minlength=4) / 1_000
    assert np.allclose(share, np.bincount(kind, minlength=4) / kind.size, atol=0.06)


@pytest.mark.parametrize("svm_limit", [10_000, 1])
@pytest.mark.parametrize("kinds", [(0, 1, 2, 3), (0, 2, 3), (1, 3)])
def test_classify_equals_scikit_learn(
    planted: tuple[np.ndarray, np.ndarray], svm_limit: int, kinds: tuple[int, ...]
) -> None:
    """The same machine, fitted here on the same rows, predicts the same."""
    X, kind = planted
    some = X[np.isin(kind, kinds)]
    model = train(some, BehaviourConfig(seed=3, svm_limit=svm_limit))
    assert model.one_against_one == (svm_limit > 1)
    rows = some[np.lexsort(some.T[::-1])]
    Z = (log_form(rows)[:, model.columns] - model.mean) / model.scale
    cluster, _ = behaviour._clusters(Z, BehaviourConfig(seed=3))
    ruled = rule_labels(rows)
    kept = behaviour._types(cluster, ruled)[cluster] == ruled
    reference = SVC(kernel="linear", C=1.0) if svm_limit > 1 else LinearSVC(C=1.0, dual=False, random_state=3)
    reference.fit(Z[kept], ruled[kept])
    labels, _ = model.classify(X)
    everyone = (log_form(X)[:, model.columns] - model.mean) / model.scale
    assert np.array_equal(labels, reference.predict(everyone))
    assert model.classes.tolist() == reference.classes_.tolist()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.booleans())
def test_decisions_equal_loops_over_pairs_or_classes(seed: int, c: int, one_against_one: bool) -> None:
    """Random scores, circles of votes among them."""
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(c) for b in range(a + 1, c)]
    size = len(pairs) if one_against_one else c
    W, b = rng.normal(size=(size, 5)), rng.normal(size=size)
    X = np.abs(rng.lognormal(size=(20, 7))) * rng.integers(0, 2, (20, 7))
    columns = np.array([1, 2, 3, 4, 5])
    classes = np.sort(rng.permutation(4)[:c]).astype(np.int8)
    labels, margin = classify_rows(X, columns, np.zeros(5), np.ones(5), classes, W, b, one_against_one)
    for row, label, clear in zip(log_form(X)[:, columns], labels, margin, strict=True):
        score = W @ row + b
        if one_against_one:
            votes = [sum(score[s] > 0 if a == k else score[s] <= 0 for s, (a, d) in enumerate(pairs) if k in (a, d))
                     for k in range(c)]  # fmt: skip
            best = votes.index(max(votes))
            want = min(score[s] if a == best else -score[s] for s, (a, d) in enumerate(pairs) if best in (a, d))
        else:
            best = int(np.argmax(score))
            want = score[best] - max(score[k] for k in range(c) if k != best)
        assert label == classes[best]
        assert clear == pytest.approx(want, abs=1e-9)


def test_labels_do_not_depend_on_the_company(
    planted: tuple[np.ndarray, np.ndarray], model: behaviour.BehaviourModel
) -> None:
    """Shards are classified alone: bytes must not depend on how rows are grouped."""
    X, _ = planted
    labels, margin = model.classify(X)
    for part in (slice(0, 1), slice(17, 40), slice(5, None, 7)):
        one, clear = model.classify(X[part])
        assert one.tobytes() == labels[part].tobytes()
        assert clear.tobytes() == margin[part].tobytes()
    assert model.classify(X[:0])[0].size == 0


def test_a_model_is_small_and_travels(planted: tuple[np.ndarray, np.ndarray], model: behaviour.BehaviourModel) -> None:
    state = pickle.dumps(model)
    assert len(state) < 4_000
    again = pickle.loads(state)  # noqa: S301 - our own bytes
    assert as_tuple(again) == as_tuple(model)
    assert np.array_equal(again.classify(planted[0])[0], model.classify(planted[0])[0])
    with pytest.raises(AttributeError):
        model.bias = model.bias  # type: ignore[misc]


@pytest.mark.parametrize("kind", range(4))
def test_a_single_behaviour_is_a_model_too(planted: tuple[np.ndarray, np.ndarray], kind: int) -> None:
    X, kinds = planted
    model = train(X[kinds == kind], BehaviourConfig())
    labels, margin = model.classify(X)
    assert set(labels.tolist()) == {kind}
    assert np.isnan(margin).all()
    assert model.report.misclassified == 0.0
    assert set(model.report.cluster_types) == {kind}


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_few_and_equal_rows(planted: tuple[np.ndarray, np.ndarray], rows: int) -> None:
    X, kind = planted
    model = train(X[:rows], BehaviourConfig())
    assert model.classify(X[:rows])[0].tolist() == kind[:rows].tolist()
    same = train(np.repeat(X[:rows], 30, axis=0), BehaviourConfig())
    assert same.classify(X[:rows])[0].tolist() == kind[:rows].tolist()


def test_the_rules_and_who_fulfils_none() -> None:
    X = np.zeros((8, 7))
    X[:, 1] = [2, 0, 2, 2, 2, 2, 0, 0]
    X[:, 2] = [0, 2, 2, 2, 2, 0, 2, 0]
    X[:, 5] = [1, -1, 1, 0, -1, 0, 0, 0]
    assert rule_labels(X).tolist() == [0, 1, 2, 2, 3, -1, -1, -1]
    assert conformance(X, rule_labels(X)) == 1.0
    assert np.isnan(conformance(X[:0], np.empty(0, np.int8)))
    with pytest.raises(ValueError, match="nothing to train on"):
        train(X[5:], BehaviourConfig())


def test_a_cluster_takes_the_rule_of_most_and_of_equals_the_first() -> None:
    cluster = np.array([0, 0, 0, 1, 1, 2, 2, 3])
    ruled = np.array([3, 3, 1, 2, 1, -1, -1, 0], np.int8)
    assert behaviour._types(cluster, ruled).tolist() == [3, 1, -1, 0]


def test_the_elbow_of_the_reference_inertias() -> None:
    assert elbow((1.0, 0.7, 0.478, 0.120, 0.10, 0.09)) == 4
    assert elbow((1.0, 0.1, 0.09, 0.08)) == 2
    assert elbow((1.0, 0.5, 0.0)) == 2
    assert elbow((1.0, 0.5)) == 0
    assert elbow((0.0, 0.0, 0.0)) == 2


def test_faulty_input_is_refused(planted: tuple[np.ndarray, np.ndarray], model: behaviour.BehaviourModel) -> None:
    X, _ = planted
    for bad in (X[:0], X[:, :5], X[0]):
        with pytest.raises(ValueError, match="7"):
            train(bad, BehaviourConfig())
    with pytest.raises(ValueError, match="7"):
        model.classify(X[:, :5])
    holed = X.copy()
    holed[3, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        train(holed, BehaviourConfig())
    with pytest.raises(ValueError, match="at least 1"):
        BehaviourConfig(sample=0)
    with pytest.raises(ValueError, match="feature set"):
        replace(BehaviourConfig(), feature_set=9)


@pytest.mark.data
def test_the_real_chain_of_2015_has_all_four_behaviours(shared_data: Path) -> None:
    table = pq.read_table(shared_data / "eth_txs_mainnet_2015_481k.parquet").combine_chunks()
    source, target = hash_column(table["from_address"].chunk(0)), hash_column(table["to_address"].chunk(0))
    hi, lo = from_ints(int(v) for v in table["value_wei"].to_pylist())
    ts = np.array(table["block_timestamp"].to_pylist(), np.int64) * 1_000_000
    day = 86_400_000_000
    shard = PaneConfig(day, 30 * day).build()
    for part in split(source, target, hi, lo, ts, np.ones(ts.size, np.int8)).values():
        shard.apply(part)
    window = shard.window(0, int(ts.max()) + 1)
    X = features(window, 1e18)
    kept = X[~noisy(window.lifetime, X[:, 6])]
    assert (X.shape[0], kept.shape[0]) == (3_201, 2_454)
    model = train(kept, BehaviourConfig(seed=1))
    labels, _ = model.classify(kept)
    counts, share = shares(labels)
    assert model.classes.tolist() == list(range(len(BEHAVIOURS)))
    assert share.sum() == pytest.approx(1.0)
    assert counts.min() > 50
    assert conformance(kept, labels) > 0.95
    assert model.report.misclassified < 0.10
    assert model.report.silhouette > 0.6
