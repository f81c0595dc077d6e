"""Every metric that Shoal exposes, defined once: name, type, labels, help.

Nothing else in the project may spell a metric's meaning again: the exposition builds its families from these rows,
dashboards and alert rules are held against them by a test, and ``docs/metrics.md`` is this module's output
(``python -m dashboards.metrics > docs/metrics.md``).

Rules: prefix ``shoal_``, base units, ``_total`` on counters, timestamps rather than ages, 0/1 gauges rather than
labels that change. An address is never a label.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """The definition of one metric.

    ``per_coin`` marks the block that grows with the universe and is exposed only for windows with
    ``expose_coins = true``. ``buckets`` are upper bounds without +Inf, for histograms alone.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    per_coin: bool = False
    buckets: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """The name of the family: that of a counter has no ``_total``."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name


_WV: Final = "window view"
_CW: Final = "chain window"


def _gauge(name: str, labels: str, text: str, per_coin: bool = False) -> Metric:
    return Metric(name, "gauge", tuple(labels.split()), text, per_coin)


def _counter(name: str, labels: str, text: str, per_coin: bool = False) -> Metric:
    return Metric(name, "counter", tuple(labels.split()), text, per_coin)


def _histogram(name: str, labels: str, text: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name, "histogram", tuple(labels.split()), text, buckets=buckets)


_DEFINITIONS: Final = (
    _gauge("shoal_build_info", "version bytewax config", "Always 1; the labels say what runs (config: hash)."),
    # feeds
    _gauge("shoal_feed_up", "feed", "1 while the feed is connected and delivers, else 0."),
    _gauge("shoal_feed_last_event_timestamp_seconds", "feed", "Time of the newest event of the feed."),
    _gauge("shoal_feed_lag_seconds", "feed", "Time between an event and its receipt, at the newest event."),
    _gauge("shoal_feed_queue_depth", "feed", "Batches that wait between the feed's reader and the dataflow."),
    _counter("shoal_feed_events_total", "feed", "Events received since the feed's journal began."),
    _counter("shoal_feed_reconnects_total", "feed reason", "Connections opened again, by reason."),
    _counter("shoal_feed_parse_errors_total", "feed", "Messages that could not be read and were quarantined."),
    _counter("shoal_feed_duplicates_total", "feed", "Events that had been received before and were dropped."),
    _counter("shoal_feed_late_total", "feed", "Events behind the watermark, too late for their bar."),
    _counter("shoal_feed_gaps_total", "feed", "Spans in which events are known to be missing."),
    _counter("shoal_feed_gap_events_missing_total", "feed", "Events that were missing in gaps."),
    _counter("shoal_feed_gap_events_filled_total", "feed", "Missing events that were fetched later."),
    _counter("shoal_journal_bytes_total", "", "Bytes written to the journals of all feeds."),
    _gauge("shoal_watermark_timestamp_seconds", "branch", "Event time up to which the branch is complete."),
    # chains
    _gauge("shoal_chain_head_height", "chain", "Height of the newest block on the canonical chain."),
    _gauge("shoal_chain_final_height", "chain", "Height up to which blocks no longer change."),
    _counter("shoal_chain_reorgs_total", "chain", "Reorganisations of the chain that were undone and followed."),
    _histogram(
        "shoal_chain_reorg_depth_blocks", "chain", "Blocks that a reorganisation undid.", (1, 2, 3, 5, 8, 13, 21)
    ),
    # fits and their drift
    _gauge("shoal_clusters", _WV, "Clusters of the newest fit."),
    _gauge("shoal_fit_converged", _WV, "1 if the newest fit converged, else 0 (it then moves no coin)."),
    _gauge("shoal_fit_timestamp_seconds", _WV, "Event time of the newest fit."),
    _gauge("shoal_cluster_ari", _WV, "Adjusted Rand index of the newest fit against the one before; 1 = the same."),
    _gauge("shoal_cluster_ami", _WV, "Adjusted mutual information against the fit before; 1 = the same."),
    _gauge("shoal_cluster_vi", _WV, "Variation of information against the fit before, in nats; 0 = the same."),
    _gauge("shoal_cluster_churn_ratio", _WV, "Share of coins that changed shoal since the fit before."),
    _gauge("shoal_effective_rank", _WV, "Effective rank of the correlation matrix: how many things move."),
    _gauge("shoal_edge_density_ratio", _WV, "Share of pairs of coins that the partial-correlation network joins."),
    _gauge("shoal_view_agreement_ari", "window view_a view_b", "Adjusted Rand index between two views of a window."),
    _gauge("shoal_false_departure_budget_per_90d", _WV, "False departures per coin and 90 days that are allowed."),
    _counter("shoal_events_total", "window view kind", "Events of the market branch, by kind."),
    # coins
    _gauge("shoal_coin_shoal", "window view coin", "Number of the coin's shoal; stable over fits.", True),
    _gauge("shoal_coin_in_home", "window view coin", "1 if the coin is in the shoal that is its home, else 0.", True),
    _gauge("shoal_coin_margin", "window view coin", "Similarity to home minus that to the best other shoal.", True),
    _counter("shoal_coin_departures_total", "window view coin", "Times that the coin left its home.", True),
    _gauge("shoal_coin_coverage_ratio", "window coin", "Share of the coin's expected data that was received.", True),
    _gauge("shoal_coin_map_x", "window coin", "Place on the market map, for windows of at most 100 coins.", True),
    _gauge("shoal_coin_map_y", "window coin", "Place on the market map, for windows of at most 100 coins.", True),
    _gauge("shoal_coins_withheld", "window", "Coins without series of their own: the cardinality budget is spent."),
    # behaviours
    _gauge("shoal_behaviour_share_ratio", f"{_CW} behaviour", "Share of classified addresses with the behaviour."),
    _gauge("shoal_behaviour_entities", f"{_CW} behaviour", "Classified addresses with the behaviour."),
    _gauge("shoal_behaviour_drift_js", _CW, "Jensen-Shannon divergence of the mix from the one before."),
    _gauge("shoal_behaviour_misclassified_ratio", _CW, "Share that the classifier names otherwise than the clusters."),
    _gauge("shoal_behaviour_silhouette", _CW, "Mean silhouette of the behaviours' clusters."),
    _gauge("shoal_noisy_share_ratio", _CW, "Share of addresses that are too quiet to classify."),
    _gauge("shoal_network_nodes", _CW, "Addresses in the window's network of transfers."),
    _gauge("shoal_network_edges", _CW, "Pairs of addresses that a transfer joins."),
    _gauge("shoal_power_law_exponent", f"{_CW} feature", "Exponent of the power law of degree and value."),
    _gauge("shoal_price_regime", "asset regime", "1 for the regime that the asset's price is in, else 0."),
    # work
    _histogram(
        "shoal_job_duration_seconds",
        "job",
        "Wall time of a job.",
        (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    ),
    _gauge("shoal_job_last_success_timestamp_seconds", "job", "Event time of the job's newest success."),
)

METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _DEFINITIONS}

COIN_SERIES_BUDGET: Final = 50_000
"""Series of single coins that one scrape may hold (2,500 coins x 3 views x 3 metrics are 22,500)."""

COINS_ON_MAP: Final = 100
"""Coins up to which a window's map is exposed as series."""

