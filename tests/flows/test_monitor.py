"""The market branch as a whole under bytewax: broken off and resumed, it writes what it would have written."""

from __future__ import annotations

import itertools
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import bytewax.recovery
import bytewax.testing
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource

from connectors.schema import FOREVER_US, Batch, empty
from connectors.tables import TABLES, tables_of
from flows import monitor
from flows.config import Behaviour, Config, Window
from flows.items import Gauge
from flows.monitor import Inputs, Running, build, window_name
from flows.pool import Pool
from flows.results import QUARANTINED, TIMINGS, Rows, read_frames
from flows.sinks import TableSink
from tests.flows.driver import InlinePool, trades

init_db_dir: Any = bytewax.recovery.init_db_dir
RecoveryConfig: Any = bytewax.recovery.RecoveryConfig
run_main: Any = bytewax.testing.run_main
cluster_main: Any = bytewax.testing.cluster_main

SECOND = 1_000_000
COINS = [f"C{i:02d}" for i in range(9)]
CONFIG = Config(
    windows=(
        Window(name="quick", bar_interval="1s", length_bars=12, refit_every_bars=3, views=("comovement", "moments")),
        Window(name="slow", bar_interval="2s", length_bars=8, refit_every_bars=2, views=("comovement",)),
    )
)


