"""From half edges to labels: windows per shard, training in the pool in order of time, classification per shard."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.schema import FOREVER_US, Batch, empty
from connectors.tables import BEHAVIOURS, TABLES
from flows.behaviour import ClassifyLogic, PanesLogic, TrainJob, TrainLogic, run_training
from flows.config import HOUR_US, Behaviour
from flows.items import Boundary, ShardItem, ShardLabels, ShardReady, Timed, Trained
from flows.ledger import LedgerLogic
from flows.pool import Pool
from flows.results import Rows
from models.addresses import SHARDS
from models.behaviour import BehaviourConfig
from tests.flows.driver import HeldPool, InlinePool, Transfer, drive, plain, transfers

CONFIG = Behaviour(window_days=2 / 24, refit_every_hours=1, minimum_entities=50, write_entities=True)
HOURS = 4


def world() -> list[Transfer]:
    """Return four hours of receivers, senders and traders; in the third hour nearly nobody acts."""
    rng = np.random.default_rng(5)
    n = 2_500
    at = np.sort(rng.integers(0, HOURS * HOUR_US, n))
    at = at[(at < 2 * HOUR_US) | (at > 3 * HOUR_US)]
    sender = np.where(rng.random(n) < 0.4, rng.integers(100, 200, n), rng.integers(200, 400, n))
    receiver = np.where(rng.random(n) < 0.4, rng.integers(0, 100, n), rng.integers(200, 400, n))
    value = (np.minimum(rng.pareto(1.8, n), 50) * 1e17).astype(np.int64) + 1
    return [
        Transfer(int(t), f"0x{s:040x}", f"0x{r:040x}", int(v))
        for t, s, r, v in zip(at, sender, receiver, value, strict=False)
    ]


@dataclass(frozen=True)
class Run:
    """What came out of each step."""

    ready: list[ShardReady]
    trained: list[Timed]
    labels: list[ShardLabels]
    entities: list[Rows]


def train_logic(
    pool: InlinePool | HeldPool, *, live: bool = False, most: int = 4, state: bytes | None = None
) -> TrainLogic:
    return TrainLogic(cast(Pool, pool), CONFIG, "ethereum", 7, most, live, state)


@functools.cache
def run() -> Run:
    """Send the world through ledger, panes, training and classification once for all tests."""
    rows = world()
    ledger = functools.partial(LedgerLogic, "ethereum", CONFIG, ["a"])
    end = Batch("transfers", empty("transfers"), FOREVER_US, end=True)
    items = drive(ledger, [[("a", transfers(rows, rows[-1].at_us))], [("a", end)]])
    shards: dict[int, list[Any]] = {shard: [] for shard in range(SHARDS)}
    for item in items:
        shards[item.shard].append(item)
    by_shard = {shard: drive(lambda state: PanesLogic(CONFIG, state), [mine]) for shard, mine in shards.items()}
    ready = [one for column in zip(*by_shard.values(), strict=True) for one in column]
    trained = drive(lambda state: train_logic(InlinePool(), state=state), [ready], eof=True)
    models = [timed.trained for timed in trained]
    out = [one for mine in by_shard.values() for one in drive(classify, [[*mine, *models]])]
    labels = [one for one in out if isinstance(one, ShardLabels)]
    return Run(ready, trained, labels, [one for one in out if isinstance(one, Rows)])


def classify(state: bytes | None) -> ClassifyLogic:
    return ClassifyLogic("2h", write_entities=True, state=state)


# -------------------------------------------------------------------------------------------------------- windows


def test_every_shard_has_every_window() -> None:
    ends = [ready.boundary.as_of_us for ready in run().ready]
    assert ends == sorted(ends)
    assert len(ends) == SHARDS * HOURS
    assert [ready.shard for ready in run().ready] == list(range(SHARDS)) * HOURS
    for ready in run().ready:
        keys = ready.window.keys
        assert (np.diff(keys.astype(object)) > 0).all()
        assert ready.addresses is not None
        assert len(ready.addresses) == len(keys)


def test_addresses_are_kept_back_unless_they_are_asked_for() -> None:
    boundary = Boundary("ethereum", HOUR_US, 0, HOUR_US, 0.5)
    (ready,) = drive(lambda state: PanesLogic(Behaviour(), state), [[ShardItem(3, boundary)]])
    assert ready.addresses is None
    assert len(ready.window.keys) == 0


# ------------------------------------------------------------------------------------------------------- training


def test_models_come_in_order_of_time_with_their_network() -> None:
    found = [timed.trained for timed in run().trained]
    assert [one.boundary.as_of_us // HOUR_US for one in found] == [1, 2, 3, 3]
    assert all(one.model is not None for one in found)
    assert all(one.network.nodes <= one.entities for one in found)
    assert all(timed.seconds == 0.25 for timed in run().trained)
    transacted = sum(row.amount for row in world() if row.at_us < HOUR_US) / 1e18
    assert found[0].transacted == pytest.approx(transacted)


@settings(max_examples=25)
@given(st.data())
def test_a_boundary_is_trained_when_every_shard_has_come(data: st.DataObject) -> None:
    """Shards in any order within what their own order allows; any batches; a restart anywhere."""
    queues = [[ready for ready in run().ready if ready.shard == shard][:3] for shard in range(SHARDS)]
    order = data.draw(st.permutations([shard for shard in range(SHARDS) for _ in range(3)]))
    arrivals = [queues[shard].pop(0) for shard in order]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(arrivals) - 1), max_size=5)))
    batches = [arrivals[a:b] for a, b in itertools.pairwise([0, *cuts, len(arrivals)])]
    restart = data.draw(st.sets(st.integers(1, len(batches))))
    pool = CountingPool()
    out = drive(lambda state: train_logic(pool, state=state), batches, restart, eof=True)
    assert [timed.trained for timed in out] == [HOUR_US, 2 * HOUR_US, 3 * HOUR_US]
    assert all([ready.shard for ready in job.shards] == list(range(SHARDS)) for job in pool.submitted)


class CountingPool(InlinePool):
    """Says when a job's window ends instead of doing it."""

    def submit(self, work: Any, job: Any) -> Any:
        return super().submit(lambda job: job.boundary.as_of_us, job)