RECONNECT_REASONS: Final = (
    "closed", "unreachable", "timeout", "handshake", "no_ack", "no_answer", "silence", "roll", "server_shutdown",
)  # fmt: skip
"""Reasons whose counters exist at 0 from the start; others join when they happen, a bounded number of them."""

LABEL_LENGTH: Final = 64
"""Longest label value; addresses and sentences do not belong in labels."""

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}|(?:bc|tb)1[02-9ac-hj-np-z]{11,71}")


def label(value: object, limit: int = LABEL_LENGTH) -> str:
    """Return a value as a label: short, and never an address.

    Raises
    ------
    ValueError
        If the value is the address of an account.
    """
    text = str(value)
    if _ADDRESS.fullmatch(text):
        raise ValueError(f"{text[:10]}... is an address: addresses are never labels")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def markdown(metrics: Iterable[Metric]) -> str:
    """Return the reference page of the metrics."""
    lines = [
        "# Metrics",
        "",
        "Served at `/metrics`, as OpenMetrics or in the Prometheus text format, as the `Accept` header asks.",
        "This page is generated: `python -m dashboards.metrics > docs/metrics.md`.",
        "",
        "Series of single coins (marked *per coin*) exist for windows with `expose_coins = true`, at most "
        f"{COIN_SERIES_BUDGET:,} of them in all.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for metric in metrics:
        labels = ", ".join(f"`{name}`" for name in metric.labels)
        notes = " *Per coin.*" if metric.per_coin else ""
        notes += f" Buckets: {', '.join(f'{b:g}' for b in metric.buckets)}." if metric.buckets else ""
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help}{notes} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown(METRICS.values()))
