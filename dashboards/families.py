"""The families that do not grow with the universe, built from a snapshot of the board."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from connectors.tables import BEHAVIOURS, EVENT_KINDS, REGIMES
from dashboards.board import Board
from dashboards.coins import withheld
from dashboards.history import as_dicts
from dashboards.metrics import METRICS, RECONNECT_REASONS, Metric, label
from dashboards.state import Snapshot

Sample: TypeAlias = tuple[tuple[str, ...], float]

_US: Final = 1e-6
_FEED_FIELDS: Final = {
    "shoal_feed_up": ("up", 1.0),
    "shoal_feed_last_event_timestamp_seconds": ("last_event_us", _US),
    "shoal_feed_lag_seconds": ("lag_us", _US),
    "shoal_feed_queue_depth": ("queue_depth", 1.0),
    "shoal_feed_events_total": ("events", 1.0),
    "shoal_feed_parse_errors_total": ("parse_errors", 1.0),
    "shoal_feed_duplicates_total": ("duplicates", 1.0),
    "shoal_feed_late_total": ("late", 1.0),
    "shoal_feed_gaps_total": ("gaps", 1.0),
    "shoal_feed_gap_events_missing_total": ("gap_events_missing", 1.0),
    "shoal_feed_gap_events_filled_total": ("gap_events_filled", 1.0),
}
_DRIFT_FIELDS: Final = {
    "shoal_cluster_ari": "ari",
    "shoal_cluster_ami": "ami",
    "shoal_cluster_vi": "vi",
    "shoal_cluster_churn_ratio": "churn",
    "shoal_effective_rank": "effective_rank",
    "shoal_edge_density_ratio": "edge_density",
}
_NETWORK_FIELDS: Final = {
    "shoal_noisy_share_ratio": "noisy_share",
    "shoal_network_nodes": "nodes",
    "shoal_network_edges": "edges",
}


class Samples(dict[str, list[Sample]]):
    """Samples by metric; a value that is missing makes none."""

    def put(self, metric: str, labels: tuple[str, ...], value: float | None) -> None:
        """Add a sample."""
        if value is not None and not math.isnan(value):
            self.setdefault(metric, []).append((labels, float(value)))


class BoardCollector(Collector):
    """Every family that does not grow with the universe, over one snapshot of the board."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def describe(self) -> list[Family]:
        """Return the families' names, without values."""
        return [_family(m, ()) for m in METRICS.values() if not m.per_coin and m.kind != "histogram"]

    def collect(self) -> Iterator[Family]:
        """Yield the families that have samples."""
        board = self._board.snapshot()
        samples = Samples()
        for part in (_feeds, _fits, _chains, _behaviours, _work):
            samples.update(part(board))
        for name, values in board.gauges.items():
            samples[name] = [*samples.get(name, ()), *sorted(values.items())]
        for metric in METRICS.values():
            if metric.kind == "histogram":
                yield from _histograms(metric, board)
            elif not metric.per_coin and samples.get(metric.name):
                yield _family(metric, samples[metric.name])


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.family, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric([label(part) for part in labels], value)
    return family


def _feeds(board: Snapshot) -> Samples:
    """Return what feeds count. An expected feed has its counters at 0 before anything is heard of it."""
    names = sorted({*board.expected.feeds, *board.feeds})
    samples = Samples()
    for metric, (field, unit) in _FEED_FIELDS.items():
        rows = samples.setdefault(metric, [])
        for name in names:
            value = board.feeds.get(name, {}).get(field)
            if (value is None and field == "queue_depth") or (not value and field == "last_event_us"):
                continue  # a queue that is not measured, a time that never was
            rows.append(((name,), float(value or 0) * unit))
    journal = sum(float(stats.get("journal_bytes") or 0) for stats in board.feeds.values())
    samples["shoal_journal_bytes_total"] = [((), journal)]
    samples["shoal_feed_reconnects_total"] = [
        ((name, reason), float(count))
        for name in names
        for reason, count in {
            **dict.fromkeys(RECONNECT_REASONS, 0),
            **board.feeds.get(name, {}).get("reconnects", {}),
        }.items()
    ]
    return samples


