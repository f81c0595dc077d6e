"""What every view of the market must do, whatever its method: one suite, run on each of them.

``check_clusterer`` runs it all on one configuration; ``CHECKS`` are its parts, so that a test per view and part can
say which of them failed. A configuration is a frozen dataclass with the settings of ``models.prepare``.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from models.partitions import adjusted_rand
from models.prepare import FitInput
from models.returns import LEAST_PRICE
from models.view import ViewFit

ConfigFactory = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Clusterer:
    """A view under test, and what its method promises."""

    config: ConfigFactory
    """Makes the settings; those that are named in ``models.prepare`` can be replaced."""
    days_may_be_permuted: bool = False
    """Whether the order of returns means nothing to the method."""
    least_price: float = LEAST_PRICE
    """What is below is no price to the view."""


def market(seed: int, n: int = 40, bars: int = 60, groups: int = 4, gaps: float = 0.0) -> FitInput:
    """Return closes of coins in groups that differ in what drives them, how far they move and how wild they are."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(n) % groups
    spread = 0.01 * 1.8**group
    common = rng.standard_normal((bars, 1)) + rng.standard_normal((bars, groups))[:, group] * 1.5
    own = rng.standard_t(4, (bars, n))
    returns = (common + own) * spread * rng.uniform(0.9, 1.1, n)
    closes = np.exp(np.vstack([np.zeros((1, n)), returns.cumsum(axis=0)])) * rng.uniform(0.001, 900.0, n)
    closes[rng.random(closes.shape) < gaps] = np.nan
    return FitInput(tuple(f"c{i:03}" for i in rng.permutation(n)), closes, rng.uniform(1e6, 1e9, n))


def some(window: FitInput, which: np.ndarray) -> FitInput:
    """Return the window with the coins at these positions, in this order."""
    return FitInput(tuple(window.coin_ids[i] for i in which), window.closes[:, which], window.market_cap[which])