def test_pending_jobs_are_in_the_snapshot_and_the_next_look_is_fixed() -> None:
    pool, again = HeldPool(), InlinePool()
    logic = train_logic(pool, live=True)
    first = [ready for ready in run().ready if ready.boundary.as_of_us == HOUR_US]
    assert logic.notify_at() is None
    logic.on_batch(first[:-1])
    assert pool.held == []
    logic.on_batch(first[-1:])
    assert len(pool.held) == 1
    due = logic.notify_at()
    assert due is not None
    logic.on_batch([])
    assert logic.notify_at() == due
    resumed = train_logic(again, live=True, most=1, state=logic.snapshot())
    assert len(again.submitted) == 1
    assert resumed.notify_at() is not None
    (timed,) = resumed.on_notify()[0]
    assert plain(timed.trained.network) == plain(run().trained[0].trained.network)
    assert resumed.notify_at() is None


def job(rows: list[ShardReady], minimum: int = 50) -> TrainJob:
    return TrainJob(rows[0].boundary, tuple(rows), BehaviourConfig(seed=7), minimum, 7)


def test_training_does_not_depend_on_the_order_of_the_shards() -> None:
    rows = [ready for ready in run().ready if ready.boundary.as_of_us == HOUR_US]
    assert plain(run_training(job(rows))) == plain(run_training(job(rows[::-1])))


def test_too_few_entities_have_a_network_and_no_model() -> None:
    rows = [ready for ready in run().ready if ready.boundary.as_of_us == HOUR_US]
    found = run_training(job(rows, minimum=10_000))
    assert found.model is None
    assert found.network.nodes > 100


def test_a_window_without_any_transfer() -> None:
    """A chain may be silent for longer than a window."""
    items = drive(
        functools.partial(LedgerLogic, "ethereum", CONFIG, ["a"]),
        [[("a", transfers([Transfer(0, "a", "b")], 5 * HOUR_US))]],
    )
    last = max(item.item.as_of_us for item in items if isinstance(item.item, Boundary))
    ready = [
        one
        for shard in range(SHARDS)
        for one in drive(lambda s: PanesLogic(CONFIG, s), [[i for i in items if i.shard == shard]])
    ]
    rows = [one for one in ready if one.boundary.as_of_us == last]
    assert sum(len(one.window.keys) for one in rows) == 0
    found = run_training(job(rows, minimum=1))
    assert found.model is None
    assert (found.entities, found.network.nodes) == (0, 0)
    assert np.isnan(found.noisy_share)
    (label,) = drive(classify, [[rows[0], found]])
    assert label.counts.tolist() == [0, 0, 0, 0]


# -------------------------------------------------------------------------------------------------- classification


def labels_at(hour: int, number: int = 0) -> list[ShardLabels]:
    ends = sorted({label.boundary.as_of_us for label in run().labels})
    return [label for label in run().labels if label.boundary.as_of_us == ends[hour]]


def test_every_entity_is_labelled_or_noisy() -> None:
    assert len(run().labels) == SHARDS * HOURS
    for at in range(HOURS):
        found, trained = labels_at(at), run().trained[at].trained
        labelled = int(np.sum([label.counts for label in found]))
        assert labelled + round(trained.noisy_share * trained.entities) == trained.entities


def test_transitions_start_and_end_in_the_compositions() -> None:
    assert all(label.transitions is None for label in labels_at(0))
    for at in range(1, HOURS):
        moved = np.sum([label.transitions for label in labels_at(at) if label.transitions is not None], axis=0)
        before, after = (np.sum([label.counts for label in labels_at(k)], axis=0) for k in (at - 1, at))
        assert moved[:4].sum(axis=1).tolist() == before.tolist()
        assert moved[:, :4].sum(axis=0).tolist() == after.tolist()
        assert moved[4, 4] == 0


def test_entities_are_written_when_asked_for() -> None:
    rows = [row for part in run().entities for row in part.rows.to_pylist()]
    assert all(
        part.table == "behaviours" and part.rows.schema.equals(TABLES["behaviours"].schema) for part in run().entities
    )
    assert {row["behaviour"] for row in rows} <= {*BEHAVIOURS, "noisy"}
    assert len({(row["as_of"], row["entity"]) for row in rows}) == len(rows)
    counts = np.sum([label.counts for label in run().labels], axis=0)
    assert [sum(row["behaviour"] == name for row in rows) for name in BEHAVIOURS] == counts.tolist()
    assert sum(row["balance"] for row in rows) == pytest.approx(0.0, abs=1e-9)


@settings(max_examples=40)
@given(st.data())
def test_windows_and_models_may_come_in_any_interleaving(data: st.DataObject) -> None:
    shard = 11
    ready = [one for one in run().ready if one.shard == shard]
    models = [timed.trained for timed in run().trained]
    expected = drive(classify, [[*ready, *models]])
    turns = data.draw(st.permutations([0] * HOURS + [1] * HOURS))
    queues: list[list[Any]] = [list(ready), list(models)]
    arrivals: list[ShardReady | Trained] = [queues[turn].pop(0) for turn in turns]
    restart = data.draw(st.sets(st.integers(1, len(arrivals))))
    assert plain(drive(classify, [[one] for one in arrivals], restart)) == plain(expected)
