"""The dataflow: two branches, the same for live feeds and for replays.

Step names are part of the key under which state is kept: renaming one loses it (a test holds them).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.operators import KeyedStream

from connectors.schema import Batch
from flows.bars import BarsLogic
from flows.behaviour import ClassifyLogic, PanesLogic, TrainLogic
from flows.combine import CombineLogic
from flows.composition import ComposeLogic
from flows.config import Behaviour, Chain, Config, View, Window
from flows.describe import DescribeLogic
from flows.fits import FitLogic, WarmFitLogic
from flows.items import PartBars, Priced, ShardLabels, Timed, ViewLabels
from flows.ledger import LedgerLogic
from flows.market_rows import coverage_rows
from flows.members import MembersLogic
from flows.notices import notices
from flows.panel import PanelLogic
from flows.pool import Pool
from flows.results import Rows
from flows.sinks import CallSink, TableSink
from flows.sources import Opener, Stopping, StreamSource
from flows.views import PROTOTYPE_VIEWS, comovement_config, fit_comovement, fit_prototypes, prototype_config
from models.addresses import SHARDS


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the dataflow reads, by partition name; a branch without inputs is not built."""

    market: Mapping[str, Opener] = field(default_factory=dict)
    chains: Mapping[Chain, Mapping[str, Opener]] = field(default_factory=dict)
    prices: Mapping[str, Opener] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """How the dataflow runs: none of it shows in a result."""

    pool: Pool
    live: bool
    sink: TableSink
    pending_fits: int = 4
    stopping: Stopping | None = None
    on_rows: Callable[[object], None] | None = None


def build(config: Config, inputs: Inputs, running: Running) -> Dataflow:
    """Return the dataflow for these inputs."""
    flow = Dataflow("shoal")
    found: list[Stream[Any]] = []
    if inputs.market:
        found += _market(flow, config, inputs, running)
    if inputs.chains:
        found += _chains(flow, config, inputs, running)
    everything = op.merge("results", *found)
    if running.on_rows is not None:
        op.output("board", everything, CallSink(running.on_rows))
    rows = op.filter_map("rows", everything, lambda item: item if isinstance(item, Rows) else None)
    op.output("tables", op.key_on("by_table", rows, lambda row: row.table), running.sink)
    return flow


def window_name(config: Behaviour) -> str:
    """Return how the chain branch's window is called in the tables: ``month``, or its length like 30d, 6h, 5m."""
    if config.window is not None:
        return config.window
    seconds = round(config.window_us / 1e6)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{config.window_us / 1e6:g}s"


def _market(flow: Dataflow, config: Config, inputs: Inputs, running: Running) -> list[Stream[Rows]]:
    ticks = op.input("ticks", flow, StreamSource(inputs.market, running.stopping))
    partitions = sorted(inputs.market)
    intervals = [window.interval_us for window in config.windows]
    named = op.map("partition", ticks, lambda item: (item[0], item))
    bars = op.stateful_batch("bars", named, lambda state: BarsLogic(intervals, state))
    rows: list[Stream[Rows]] = [op.flat_map("market_notices", ticks, notices)]
    for window in config.windows:
        rows += _window(config, window, partitions, bars, running)
    return rows


def _window(
    config: Config, window: Window, partitions: list[str], bars: KeyedStream[tuple[int, PartBars]], running: Running
) -> list[Stream[Rows]]:
    name, rules = window.name, config.membership

    def mine(item: tuple[str, tuple[int, PartBars]]) -> tuple[str, PartBars] | None:
        return (name, item[1][1]) if item[1][0] == window.interval_us else None

    closed = op.filter_map(f"closed_{name}", bars, mine)
    panels = op.stateful_batch(
        f"panel_{name}", closed, lambda state: PanelLogic(window, rules.coverage_bars, partitions, state)
    )
    rows: list[Stream[Rows]] = [op.map(f"coverage_{name}", panels, lambda item: coverage_rows(name, item[1]))]
    labels: list[Stream[tuple[str, Any]]] = []
    for view in window.views:
        fits = op.stateful_batch(f"fit_{name}_{view}", panels, _fitting(config, window, view, running))
        members = op.stateful_batch(
            f"members_{name}_{view}", fits, functools.partial(MembersLogic, window, view, config)
        )
        rows.append(op.filter_map(f"rows_{name}_{view}", members, _only_rows))
        labels.append(op.filter_map(f"labels_{name}_{view}", members, _only_labels))
    if len(labels) > 1:
        combined = op.stateful_batch(
            f"combine_{name}",
            op.merge(f"views_{name}", *labels),
            functools.partial(CombineLogic, name, window.views),
        )
        rows.append(op.map(f"combined_{name}", combined, _value))
    if len(set(window.views) & set(PROTOTYPE_VIEWS)) > 1:
        described = op.stateful_batch(
            f"describe_{name}",
            op.merge(f"described_{name}", panels, *labels),
            functools.partial(DescribeLogic, running.pool, window, config.seed, running.pending_fits, running.live),
        )
        rows.append(op.map(f"descriptions_{name}", described, _value))
    return rows


