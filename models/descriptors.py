"""Descriptors of coins and their classes: beta, Sharpe ratio, volume, market capitalisation, age, technology, tails.

The descriptors are those of Lorenzo & Arroyo 2022. The table with the bounds of their classes is lost: the bounds here
are inferred from the names of the classes, and all are parameters. Returns must be unclipped: what clipping takes away
is what a heavy tail, a beta and a deviation are made of. A descriptor that a coin lacks is NaN and of no class.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.heavytail import TailSettings, is_heavy, tail_index
from models.intersections import id_order
from models.returns import screen_prices

Float64 = npt.NDArray[np.float64]
Text = npt.NDArray[np.object_]
"""object[n] of str and None."""

BETA_CLASSES: Final = ("NegBeta", "LowVol", "IndexLike", "HighVol", "Extreme")
SHARPE_CLASSES: Final = ("SRF", "ERP", "ACC", "GOOD")
TAIL_CLASSES: Final = ("light", "heavy")
DESCRIPTORS: Final = ("Volume", "MkCap", "Beta", "Sharpe", "Age", "HeavyTail")
RISK_FREE_PER_DAY: Final = 0.0000525
DECILES: Final = tuple(round(0.1 * i, 1) for i in range(1, 11))
PERCENTILES: Final = (0.7, 0.8, 0.9, 0.99, 1.0)

_FLAT: Final = 1e-12


@dataclass(frozen=True, slots=True)
class DescriptorSettings:
    """Bounds of classes and what a ratio needs.

    Raises
    ------
    ValueError
        If bounds do not ascend or a number is out of range.
    """

    minimum_returns: int = 30
    """Returns (shared with the index, for beta) that beta and the Sharpe ratio need."""
    beta_bounds: tuple[float, float, float, float] = (0.0, 0.9, 1.1, 3.0)
    """NegBeta below the first, LowVol to the second, IndexLike to the third (both ends in), HighVol to the fourth;
    Extreme above it and below minus it, which is asked first."""
    sharpe_bounds: tuple[float, float, float] = (0.0, 0.5, 1.0)
    """SRF below the first, then ERP, ACC and, from the last on, GOOD; of the annual ratio."""
    periods_per_year: float = 365.0
    percentiles: tuple[float, ...] = PERCENTILES
    """Volume and market capitalisation: class P70 is at or below the quantile 0.7, and so on."""
    tail: TailSettings = field(default_factory=TailSettings)

    def __post_init__(self) -> None:
        for name, bounds in (("beta_bounds", self.beta_bounds), ("sharpe_bounds", self.sharpe_bounds)):
            if list(bounds) != sorted(bounds) or not all(map(math.isfinite, bounds)):
                raise ValueError(f"{name} must ascend, not {bounds}")
        if self.minimum_returns < 2:
            raise ValueError(f"minimum_returns must be at least 2, not {self.minimum_returns}")
        if not self.periods_per_year > 0.0:
            raise ValueError(f"periods_per_year must be positive, not {self.periods_per_year}")
        _check_quantiles("percentiles", self.percentiles)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorInput:
    """One window: what is known of n coins over T bars. What is None is not described."""

    coin_ids: Sequence[str]
    returns: Float64
    """float64[T, n], log returns as the paper's, unclipped; NaN missing."""
    index_returns: Float64 | None = None
    """float64[T], of the same kind."""
    risk_free: Float64 | float = RISK_FREE_PER_DAY
    """Per bar: one number or float64[T]."""
    market_cap: Float64 | None = None
    """float64[n], USD on the last day; 0 is missing."""
    volume: Float64 | None = None
    """float64[n], in units of the coin (:func:`coin_volume`)."""
    age_days: Float64 | None = None
    """float64[n] (:func:`ages`)."""
    technology: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """For each of ``Algorithm``, ``ProofType`` and the like the n coins' own; None or empty is missing."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Values and classes of n coins, sorted by id, by name of descriptor."""

    coin_ids: tuple[str, ...]
    values: dict[str, Float64]
    """float64[n] each; NaN where missing and for technology."""
    classes: dict[str, Text]
    """object[n] each: a class, or None where missing."""

    def columns(self) -> dict[str, list[Any]]:
        """Return ``coin_id``, ``name``, ``value`` (None missing) and ``class`` of the table ``descriptors``.

        One row per coin and descriptor, sorted by both, missing ones included.
        """
        names = sorted(self.values)
        value = np.stack([self.values[name] for name in names], axis=1) if names else np.empty((0, 0))
        flat = [None if math.isnan(x) else x for x in value.ravel().tolist()]
        text = [self.classes[name].tolist() for name in names]
        return {
            "coin_id": [coin for coin in self.coin_ids for _ in names],
            "name": names * len(self.coin_ids),
            "value": flat,
            "class": [column[i] for i in range(len(self.coin_ids)) for column in text],
        }