def _fits(board: Snapshot) -> Samples:
    samples = Samples()

    for view in board.views:
        fit = board.fits.get(view)
        if fit is not None:
            samples.put("shoal_clusters", view, fit.row["clusters"])
            samples.put("shoal_fit_converged", view, fit.row["converged"])
            samples.put("shoal_fit_timestamp_seconds", view, fit.as_of_us * _US)
        for metric, column in _DRIFT_FIELDS.items():
            samples.put(metric, view, board.drift.get(view, {}).get(column))
        for kind in EVENT_KINDS:
            samples.put("shoal_events_total", (*view, kind), board.event_counts.get((*view, kind), 0))
    for (window, view_, kind), count in sorted(board.event_counts.items()):
        if (window, view_) not in board.views:
            samples.put("shoal_events_total", (window, view_, kind), count)
    for (table, window), rows in sorted(board.of_window.items()):
        if table == "agreement":
            for row in as_dicts(rows):
                samples.put("shoal_view_agreement_ari", (window, row["view_a"], row["view_b"]), row["ari"])
    return samples


def _chains(board: Snapshot) -> Samples:
    samples = Samples()

    for chain, stats in _chain_feeds(board).items():
        for metric, field in (("shoal_chain_head_height", "head_height"), ("shoal_chain_final_height", "final_height")):
            samples.put(metric, (chain,), height if (height := stats.get(field, -1)) >= 0 else None)
        samples.put("shoal_chain_reorgs_total", (chain,), stats.get("reorgs", 0))
    return samples


def _behaviours(board: Snapshot) -> Samples:
    samples = Samples()
    for (chain, window), mix in sorted(board.compositions.items()):
        for behaviour in BEHAVIOURS:
            samples.put("shoal_behaviour_share_ratio", (chain, window, behaviour), mix["share"].get(behaviour, 0.0))
            samples.put("shoal_behaviour_entities", (chain, window, behaviour), mix["entities"].get(behaviour, 0))
    for (table, chain, window), rows in sorted(board.of_chain.items()):
        newest = as_dicts(rows)[-1]
        if table == "behaviour_drift":
            samples.put("shoal_behaviour_drift_js", (chain, window), newest["js"])
        elif table == "networks":
            for metric, column in _NETWORK_FIELDS.items():
                samples.put(metric, (chain, window), newest[column])
            for feature in ("degree", "value"):
                samples.put("shoal_power_law_exponent", (chain, window, feature), newest[f"exponent_{feature}"])
    for asset, regime in sorted(board.regimes.items()):
        for name in REGIMES:
            if name != "unknown":
                samples.put("shoal_price_regime", (asset, name), name == regime)
    return samples


def _chain_feeds(board: Snapshot) -> dict[str, Mapping[str, Any]]:
    """Return the feeds that follow a chain, by the chain's name (``chain`` of their stats, else the feed's own)."""
    chains: dict[str, Mapping[str, Any]] = {chain: {} for chain, _ in board.expected.chains}
    for name, stats in sorted(board.feeds.items()):
        chain = str(stats.get("chain") or name)
        if stats.get("chain") or chain in chains or stats.get("head_height", -1) >= 0:
            chains[chain] = stats
    return chains


def _work(board: Snapshot) -> Samples:
    samples = Samples()
    for branch, us in sorted(board.watermarks.items()):
        samples.put("shoal_watermark_timestamp_seconds", (branch,), us * _US)
    for name, job in sorted(board.jobs.items()):
        if job.last_success_us is not None:
            samples.put("shoal_job_last_success_timestamp_seconds", (name,), job.last_success_us * _US)
    for window, coins in sorted(withheld(board).items()):
        samples.put("shoal_coins_withheld", (window,), coins)
    return samples


def _histograms(metric: Metric, board: Snapshot) -> Iterator[Family]:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    if metric.name == "shoal_job_duration_seconds":
        for name, job in sorted(board.jobs.items()):
            _add_buckets(family, metric, name, list(job.buckets), job.runs, job.seconds)
    else:
        for chain, stats in _chain_feeds(board).items():
            depths = stats.get("reorg_depths", ())
            counts = [sum(depth <= bound for depth in depths) for bound in metric.buckets]
            _add_buckets(family, metric, chain, counts, len(depths), float(sum(depths)))
    if family.samples:
        yield family


def _add_buckets(
    family: HistogramMetricFamily, metric: Metric, name: str, counts: list[int], total: int, amount: float
) -> None:
    bounds = [*(f"{float(bound)}" for bound in metric.buckets), "+Inf"]
    family.add_metric([label(name)], list(zip(bounds, [float(n) for n in (*counts, total)], strict=True)), amount)
