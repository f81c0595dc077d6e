"""Descriptors of coins and their associations with the views, every so many fits, in the process pool."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from flows.combine import common_labels
from flows.config import Window
from flows.items import Float64, PanelReady, ViewLabels
from flows.looks import Looks
from flows.pool import InOrder, Pool
from flows.results import Rows, make_rows
from flows.views import PROTOTYPE_VIEWS
from models.associations import AssociationSettings, associate
from models.descriptors import DescriptorInput, Descriptors, DescriptorSettings, describe
from models.index import market_index
from models.intersections import intersect
from models.returns import bar_returns

_YEAR_US = 365 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class DescribeJob:
    """A panel with what every view made of it."""

    panel: PanelReady
    labels: tuple[ViewLabels, ...]
    interval_us: int
    simulations: int
    seed: int


@dataclass(frozen=True, slots=True)
class Described:
    """Columns of ``descriptors`` and ``associations``."""

    descriptors: dict[str, list[object]]
    associations: dict[str, list[object]]


Part: TypeAlias = PanelReady | ViewLabels


def run_description(job: DescribeJob) -> Described:
    """Describe the coins that all views label, and test every pair of views and classes (in a process of the pool).

    The index weighs coins by the last market capitalisation that the panel knows; where it knows none there is no
    beta. Returns are not clipped.
    """
    coins, shoals = common_labels(job.labels)
    given = job.panel.input
    here = np.searchsorted(np.array(given.coin_ids), np.array(coins))
    closes, cap = given.closes[:, here], given.market_cap[here]
    found = describe(
        DescriptorInput(
            coin_ids=coins,
            returns=bar_returns(closes, "log"),
            index_returns=_index(job, coins, closes, cap),
            risk_free=0.0000525 * job.interval_us / 86_400_000_000,
            market_cap=cap if np.isfinite(cap).any() else None,
            volume=job.panel.dollar_volume[here] / len(closes) / _last(closes),
        ),
        DescriptorSettings(periods_per_year=_YEAR_US / job.interval_us),
    )
    views = {one.view: labels for one, labels in zip(job.labels, shoals, strict=True)}
    return Described(found.columns(), _associations(job, coins, views, found))


def _index(job: DescribeJob, coins: tuple[str, ...], closes: Float64, cap: Float64) -> Float64 | None:
    if not (np.isfinite(cap) & (cap > 0)).any():
        return None
    rows = len(closes)
    ends = job.panel.as_of_us - job.interval_us * np.arange(rows - 1, -1, -1)
    times = ends.astype("datetime64[us]")
    return market_index(coins, times, closes, np.broadcast_to(cap, closes.shape)).returns("log")


def _last(closes: Float64) -> Float64:
    """Return each coin's last real close."""
    at = len(closes) - 1 - np.argmax(np.isfinite(closes[::-1]), axis=0)
    last: Float64 = closes[at, np.arange(closes.shape[1])]
    return last


def _associations(
    job: DescribeJob, coins: tuple[str, ...], views: dict[str, np.ndarray], found: Descriptors
) -> dict[str, list[object]]:
    prototypes: dict[str, np.ndarray] = {view: views[view] for view in PROTOTYPE_VIEWS if view in views}
    variables: dict[str, object] = {view: labels.tolist() for view, labels in prototypes.items()}
    variables["combination"] = list(intersect(prototypes, coins).cell)
    variables |= {name: classes.tolist() for name, classes in found.classes.items()}
    settings = AssociationSettings(simulations=job.simulations, seed=job.seed)
    return associate(variables, coins, settings).columns()  # type: ignore[arg-type]


class DescribeLogic(StatefulBatchLogic[Part, Rows, bytes]):
    """Waits for a panel and all its views; describes every ``descriptors.every_fits``-th, the first included."""

    def __init__(self, pool: Pool, window: Window, seed: int, most: int, live: bool, state: bytes | None) -> None:
        self._window, self._seed = window, seed
        self._panels: dict[int, PanelReady] = {}
        self._labels: dict[int, dict[str, ViewLabels]] = {}
        self._seen = 0
        pending: list[DescribeJob] = []
        if state is not None:
            self._panels, self._labels, self._seen, pending = pickle.loads(state)  # noqa: S301 our own snapshot
        self._jobs: InOrder[DescribeJob, Described] = InOrder(pool, run_description, most, pending)
        self._looks = Looks(live)
        self._looks.plan(pending=bool(self._jobs.pending))

    @override
    def on_batch(self, values: list[Part]) -> tuple[Iterable[Rows], bool]:
        for value in values:
            if isinstance(value, PanelReady):
                self._panels[value.as_of_us] = value
            else:
                self._labels.setdefault(value.as_of_us, {})[value.view] = value
        done = [entry for job in self._complete() for entry in self._jobs.put(job)] + self._jobs.ready()
        self._looks.plan(pending=bool(self._jobs.pending))
        return [rows for job, found, seconds in done for rows in self._rows(job, found, seconds)], self.RETAIN

    @override
    def on_notify(self) -> tuple[Iterable[Rows], bool]:
        done = self._jobs.ready()
        self._looks.again(pending=bool(self._jobs.pending))
        return [rows for job, found, seconds in done for rows in self._rows(job, found, seconds)], self.RETAIN

    @override
    def on_eof(self) -> tuple[Iterable[Rows], bool]:
        done = self._jobs.drain()
        return [rows for job, found, seconds in done for rows in self._rows(job, found, seconds)], self.RETAIN

    @override
    def notify_at(self) -> dt.datetime | None:
        return self._looks.due

    @override
    def snapshot(self) -> bytes:
        return pickle.dumps((self._panels, self._labels, self._seen, self._jobs.pending))

    def _complete(self) -> Iterator[DescribeJob]:
        """Return the jobs of fits that all views have finished, in order of ``as_of``."""
        while self._panels:
            as_of_us = min(self._panels)
            labels = self._labels.get(as_of_us, {})
            if len(labels) < len(self._window.views):
                return
            panel = self._panels.pop(as_of_us)
            del self._labels[as_of_us]
            self._seen += 1
            settings = self._window.descriptors
            ordered = tuple(labels[view] for view in sorted(labels))
            if (self._seen - 1) % settings.every_fits == 0 and common_labels(ordered)[0]:
                yield DescribeJob(panel, ordered, self._window.interval_us, settings.simulations, self._seed)

    def _rows(self, job: DescribeJob, found: Described, seconds: float) -> Iterator[Rows]:
        at = {"as_of": job.panel.as_of_us, "window": self._window.name}
        yield make_rows("timings", {**at, "job": "describe", "view": "", "seconds": seconds})
        yield make_rows("descriptors", {**at, **found.descriptors})
        yield make_rows("associations", {**at, **found.associations})