def _fitting(config: Config, window: Window, view: View, running: Running) -> Callable[[bytes | None], FitLogic]:
    """Return what builds the fitting step of a view."""
    if view == "comovement":
        cold = functools.partial(fit_comovement, config=comovement_config(config, window))
        return functools.partial(FitLogic, running.pool, cold, running.pending_fits, running.live)
    warm = functools.partial(fit_prototypes, config=prototype_config(view, config, window))
    return functools.partial(WarmFitLogic, running.pool, warm, running.pending_fits, running.live)


def _chains(flow: Dataflow, config: Config, inputs: Inputs, running: Running) -> list[Stream[Rows]]:
    prices: Stream[tuple[str, Batch]] | None = None
    rows: list[Stream[Rows]] = []
    if inputs.prices:
        prices = op.input("prices", flow, StreamSource(inputs.prices, running.stopping))
    for chain in sorted(inputs.chains):
        rows += _chain(flow, chain, config, inputs, prices, running)
    return rows


def _chain(
    flow: Dataflow,
    chain: Chain,
    config: Config,
    inputs: Inputs,
    prices: Stream[tuple[str, Batch]] | None,
    running: Running,
) -> list[Stream[Rows]]:
    behaviour, openers = config.behaviour, inputs.chains[chain]
    blocks = op.input(f"blocks_{chain}", flow, StreamSource(openers, running.stopping))
    mine = op.map(f"chain_{chain}", blocks, lambda item: (chain, item))
    ledger = op.stateful_batch(
        f"ledger_{chain}", mine, lambda state: LedgerLogic(chain, behaviour, sorted(openers), state)
    )
    shards = op.map(f"shards_{chain}", ledger, lambda item: (_shard(item[1].shard), item[1]))
    ready = op.stateful_batch(f"panes_{chain}", shards, lambda state: PanesLogic(behaviour, state))
    gathered = op.map(f"gather_{chain}", ready, lambda item: (chain, item[1]))
    trained = op.stateful_batch(
        f"train_{chain}",
        gathered,
        lambda state: TrainLogic(
            running.pool, behaviour, chain, config.seed, running.pending_fits, running.live, state
        ),
    )
    models = op.flat_map(f"models_{chain}", trained, _to_every_shard)
    labelled = op.stateful_batch(
        f"classify_{chain}",
        op.merge(f"classified_{chain}", ready, models),
        lambda state: ClassifyLogic(window_name(behaviour), behaviour.write_entities, state),
    )
    parts: list[KeyedStream[Any]] = [op.filter_map(f"labels_{chain}", labelled, _labels(chain)), trained]
    if prices is not None:
        parts.append(op.map(f"priced_{chain}", prices, lambda item: (chain, Priced(*item))))
    composed = op.stateful_batch(
        f"compose_{chain}",
        op.merge(f"parts_{chain}", *parts),
        lambda state: ComposeLogic(chain, window_name(behaviour), behaviour, sorted(inputs.prices), state),
    )
    return [
        op.flat_map(f"chain_notices_{chain}", blocks, notices),
        op.map(f"rows_{chain}", composed, _value),
        op.filter_map(f"entities_{chain}", labelled, _only_rows),
    ]


def _shard(number: int) -> str:
    return f"{number:02d}"


def _value(item: tuple[str, Any]) -> Any:
    return item[1]


def _only_rows(item: tuple[str, Any]) -> Rows | None:
    return item[1] if isinstance(item[1], Rows) else None


def _only_labels(item: tuple[str, Any]) -> tuple[str, ViewLabels] | None:
    return item if isinstance(item[1], ViewLabels) else None


def _labels(chain: str) -> Callable[[tuple[str, ShardLabels | Rows]], tuple[str, ShardLabels] | None]:
    def only_labels(item: tuple[str, ShardLabels | Rows]) -> tuple[str, ShardLabels] | None:
        return (chain, item[1]) if isinstance(item[1], ShardLabels) else None

    return only_labels


def _to_every_shard(item: tuple[str, Timed]) -> Iterator[tuple[str, Any]]:
    for number in range(SHARDS):
        yield _shard(number), item[1].trained
