"""Groups of coins, and the planted moves between them.

Every coin that may move has a schedule of its own: it lives in its home group, moves to a foreign one, comes home,
moves to another one, and so on. The schedules are staggered, so that over the whole market one coin moves about
every ``every_us``, and arranged so that groups stay of about the same size: the homes take turns, and the coins of one
home go to the other groups in turn. The group of a coin at a time is a function of that time alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from connectors.sandbox.draws import Int64, hashed, uniform
from connectors.sandbox.regime import GENESIS_US

_HOME, _TURN, _JITTER = 21, 22, 24
_JITTER_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Move:
    """One planted move: coin (its number), when, from which group to which."""

    at_us: int
    coin: int
    from_group: int
    to_group: int


class Groups:
    """Home groups and moves of ``coins`` coins, of which the first ``settled`` never move.

    Parameters
    ----------
    seed, coins, groups
        The world; at least two groups.
    every_us
        Mean time between two moves in the market.
    settled
        Number of coins, from the first, that never leave their home.

    Raises
    ------
    ValueError
        If there are fewer than two groups or fewer coins than groups.
    """

    def __init__(self, seed: int, coins: int, groups: int, every_us: int, settled: int = 2) -> None:
        if groups < 2 or coins < groups:
            raise ValueError(f"{coins} coins in {groups} groups: it takes two groups and a coin for each")
        self.seed, self.coins, self.groups, self.every_us = seed, coins, groups, every_us
        self.settled = min(settled, coins)
        numbers = np.arange(coins, dtype=np.int64)
        ranking = np.argsort(hashed(seed, _HOME, numbers), kind="stable")
        self.home = np.empty(coins, dtype=np.int64)
        self.home[ranking] = numbers % groups
        movers = numbers[self.settled :]
        self._rank = np.zeros(coins, dtype=np.int64)  # among the movers of the same home
        for group in range(groups):
            mine = movers[self.home[movers] == group]
            self._rank[mine[np.argsort(hashed(seed, _TURN, mine), kind="stable")]] = np.arange(mine.size)
        self._turn = np.full(coins, -1, dtype=np.int64)
        self._turn[movers[np.lexsort((self.home[movers], self._rank[movers]))]] = np.arange(movers.size)
        self.period_us = every_us * max(1, int(movers.size))

    def _at(self, coin: int, n: int) -> int:
        """Return the time of move ``n`` of a coin (n = 0 is the first that leaves home)."""
        jitter = int(_JITTER_SHARE * self.every_us * float(uniform(self.seed, _JITTER, coin, n)))
        return GENESIS_US + int(self._turn[coin]) * self.every_us + n * self.period_us + jitter

    def _group(self, coin: int, n: int) -> int:
        """Return the group in which move ``n`` ends; even moves leave home, odd ones return."""
        home = int(self.home[coin])
        if n % 2:
            return home
        return (home + 1 + (int(self._rank[coin]) + n // 2) % (self.groups - 1)) % self.groups

    def _moves_done(self, coin: int, t_us: int) -> int:
        """Return how many moves of a coin lie at or before a time."""
        guess = (t_us - GENESIS_US - int(self._turn[coin]) * self.every_us) // self.period_us
        if guess < 0:
            return 0
        return guess + 1 if self._at(coin, guess) <= t_us else guess

    def group_of(self, coin: int, t_us: int) -> int:
        """Return the group of a coin at a time (a move counts from its own microsecond on)."""
        if self._turn[coin] < 0:
            return int(self.home[coin])
        done = self._moves_done(coin, t_us)
        return int(self.home[coin]) if done == 0 else self._group(coin, done - 1)

    def moves(self, from_us: int, to_us: int) -> list[Move]:
        """Return the moves in ``[from_us, to_us)``, in order of time."""
        found = []
        for coin in range(self.settled, self.coins):
            first, last = self._moves_done(coin, from_us - 1), self._moves_done(coin, to_us - 1)
            for n in range(first, last):
                before = self._group(coin, n - 1) if n else int(self.home[coin])
                found.append(Move(self._at(coin, n), coin, before, self._group(coin, n)))
        return sorted(found, key=lambda move: (move.at_us, move.coin))

    def matrix(self, t_us: Int64) -> Int64:
        """Return the group of every coin at ascending times, shape (times, coins)."""
        start = int(t_us[0])
        row = np.array([self.group_of(coin, start) for coin in range(self.coins)], dtype=np.int64)
        table = np.repeat(row[None, :], t_us.size, axis=0)
        for move in self.moves(start + 1, int(t_us[-1]) + 1):
            table[np.searchsorted(t_us, move.at_us, side="left") :, move.coin] = move.to_group
        return table
