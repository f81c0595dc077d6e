"""What goes into the state machine of membership at a fit, and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from models.evidence import Float64, Int64
from models.identity import Change

EventKind = Literal["split", "merged", "born", "died", "structure_shift", "left", "joined", "outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One fit with identities, and the returns it was made from."""

    as_of_us: int
    bar: int
    """Number of the bar; ascends from round to round, by more than one between distant refits."""
    coin_ids: tuple[str, ...]
    """The n coins of the fit, ascending."""
    shoal: Int64
    """Matched identity of each coin's label, int64[n], -1 for none."""
    Z: Float64
    """Standardised returns, float64[T, n], masked cells 0."""
    converged: bool
    coverage: Float64
    """Share of each coin's last bars that were received, float64[n]."""
    names: dict[int, str]
    """Names of the shoals alive."""
    alive: Sequence[int]
    """Numbers of the shoals alive in this fit."""
    changes: Sequence[Change] = ()
    """Cluster events of this fit, as identity found them."""
    mode_share: Float64 | None = None
    """Share of each coin's variance that the market's common mode explains, float64[n], where known."""
    nearness: Float64 | None = None
    """Of a view with prototypes: how near each coin is to those of ``alive``, float64[n, k], columns ascending by
    number (:func:`models.evidence.nearness`). None: the correlation with each shoal's members."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a person is told. Cluster events have no ``coin_id``; ``evidence`` is ready for JSON."""

    kind: EventKind
    coin_id: str | None
    shoal_from: int | None
    shoal_to: int | None
    margin: float | None
    evidence: dict[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Update:
    """What a round left behind, for its own n coins, in their order."""

    home: Int64
    """int64[n], -1 for none."""
    margin: Float64
    """Smoothed margin of home over the best other shoal, float64[n]; NaN without evidence."""
    events: list[Event]
    departures_total: dict[str, int]
    """Departures of each coin that ever left, since the beginning."""
    outcomes_total: dict[str, int]
    """Closed departures by outcome, since the beginning."""
