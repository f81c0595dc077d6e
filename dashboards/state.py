"""The board's parts: what is expected, a fit, a job, and the board at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import pyarrow as pa

from dashboards.history import History, Row

Names: TypeAlias = Mapping[tuple[str, str, int], str]
"""Names of shoals, by (window, view, number)."""

View: TypeAlias = tuple[str, str]
"""A (window, view)."""

EVENTS_KEPT: Final = 2_000
POINTS_KEPT: Final = 500


@dataclass(frozen=True, slots=True)
class Expected:
    """What the running service is to show; readiness is measured by it."""

    windows: tuple[tuple[str, tuple[str, ...]], ...] = ()
    chains: tuple[tuple[str, str], ...] = ()
    feeds: tuple[str, ...] = ()
    expose_coins: frozenset[str] | None = None

    @property
    def views(self) -> tuple[View, ...]:
        """Each (window, view)."""
        return tuple((window, view) for window, views in self.windows for view in views)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """One fit of a view: its row of ``fits``, its shoals and its members (tables sorted by their key)."""

    as_of_us: int
    row: Row
    shoals: pa.Table
    members: pa.Table


@dataclass(frozen=True, slots=True)
class Job:
    """What is counted of a kind of work: runs, seconds, and how many runs took at most each bucket's bound."""

    buckets: tuple[int, ...] = ()
    runs: int = 0
    seconds: float = 0.0
    last_success_us: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The board at one moment; nothing in it changes any more."""

    expected: Expected
    ready: bool
    missing: tuple[str, ...]
    fits: Mapping[View, Fit]
    fits_published: Mapping[View, int]
    drift: Mapping[View, Row]
    of_window: Mapping[tuple[str, str], pa.Table]
    of_chain: Mapping[tuple[str, str, str], pa.Table]
    compositions: Mapping[tuple[str, str], Row]
    departures: Mapping[View, Mapping[str, int]]
    event_counts: Mapping[tuple[str, str, str], int]
    names: Mapping[tuple[str, str, int], str]
    feeds: Mapping[str, Mapping[str, Any]]
    watermarks: Mapping[str, int]
    regimes: Mapping[str, str]
    progress: Mapping[str, tuple[int, int]]
    jobs: Mapping[str, Job]
    gauges: Mapping[str, Mapping[tuple[str, ...], float]]

    @property
    def views(self) -> tuple[View, ...]:
        """Each (window, view) that is expected or has been published, the expected ones first, in their order."""
        others = sorted({*self.fits, *self.drift, *self.fits_published} - set(self.expected.views))
        return (*self.expected.views, *others)

    @property
    def chains(self) -> tuple[tuple[str, str], ...]:
        """Each (chain, window) that is expected or has been published."""
        return (*self.expected.chains, *sorted(set(self.compositions) - set(self.expected.chains)))

    def exposes(self, window: str) -> bool:
        """Return whether the window's coins get series of their own."""
        return self.expected.expose_coins is None or window in self.expected.expose_coins


@dataclass(slots=True)
class State:
    """The board's tables. Values are replaced, never changed, apart from the histories and counts."""

    fits: dict[View, Fit] = field(default_factory=dict)
    fit_rows: dict[View, History] = field(default_factory=dict)
    pending: dict[View, dict[int, dict[str, pa.Table]]] = field(default_factory=dict)
    drift: dict[View, History] = field(default_factory=dict)
    of_window: dict[tuple[str, str], tuple[int, pa.Table]] = field(default_factory=dict)
    of_chain: dict[tuple[str, str, str], tuple[int, pa.Table]] = field(default_factory=dict)
    compositions: dict[tuple[str, str], History] = field(default_factory=dict)
    events: History = field(default_factory=lambda: History(EVENTS_KEPT))
    departures: dict[View, dict[str, int]] = field(default_factory=dict)
    event_counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    names: dict[tuple[str, str, int], str] = field(default_factory=dict)
    feeds: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    watermarks: dict[str, int] = field(default_factory=dict)
    regimes: dict[str, tuple[int, str]] = field(default_factory=dict)
    progress: dict[str, tuple[int, int]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    gauges: dict[str, dict[tuple[str, ...], float]] = field(default_factory=dict)
