"""Membership: the state machine that decides when a coin has left its shoal.

A coin's *home* changes by events alone. At each converged fit the evidence (:mod:`models.evidence`) is smoothed over
bars, compared with the thresholds of :class:`MembershipConfig`, and turned into events:

- a coin seen for the first time takes the shoal of its fit as its home, without an event;
- a coin *leaves* when its smoothed margin falls below ``-leave_margin`` while the fit, too, puts it elsewhere; its new
  home is the best other shoal if that passes the entry threshold, else it has none;
- a coin without a home *joins* the shoal that the fits put it in once the evidence for it passes the entry threshold;
- a shoal that split, merged or died takes its coins along without coin events, and so does a shoal more than half of
  whose coins are on their way to one place (``structure_shift``);
- every departure is closed by an ``outcome`` (:mod:`models.departures`).

A fit that did not converge and a coin with poor coverage move nothing. A home of one coin has no evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.departures import OUTCOMES, Closed, Departure, close
from models.evidence import (
    Float64,
    Int64,
    chance_similarity,
    largest_changes,
    margins,
    member_similarities,
    standing_members,
)
from models.identity import NONE
from models.rounds import Event, EventKind, Round, Update

__all__ = ["Event", "Membership", "MembershipConfig", "Round", "Update"]

_SCHEMA = 1
_NEVER = -(1 << 62)
_COUNTERPARTS = 5
_COIN = np.dtype(
    [
        ("home", np.int64),
        ("adrift", np.bool_),  # left, and not yet anywhere
        ("candidate", np.int64),  # the shoal that an adrift coin may join
        ("margin", np.float64),  # smoothed evidence for the home, or of an adrift coin for its candidate; NaN = none
        ("quiet_margin", np.float64),  # the same when it last stood above the entry threshold
        ("quiet_as_of_us", np.int64),
        ("cooldown_until", np.int64),  # bar before which it does not leave
        ("origin", np.int64),  # the home it left last, while that departure is open
        ("departures", np.int64),
    ]
)
_UNSEEN = np.array((NONE, False, NONE, np.nan, np.nan, _NEVER, _NEVER, NONE, 0), dtype=_COIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipConfig:
    """When a coin counts as having left its shoal."""

    leave_margin: float = 0.15
    """A coin leaves when its smoothed margin is below minus this; a difference of correlations."""
    return_margin: float = 0.05
    """Entry threshold, and the threshold for going back to the home just left (hysteresis)."""
    smoothing_bars: float = 5.0
    """Time constant of the evidence's exponential smoothing, in bars."""
    cooldown_bars: int = 20
    """A coin leaves at most once in so many bars."""
    coverage_floor: float = 0.9
    """A coin with a lower coverage moves nothing."""
    outcome_bars: int = 30
    """A departure is closed after so many bars at the latest."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.return_margin <= self.leave_margin:
            raise ValueError(
                f"return_margin = {self.return_margin} is not within 0 and leave_margin {self.leave_margin}"
            )
        if not self.smoothing_bars > 0.0:
            raise ValueError(f"smoothing_bars = {self.smoothing_bars} is not above 0")
        if self.cooldown_bars < 0 or self.outcome_bars < 1:
            raise ValueError(f"cooldown_bars = {self.cooldown_bars}, outcome_bars = {self.outcome_bars}: too few")
        if not 0.0 <= self.coverage_floor <= 1.0:
            raise ValueError(f"coverage_floor = {self.coverage_floor} is not in [0, 1]")

    def build(self, state: bytes | None = None) -> Membership:
        """Return the running state machine, fresh or as it was at its ``snapshot``."""
        return Membership(self, state)


class _State(msgspec.Struct):
    schema: int
    bar: int
    coin_ids: tuple[str, ...]
    coins: bytes
    names: dict[int, str]
    departures: list[Departure]
    outcomes: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The evidence of one round: similarities float64[n, k] to ``numbers``, ascending."""

    numbers: Int64
    similarity: Float64
    # Column against which each coin was weighed (its home, or an adrift coin's candidate), and the best other one.
    column: Int64
    best: Int64
    # What a shoal must exceed to be more than the best of as many unrelated ones.
    chance: float


