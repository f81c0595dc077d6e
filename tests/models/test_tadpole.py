from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dtw import dtw_matrix, euclid_matrix, lb_keogh_matrix
from models.tadpole import Order, Peaks, assign, density_peaks, knee, tadpole

Float64 = npt.NDArray[np.float64]


def scaled(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 1.0 for value in values]


def plain_tadpole(X: Float64, dc: float, order: Order) -> tuple[list[float], list[float], list[int], list[int], int]:
    """The algorithm in words, pair by pair; returns rho, delta, order, nearest and the distances computed."""
    n = len(X)
    lower, upper, exact = lb_keogh_matrix(X), euclid_matrix(X), dtw_matrix(X)
    known: dict[tuple[int, int], float] = {}
    near = [0] * n
    for i in range(n):
        for j in range(i):
            if lower[i, j] <= dc < upper[i, j]:
                known[i, j] = known[j, i] = exact[i, j]
                neighbours = exact[i, j] <= dc
            elif order == "rho":
                neighbours = upper[i, j] <= dc
            else:
                neighbours = lower[i, j] <= dc and upper[i, j] < dc
            near[i] += neighbours
            near[j] += neighbours
    rho = scaled([float(count) for count in near])
    by_density = sorted(range(n), key=lambda i: -rho[i])
    bound = [0.0] * n
    for rank in range(1, n):
        i = by_density[rank]
        bound[i] = min(known.get((i, j), upper[i, j]) for j in by_density[:rank])
    bound[by_density[0]] = max(bound)
    sequence = by_density if order == "rho" else sorted(range(n), key=lambda i: -rho[i] * bound[i])
    delta, nearest = [0.0] * n, [-1] * n
    computed = len(known) // 2
    for rank in range(1, n):
        i, best = sequence[rank], np.inf
        for j in sequence[:rank]:
            if (i, j) in known:
                distance = known[i, j]
            elif lower[i, j] > bound[i]:
                distance = upper[i, j]
            else:
                distance, computed = exact[i, j], computed + 1
            if distance < best:
                best, nearest[i] = distance, j
        delta[i] = best
    delta[sequence[0]] = max(delta)
    return rho, scaled(delta), sequence, nearest, computed


def market(seed: int, n: int, bars: int = 12, groups: int = 3) -> Float64:
    rng = np.random.default_rng(seed)
    shapes = rng.standard_normal((groups, bars))
    return shapes[rng.integers(groups, size=n)] + 0.4 * rng.standard_normal((n, bars))


@given(st.integers(0, 2**32 - 1), st.integers(2, 14), st.floats(0.05, 0.95), st.sampled_from(["rho", "dtwclust"]))
@settings(max_examples=60)
def test_equals_its_brute_force_twin(seed: int, n: int, quantile: float, order: Order) -> None:
    X = market(seed, n)
    D = dtw_matrix(X)
    dc = float(np.quantile(D[np.triu_indices(n, 1)], quantile)) + 1e-9
    if (dc >= D).sum() == n:
        return
    found = tadpole(X, dc, order=order)
    rho, delta, sequence, nearest, computed = plain_tadpole(X, dc, order)
    np.testing.assert_allclose(found.rho, rho, rtol=1e-15)
    np.testing.assert_allclose(found.delta, delta, rtol=1e-15)
    assert found.order.tolist() == sequence
    assert found.nearest.tolist() == nearest
    assert found.computed_share == pytest.approx(computed / (n * (n - 1) / 2))
    looked_up = tadpole(X, dc, order=order, known=D)
    np.testing.assert_array_equal(looked_up.delta, found.delta)
    assert looked_up.computed_share == found.computed_share


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.floats(0.01, 0.9))
@settings(max_examples=40)
def test_pruning_is_admissible_in_the_order_of_the_papers(seed: int, n: int, quantile: float) -> None:
    """What the bounds leave out cannot matter: the whole matrix gives the same, and LB_Improved prunes no less."""
    X = market(seed, n)
    D = dtw_matrix(X)
    dc = float(np.quantile(D[np.triu_indices(n, 1)], quantile, method="higher"))
    whole = density_peaks(D, dc)
    for bound in ("keogh", "improved"):
        pruned = tadpole(X, dc, lower_bound=bound)
        for name in ("rho", "delta", "order", "nearest"):
            np.testing.assert_array_equal(getattr(pruned, name), getattr(whole, name))
        assert 0.0 <= pruned.computed_share <= 1.0
    assert tadpole(X, dc, lower_bound="improved").computed_share <= tadpole(X, dc).computed_share
    assert whole.computed_share == 1.0


def test_it_finds_planted_shapes() -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat([0, 1, 2], 20)
    X = 3.0 * rng.standard_normal((3, 50))[truth] + 0.3 * rng.standard_normal((60, 50))
    X = np.array([np.roll(series, shift) for series, shift in zip(X, rng.integers(-2, 3, 60), strict=True)])
    D = dtw_matrix(X)
    peaks = density_peaks(D, float(np.quantile(D, 0.2)))
    labels, centroids = assign(peaks, 3)
    assert len({(a, b) for a, b in zip(truth.tolist(), labels.tolist(), strict=True)}) == 3
    assert labels[centroids].tolist() == [0, 1, 2]


