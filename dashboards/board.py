"""The board of latest results: what the dataflow publishes and what the page and ``/metrics`` show.

The dataflow writes from its own threads, the service reads from another. Whatever a reader gets is never changed
afterwards: states are replaced, not altered. The same rows may be published twice (a restart repeats the rows that
followed its last snapshot); a table's key makes that harmless.

A fit arrives as rows of several tables, one table after the other. It is shown when its parts are there, so that
nobody sees one fit's labels with another's shoals.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from connectors.tables import REGIMES, TABLES
from dashboards.history import History, Row, as_dicts, conform, event_key, merge, split
from dashboards.metrics import METRICS, label
from dashboards.state import POINTS_KEPT, Expected, Fit, Job, Snapshot, State, View
from dashboards.stream import QUEUE_LENGTH, Hub, Subscription
from dashboards.words import evidence_of

FITS_UNTIL_READY: Final = 2

_FIT_PARTS: Final = ("fits", "shoals", "memberships")
_OF_WINDOW: Final = ("edges", "embedding", "coverage", "agreement")
_OF_CHAIN: Final = ("networks", "behaviour_drift", "transitions")
_NOT_RESULTS: Final = ("timings", "quarantine")
_PENDING_FITS: Final = 8
_REASONS_PER_FEED: Final = 20


class Board:
    """The latest results, safe to write and read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._state = State()
        self._expected: Expected | None = None
        self._hub = Hub()
        self._quiet = False
        self._snapshot: Snapshot | None = None

    # -- writers -------------------------------------------------------------------------------------------------

    def expect(
        self,
        windows: Sequence[tuple[str, Sequence[str]]],
        chains: Sequence[tuple[str, str]] = (),
        feeds: Sequence[str] = (),
        expose_coins: Collection[str] | None = None,
    ) -> None:
        """Say what will be published: (window, its views), (chain, its window's name), feeds.

        ``expose_coins`` names the windows whose coins get series of their own; None means all.
        """
        with self._changing():
            self._expected = Expected(
                tuple((window, tuple(views)) for window, views in windows),
                tuple((chain, window) for chain, window in chains),
                tuple(feeds),
                None if expose_coins is None else frozenset(expose_coins),
            )

    def build(self, version: str, bytewax: str, config: str) -> None:
        """Say what runs: versions, and the hash of the configuration."""
        self.gauge("shoal_build_info", {"version": version, "bytewax": bytewax, "config": config}, 1.0)

    def publish(self, table: str, rows: pa.RecordBatch | pa.Table) -> None:
        """Take rows of a result table as they are produced; the same rows may come again.

        Raises
        ------
        SchemaError
            If the rows are not those of the table. Tables that nothing here shows are checked and passed over.
        """
        if table in _NOT_RESULTS:
            return
        data = conform(table, rows)
        if len(data) == 0:
            return
        with self._changing():
            if table in _FIT_PARTS:
                for (as_of, window, view), part in split(data, ["as_of", "window", "view"]):
                    self._fit_part(table, (window, view), as_of, part)
            elif table in _OF_WINDOW:
                for (as_of, window), part in split(data, ["as_of", "window"]):
                    _keep_newest(self._state.of_window, (table, window), table, as_of, part)
            elif table in _OF_CHAIN:
                for (as_of, chain, window), part in split(data, ["as_of", "chain", "window"]):
                    _keep_newest(self._state.of_chain, (table, chain, window), table, as_of, part)
            elif table == "drift":
                self._drift(as_dicts(data))
            elif table == "composition":
                self._composition(as_dicts(data))
            elif table == "events":
                self._events(as_dicts(data))

    def feed(self, name: str, stats: Mapping[str, object]) -> None:
        """Take a feed's totals: the fields of FeedStats, and ``queue_depth``, ``journal_bytes``, ``chain``."""
        row = dict(stats)
        reasons = row.get("reconnects")
        row["reconnects"] = _few_reasons(reasons) if isinstance(reasons, Mapping) else {}
        depths = row.get("reorg_depths")
        row["reorg_depths"] = tuple(depths) if isinstance(depths, (list, tuple)) else ()
        with self._changing():
            if self._state.feeds.get(name) == row:
                return
            self._state.feeds[name] = MappingProxyType(row)
            self._send("feed", {"feed": name, **row})

    def watermark(self, branch: str, us: int) -> None:
        """Take the event time up to which a branch is complete (microseconds since the epoch)."""
        with self._changing():
            self._state.watermarks[branch] = us

    def progress(self, window: str, have: int, need: int) -> None:
        """Take how many bars of a window are there and how many its first fit needs."""
        with self._changing():
            self._state.progress[window] = (have, need)

    def job(self, name: str, seconds: float, as_of_us: int) -> None:
        """Count a finished job: how long it took and the event time that it was for."""
        bounds = METRICS["shoal_job_duration_seconds"].buckets
        with self._changing():
            job = self._state.jobs.get(name, Job((0,) * len(bounds)))
            counts = tuple(n + (seconds <= bound) for n, bound in zip(job.buckets, bounds, strict=True))
            last = as_of_us if job.last_success_us is None else max(as_of_us, job.last_success_us)
            self._state.jobs[name] = replace(
                job, buckets=counts, runs=job.runs + 1, seconds=job.seconds + seconds, last_success_us=last
            )

    def gauge(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Set a gauge that no table carries; it must be defined in :mod:`dashboards.metrics`, with these labels.

        Raises
        ------
        ValueError
            If the metric is unknown, is no gauge, has other labels, or a label is an address.
        """
        metric = METRICS.get(name)
        if metric is None or metric.kind != "gauge":
            raise ValueError(f"{name} is not a gauge of dashboards/metrics.py")
        if set(labels) != set(metric.labels):
            raise ValueError(f"{name} has the labels {metric.labels}, not {tuple(sorted(labels))}")
        key = tuple(label(labels[part]) for part in metric.labels)
        with self._changing():
            values = {} if name == "shoal_build_info" else self._state.gauges.get(name, {})
            self._state.gauges[name] = {**values, key: float(value)}

    def prime(self, folder: Path) -> list[str]:
        """Show the newest rows of a result folder (live or replay layout); return what could not be read."""
        from dashboards.prime import newest_rows  # noqa: PLC0415  (reads Parquet: not for boards without a past)

        problems: list[str] = []
        self._quiet = True
        try:
            for table, rows in newest_rows(folder, problems):
                self.publish(table, rows)
        finally:
            self._quiet = False
        return problems

    def close(self) -> None:
        """End all subscriptions."""
        self._hub.close()

    # -- readers -------------------------------------------------------------------------------------------------

    def ready(self) -> tuple[bool, list[str]]:
        """Return whether everything expected has been published, and what is missing."""
        snapshot = self.snapshot()
        return snapshot.ready, list(snapshot.missing)

    def snapshot(self) -> Snapshot:
        """Return the board as it is now."""
        with self._lock:
            if self._snapshot is None:
                self._snapshot = self._take()
            return self._snapshot

    def subscribe(self, limit: int = QUEUE_LENGTH) -> Subscription:
        """Return a subscription to what is published from now on, for the running event loop."""
        return self._hub.subscribe(limit)

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._hub.unsubscribe(subscription)

    @property
    def listeners(self) -> tuple[int, int]:
        """How many subscribers there are, and how many were dropped because they did not keep up."""
        return len(self._hub), self._hub.dropped

    def events(self) -> list[Row]:
        """Return the newest events, oldest first."""
        with self._lock:
            return self._state.events.rows()

    def drift(self, view: View) -> list[Row]:
        """Return a view's newest drift points, oldest first."""
        with self._lock:
            history = self._state.drift.get(view)
            return history.rows() if history else []

    def fit_rows(self, view: View) -> list[Row]:
        """Return a view's newest rows of ``fits``, oldest first."""
        with self._lock:
            history = self._state.fit_rows.get(view)
            return history.rows() if history else []

    def compositions(self, chain: tuple[str, str]) -> list[Row]:
        """Return the newest compositions of a (chain, window), oldest first."""
        with self._lock:
            history = self._state.compositions.get(chain)
            return history.rows() if history else []

    # -- how rows find their place -------------------------------------------------------------------------------

    def _changing(self) -> _Change:
        return _Change(self)

    def _send(self, kind: str, body: dict[str, Any]) -> None:
        if not self._quiet and len(self._hub):
            self._hub.send(kind, body)

    def _fit_part(self, table: str, view: View, as_of: int, rows: pa.Table) -> None:
        state = self._state
        if table == "fits":
            history = state.fit_rows.setdefault(view, History(POINTS_KEPT))
            history.add((as_of,), as_dicts(rows)[-1])
        elif table == "shoals":
            for number, name in zip(rows["shoal"].to_pylist(), rows["name"].to_pylist(), strict=True):
                if number is not None:
                    state.names[(*view, number)] = name or f"shoal {number}"
        shown = state.fits.get(view)
        if shown is not None and as_of < shown.as_of_us:
            return
        if shown is not None and as_of == shown.as_of_us:
            state.fits[view] = _with_part(shown, table, rows)
            return
        pending = state.pending.setdefault(view, {})
        parts = pending.setdefault(as_of, {})
        parts[table] = merge(table, parts.get(table), rows)
        self._show_complete(view, pending)

    def _show_complete(self, view: View, pending: dict[int, dict[str, pa.Table]]) -> None:
        """Show the newest fit whose parts are there.

        One that did not converge has no shoals; any other without them counts once a newer one has begun.
        """
        newest = max(pending)
        for as_of in sorted(pending, reverse=True):
            parts = pending[as_of]
            if {"fits", "memberships"} <= set(parts) and ("shoals" in parts or as_of < newest or _moved_nothing(parts)):
                shoals = parts.get("shoals", TABLES["shoals"].schema.empty_table())
                fit = Fit(as_of, as_dicts(parts["fits"])[-1], shoals, parts["memberships"])
                self._state.fits[view] = fit
                for old in [t for t in pending if t <= as_of]:
                    del pending[old]
                self._send("fit", {"window": view[0], "view": view[1], **fit.row})
                break
        for old in sorted(pending)[:-_PENDING_FITS]:
            del pending[old]

    def _drift(self, rows: list[Row]) -> None:
        for row in rows:
            history = self._state.drift.setdefault((row["window"], row["view"]), History(POINTS_KEPT))
            history.add((row["as_of_us"],), row)

    def _composition(self, rows: list[Row]) -> None:
        """Put the behaviours of one ``as_of`` side by side in one row."""
        changed: dict[tuple[str, str], Row] = {}
        for row in rows:
            chain = (row["chain"], row["window"])
            history = self._state.compositions.setdefault(chain, History(POINTS_KEPT))
            key = (row["as_of_us"],)
            old = history.get(key) or {"entities": {}, "share": {}}
            whole = {
                **{name: row[name] for name in ("as_of_us", "chain", "window", "regime", "event")},
                "entities": {**old["entities"], row["behaviour"]: row["entities"]},
                "share": {**old["share"], row["behaviour"]: row["share"]},
            }
            history.add(key, whole)
            changed[chain] = whole
            self._regime(row["chain"], row["as_of_us"], row["regime"] or "unknown")
        for whole in changed.values():
            self._send("composition", whole)

    def _events(self, rows: list[Row]) -> None:
        state = self._state
        for row in rows:
            if not state.events.add(event_key(row), row):
                continue
            window, view, kind = row["window"] or "", row["view"] or "", row["kind"]
            state.event_counts[(window, view, kind)] = state.event_counts.get((window, view, kind), 0) + 1
            if kind == "left" and row["coin_id"]:
                counts = state.departures.get((window, view), {})
                state.departures[(window, view)] = {**counts, row["coin_id"]: counts.get(row["coin_id"], 0) + 1}
            elif kind == "price_regime":
                evidence = evidence_of(row)
                asset, regime = row["coin_id"] or evidence.get("asset"), evidence.get("now")
                if isinstance(asset, str) and isinstance(regime, str):
                    self._regime(asset, row["as_of_us"], regime)
            self._send("event", row)

    def _regime(self, asset: str, as_of: int, regime: str) -> None:
        old = self._state.regimes.get(asset)
        if regime in REGIMES and (old is None or as_of >= old[0]):
            self._state.regimes[asset] = (as_of, regime)

    # -- readiness and the moment --------------------------------------------------------------------------------

    def _missing(self) -> list[str]:
        expected, state = self._expected, self._state
        if expected is None:
            return ["the service is starting"]
        missing = []
        for window, view in expected.views:
            have = len(state.fit_rows.get((window, view), ()))
            if have >= FITS_UNTIL_READY and (window, view) in state.fits:
                continue
            bars = state.progress.get(window)
            filling = f" ({bars[0]} of {bars[1]} bars)" if bars and not have and bars[0] < bars[1] else ""
            missing.append(f"window {window}, view {view}: {have} of {FITS_UNTIL_READY} fits published{filling}")
        missing += [
            f"chain {chain}, window {window}: no composition published"
            for chain, window in expected.chains
            if not state.compositions.get((chain, window))
        ]
        for name in expected.feeds:
            if name not in state.feeds:
                missing.append(f"feed {name}: nothing heard yet")
            elif not state.feeds[name].get("up"):
                missing.append(f"feed {name}: down")
        return missing

    def _take(self) -> Snapshot:
        state = self._state
        missing = tuple(self._missing())
        return Snapshot(
            expected=self._expected or Expected(),
            ready=not missing,
            missing=missing,
            fits=dict(state.fits),
            fits_published={view: len(history) for view, history in state.fit_rows.items()},
            drift={view: newest for view, history in state.drift.items() if (newest := history.newest())},
            of_window={key: rows for key, (_, rows) in state.of_window.items()},
            of_chain={key: rows for key, (_, rows) in state.of_chain.items()},
            compositions={chain: row for chain, history in state.compositions.items() if (row := history.newest())},
            departures=dict(state.departures),
            event_counts=dict(state.event_counts),
            names=dict(state.names),
            feeds=dict(state.feeds),
            watermarks=dict(state.watermarks),
            regimes={asset: regime for asset, (_, regime) in state.regimes.items()},
            progress=dict(state.progress),
            jobs=dict(state.jobs),
            gauges=dict(state.gauges),
        )


class _Change:
    """Holds the board's lock while it is written, and forgets the snapshot that is then old."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __enter__(self) -> None:
        self._board._lock.acquire()  # noqa: SLF001

    def __exit__(self, *_: object) -> None:
        self._board._snapshot = None  # noqa: SLF001
        self._board._lock.release()  # noqa: SLF001


def _with_part(fit: Fit, table: str, rows: pa.Table) -> Fit:
    if table == "fits":
        return replace(fit, row=as_dicts(rows)[-1])
    if table == "shoals":
        return replace(fit, shoals=merge(table, fit.shoals, rows))
    return replace(fit, members=merge(table, fit.members, rows))


def _moved_nothing(parts: dict[str, pa.Table]) -> bool:
    return parts["fits"]["converged"].to_pylist()[-1] is False


def _keep_newest(
    place: dict[Any, tuple[int, pa.Table]], key: tuple[str, ...], table: str, as_of: int, rows: pa.Table
) -> None:
    old = place.get(key)
    if old is not None and as_of < old[0]:
        return
    place[key] = (as_of, merge(table, old[1] if old is not None and as_of == old[0] else None, rows))


def _few_reasons(reasons: Mapping[Any, Any]) -> dict[str, int]:
    """Return counts by reason with a bounded number of reasons: they become labels."""
    counts: dict[str, int] = {}
    for reason in sorted(reasons, key=str):
        name = str(reason)
        try:
            name = label(name)
        except ValueError:
            name = "other"
        if name not in counts and len(counts) >= _REASONS_PER_FEED:
            name = "other"
        counts[name] = counts.get(name, 0) + int(reasons[reason])
    return counts
