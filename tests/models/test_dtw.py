from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import dtw as module
from models.dtw import (
    LANES,
    dtw,
    dtw_between,
    dtw_matrix,
    envelope,
    euclid_matrix,
    float32_error,
    lb_improved_matrix,
    lb_keogh_matrix,
)

Float64 = npt.NDArray[np.float64]


def plain_dtw(x: Float64, y: Float64, window: int) -> float:
    """The recursion as it is written down, on the whole matrix."""
    cell = {(-1, -1): 0.0}
    for i in range(len(x)):
        for j in range(len(y)):
            if abs(i - j) <= window:
                before = min(cell.get(at, math.inf) for at in ((i - 1, j - 1), (i - 1, j), (i, j - 1)))
                difference = x[i] - y[j]  # multiplied out: a power may differ in the last bit
                cell[i, j] = difference * difference + before
    return math.sqrt(cell[len(x) - 1, len(y) - 1])


def plain_keogh(x: Float64, y: Float64, window: int) -> float:
    """LB_Keogh of x and the envelope of y."""
    total = 0.0
    for t, value in enumerate(x):
        near = y[max(t - window, 0) : t + window + 1]
        total += max(value - near.max(), near.min() - value, 0.0) ** 2
    return math.sqrt(total)


def plain_improved(x: Float64, y: Float64, window: int) -> float:
    low = [y[max(t - window, 0) : t + window + 1].min() for t in range(len(y))]
    high = [y[max(t - window, 0) : t + window + 1].max() for t in range(len(y))]
    projection = np.clip(x, low, high)
    return math.hypot(plain_keogh(x, y, window), plain_keogh(y, projection, window))


values = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: round(value, 3))


@st.composite
def some_series(draw: st.DrawFn) -> Float64:
    n, bars = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    return np.array(draw(st.lists(values, min_size=n * bars, max_size=n * bars))).reshape(n, bars)


@given(some_series(), st.integers(0, 12))
def test_matrices_equal_the_plain_recursions(X: Float64, window: int) -> None:
    n = len(X)
    pairs = [(i, j) for i in range(n) for j in range(n)]
    D = dtw_matrix(X, window)
    assert D.tolist() == [[plain_dtw(X[i], X[j], window) for j in range(n)] for i in range(n)]
    E = euclid_matrix(X)
    K, improved, one_way = (
        lb_keogh_matrix(X, window),
        lb_improved_matrix(X, window),
        lb_improved_matrix(X, window, symmetric=False),
    )
    for i, j in pairs:
        close = {"rel": 1e-12, "abs": 1e-12}
        assert E[i, j] == pytest.approx(np.linalg.norm(X[i] - X[j]), **close)
        assert K[i, j] == pytest.approx(max(plain_keogh(X[i], X[j], window), plain_keogh(X[j], X[i], window)), **close)
        assert one_way[i, j] == pytest.approx(plain_improved(X[i], X[j], window), **close)
    np.testing.assert_array_equal(improved, np.maximum(one_way, one_way.T))
    slack = 1e-9
    assert (improved + slack >= K).all()
    assert (improved <= D + slack).all()
    assert (E + slack >= D).all()