class EagerPool(InlinePool):
    """Does each job at once, in this process, and takes no time for it."""

    def submit(self, work: Any, job: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result((work(job), 0.0))
        return future


def market(seed: int, seconds: int = 45) -> list[tuple[str, Batch]]:
    """Return the ticks of nine coins in three groups, a batch a second, in two partitions."""
    rng = np.random.default_rng(seed)
    factors = np.cumsum(rng.normal(0, 0.01, (seconds, 3)), axis=0)
    noise = np.cumsum(rng.normal(0, 0.004, (seconds, 9)), axis=0)
    price = 100 * np.exp(factors[:, np.arange(9) % 3] + noise)
    out = []
    for second in range(seconds):
        rows = [(second * SECOND + 100_000 * (i + 1), coin, float(price[second, i])) for i, coin in enumerate(COINS)]
        out.append(("binance", trades(rows[:5], rows[4][0], duplicates={1} if second % 7 == 0 else ())))
        out.append(("kraken", trades(rows[5:], rows[8][0])))
    ends = [(name, Batch("trades", empty("trades"), FOREVER_US, end=True)) for name in ("binance", "kraken")]
    return [*out, *ends]


def run_flow(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    items: list[Any],
    batch_size: int,
    workers: int = 0,
    epoch_s: float = 10,
) -> dict[str, list[dict[str, Any]]]:
    """Run the branch over the items, resuming after every ABORT; return the rows of all tables, sorted."""
    recovery = folder / "recovery"
    recovery.mkdir(parents=True)
    init_db_dir(recovery, 1)
    source = TestingSource(items, batch_size=batch_size)
    monkeypatch.setattr(monitor, "StreamSource", lambda *_: source)
    names = [*(table.name for table in tables_of("market")), TIMINGS.name, QUARANTINED.name]
    heard: list[object] = []

    def flow() -> Dataflow:
        sink = TableSink(names, folder / "frames", None)
        pool = cast(Pool, EagerPool())
        running = Running(pool=pool, live=False, sink=sink, on_rows=heard.append)
        opener: Any = None
        return build(CONFIG, Inputs(market={"binance": opener, "kraken": opener}), running)

    for _ in range(1 + sum(isinstance(item, TestingSource.ABORT) for item in items)):
        config = RecoveryConfig(str(recovery))
        if workers:
            cluster_main(flow(), [], 0, recovery_config=config, worker_count_per_proc=workers)
        else:
            run_main(flow(), epoch_interval=timedelta(seconds=epoch_s), recovery_config=config)
    assert all(isinstance(item, Rows | Gauge) for item in heard)
    assert heard
    out = {}
    for name in names:
        if name in TABLES:
            batches = read_frames(folder / "frames" / f"{name}.arrows", TABLES[name].schema)
            rows = [row for batch in batches for row in batch.to_pylist()]
            out[name] = sorted(rows, key=lambda row: str([row[key] for key in TABLES[name].key]))
    return out


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield run_flow(tmp_path_factory.mktemp("undisturbed"), monkeypatch, market(3), 7)


def test_what_the_branch_writes(undisturbed: dict[str, list[dict[str, Any]]]) -> None:
    fits = {(row["window"], row["view"]) for row in undisturbed["fits"]}
    assert fits == {("quick", "comovement"), ("quick", "moments"), ("slow", "comovement")}
    quick = [row["as_of"].second for row in undisturbed["fits"] if (row["window"], row["view"]) == ("quick", "moments")]
    assert quick == list(range(13, 46, 3)), "the first full window, then every third bar"
    slow = [row["as_of"].second for row in undisturbed["fits"] if row["window"] == "slow"]
    assert slow == list(range(18, 47, 4))
    assert {row["coin_id"] for row in undisturbed["coverage"]} == set(COINS), "both partitions are in the panel"
    twice = {row["coin_id"] for row in undisturbed["coverage"] if row["duplicate"]}
    assert twice == {"C01"}
    for name in ("memberships", "coverage", "drift", "embedding", "edges", "shoals", "agreement"):
        assert undisturbed[name], name


@pytest.mark.parametrize("aborts", [[20], [40], [71], [5, 50], [33, 34, 60], [89]])
def test_broken_off_and_resumed_it_writes_the_same(
    undisturbed: dict[str, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aborts: list[int]
) -> None:
    items: list[Any] = market(3)
    for shift, at in enumerate(aborts):
        items.insert(at + shift, TestingSource.ABORT())
    # a snapshot behind every batch, or one in a while
    assert run_flow(tmp_path / "run", monkeypatch, items, 1, epoch_s=0 if len(aborts) < 2 else 0.1) == undisturbed


@pytest.mark.parametrize("size", [1, 1_000])
def test_batches_of_any_size_give_the_same(
    undisturbed: dict[str, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    assert run_flow(tmp_path / "run", monkeypatch, market(3), size) == undisturbed


def test_partitions_may_be_interleaved_in_another_way(
    undisturbed: dict[str, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = market(3)
    first, second = (list(part) for _, part in itertools.groupby(sorted(items, key=lambda i: i[0]), key=lambda i: i[0]))
    late = [*first[:30], *second[:5], *first[30:], *second[5:]]
    assert run_flow(tmp_path / "run", monkeypatch, late, 3) == undisturbed


def test_two_workers_give_the_same(
    undisturbed: dict[str, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_flow(tmp_path / "run", monkeypatch, market(3), 5, workers=2) == undisturbed


def test_a_branch_without_inputs_is_not_built() -> None:
    sink = TableSink(["fits"], Path("frames"), None)
    running = Running(pool=cast(Pool, EagerPool()), live=False, sink=sink)
    opener: Any = None
    chain = build(CONFIG, Inputs(chains={"bitcoin": {"file": opener}}), running)
    ids = [step.step_id for step in chain.substeps]
    assert "shoal.blocks_bitcoin" in ids
    assert not any("ticks" in step or "panel" in step or "prices" in step for step in ids)
    market_only = [step.step_id for step in build(CONFIG, Inputs(market={"file": opener}), running).substeps]
    assert not any("blocks" in step or "compose" in step for step in market_only)


@pytest.mark.parametrize(
    ("days", "name"),
    [(30, "30d"), (0.25, "6h"), (1 / 288, "5m"), (1 / 86_400, "1s"), (0.5 / 86_400, "0.5s"), (1.5, "36h")],
)
def test_windows_of_the_chain_have_short_names(days: float, name: str) -> None:
    assert window_name(Behaviour(window_days=days)) == name
    assert window_name(Behaviour(window="month")) == "month"