class Membership:
    """Running state machine of one view; see :class:`MembershipConfig`."""

    def __init__(self, config: MembershipConfig, state: bytes | None = None) -> None:
        self._config = config
        self._bar = _NEVER
        self._coin_ids: tuple[str, ...] = ()
        self._position: dict[str, int] = {}
        self._coins = np.empty(0, dtype=_COIN)
        self._rows: tuple[tuple[str, ...], Int64] = ((), np.empty(0, dtype=np.int64))
        self._names: dict[int, str] = {}
        self._departures: list[Departure] = []
        self._outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        if state is not None:
            self._restore(state)

    def update(self, fit: Round) -> Update:
        """Take in a fit and say what happened.

        Raises
        ------
        ValueError
            If the arrays do not fit together, or the bar is not after the last one.
        """
        _check(fit, self._bar)
        rows = self._locate(fit.coin_ids)
        if not fit.converged:
            return self._report(rows, [])
        self._names.update(fit.names)
        coins = self._coins[rows]
        events = self._follow_clusters(fit, rows, coins)
        first = (coins["home"] < 0) & ~coins["adrift"] & (fit.shoal >= 0)
        coins["home"][first] = fit.shoal[first]
        trusted = fit.coverage >= self._config.coverage_floor
        evidence = self._weigh(fit, coins, trusted, first)
        events += self._leave(fit, coins, evidence, trusted & ~first)
        events += self._join(fit, coins, evidence, trusted)
        self._coins[rows] = coins
        events += self._close_departures(fit.bar)
        self._bar = fit.bar
        self._forget_names(fit.alive)
        return self._report(rows, events)

    def snapshot(self) -> bytes:
        """Return the state as bytes."""
        names = {number: self._names[number] for number in sorted(self._names)}
        state = _State(
            _SCHEMA, self._bar, self._coin_ids, self._coins.tobytes(), names, self._departures, self._outcomes
        )
        return msgspec.msgpack.encode(state)

    def _restore(self, raw: bytes) -> None:
        state = msgspec.msgpack.decode(raw, type=_State)
        if state.schema != _SCHEMA:
            raise ValueError(f"membership state of schema {state.schema}, this version reads {_SCHEMA}")
        self._bar, self._coin_ids, self._names = state.bar, state.coin_ids, state.names
        self._position = {coin: i for i, coin in enumerate(state.coin_ids)}
        self._coins = np.frombuffer(state.coins, dtype=_COIN).copy()
        self._departures, self._outcomes = state.departures, state.outcomes

    def _locate(self, coin_ids: tuple[str, ...]) -> Int64:
        """Return the row of each coin; coins never seen get one."""
        known, rows = self._rows
        if coin_ids == known:
            return rows
        unseen = [coin for coin in coin_ids if coin not in self._position]
        if unseen:
            ids = tuple(sorted([*self._coin_ids, *unseen]))
            position = {coin: i for i, coin in enumerate(ids)}
            coins = np.full(len(ids), _UNSEEN)
            coins[[position[coin] for coin in self._coin_ids]] = self._coins
            self._coin_ids, self._position, self._coins = ids, position, coins
        rows = np.array([self._position[coin] for coin in coin_ids], dtype=np.int64)
        self._rows = (coin_ids, rows)
        return rows

    def _follow_clusters(self, fit: Round, rows: Int64, coins: np.ndarray[Any, Any]) -> list[Event]:
        """Re-home the coins of shoals that split, merged or died; ``coins`` are the records of ``rows``."""
        for change in fit.changes:
            if change.kind == "split":
                part = np.isin(rows, [self._position[coin] for coin in change.coins])
                _rehome(coins, part & (coins["home"] == change.shoal_from), change.shoal_to)
            elif change.kind == "merged":
                _rehome(coins, coins["home"] == change.shoal_from, change.shoal_to)
                # Coins that are not in this fit go along: their old home is no more.
                _rehome(self._coins, self._coins["home"] == change.shoal_from, change.shoal_to)
        homeless = (coins["home"] >= 0) & ~np.isin(coins["home"], np.asarray(fit.alive, dtype=np.int64))
        moved = homeless & (fit.shoal >= 0)
        _rehome(coins, moved, fit.shoal[moved])
        return [
            self._cluster_event(change.kind, change.shoal_from, change.shoal_to, change.coins) for change in fit.changes
        ]

    def _weigh(self, fit: Round, coins: np.ndarray[Any, Any], trusted: Any, first: Any) -> _Evidence:
        """Compute this round's margins and smooth them into the coins' evidence."""
        numbers = np.unique(np.asarray(fit.alive, dtype=np.int64))
        similarity = fit.nearness
        if similarity is None:
            similarity = member_similarities(fit.Z, standing_members(coins["home"], fit.shoal, numbers))
        changed = coins["adrift"] & trusted & (coins["candidate"] != fit.shoal)
        coins["candidate"][changed] = fit.shoal[changed]
        coins["margin"][changed] = 0.0
        column = _columns(numbers, np.where(coins["adrift"], coins["candidate"], coins["home"]))
        margin, best = margins(similarity, column)
        margin[_alone(coins["home"])] = np.nan
        weight = 1.0 - math.exp(-(fit.bar - self._bar) / self._config.smoothing_bars)
        before = np.where(np.isnan(coins["margin"]), 0.0, coins["margin"])
        smoothed = np.where(first, margin, before + weight * (margin - before))
        coins["margin"][trusted | first] = smoothed[trusted | first]
        quiet = trusted & (coins["home"] >= 0) & (coins["margin"] >= self._config.return_margin)
        coins["quiet_margin"][quiet] = coins["margin"][quiet]
        coins["quiet_as_of_us"][quiet] = fit.as_of_us
        chance = chance_similarity(fit.Z.shape[0], numbers.size) if fit.nearness is None else -math.inf
        return _Evidence(numbers, similarity, column, best, chance)

    def _leave(self, fit: Round, coins: np.ndarray[Any, Any], evidence: _Evidence, may: Any) -> list[Event]:
        """Decide which coins leave, and for where."""
        config = self._config
        homes, n = coins["home"].copy(), np.arange(len(coins))
        best = np.append(evidence.numbers, NONE)[evidence.best]
        elsewhere = may & (homes >= 0) & (best >= 0) & (fit.shoal >= 0) & (fit.shoal != homes)
        going_back = (coins["origin"] >= 0) & (best == coins["origin"])
        threshold = np.where(going_back, config.return_margin, config.leave_margin)
        leaves = elsewhere & (fit.bar >= coins["cooldown_until"]) & (coins["margin"] < -threshold)
        if not leaves.any():
            return []
        similar_from = evidence.similarity[n, evidence.column]
        similar_to = evidence.similarity[n, evidence.best]
        enters = (similar_to - similar_from >= config.return_margin) & (similar_to > evidence.chance)
        target = np.where(enters, best, NONE)
        follows = elsewhere & (coins["margin"] < -config.return_margin)
        events = self._shift(fit, coins, target, leaves, follows)
        for i in np.flatnonzero(leaves).tolist():
            shoal_from, shoal_to = int(homes[i]), _number(int(target[i]))
            reasons = self._reasons(fit, homes, i, shoal_to, coins[i])
            reasons |= {"similarity_from": _rounded(similar_from[i]), "similarity_to": _rounded(similar_to[i])}
            events.append(Event("left", fit.coin_ids[i], shoal_from, shoal_to, _rounded(coins["margin"][i]), reasons))
            mates = tuple(fit.coin_ids[j] for j in np.flatnonzero(homes == shoal_from).tolist() if j != i)
            self._departures.append(Departure(fit.coin_ids[i], shoal_from, shoal_to, fit.as_of_us, fit.bar, mates))
        _rehome(coins, leaves, target[leaves])
        coins["adrift"][leaves] = target[leaves] < 0
        coins["cooldown_until"][leaves] = fit.bar + config.cooldown_bars
        coins["origin"][leaves] = homes[leaves]
        coins["departures"][leaves] += 1
        return events

    def _shift(self, fit: Round, coins: np.ndarray[Any, Any], target: Int64, leaves: Any, follows: Any) -> list[Event]:
        """Take coins along without coin events where more than half of a shoal goes to one place.

        A shoal does not cross the threshold in step, so coins that are on the same way with less evidence count and go
        along. ``leaves`` keeps what remains.
        """
        homes, events = coins["home"].copy(), []
        for shoal_from, shoal_to in sorted(set(zip(homes[leaves].tolist(), target[leaves].tolist(), strict=True))):
            group = (leaves | follows) & (homes == shoal_from) & (target == shoal_to)
            if 2 * np.count_nonzero(group) > np.count_nonzero(homes == shoal_from):
                leaves &= ~group
                _rehome(coins, group, shoal_to)
                coins["adrift"][group] = shoal_to < 0
                moved = [fit.coin_ids[i] for i in np.flatnonzero(group).tolist()]
                events.append(self._cluster_event("structure_shift", shoal_from, _number(shoal_to), moved))
        return events

    def _join(self, fit: Round, coins: np.ndarray[Any, Any], evidence: _Evidence, trusted: Any) -> list[Event]:
        """Give a home to coins that have none and move with a shoal."""
        weighed = coins["adrift"] & trusted & (evidence.column >= 0)
        if not weighed.any():
            return []
        similar = np.where(weighed, evidence.similarity[np.arange(weighed.size), evidence.column], np.nan)
        joins = weighed & (similar > evidence.chance) & (coins["margin"] >= self._config.return_margin)
        events: list[Event] = []
        for i in np.flatnonzero(joins).tolist():
            number = int(coins["candidate"][i])
            reasons = {
                "to": self._name(number),
                "margin_now": _rounded(coins["margin"][i]),
                "similarity_to": _rounded(similar[i]),
                "coverage": _rounded(fit.coverage[i]),
            }
            events.append(Event("joined", fit.coin_ids[i], None, number, _rounded(coins["margin"][i]), reasons))
        _rehome(coins, joins, coins["candidate"][joins])
        coins["adrift"][joins] = False
        return events

    def _close_departures(self, bar: int) -> list[Event]:
        """Close the departures whose outcome is known."""
        homes = self._coins["home"]
        closed, self._departures = close(
            self._departures, bar, self._config.outcome_bars, lambda coin: int(homes[self._position[coin]])
        )
        open_from = {(departure.coin_id, departure.shoal_from) for departure in self._departures}
        events = []
        for each in closed:
            row = self._coins[self._position[each.departure.coin_id]]
            if (each.departure.coin_id, int(row["origin"])) not in open_from:
                row["origin"] = NONE
            self._outcomes[each.outcome] += 1
            events.append(self._outcome_event(each, bar, row))
        return events

    def _outcome_event(self, closed: Closed, bar: int, row: Any) -> Event:
        departure = closed.departure
        reasons = {
            "outcome": closed.outcome,
            "from": self._name(departure.shoal_from),
            "to": self._name(departure.shoal_to),
            "home": self._name(_number(int(row["home"]))),
            "left_as_of_us": departure.as_of_us,
            "bars": bar - departure.bar,
            "followed": closed.followed,
            "mates": len(departure.mates),
        }
        margin = _rounded(row["margin"]) if row["home"] >= 0 else None
        return Event("outcome", departure.coin_id, departure.shoal_from, departure.shoal_to, margin, reasons)

    def _reasons(self, fit: Round, homes: Int64, i: int, shoal_to: int | None, coin: Any) -> dict[str, Any]:
        """Say why a coin left: what a person asks next."""
        quiet = int(coin["quiet_as_of_us"])
        return {
            "from": self._name(int(homes[i])),
            "to": self._name(shoal_to),
            "margin_before": _rounded(coin["quiet_margin"]),
            "margin_now": _rounded(coin["margin"]),
            "quiet_as_of_us": None if quiet == _NEVER else quiet,
            "counterparts": self._counterparts(fit, homes, i, shoal_to),
            "mode_share": None if fit.mode_share is None else _rounded(fit.mode_share[i]),
            "coverage": _rounded(fit.coverage[i]),
            "cooldown_until_bar": fit.bar + self._config.cooldown_bars,
        }

    def _counterparts(self, fit: Round, homes: Int64, i: int, shoal_to: int | None) -> list[dict[str, Any]]:
        """Return the coins of both shoals whose correlation with the coin changed most over the window's halves."""
        concerned = (homes == homes[i]) | ((homes == shoal_to) if shoal_to is not None else False)
        concerned[i] = False
        chosen, before, after = largest_changes(fit.Z, i, np.flatnonzero(concerned), _COUNTERPARTS)
        return [
            {
                "coin": fit.coin_ids[j],
                "shoal": self._name(int(homes[j])),
                "before": _rounded(before[rank]),
                "after": _rounded(after[rank]),
            }
            for rank, j in enumerate(chosen.tolist())
        ]

    def _cluster_event(
        self, kind: EventKind, shoal_from: int | None, shoal_to: int | None, coins: Sequence[str]
    ) -> Event:
        reasons = {"from": self._name(shoal_from), "to": self._name(shoal_to), "size": len(coins), "coins": list(coins)}
        return Event(kind, None, shoal_from, shoal_to, None, reasons)

    def _name(self, number: int | None) -> str | None:
        return None if number is None or number < 0 else self._names.get(number, str(number))

    def _forget_names(self, alive: Sequence[int]) -> None:
        """Keep the names of shoals that are alive, someone's home, or part of an open departure."""
        needed = {int(number) for number in alive} | set(np.unique(self._coins["home"]).tolist())
        for departure in self._departures:
            needed |= {departure.shoal_from, departure.shoal_from if departure.shoal_to is None else departure.shoal_to}
        self._names = {number: name for number, name in self._names.items() if number in needed}

    def _report(self, rows: Int64, events: list[Event]) -> Update:
        coins = self._coins[rows]
        margin = np.where(coins["home"] >= 0, coins["margin"], np.nan)
        left = np.flatnonzero(self._coins["departures"])
        departures = {self._coin_ids[i]: int(self._coins["departures"][i]) for i in left.tolist()}
        return Update(coins["home"].copy(), margin, events, departures, dict(self._outcomes))


