"""The study of one span: all four views of it, their combination, descriptors and associations.

The span is one window. What each step computes stands in ``models``; here they are put together, once for a study and
once more for the longer span that it may be compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flows.config import Config, Window
from flows.study_input import Coins, DailyPrices, Float64, Int64, Times
from flows.views import PROTOTYPE_VIEWS, comovement_config, prototype_config
from models import comovement
from models.associations import COMBINATION, HEAVY_TAIL, Associations, AssociationSettings, associate, study_pairs
from models.comovement import ComovementFit
from models.descriptors import (
    RISK_FREE_PER_DAY,
    DescriptorInput,
    Descriptors,
    ages,
    coin_volume,
    describe,
)
from models.index import MarketIndex, align_index, market_index
from models.intersections import Intersections, common_coins, intersect
from models.moments import MomentsConfig, moments, prepared_returns
from models.partitions import adjusted_rand
from models.prepare import FitInput, Prepared
from models.returns import bar_returns, screen_prices
from models.view import ViewFit

VIEWS = ("comovement", *PROTOTYPE_VIEWS)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Extras:
    """What a study may be given beside prices."""

    index: tuple[Times, Float64] | None = None
    risk_free: tuple[Times, Float64] | None = None
    coins: Coins = field(default_factory=lambda: Coins({}, {}))


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that is known of one span; arrays over n coins are in the order of ``coin_ids``."""

    prices: DailyPrices
    input: FitInput
    """The coins above the presence floor."""
    views: dict[str, ViewFit]
    network: ComovementFit
    """The comovement view with its map and its edges."""
    prepared: Prepared
    """The returns that the moments view clusters."""
    coin_ids: tuple[str, ...]
    """The n coins that every prototype view labels."""
    labels: dict[str, Int64]
    """int64[n] by view; -1 where a view has no such coin."""
    cells: Intersections
    market_cap: Float64
    """float64[n], USD on the last day with one; NaN unknown."""
    volume_usd: Float64
    """float64[n], mean per day in USD."""
    index: Float64
    """float64[T], log returns of the index."""
    own_index: MarketIndex | None
    """The index that was computed; None where one was given."""
    descriptors: Descriptors
    associations: Associations

    @property
    def as_of_us(self) -> int:
        """The end of the span in microseconds since the epoch."""
        return int(self.prices.days[-1].astype(np.int64))

    def of_view(self, view: str, values: Float64) -> Float64:
        """Return a column over the coins of a view as float64[n], NaN where the view has no such coin."""
        place = {coin: i for i, coin in enumerate(self.views[view].coin_ids)}
        at = np.array([place.get(coin, -1) for coin in self.coin_ids], dtype=np.int64)
        return np.where(at >= 0, values[np.maximum(at, 0)], np.nan)

    def plane(self) -> Float64:
        """Return float64[n, 2]: mean and deviation of each coin's returns, as the moments view takes them."""
        place = {coin: i for i, coin in enumerate(self.prepared.coin_ids)}
        return moments(self.prepared.returns)[[place[coin] for coin in self.coin_ids]]


def fit_study(
    prices: DailyPrices, config: Config, extras: Extras, say: Say, only: frozenset[str] | None = None,
    market_cap: Mapping[str, float] | None = None,
) -> Study:  # fmt: skip
    """Study one span.

    Parameters
    ----------
    prices
        The span, the whole of which is one window.
    config
        The settings of its first window govern.
    extras
        Index, risk-free rate and coins, where given.
    say
        Told what is being done.
    only, market_cap
        Of a replication: the coins that may take part, and their capitalisation as of the first span.

    Raises
    ------
    ValueError
        If fewer than two coins are left, or a setting cannot be used.
    """
    window = config.windows[0]
    given = _window(prices, window, only, market_cap)
    say(f"{len(given.coin_ids):,} coins over {len(prices.days):,} days: comovement")
    network = comovement.fit(given, comovement_config(config, window))
    views = {"comovement": comovement.as_view(network)}
    for view in PROTOTYPE_VIEWS:
        say(view)
        views[view] = prototype_config(view, config, window).build().fit(given)
    say("combination and descriptors")
    coin_ids, labels = _labels(views)
    place = {coin: i for i, coin in enumerate(given.coin_ids)}
    at = np.array([place[coin] for coin in coin_ids], dtype=np.int64)
    closes, cap = given.closes[:, at], given.market_cap[at]
    column = {coin: i for i, coin in enumerate(prices.coin_ids)}
    volume = prices.volume[:, [column[coin] for coin in coin_ids]]
    index, own_index = _index(prices, extras)
    descriptors = _described(prices, coin_ids, closes, cap, volume, index, extras)
    cells = intersect({view: labels[view] for view in PROTOTYPE_VIEWS}, coin_ids)
    say("associations")
    settings = AssociationSettings(simulations=window.descriptors.simulations, seed=config.seed)
    own = prototype_config("moments", config, window)
    if not isinstance(own, MomentsConfig):
        raise TypeError("the settings of the moments view are those of another")
    return Study(
        prices=prices,
        input=given,
        views=views,
        network=network,
        prepared=prepared_returns(given, own),
        coin_ids=coin_ids,
        labels=labels,
        cells=cells,
        market_cap=np.where(cap > 0.0, cap, np.nan),
        volume_usd=_mean(volume * closes),
        index=index,
        own_index=own_index,
        descriptors=descriptors,
        associations=_associations(labels, cells, descriptors, settings),
    )