@pytest.mark.parametrize("n", [1, LANES - 1, LANES, LANES + 1, 2 * LANES + 7])
def test_blocks_of_any_size(rng: np.random.Generator, n: int) -> None:
    X = rng.standard_normal((n, 11))
    D = dtw_matrix(X, 2)
    np.testing.assert_array_equal(D, D.T)
    assert not np.diag(D).any()
    picked = rng.integers(n, size=(20, 2))
    assert [D[i, j] for i, j in picked] == [plain_dtw(X[i], X[j], 2) for i, j in picked]
    np.testing.assert_array_equal(dtw_between(X[: n // 2], X, 2), D[: n // 2])
    np.testing.assert_array_equal(dtw_between(X, X[n // 3 :], 2), D[:, n // 3 :])


def test_threads_change_nothing(rng: np.random.Generator) -> None:
    X = rng.standard_normal((3 * LANES, 30))
    for of in (dtw_matrix, lb_keogh_matrix, lb_improved_matrix):
        np.testing.assert_array_equal(of(X[:150], 3, threads=3), of(X[:150], 3))
    np.testing.assert_array_equal(dtw_between(X, X[:70], threads=2), dtw_between(X, X[:70]))
    single = dtw_matrix(X, precision="float32")
    np.testing.assert_array_equal(dtw_matrix(X, precision="float32", threads=2), single)


def test_a_wider_band_never_hurts_and_a_constant_shift_in_time_is_forgiven(rng: np.random.Generator) -> None:
    X = rng.standard_normal((6, 40))
    wider = [dtw_matrix(X, window) for window in range(41)]
    assert all((b <= a).all() for a, b in itertools.pairwise(wider))
    np.testing.assert_array_equal(wider[39], wider[40])
    bump = np.zeros(40)
    bump[10:14] = (1.0, 3.0, 2.0, 0.5)
    late = np.roll(bump, 3)
    assert dtw(bump, late, 3) == 0.0
    assert dtw(bump, late, 2) > 0.4
    assert dtw(bump, late, 0) == pytest.approx(np.linalg.norm(bump - late))


@given(st.integers(1, 40), st.floats(1e-6, 1e4), st.floats(0.0, 10.0), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_the_error_of_float32_stays_within_its_bound(bars: int, scale: float, offset: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = scale * (rng.standard_t(3, (6, bars)) + offset)
    exact, rounded = dtw_matrix(X, 3), dtw_matrix(X, 3, precision="float32")
    assert rounded.dtype == np.float32
    for i in range(6):
        for j in range(6):
            assert abs(float(rounded[i, j]) - exact[i, j]) <= float32_error(X[i], X[j], exact[i, j])


def test_float32_on_a_year_of_returns(rng: np.random.Generator) -> None:
    X = 0.05 * rng.standard_t(3, (40, 364))
    exact, rounded = dtw_matrix(X), dtw_matrix(X, precision="float32")
    bound = max(float32_error(x, y, float(exact.max())) for x in X for y in X)
    assert bound < 1e-4
    assert np.abs(rounded - exact).max() < bound / 5


def test_envelopes(rng: np.random.Generator) -> None:
    X = rng.standard_normal((3, 8))
    for window in (0, 1, 3, 7, 20):
        lower, upper = envelope(X, window)
        for t in range(8):
            near = X[:, max(t - window, 0) : t + window + 1]
            np.testing.assert_array_equal(lower[:, t], near.min(axis=1))
            np.testing.assert_array_equal(upper[:, t], near.max(axis=1))


def test_nothing_and_what_cannot_be_compared() -> None:
    assert dtw_matrix(np.empty((0, 5))).shape == (0, 0)
    assert dtw_between(np.empty((0, 5)), np.ones((2, 5))).shape == (0, 2)
    assert dtw([1.0], [4.0]) == 3.0
    good = np.ones((2, 4))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="finite"):
            dtw_matrix(np.array([[1.0, bad]]))
    with pytest.raises(ValueError, match="one length"):
        dtw_between(good, np.ones((2, 5)))
    with pytest.raises(ValueError, match="rows of a matrix"):
        dtw_matrix(np.ones(4))
    with pytest.raises(ValueError, match="rows of a matrix"):
        dtw_matrix(np.ones((4, 0)))
    with pytest.raises(ValueError, match="number of bars"):
        dtw_matrix(good, -1)
    with pytest.raises(ValueError, match="precision"):
        dtw_matrix(good, precision="float16")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="thread"):
        dtw_matrix(good, threads=0)


def test_input_may_be_read_only_strided_or_integer() -> None:
    X = np.arange(60).reshape(10, 6)[::2]
    expected = dtw_matrix(np.ascontiguousarray(X, dtype=np.float64), 1)
    np.testing.assert_array_equal(dtw_matrix(X, 1), expected)
    frozen = np.asfortranarray(X.astype(np.float64))
    frozen.flags.writeable = False
    np.testing.assert_array_equal(dtw_matrix(frozen, 1), expected)
    fixed = np.ascontiguousarray(X, dtype=np.float64)
    fixed.flags.writeable = False
    np.testing.assert_array_equal(dtw_matrix(fixed, 1), expected)
    np.testing.assert_array_equal(lb_keogh_matrix(fixed, 1), lb_keogh_matrix(X, 1))


def test_a_failure_in_a_thread_is_raised() -> None:
    def fail(item: int) -> None:
        raise RuntimeError(str(item))

    with pytest.raises(RuntimeError, match="7"):
        module._each(fail, [7, 8], threads=2)