def describe(given: DescriptorInput, settings: DescriptorSettings | None = None) -> Descriptors:
    """Compute every descriptor that the input allows.

    Returns
    -------
    Descriptors
        ``Sharpe`` and ``HeavyTail`` always, ``Beta``, ``MkCap``, ``Volume`` and ``Age`` where their input is given,
        and each technology by its name.

    Raises
    ------
    ValueError
        If shapes disagree, an id stands twice, or a technology takes the name of a descriptor.
    """
    settings = settings or DescriptorSettings()
    order = id_order(given.coin_ids)
    _check(given, len(order))
    R = given.returns[:, order]
    values: dict[str, Float64] = {}
    classes: dict[str, Text] = {}
    if given.index_returns is not None:
        values["Beta"] = betas(R, given.index_returns, settings.minimum_returns)
        classes["Beta"] = beta_classes(values["Beta"], settings.beta_bounds)
    values["Sharpe"] = sharpe_ratios(R, given.risk_free, settings.periods_per_year, settings.minimum_returns)
    classes["Sharpe"] = sharpe_classes(values["Sharpe"], settings.sharpe_bounds)
    values["HeavyTail"] = tail_index(R, settings.tail)
    classes["HeavyTail"] = tail_classes(values["HeavyTail"], settings.tail.below)
    if given.market_cap is not None:
        cap = given.market_cap[order]
        values["MkCap"] = np.where(np.isfinite(cap) & (cap > 0.0), cap, np.nan)
        classes["MkCap"] = quantile_classes(values["MkCap"], settings.percentiles, percent_names(settings.percentiles))
    if given.volume is not None:
        volume = given.volume[order]
        values["Volume"] = np.where(np.isfinite(volume) & (volume >= 0.0), volume, np.nan)
        names = percent_names(settings.percentiles)
        classes["Volume"] = quantile_classes(values["Volume"], settings.percentiles, names)
    if given.age_days is not None:
        age = given.age_days[order]
        values["Age"] = np.where(np.isfinite(age) & (age >= 0.0), age, np.nan)
        classes["Age"] = quantile_classes(values["Age"], DECILES, tuple(f"D{i}" for i in range(1, 11)))
    for name, own in given.technology.items():
        values[name] = np.full(len(order), np.nan)
        classes[name] = np.array([own[i] or None for i in order.tolist()], dtype=np.object_)
    ids = tuple(given.coin_ids[i] for i in order.tolist())
    return Descriptors(ids, dict(sorted(values.items())), dict(sorted(classes.items())))