def _window(
    prices: DailyPrices, window: Window, only: frozenset[str] | None, market_cap: Mapping[str, float] | None
) -> FitInput:
    presence = screen_prices(prices.closes).mean(axis=0)
    kept = [
        i for i in np.flatnonzero(presence + 1e-9 >= window.minimum_presence).tolist()
        if only is None or prices.coin_ids[i] in only
    ]  # fmt: skip
    ids = tuple(prices.coin_ids[i] for i in kept)
    if len(ids) < 2:
        raise ValueError(
            f"{len(ids)} coins have a price on {window.minimum_presence:.0%} of the days: lower minimum_presence, "
            "or choose a shorter span"
        )
    cap = _last(prices.market_cap[:, kept])
    if market_cap is not None:
        cap = np.array([market_cap.get(coin, np.nan) for coin in ids])
    return FitInput(ids, prices.closes[:, kept], np.nan_to_num(cap))


def _last(values: Float64) -> Float64:
    """Return each column's value in the last row; a capitalisation of that day, or none."""
    return np.asarray(values[-1], dtype=np.float64)


def _mean(values: Float64) -> Float64:
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), dtype=np.float64)


def _labels(views: Mapping[str, ViewFit]) -> tuple[tuple[str, ...], dict[str, Int64]]:
    """Return the coins that every prototype view labels, and their labels in all views."""
    everyone, labels = common_coins({view: (found.coin_ids, found.labels) for view, found in views.items()})
    whole = np.all([labels[view] >= 0 for view in PROTOTYPE_VIEWS], axis=0)
    if not whole.any():
        failed = [view for view in PROTOTYPE_VIEWS if not views[view].converged]
        raise ValueError(f"no coin has a cluster in every view ({', '.join(failed)} found none): change its settings")
    ids = tuple(coin for coin, keep in zip(everyone, whole.tolist(), strict=True) if keep)
    return ids, {view: own[whole] for view, own in labels.items()}


def _index(prices: DailyPrices, extras: Extras) -> tuple[Float64, MarketIndex | None]:
    if extras.index is not None:
        return align_index(prices.days, *extras.index), None
    own = market_index(prices.coin_ids, prices.days, prices.closes, prices.market_cap)
    return own.returns("log"), own


def _described(
    prices: DailyPrices, coin_ids: tuple[str, ...], closes: Float64, cap: Float64, volume: Float64, index: Float64,
    extras: Extras,
) -> Descriptors:  # fmt: skip
    """Describe the coins; beta, Sharpe ratio and tails from returns that are not clipped."""
    listed = np.array([extras.coins.listed_on.get(coin, np.datetime64("NaT")) for coin in coin_ids], "datetime64[us]")
    technology = {
        name: [own.get(coin) for coin in coin_ids]
        for name, own in extras.coins.technology.items()
        if name != "Category"
    }
    return describe(
        DescriptorInput(
            coin_ids=coin_ids,
            returns=bar_returns(closes, "log"),
            index_returns=index if np.isfinite(index).any() else None,
            risk_free=_risk_free(prices.days, extras.risk_free),
            market_cap=cap if (cap > 0.0).any() else None,
            volume=coin_volume(volume * closes, closes) if np.isfinite(volume).any() else None,
            age_days=None if np.isnat(listed).all() else ages(listed, prices.days[-1]),
            technology=technology,
        )
    )


def _risk_free(days: Times, given: tuple[Times, Float64] | None) -> Float64 | float:
    """Return the rate of each return's day: the last one published by then, the first one before that."""
    if given is None:
        return RISK_FREE_PER_DAY
    order = np.argsort(given[0], kind="stable")
    at = np.searchsorted(given[0][order], days[1:], side="right") - 1
    return np.asarray(given[1][order][np.maximum(at, 0)], dtype=np.float64)


def _associations(
    labels: Mapping[str, Int64], cells: Intersections, found: Descriptors, settings: AssociationSettings
) -> Associations:
    """Test all pairs over the coins without a heavy tail, as the paper does, and heavy tails over all of them."""
    heavy = np.asarray(found.classes[HEAVY_TAIL] == "heavy", dtype=np.bool_)
    classes = [name for name in ("Volume", "MkCap", "Beta", "Sharpe", "Age") if name in found.classes]
    technology = [name for name in found.classes if name not in (*classes, HEAVY_TAIL)]
    variables: dict[str, npt.NDArray[np.object_]] = {
        view: np.array([str(label) for label in labels[view]], dtype=np.object_) for view in PROTOTYPE_VIEWS
    }
    variables[COMBINATION] = np.array(cells.cell, dtype=np.object_)
    variables |= {name: found.classes[name] for name in (*classes, *technology)}
    calm = {name: own[~heavy] for name, own in variables.items()}
    ids = tuple(np.array(found.coin_ids, dtype=np.object_)[~heavy].tolist())
    most = associate(calm, ids, settings, study_pairs(list(calm)))
    whole = {
        **{name: variables[name] for name in (*PROTOTYPE_VIEWS, COMBINATION)},
        HEAVY_TAIL: found.classes[HEAVY_TAIL],
    }
    tails = associate(whole, found.coin_ids, settings, [(name, HEAVY_TAIL) for name in whole if name != HEAVY_TAIL])
    tests = sorted((*most.tests, *tails.tests), key=lambda test: (test.counts.a, test.counts.b))
    return Associations((*variables, HEAVY_TAIL), tuple(tests))


def agreement(study: Study) -> list[tuple[str, str, float]]:
    """Return the adjusted Rand index of each pair of views, over the coins that both label."""
    rows: list[tuple[str, str, float]] = []
    for i, a in enumerate(VIEWS):
        for b in VIEWS[i + 1 :]:
            both = (study.labels[a] >= 0) & (study.labels[b] >= 0)
            rows.append((a, b, adjusted_rand(study.labels[a][both], study.labels[b][both]) if both.any() else np.nan))
    return rows