def again(value: Any) -> Any:
    """Return a copy by way of its pickle."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own, just made


def equal(a: ViewFit, b: ViewFit) -> None:
    """Hold two fits to be the same to the last bit."""
    assert a.coin_ids == b.coin_ids
    assert a.excluded == b.excluded
    assert (a.converged, a.iterations) == (b.converged, b.iterations)
    for name in ("labels", "exemplars", "silhouettes", "distance", "distances"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        assert getattr(a, name).dtype == getattr(b, name).dtype
    np.testing.assert_array_equal(a.silhouette, b.silhouette)
    assert list(a.diagnostics) == list(b.diagnostics)
    np.testing.assert_array_equal(list(a.diagnostics.values()), list(b.diagnostics.values()))
    assert len(a.prototypes) == len(b.prototypes)
    for left, right in zip(a.prototypes, b.prototypes, strict=True):
        assert left.statistic == right.statistic
        for name in ("label", "position", "value"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=left.statistic)


def check_invariants(found: ViewFit, window: FitInput) -> None:
    """Hold a fit to what ``models.view`` says of it."""
    n, k = len(found.coin_ids), len(found.exemplars)
    assert list(found.coin_ids) == sorted(found.coin_ids)
    assert set(found.coin_ids) | set(found.excluded) == set(window.coin_ids)
    assert not set(found.coin_ids) & set(found.excluded)
    assert list(found.excluded) == sorted(found.excluded)
    assert list(found.diagnostics) == sorted(found.diagnostics)
    assert all(isinstance(value, float) for value in found.diagnostics.values())
    assert found.labels.dtype == np.int32
    assert found.exemplars.dtype == np.int64
    assert found.labels.shape == found.distance.shape == found.silhouettes.shape == (n,)
    assert found.distances.shape == (n, k)
    if not found.converged:
        assert (found.labels == -1).all()
        assert k == 0
        assert np.isnan(found.distance).all()
        assert np.isnan(found.silhouettes).all()
        assert found.prototypes == ()
        return
    assert n > 0
    assert sorted(set(found.labels.tolist())) == list(range(k))
    assert (np.diff(found.exemplars) > 0).all()
    np.testing.assert_array_equal(found.labels[found.exemplars], np.arange(k))
    assert np.isfinite(found.distances).all()
    assert (found.distances >= 0.0).all()
    np.testing.assert_allclose(found.distance, found.distances[np.arange(n), found.labels], rtol=1e-12, atol=1e-12)
    for cluster, exemplar in enumerate(found.exemplars):
        nearest = found.distance[found.labels == cluster].min()
        np.testing.assert_allclose(found.distance[exemplar], nearest, rtol=1e-9, atol=1e-12)
    assert np.isnan(found.silhouettes).all() == (k < 2)
    if k >= 2:
        assert (np.abs(found.silhouettes) <= 1.0 + 1e-12).all()
        assert found.silhouette == pytest.approx(found.silhouettes.mean())
    assert len({prototype.statistic for prototype in found.prototypes}) == len(found.prototypes)
    for prototype in found.prototypes:
        assert prototype.label.dtype == np.int32
        assert prototype.label.shape == prototype.position.shape == prototype.value.shape
        assert set(prototype.label.tolist()) <= set(range(k))
        rows = set(zip(prototype.label.tolist(), prototype.position.tolist(), strict=True))
        assert len(rows) == len(prototype.label), prototype.statistic


def check_every_market(view: Clusterer) -> None:
    for seed, n, gaps in ((1, 40, 0.0), (2, 25, 0.05), (3, 12, 0.3), (4, 60, 0.02)):
        window = market(seed, n, gaps=gaps)
        found = view.config().build().fit(window)
        assert found.converged
        assert len(found.coin_ids) > 2
        check_invariants(found, window)


def check_permuting_coins(view: Clusterer) -> None:
    window = market(5, gaps=0.03)
    found = view.config().build().fit(window)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(window.coin_ids))
        equal(found, view.config().build().fit(some(window, order)))


def check_permuting_days(view: Clusterer) -> None:
    if not view.days_may_be_permuted:
        return
    window = market(6)
    config = replace(view.config(), duplicates_above_correlation=1.0)
    found = config.build().fit(window)
    returns = np.diff(np.log(window.closes), axis=0)
    shuffled = returns[np.random.default_rng(6).permutation(len(returns))]
    closes = np.exp(np.vstack([np.zeros((1, shuffled.shape[1])), shuffled.cumsum(axis=0)]))
    other = config.build().fit(replace(window, closes=closes))
    np.testing.assert_array_equal(found.labels, other.labels)
    np.testing.assert_allclose(found.distances, other.distances, rtol=1e-6, atol=1e-7)


def check_scaling_prices(view: Clusterer) -> None:
    """In another unit (a power of two loses no digit) nothing at all changes; in any unit no coin moves."""
    window = market(7, gaps=0.03)
    found = view.config().build().fit(window)
    rng = np.random.default_rng(7)
    exact = 2.0 ** rng.integers(-20, 20, len(window.coin_ids))
    equal(found, view.config().build().fit(replace(window, closes=window.closes * exact)))
    scaled = view.config().build().fit(replace(window, closes=window.closes * rng.uniform(1e-3, 1e3, exact.size)))
    np.testing.assert_array_equal(found.labels, scaled.labels)
    np.testing.assert_allclose(found.distances, scaled.distances, rtol=1e-6, atol=1e-7)


def check_emerging_and_vanishing_coins(view: Clusterer) -> None:
    whole = market(8, n=50)
    rng = np.random.default_rng(8)
    running = view.config().build()
    for size in (50, 30, 50, 3, 1, 0, 2, 45, 10, 50):
        window = some(whole, rng.permutation(50)[:size])
        found = running.fit(window)
        check_invariants(found, window)
        assert set(found.coin_ids) <= set(window.coin_ids)
    assert found.converged


def check_constant_series(view: Clusterer) -> None:
    window = market(9, n=20)
    flat = replace(window, closes=window.closes.copy())
    flat.closes[:, [2, 5]] = [[3.0, 7e-5]]
    found = view.config().build().fit(flat)
    check_invariants(found, flat)
    assert found.converged
    assert len(found.coin_ids) >= 18
    still = replace(window, closes=np.ones_like(window.closes))
    check_invariants(view.config().build().fit(still), still)


def check_few_coins(view: Clusterer) -> None:
    window = market(10, n=3)
    for size, clusters in ((0, 0), (1, 1), (2, 2)):
        few = some(window, np.arange(size))
        found = view.config().build().fit(few)
        check_invariants(found, few)
        assert len(found.coin_ids) == size
        assert found.converged == (size > 0)
        assert len(found.exemplars) <= clusters
    empty = FitInput(("a", "b"), np.full((1, 2), 5.0), np.ones(2))  # one close makes no return
    found = view.config().build().fit(empty)
    check_invariants(found, empty)
    assert not found.converged


def check_duplicated_coins(view: Clusterer) -> None:
    window = market(11, n=24)
    twice = FitInput(
        (*window.coin_ids, "z-copy"),
        np.column_stack([window.closes, window.closes[:, 0] * 4.0]),
        np.append(window.market_cap, 1.0),
    )
    found = view.config().build().fit(twice)
    check_invariants(found, twice)
    assert found.excluded == {"z-copy": "duplicate of a larger coin"}
    both = replace(view.config(), duplicates_above_correlation=1.0).build().fit(twice)
    check_invariants(both, twice)
    assert not both.excluded
    if both.converged:
        index = both.coin_ids.index
        assert both.labels[index("z-copy")] == both.labels[index(window.coin_ids[0])]
    same = FitInput(tuple("abcde"), np.repeat(window.closes[:, :1], 5, axis=1), np.ones(5))
    all_equal = replace(view.config(), duplicates_above_correlation=1.0).build().fit(same)
    check_invariants(all_equal, same)


def check_prices_that_are_none(view: Clusterer) -> None:
    """What is no price counts as missing, whatever stands there."""
    window = market(12, n=30, gaps=0.02)
    rng = np.random.default_rng(12)
    hit = rng.random(window.closes.shape) < 0.03
    missing = np.where(hit, np.nan, window.closes)
    junk = np.where(
        hit, rng.choice([np.inf, -np.inf, np.nan, 0.0, -3.0, view.least_price / 2, -0.0], hit.shape), window.closes
    )
    found = view.config().build().fit(replace(window, closes=missing))
    equal(found, view.config().build().fit(replace(window, closes=junk)))
    huge = np.where(hit, 1e300, window.closes)
    check_invariants(view.config().build().fit(replace(window, closes=huge)), window)


def check_pickling(view: Clusterer) -> None:
    config, first, second = view.config(), market(13), market(14)
    running = config.build()
    found = running.fit(first)
    equal(found, again(found))
    assert again(config) == config
    copy = again(running)
    equal(running.fit(second), copy.fit(second))


def check_seeds(view: Clusterer) -> None:
    window = market(15)
    found = view.config().build().fit(window)
    np.random.seed(99)  # noqa: NPY002 - the global generator must not matter
    equal(found, view.config().build().fit(window))
    other = replace(view.config(), seed=12345).build().fit(window)
    check_invariants(other, window)
    assert adjusted_rand(found.labels, other.labels) > 0.8


def check_snapshot_and_restore(view: Clusterer) -> None:
    config = view.config()
    windows = [market(16, bars=70)]
    windows = [replace(windows[0], closes=windows[0].closes[at : at + 61]) for at in range(10)]
    undisturbed = config.build()
    restored = config.build()
    states = []
    for window in windows:
        equal(undisturbed.fit(window), restored.fit(window))
        state = restored.snapshot()
        assert state == undisturbed.snapshot()
        restored = config.build(state)
        assert restored.snapshot() == state
        states.append(state)
    assert config.build().snapshot() == config.build().snapshot()
    for bad in (b"nonsense", b"{}", b"[1, 2]", b"\x00\xff\x80"):
        with pytest.raises(ValueError, match="state"):
            config.build(bad)


def check_input_is_left_alone(view: Clusterer) -> None:
    window = market(17, gaps=0.05)
    before = window.closes.copy(), window.market_cap.copy()
    window.closes.flags.writeable = window.market_cap.flags.writeable = False
    view.config().build().fit(window)
    np.testing.assert_array_equal(window.closes, before[0])
    np.testing.assert_array_equal(window.market_cap, before[1])


def check_malformed_windows(view: Clusterer) -> None:
    window = market(18, n=5)
    for bad in (
        replace(window, coin_ids=window.coin_ids[:4]),
        replace(window, market_cap=window.market_cap[:4]),
        replace(window, coin_ids=(*window.coin_ids[:4], window.coin_ids[0])),
        replace(window, closes=window.closes[0]),
    ):
        running = view.config().build()
        state = running.snapshot()
        with pytest.raises(ValueError, match=r"coin"):
            running.fit(bad)
        assert running.snapshot() == state, "a window that was refused must leave no trace"


CHECKS: tuple[Callable[[Clusterer], None], ...] = (
    check_every_market,
    check_permuting_coins,
    check_permuting_days,
    check_scaling_prices,
    check_emerging_and_vanishing_coins,
    check_constant_series,
    check_few_coins,
    check_duplicated_coins,
    check_prices_that_are_none,
    check_pickling,
    check_seeds,
    check_snapshot_and_restore,
    check_input_is_left_alone,
    check_malformed_windows,
)


def check_clusterer(
    config: ConfigFactory, *, days_may_be_permuted: bool = False, least_price: float = LEAST_PRICE
) -> None:
    """Run the whole suite on the view that ``config()`` describes."""
    for check in CHECKS:
        check(Clusterer(config, days_may_be_permuted, least_price))
