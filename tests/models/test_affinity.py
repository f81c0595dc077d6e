from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import affinity_propagation as reference
from sklearn.metrics import adjusted_rand_score

from models.affinity import AffinityResult, affinity_propagation


def similarities(seed: int, n: int, bars: int = 50) -> np.ndarray:
    rng = np.random.default_rng(seed)
    groups = rng.standard_normal((bars, max(n // 12, 2)))
    X = groups[:, rng.integers(0, groups.shape[1], n)] * rng.uniform(0.2, 1.2, n) + rng.standard_normal((bars, n))
    return np.corrcoef(X.T)


def check_invariants(found: AffinityResult, n: int) -> None:
    assert found.labels.dtype == np.int32
    assert found.exemplars.dtype == np.int64
    assert found.labels.shape == (n,)
    if not found.converged:
        assert (found.labels == -1).all()
        assert found.exemplars.size == 0
        return
    assert (np.diff(found.exemplars) > 0).all()
    assert sorted(set(found.labels.tolist())) == list(range(len(found.exemplars)))
    np.testing.assert_array_equal(found.labels[found.exemplars], np.arange(len(found.exemplars)))


@pytest.mark.parametrize("n", [5, 10, 48, 120, 400])
@pytest.mark.parametrize("damping", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("quantile", [0.1, 0.5])
def test_labels_and_iterations_equal_the_reference(n: int, damping: float, quantile: float) -> None:
    for seed in range(3):
        S = similarities(seed, n)
        preference = float(np.quantile(S, quantile))
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            exemplars, labels, iterations = reference(
                S, preference=preference, damping=damping, max_iter=300, return_n_iter=True, random_state=1
            )
        found = affinity_propagation(S, preference, damping, 300)
        check_invariants(found, n)
        if any("did not converge" in str(warning.message) for warning in raised):
            assert found.damping == 0.9
            continue
        assert found.damping == damping
        assert found.converged
        assert found.iterations == iterations
        # which of two members is the exemplar is a tie: noise decides there, the order here
        first = np.array([np.flatnonzero(labels == k)[0] if (labels == k).sum() == 2 else exemplar
                          for k, exemplar in enumerate(exemplars)])  # fmt: skip
        np.testing.assert_array_equal(found.exemplars, np.sort(first))
        np.testing.assert_array_equal(found.exemplars[found.labels], first[labels])


def test_the_convergence_window_is_that_of_the_reference() -> None:
    S = similarities(5, 60)
    for window in (1, 5, 15, 40):
        _, labels, iterations = reference(
            S, preference=0.0, convergence_iter=window, max_iter=500, return_n_iter=True, random_state=1
        )
        found = affinity_propagation(S, 0.0, 0.5, 500, window)
        assert found.iterations == iterations
        assert adjusted_rand_score(found.labels, labels) == 1.0


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("preference", [-1.0, 0.3, 2.0])
def test_equal_similarities_are_all_or_each(n: int, preference: float) -> None:
    S = np.full((n, n), 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exemplars, labels = reference(S, preference=preference, random_state=1)
    found = affinity_propagation(S, preference)
    check_invariants(found, n)
    assert found.iterations == 0
    assert found.converged
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.exemplars, exemplars)


def test_equal_but_for_one_is_not_equal() -> None:
    for place in ((0, 1), (1, 0), (3, 2), (0, 3), (3, 0)):
        S = np.full((4, 4), 0.3)
        S[place] = 0.4
        assert affinity_propagation(S, 0.2, max_iterations=1000).iterations > 0
        assert affinity_propagation(np.asfortranarray(S), 0.2, max_iterations=1000).iterations > 0
    S = np.full((4, 4), 0.3)
    np.fill_diagonal(S, [9.0, 8.0, 7.0, 0.3])
    assert affinity_propagation(np.asfortranarray(S), 0.2).iterations == 0


def test_no_items_are_no_result() -> None:
    check_invariants(affinity_propagation(np.empty((0, 0)), 0.0), 0)
    assert not affinity_propagation(np.empty((0, 0)), 0.0).converged


def test_ties_are_broken_the_same_way_each_time() -> None:
    S = similarities(2, 40)
    twice = np.repeat(np.repeat(S, 2, axis=0), 2, axis=1)
    found = affinity_propagation(twice, float(np.median(twice)), 0.7, 400)
    check_invariants(found, 80)
    assert found.converged
    again = affinity_propagation(twice, float(np.median(twice)), 0.7, 400)
    assert again.iterations == found.iterations
    np.testing.assert_array_equal(again.labels, found.labels)
    blocks = np.kron(np.eye(5), np.ones((6, 6)))
    found = affinity_propagation(blocks, 0.0, 0.7, 400)
    assert found.labels.tolist() == np.repeat(np.arange(5), 6).tolist()


def test_input_is_kept_unless_it_may_be_overwritten() -> None:
    S = similarities(3, 30)
    before = S.copy()
    found = affinity_propagation(S, 0.1)
    np.testing.assert_array_equal(S, before)
    in_place = affinity_propagation(S, 0.1, overwrite=True)
    np.testing.assert_array_equal(in_place.labels, found.labels)
    assert (before != S).any()
    locked = before.copy()
    locked.flags.writeable = False
    np.testing.assert_array_equal(affinity_propagation(locked, 0.1, overwrite=True).labels, found.labels)


def test_a_run_that_does_not_converge_is_tried_with_more_damping_and_then_given_up() -> None:
    S = similarities(4, 60)
    slow = affinity_propagation(S, 0.0, 0.5, 16)
    check_invariants(slow, 60)
    assert slow.damping == 0.9
    hopeless = affinity_propagation(S, 0.0, 0.5, 2)
    check_invariants(hopeless, 60)
    assert not hopeless.converged
    assert (hopeless.iterations, hopeless.damping) == (4, 0.9)
    once = affinity_propagation(S, 0.0, 0.95, 2)
    assert (once.converged, once.iterations, once.damping) == (False, 2, 0.95)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.floats(-1.0, 1.0), st.floats(0.5, 8.0))
def test_invariants_and_affine_invariance(seed: int, n: int, preference: float, scale: float) -> None:
    S = similarities(seed, n) if n > 1 else np.ones((1, 1))
    found = affinity_propagation(S, preference, 0.7, 300)
    check_invariants(found, n)
    power = 2.0 ** round(scale)
    scaled = affinity_propagation(S * power, preference * power, 0.7, 300)
    np.testing.assert_array_equal(scaled.labels, found.labels)
    assert scaled.iterations == found.iterations


@pytest.mark.parametrize(
    ("S", "options", "says"),
    [
        (np.zeros((2, 3)), {}, "square float64"),
        (np.zeros((2, 2), dtype=np.float32), {}, "square float64"),
        (np.array([[0.0, np.nan], [0.0, 0.0]]), {}, "finite"),
        (np.zeros((2, 2)), {"preference": np.inf}, "finite"),
        (np.zeros((2, 2)), {"damping": 0.4}, "damping"),
        (np.zeros((2, 2)), {"damping": 1.0}, "damping"),
        (np.zeros((2, 2)), {"retry_damping": 1.0}, "second damping"),
        (np.zeros((2, 2)), {"max_iterations": 0}, "iterations"),
    ],
)
def test_wrong_arguments_are_refused(S: np.ndarray, options: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        affinity_propagation(S, **{"preference": 0.0, **options})  # type: ignore[arg-type]
