"""Open departures and how they end: every coin that left its shoal gets an outcome.

``returned`` if it is home again, ``forerunner`` if at least half of the coins it left behind now share its home,
``apart`` if neither has happened by the end of the waiting time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

Outcome = Literal["returned", "forerunner", "apart"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("returned", "forerunner", "apart")


class Departure(msgspec.Struct, frozen=True, array_like=True):
    """A departure that waits for its outcome."""

    coin_id: str
    shoal_from: int
    shoal_to: int | None
    as_of_us: int
    bar: int
    mates: tuple[str, ...]
    """The other coins of the old shoal at the time of leaving."""


class Closed(msgspec.Struct, frozen=True, array_like=True):
    """A departure with its outcome; ``followed`` counts the mates that share the coin's home now."""

    departure: Departure
    outcome: Outcome
    followed: int


def close(
    waiting: Sequence[Departure], bar: int, outcome_bars: int, home_of: Callable[[str], int]
) -> tuple[list[Closed], list[Departure]]:
    """Close the departures whose outcome is known.

    Parameters
    ----------
    waiting
        Open departures, in any order.
    bar
        Number of the current bar.
    outcome_bars
        How many bars after it a departure is closed at the latest.
    home_of
        Gives a coin's current home, negative for none.

    Returns
    -------
    The closed and those that remain, both in the order given.
    """
    closed: list[Closed] = []
    remaining: list[Departure] = []
    for departure in waiting:
        home = home_of(departure.coin_id)
        followed = sum(home_of(mate) == home for mate in departure.mates) if home >= 0 else 0
        outcome = _outcome(departure, home, followed, bar - departure.bar, outcome_bars)
        if outcome is None:
            remaining.append(departure)
        else:
            closed.append(Closed(departure, outcome, followed))
    return closed, remaining


def _outcome(departure: Departure, home: int, followed: int, age: int, outcome_bars: int) -> Outcome | None:
    if age <= outcome_bars:
        if home == departure.shoal_from:
            return "returned"
        if departure.mates and 2 * followed >= len(departure.mates):
            return "forerunner"
    return "apart" if age >= outcome_bars else None