def test_a_tie_with_the_cutoff_is_a_neighbour_except_in_dtwclust() -> None:
    """Two series whose Euclidean distance is the cutoff itself: flag 4 of dtwclust, whatever their warped distance."""
    X = np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0], [9.0, 9.0, 9.5, 9.0]])
    assert euclid_matrix(X)[0, 1] == 1.0
    assert dtw_matrix(X)[0, 1] <= 1.0
    np.testing.assert_array_equal(tadpole(X, 1.0).rho, [1.0, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(density_peaks(dtw_matrix(X), 1.0).rho, [1.0, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(tadpole(X, 1.0, order="dtwclust").rho, [0.0, 0.0, 1.0, 1.0])


def test_no_neighbours_is_an_error_and_equal_densities_are_one() -> None:
    X = np.diag([1.0, 10.0, 100.0])
    for order in ("rho", "dtwclust"):
        with pytest.raises(ValueError, match="larger cutoff"):
            tadpole(X, 1e-3, order=order)
    with pytest.raises(ValueError, match="larger cutoff"):
        density_peaks(dtw_matrix(X, 0), 1e-3)
    everyone = density_peaks(dtw_matrix(X, 0), 1e6)
    assert everyone.rho.tolist() == [1.0, 1.0, 1.0]
    assert everyone.order.tolist() == [0, 1, 2]
    same = density_peaks(np.zeros((4, 4)), 0.0)
    assert same.delta.tolist() == [1.0] * 4
    assert same.nearest.tolist() == [-1, 0, 0, 0]


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.floats(0.0, 1.0), st.sampled_from(["rho", "dtwclust"]))
def test_the_first_series_is_always_the_best_centroid(seed: int, n: int, quantile: float, order: Order) -> None:
    """Also among duplicates and ties, so that every series has a cluster under either order."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-1, 2, (n, 4)).astype(np.float64)
    dc = float(np.quantile(dtw_matrix(X)[np.triu_indices(n, 1)], quantile, method="higher")) + 1e-9
    peaks = tadpole(X, dc, order=order)
    assert peaks.ranking[0] == peaks.order[0]
    for k in range(1, n + 1):
        assert (assign(peaks, k)[0] >= 0).all()


def test_a_series_that_nobody_leads_to_a_centroid_has_no_cluster() -> None:
    peaks = Peaks(
        rho=np.array([0.5, 1.0, 0.9, 0.1, 0.2]),
        delta=np.array([1.0, 0.2, 0.9, 0.1, 0.1]),
        order=np.array([1, 0, 2, 3, 4]),
        nearest=np.array([1, -1, 1, 0, 1]),
        computed_share=1.0,
    )
    labels, centroids = assign(peaks, 2)
    assert centroids.tolist() == [0, 2]
    assert labels.tolist() == [0, -1, 1, 0, -1]
    assert assign(peaks, 5)[0].tolist() == [0, 1, 2, 3, 4]


@given(st.integers(0, 2**32 - 1), st.integers(2, 25), st.integers(1, 25), st.floats(0.05, 0.9))
@settings(max_examples=40)
def test_every_cut_covers_all_series_in_the_order_of_the_papers(seed: int, n: int, k: int, quantile: float) -> None:
    D = dtw_matrix(market(seed, n))
    peaks = density_peaks(D, float(np.quantile(D[np.triu_indices(n, 1)], quantile, method="higher")))
    k = min(k, n)
    labels, centroids = assign(peaks, k)
    assert sorted(set(labels.tolist())) == list(range(k))
    assert labels[centroids].tolist() == list(range(k))
    assert (np.diff(centroids) > 0).all()
    assert peaks.order[0] in centroids
    follower = peaks.nearest[np.setdiff1d(np.arange(n), centroids)]
    np.testing.assert_array_equal(labels[np.setdiff1d(np.arange(n), centroids)], labels[follower])


def test_knees() -> None:
    def of(gamma: list[float]) -> Peaks:
        n = len(gamma)
        return Peaks(np.ones(n), np.array(gamma), np.arange(n), np.arange(n) - 1, 1.0)

    assert knee(of([1.0, 0.9, 0.8, 0.1, 0.05]), 4) == 3
    assert knee(of([1.0, 0.2, 0.1, 0.05, 0.0]), 4) == 2
    assert knee(of([1.0, 0.9, 0.8, 0.7, 0.0]), 3) in (2, 3)
    assert knee(of([1.0, 0.9]), 5) == 2
    assert knee(of([1.0]), 5) == 1


def test_options_that_do_not_exist() -> None:
    X = market(1, 4)
    with pytest.raises(ValueError, match="unknown order"):
        tadpole(X, 1.0, order="density")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown lower bound"):
        tadpole(X, 1.0, lower_bound="yi")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least two series"):
        tadpole(X[:1], 1.0)
    with pytest.raises(ValueError, match="square"):
        density_peaks(np.ones((2, 3)), 1.0)
    peaks = density_peaks(dtw_matrix(X), 10.0)
    for k in (0, 5):
        with pytest.raises(ValueError, match="1 to 4 clusters"):
            assign(peaks, k)