def betas(R: Float64, index_returns: Float64, minimum_returns: int = 30) -> Float64:
    """Return cov(R_c, R_b) / var(R_b) of each coin, float64[n], over the bars that it shares with the index.

    NaN with fewer than ``minimum_returns`` such bars, or where the index does not vary over them.
    """
    if R.ndim != 2 or index_returns.shape != R.shape[:1]:
        raise ValueError(f"returns {list(R.shape)} and index returns {list(index_returns.shape)} differ in bars")
    real = np.isfinite(R) & np.isfinite(index_returns)[:, None]
    count = real.sum(axis=0)
    own = np.where(real, R, 0.0)
    market = np.where(real, np.where(np.isfinite(index_returns), index_returns, 0.0)[:, None], 0.0)
    own -= np.where(real, own.sum(axis=0) / np.maximum(count, 1), 0.0)
    mean = market.sum(axis=0) / np.maximum(count, 1)
    market -= np.where(real, mean, 0.0)
    variance = (market * market).sum(axis=0)
    floor = (_FLAT + 1e-9 * np.abs(mean)) ** 2 * np.maximum(count, 1)
    beta = np.full(R.shape[1], np.nan)
    np.divide((own * market).sum(axis=0), variance, out=beta, where=(count >= minimum_returns) & (variance > floor))
    return beta


def sharpe_ratios(
    R: Float64, risk_free: Float64 | float = RISK_FREE_PER_DAY, periods_per_year: float = 365.0,
    minimum_returns: int = 30,
) -> Float64:  # fmt: skip
    """Return the annual Sharpe ratio mean(R - R_f) / sd(R - R_f) x sqrt(periods per year) of each coin, float64[n].

    The deviation has ddof 1. NaN with fewer than ``minimum_returns`` returns, or where they do not vary.
    """
    free = np.asarray(risk_free, dtype=np.float64)
    if R.ndim != 2 or free.shape not in ((), R.shape[:1]):
        raise ValueError(f"risk_free has shape {list(free.shape)}: it must be one number or one per bar of {R.shape}")
    excess = R - (free[:, None] if free.ndim else free)
    real = np.isfinite(excess)
    count = real.sum(axis=0)
    excess = np.where(real, excess, 0.0)
    mean = excess.sum(axis=0) / np.maximum(count, 1)
    spread = np.where(real, excess - mean, 0.0)
    deviation = np.sqrt((spread * spread).sum(axis=0) / np.maximum(count - 1, 1))
    usable = (count >= max(minimum_returns, 2)) & (deviation > _FLAT + 1e-9 * np.abs(mean))
    ratio = np.full(R.shape[1], np.nan)
    np.divide(mean * math.sqrt(periods_per_year), deviation, out=ratio, where=usable)
    return ratio


def coin_volume(volume_usd: Float64, prices: Float64) -> Float64:
    """Return the mean daily volume in units of the coin, float64[n], over days with both a volume and a price.

    Parameters
    ----------
    volume_usd, prices
        float64[T, n], USD. A volume of 0 is one; NaN, negative ones and what is no price are missing.
    """
    if volume_usd.shape != prices.shape or prices.ndim != 2:
        raise ValueError(f"volume {list(volume_usd.shape)} and prices {list(prices.shape)} are not of one shape")
    real = np.isfinite(volume_usd) & (volume_usd >= 0.0) & screen_prices(prices)
    units = np.zeros(prices.shape)
    with np.errstate(over="ignore"):
        np.divide(volume_usd, prices, out=units, where=real)
    real &= np.isfinite(units)
    count = real.sum(axis=0)
    mean = np.full(prices.shape[1], np.nan)
    np.divide(np.where(real, units, 0.0).sum(axis=0), count, out=mean, where=count > 0)
    return mean


def ages(listed: npt.NDArray[np.datetime64], as_of: np.datetime64) -> Float64:
    """Return ages in days, float64[n], from listing dates; NaN without one (NaT) or with one after ``as_of``."""
    if listed.dtype.kind != "M" or np.isnat(as_of):
        raise ValueError(f"listing dates must be datetime64 and as_of a time, not {listed.dtype} and {as_of}")
    days = (as_of.astype("datetime64[s]") - listed.astype("datetime64[s]")) / np.timedelta64(86_400, "s")
    return np.where(np.isnat(listed) | ~(days >= 0.0), np.nan, days)