def _rehome(coins: np.ndarray[Any, Any], which: Any, home: Any) -> None:
    """Set a home; the evidence starts again at 0."""
    coins["home"][which] = home
    coins["margin"][which] = 0.0
    coins["candidate"][which] = NONE
    coins["quiet_margin"][which] = np.nan
    coins["quiet_as_of_us"][which] = _NEVER


def _alone(home: Int64) -> npt.NDArray[np.bool_]:
    """Return which coins are the only one at home where they are."""
    _, shoal, count = np.unique(home, return_inverse=True, return_counts=True)
    return np.equal(count[shoal], 1) & np.greater_equal(home, 0)


def _columns(numbers: Int64, shoal: Int64) -> Int64:
    """Return the column of each shoal among ascending numbers, -1 where it is none of them."""
    if numbers.size == 0:
        return np.full(shoal.size, -1, dtype=np.int64)
    column = np.minimum(np.searchsorted(numbers, shoal), numbers.size - 1)
    return np.where(numbers[column] == shoal, column, -1)


def _number(shoal: int) -> int | None:
    return None if shoal < 0 else shoal


def _rounded(value: Any) -> float | None:
    """Round for JSON, so that the text does not depend on the last bits; None for what is not finite."""
    number = round(float(value), 6)
    return number + 0.0 if math.isfinite(number) else None


def _check(fit: Round, last_bar: int) -> None:
    n = len(fit.coin_ids)
    if fit.shoal.shape != (n,) or fit.coverage.shape != (n,) or fit.Z.ndim != 2 or fit.Z.shape[1] != n:
        raise ValueError(
            f"{n} coins, but shoals of shape {fit.shoal.shape}, coverage {fit.coverage.shape}, returns {fit.Z.shape}"
        )
    if fit.mode_share is not None and fit.mode_share.shape != (n,):
        raise ValueError(f"{n} coins, but mode shares of shape {fit.mode_share.shape}")
    if fit.bar <= last_bar:
        raise ValueError(f"bar {fit.bar} comes after bar {last_bar}: rounds must be in order")
