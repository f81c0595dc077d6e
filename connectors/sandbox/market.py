"""The market: prices and trades of some forty coins, in chunks of ten minutes that can each be computed alone.

Log prices follow a factor model in steps of 250 ms: the market's mode, a factor per group and a coin's own part, over
a second all Student-t with 4.5 degrees of freedom, with the scale capped. The path inside a chunk is a bridge between
two nodes of a slow path (midpoint octaves of hashed normals), so that a chunk needs no earlier one. On top lies the
drift of the price regimes. Within a group the returns of a second correlate at about 0.55 once the market's mode is
removed.

Each coin trades exactly once per slot (a step for the liquid ones, two steps for the others) at a random time in it;
so trade ids are contiguous and a pure function of time. Prices are integers in ticks and amounts integers in lots:
sums are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from connectors.sandbox.draws import Float64, Int64, generator, normal, uniform
from connectors.sandbox.groups import Groups
from connectors.sandbox.regime import GENESIS_US, Regimes

CHUNK_MS: Final = 600_000
GENESIS_MS: Final = GENESIS_US // 1000
QUOTE: Final = "USDT"
LIQUID: Final = 10
"""So many coins, from the first, trade in every step; the others in every second one."""

_PRICES: Final = {
    "BTC": 64000.0, "ETH": 3200.0, "BNB": 580.0, "SOL": 150.0, "XRP": 0.52, "ADA": 0.45, "DOGE": 0.15,
    "AVAX": 36.0, "DOT": 7.1, "LINK": 14.5, "TRX": 0.12, "MATIC": 0.71, "LTC": 83.0, "BCH": 460.0, "UNI": 7.4,
    "ATOM": 8.3, "XLM": 0.11, "ETC": 27.0, "FIL": 5.9, "NEAR": 6.8, "APT": 9.2, "ARB": 1.05, "OP": 2.6,
    "INJ": 25.0, "AAVE": 88.0, "MKR": 2900.0, "GRT": 0.27, "ALGO": 0.18, "EGLD": 41.0, "SAND": 0.44,
    "MANA": 0.43, "AXS": 7.3, "THETA": 2.1, "FTM": 0.68, "XTZ": 0.95, "EOS": 0.81, "KAVA": 0.66, "CRV": 0.42,
    "LDO": 2.0, "SNX": 2.8,
}  # fmt: skip
_STABLE: Final = ("USDC", "DAI")

_TAIL_DF: Final = 4.5
_MAX_SCALE: Final = 4.0  # so much, at most, is a second wilder than the average
_OCTAVES: Final = 12
_MODE_SIGMA: Final = 1.5e-4  # deviations of returns over one second
_OWN_SIGMA: Final = (2.2e-4, 3.2e-4)
_LEADER_SIGMA: Final = 1.6e-4
_GROUP_SHARE: Final = 0.75  # of the variance that the mode leaves
_STABLE_SIGMA: Final = 2e-5
_HALF_SPREAD: Final = 5e-6
_NOTIONAL: Final = 150.0  # median value of a trade in the quote currency
_CHUNK, _SLOW, _BETA, _SIGMA = 31, 32, 33, 34


@dataclass(frozen=True, slots=True)
class Coin:
    """A traded coin. Prices are ``ticks / 10**tick_decimals``, amounts ``lots / 10**lot_decimals``."""

    symbol: str
    base: str
    quote: str
    price: float
    tick_decimals: int
    lot_decimals: int
    slot_steps: int
    stable: bool


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades as columns, in order of time."""

    coin: Int64
    trade_id: Int64
    time_ms: Int64
    ticks: Int64
    lots: Int64
    buyer_is_maker: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Ten minutes of trades, coin after coin; ``order`` sorts them by (time, coin)."""

    number: int
    trades: Trades
    order: Int64


def list_coins(count: int) -> list[Coin]:
    """Return ``count`` coins and two stablecoins, all quoted in USDT."""
    named = list(_PRICES.items())
    named += [(f"COIN{i:04d}", 1.0 + i % 97) for i in range(len(named), count)]
    listed = [_coin(base, price, 1 if i < LIQUID else 2, False) for i, (base, price) in enumerate(named[:count])]
    return listed + [_coin(base, 1.0, 2, True) for base in _STABLE]


def _coin(base: str, price: float, slot_steps: int, stable: bool) -> Coin:
    magnitude = int(np.floor(np.log10(price)))
    return Coin(base + QUOTE, base, QUOTE, price, min(8, 5 - magnitude), max(0, magnitude + 1), slot_steps, stable)


class Market:
    """The market of one world.

    Parameters
    ----------
    seed
        The world.
    coins, groups
        Number of coins (two stablecoins come on top, and belong to no group) and of groups.
    move_every_us
        Mean time between two planted moves.
    regimes
        The price regimes; by default those of ``seed``.
    step_ms
        Length of a step of the price; two steps must divide a second.

    Raises
    ------
    ValueError
        If the steps do not fit a second, or coins and groups do not fit each other.
    """

    def __init__(
        self,
        seed: int,
        coins: int = 40,
        groups: int = 5,
        move_every_us: int = 150_000_000,
        regimes: Regimes | None = None,
        step_ms: int = 250,
    ) -> None:
        if step_ms < 1 or 1000 % (2 * step_ms):
            raise ValueError(f"step_ms is {step_ms}: two steps must divide a second")
        self.seed, self.step_ms = seed, step_ms
        self.coins = list_coins(coins)
        self.index = {coin.symbol: number for number, coin in enumerate(self.coins)}
        self.groups = Groups(seed, coins, groups, move_every_us)
        self.regimes = Regimes(seed) if regimes is None else regimes
        self.steps = CHUNK_MS // step_ms
        self._lay_out_slots()
        self._draw_scales()
        self.chunk = lru_cache(maxsize=16)(self._make_chunk)

    def _lay_out_slots(self) -> None:
        counts = [self.steps // coin.slot_steps for coin in self.coins]
        self.per_chunk = np.array(counts, dtype=np.int64)
        self.bounds = np.concatenate([[0], np.cumsum(self.per_chunk)])
        self._coin = np.repeat(np.arange(len(counts), dtype=np.int64), self.per_chunk)
        slot_ms = np.array([coin.slot_steps * self.step_ms for coin in self.coins], dtype=np.int64)
        self._slot = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
        self._slot_ms = slot_ms[self._coin]
        self._tick = 10.0 ** np.array([coin.tick_decimals for coin in self.coins])
        self._lot = 10.0 ** np.array([coin.lot_decimals for coin in self.coins])

    def _draw_scales(self) -> None:
        """Draw each series' deviation per step; series are the mode, the groups, the coins, the stablecoins."""
        moving = self.groups.coins
        numbers = np.arange(moving, dtype=np.int64)
        self._beta = 0.8 + 0.4 * uniform(self.seed, _BETA, numbers)
        low, high = _OWN_SIGMA
        residual = low + (high - low) * uniform(self.seed, _SIGMA, numbers)
        self._beta[:2], residual[:2] = 1.0, _LEADER_SIGMA
        per_step = np.sqrt(self.step_ms / 1000)
        self._load = residual * np.sqrt(_GROUP_SHARE) * per_step
        own = residual * np.sqrt(1 - _GROUP_SHARE) * per_step
        steady = np.full(len(self.coins) - moving, _STABLE_SIGMA / 64)
        mode = np.array([_MODE_SIGMA * per_step])
        # a group's factor has unit deviation per step: the coins load on it
        self._sigma = np.concatenate([mode, np.ones(self.groups.groups), own, steady])
        self._start = np.log([coin.price for coin in self.coins])

    def _slow(self, number: int) -> Float64:
        """Return the slow path of every series at the beginning of a chunk: hashed nodes in octaves."""
        series = np.arange(self._sigma.size, dtype=np.int64)[:, None]
        octave = np.arange(_OCTAVES, dtype=np.int64)[None, :]
        node, rest = number >> octave, number & ((1 << octave) - 1)
        weight = rest / 2.0**octave
        left = normal(self.seed, _SLOW, series, octave, node)
        right = normal(self.seed, _SLOW, series, octave, node + 1)
        height = (left * (1 - weight) + right * weight) * 2.0 ** (octave / 2)
        # each octave's increments then sum to the variance of a chunk's steps: 4 a^2 = steps * sigma^2
        slow: Float64 = height.sum(axis=1) * self._sigma * np.sqrt(self.steps) / 2
        return slow

    def _level(self, number: int) -> Float64:
        """Return the log price of every coin at the beginning of a chunk, without the regimes' drift."""
        slow = self._slow(number)
        groups, moving = self.groups.groups, self.groups.coins
        level = slow[1 + groups :] + self._start
        level[:moving] += self._beta * slow[0] + self._load * slow[1 + self.groups.home]
        return level

    def _shocks(self, rng: np.random.Generator) -> Float64:
        """Draw steps of unit variance whose sums over a second are Student-t: normal, scaled second by second."""
        per_second = 1000 // self.step_ms
        scale = np.sqrt((_TAIL_DF - 2) / rng.chisquare(_TAIL_DF, size=(self.steps // per_second, self._sigma.size)))
        scale = np.repeat(np.minimum(scale, _MAX_SCALE), per_second, axis=0)
        shocks: Float64 = rng.standard_normal((self.steps, self._sigma.size)) * scale
        return shocks

    def _paths(self, number: int, rng: np.random.Generator) -> Float64:
        """Return the log price of each coin in every step of a chunk, shape (steps, coins)."""
        groups, moving = self.groups.groups, self.groups.coins
        shocks = self._shocks(rng) * self._sigma
        times_us = (GENESIS_MS + number * CHUNK_MS + np.arange(self.steps, dtype=np.int64) * self.step_ms) * 1000
        member = self.groups.matrix(times_us)
        returns = shocks[:, 1 + groups :]
        returns[:, :moving] += self._beta * shocks[:, :1]
        returns[:, :moving] += self._load * np.take_along_axis(shocks[:, 1 : 1 + groups], member, axis=1)
        start, end = self._level(number), self._level(number + 1)
        returns += (end - start - returns.sum(axis=0)) / self.steps
        paths: Float64 = start + np.cumsum(returns, axis=0)
        paths[:, :moving] += self._beta * self.regimes.drift(times_us)[:, None]
        paths[:, moving:] += _STABLE_SIGMA * rng.standard_normal((self.steps, len(self.coins) - moving))
        return paths

    def _make_chunk(self, number: int) -> Chunk:
        rng = generator(self.seed, _CHUNK, number)
        paths = self._paths(number, rng)
        size = self._coin.size
        within = self._slot * self._slot_ms + (rng.random(size) * self._slot_ms).astype(np.int64)
        maker = rng.random(size) < 0.5
        middle = np.exp(paths[within // self.step_ms, self._coin])
        ticks = np.rint(middle * np.where(maker, 1 - _HALF_SPREAD, 1 + _HALF_SPREAD) * self._tick[self._coin])
        value = _NOTIONAL * np.exp(1.4 * rng.standard_normal(size))
        lots = np.maximum(1.0, np.rint(value / middle * self._lot[self._coin]))
        time_ms = GENESIS_MS + number * CHUNK_MS + within
        trade_id = number * self.per_chunk[self._coin] + self._slot
        trades = Trades(self._coin, trade_id, time_ms, ticks.astype(np.int64), lots.astype(np.int64), maker)
        return Chunk(number, trades, np.lexsort((self._coin, time_ms)))

    def group_of(self, symbol: str, t_us: int) -> int | None:
        """Return the group of a coin at a time; None for a stablecoin."""
        number = self.index[symbol]
        return None if self.coins[number].stable else self.groups.group_of(number, t_us)

    def chunk_of(self, time_ms: int) -> int:
        """Return the number of the chunk that holds a time."""
        return (time_ms - GENESIS_MS) // CHUNK_MS

    def trades_between(self, after_ms: int, until_ms: int) -> Trades:
        """Return all coins' trades with ``after_ms < time <= until_ms``, in order of (time, coin)."""
        numbers = range(max(0, self.chunk_of(after_ms)), self.chunk_of(until_ms) + 1)
        parts = [_select(self.chunk(number), after_ms, until_ms) for number in numbers]
        return _join(parts)

    def trades_of(self, symbol: str, first_id: int, count: int, until_ms: int) -> Trades:
        """Return up to ``count`` trades of a coin from ``first_id`` on, none later than ``until_ms``."""
        coin = self.index[symbol]
        per_chunk = int(self.per_chunk[coin])
        parts: list[Trades] = []
        position, end = max(0, first_id), max(0, first_id) + count
        while position < end and position // per_chunk <= self.chunk_of(until_ms):
            number, offset = divmod(position, per_chunk)
            stop = min(per_chunk, offset + end - position)
            start = int(self.bounds[coin])
            part = take(self.chunk(number).trades, np.arange(start + offset, start + stop))
            parts.append(take(part, np.flatnonzero(part.time_ms <= until_ms)))
            position += stop - offset
        return _join(parts)

    def last_id(self, symbol: str, until_ms: int) -> int:
        """Return the id of a coin's newest trade at a time; -1 before the first."""
        number = self.chunk_of(until_ms)
        if number < 0:
            return -1
        coin = self.index[symbol]
        times = self.chunk(number).trades.time_ms[self.bounds[coin] : self.bounds[coin + 1]]
        return number * int(self.per_chunk[coin]) + int(np.searchsorted(times, until_ms, side="right")) - 1


def take(trades: Trades, rows: Int64) -> Trades:
    """Return some rows of ``trades``."""
    return Trades(
        trades.coin[rows],
        trades.trade_id[rows],
        trades.time_ms[rows],
        trades.ticks[rows],
        trades.lots[rows],
        trades.buyer_is_maker[rows],
    )


def _select(chunk: Chunk, after_ms: int, until_ms: int) -> Trades:
    times = chunk.trades.time_ms[chunk.order]
    first, last = np.searchsorted(times, [after_ms, until_ms], side="right")
    return take(chunk.trades, chunk.order[first:last])


def _join(parts: list[Trades]) -> Trades:
    if len(parts) == 1:
        return parts[0]
    none = np.empty(0, dtype=np.int64)
    return Trades(
        np.concatenate([none, *(part.coin for part in parts)]),
        np.concatenate([none, *(part.trade_id for part in parts)]),
        np.concatenate([none, *(part.time_ms for part in parts)]),
        np.concatenate([none, *(part.ticks for part in parts)]),
        np.concatenate([none, *(part.lots for part in parts)]),
        np.concatenate([none.astype(np.bool_), *(part.buyer_is_maker for part in parts)]),
    )