def beta_classes(beta: Float64, bounds: tuple[float, float, float, float] = (0.0, 0.9, 1.1, 3.0)) -> Text:
    """Return the class of each beta (see :class:`DescriptorSettings`), None for NaN."""
    negative, low, like, high = bounds
    with np.errstate(invalid="ignore"):
        return _first(
            [np.isnan(beta), (beta > high) | (beta < -high), beta < negative, beta < low, beta <= like],
            [None, "Extreme", "NegBeta", "LowVol", "IndexLike"], "HighVol",
        )  # fmt: skip


def sharpe_classes(ratio: Float64, bounds: tuple[float, float, float] = (0.0, 0.5, 1.0)) -> Text:
    """Return the class of each annual Sharpe ratio (see :class:`DescriptorSettings`), None for NaN."""
    with np.errstate(invalid="ignore"):
        return _first([np.isnan(ratio), *(ratio < bound for bound in bounds)], [None, *SHARPE_CLASSES[:3]], "GOOD")


def tail_classes(index: Float64, below: float = 2.0) -> Text:
    """Return ``heavy`` or ``light``, None for NaN."""
    return _first([np.isnan(index), is_heavy(index, below)], [None, "heavy"], "light")


def quantile_classes(values: Float64, quantiles: Sequence[float], names: Sequence[str]) -> Text:
    """Return the first class whose quantile (type 7, of all values that are not missing) a value does not exceed.

    Classes whose quantiles tie are one, named by the highest: where a tenth to four tenths of all ages are equal,
    these coins are D4 and no coin is D1, D2 or D3.
    """
    _check_quantiles("quantiles", quantiles)
    if len(names) != len(quantiles):
        raise ValueError(f"{len(quantiles)} quantiles have {len(names)} names")
    text = np.full(len(values), None, dtype=np.object_)
    known = ~np.isnan(values)
    if known.any():
        bounds = np.maximum.accumulate(np.quantile(values[known], quantiles))
        bounds[-1] = values[known].max()  # not a rounding below it
        first = np.searchsorted(bounds, values[known], side="left")
        last_of_ties = np.searchsorted(bounds, bounds, side="right") - 1
        text[known] = np.array(list(names), dtype=np.object_)[last_of_ties[first]]
    return text


def percent_names(quantiles: Sequence[float]) -> tuple[str, ...]:
    """Return names such as P70 and P99.5 for quantiles."""
    return tuple(f"P{100.0 * q:.10g}" for q in quantiles)


def top_shares(values: Float64, counts: Sequence[int] = (3, 5, 10)) -> dict[int, float]:
    """Return which share of the sum of all known values the largest few hold, by how few; NaN if the sum is 0."""
    known = -np.sort(-values[np.isfinite(values)])
    total = float(known.sum())
    return {m: float(known[:m].sum()) / total if total > 0.0 else math.nan for m in counts}


def _first(tests: list[npt.NDArray[np.bool_]], names: Sequence[str | None], otherwise: str) -> Text:
    choice = np.argmax(np.stack([*tests, np.ones_like(tests[0])]), axis=0)
    text: Text = np.array([*names, otherwise], dtype=np.object_)[choice]
    return text


def _check_quantiles(name: str, quantiles: Sequence[float]) -> None:
    ascending = all(a < b for a, b in itertools.pairwise(quantiles))
    if not quantiles or not ascending or quantiles[0] <= 0.0 or quantiles[-1] != 1.0:
        raise ValueError(f"{name} must ascend within (0, 1] and end at 1, not {tuple(quantiles)}")


def _check(given: DescriptorInput, n: int) -> None:
    if given.returns.ndim != 2 or given.returns.shape[1] != n:
        raise ValueError(f"{n} coins, but returns {list(given.returns.shape)}: they must be time x coins")
    for name in ("market_cap", "volume", "age_days"):
        values = getattr(given, name)
        if values is not None and np.shape(values) != (n,):
            raise ValueError(f"{n} coins, but {name} has shape {list(np.shape(values))}")
    for name, own in given.technology.items():
        if name in DESCRIPTORS:
            raise ValueError(f"a technology cannot be called {name!r}: that is a descriptor")
        if len(own) != n:
            raise ValueError(f"{n} coins, but technology {name!r} has {len(own)}")
