"""Boundaries, what enters which window, and that neither batches, interleaving nor restarts show."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.schema import FOREVER_US, Batch, empty
from flows.behaviour import PanesLogic
from flows.config import DAY_US, HOUR_US, Behaviour
from flows.items import Boundary, ShardItem, ShardReady
from flows.ledger import LedgerLogic, bucket_us
from models.addresses import SHARDS
from models.amounts import to_float
from tests.flows.driver import Transfer, drive, transfers

HOUR = HOUR_US
CONFIG = Behaviour(window_days=2 / 24, refit_every_hours=1)


def make(config: Behaviour = CONFIG, parts: tuple[str, ...] = ("a",)) -> Any:
    return functools.partial(LedgerLogic, "ethereum", config, parts)


def row(hours: float, amount: int = 1, **more: Any) -> Transfer:
    return Transfer(round(hours * HOUR), "alice", "bob", amount, **more)


def end() -> Batch:
    return Batch("transfers", empty("transfers"), FOREVER_US, end=True)


def heartbeat(hours: float) -> Batch:
    return Batch("transfers", empty("transfers"), round(hours * HOUR))


def windows(items: list[ShardItem]) -> list[tuple[Boundary, Counter[tuple[Any, ...]]]]:
    """Return each boundary with the half edges that came between the one before and it; the last may be open."""
    out: list[tuple[Boundary, Counter[tuple[Any, ...]]]] = []
    since: Counter[tuple[Any, ...]] = Counter()
    boundaries: dict[Boundary, list[int]] = {}
    for item in items:
        if isinstance(item.item, Boundary):
            boundaries.setdefault(item.item, []).append(item.shard)
            if len(boundaries[item.item]) == SHARDS:
                assert boundaries[item.item] == list(range(SHARDS)), "every shard, once"
                out.append((item.item, since))
                since = Counter()
        else:
            assert all(len(shards) == SHARDS for shards in boundaries.values()), "a boundary reaches all shards at once"
            e = item.item
            since.update(
                zip(e.key.tolist(), e.counterparty.tolist(), e.direction.tolist(), e.hi.tolist(), e.lo.tolist(),
                    e.ts_us.tolist(), e.sign.tolist(), strict=True)
            )  # fmt: skip
    return out if not since else [*out, (Boundary("open", -1, -1, -1, 0.0), since)]


def fired(items: list[ShardItem]) -> list[float]:
    return [boundary.as_of_us / HOUR for boundary, _ in windows(items) if boundary.chain != "open"]


def rows_before(items: list[ShardItem]) -> list[int]:
    return [sum(edges.values()) // 2 for _, edges in windows(items)]


def test_boundaries_are_multiples_since_the_epoch() -> None:
    config = Behaviour(window_days=1, refit_every_hours=6)
    start = 1_609_459_200_000_000 + 5 * HOUR  # 05:00 on 1 January 2021
    rows = [Transfer(start + h * HOUR, "alice", "bob") for h in range(20)]
    out = windows(drive(make(config), [[("a", transfers(rows, rows[-1].at_us))]]))
    ends = [dt.datetime.fromtimestamp(b.as_of_us / 1e6, dt.UTC).hour for b, _ in out if b.chain != "open"]
    assert ends == [6, 12, 18, 0]
    (first, *_) = [boundary for boundary, _ in out]
    assert (first.as_of_us - first.start_us, first.end_us) == (DAY_US, first.as_of_us)


def test_rows_behind_a_boundary_wait_for_it() -> None:
    rows = [row(1.5), row(2.5), row(1.9), row(2.6)]
    logic = make(parts=("a", "b"))(None)
    logic.on_batch([("b", heartbeat(0.5))])
    before = list(logic.on_batch([("a", transfers(rows, round(2.6 * HOUR)))])[0])
    assert before == [], "the other input may begin before 1.5 h yet"
    begun = list(logic.on_batch([("b", heartbeat(1.6))])[0])
    assert rows_before(begun) == [1]
    out = list(logic.on_batch([("b", heartbeat(2.0))])[0])
    assert fired(out) == [2.0]
    assert rows_before(out) == [0, 3], "the older row came behind one of the next window, and stays behind it"


def test_a_boundary_fires_when_the_slowest_input_has_passed_it() -> None:
    logic = make(parts=("a", "b"))(None)
    quick = [row(h + 0.1) for h in range(8)]
    assert fired(list(logic.on_batch([("a", transfers(quick, 8 * HOUR))])[0])) == []
    assert fired(list(logic.on_batch([("b", transfers([row(0.2), row(3.5)], round(3.5 * HOUR)))])[0])) == [1, 2, 3]
    assert fired(list(logic.on_batch([("b", heartbeat(5))])[0])) == [4, 5]
    assert fired(list(logic.on_batch([("b", end())])[0])) == [6, 7, 8]
    assert fired(list(logic.on_batch([("a", end())])[0])) == [], "the last block is older than the last boundary"


def test_the_end_of_the_input_fires_once_at_its_last_block() -> None:
    rows = [row(1.25), row(2.5)]
    out = windows(drive(make(), [[("a", transfers(rows, rows[-1].at_us))], [("a", end())], [("a", end())]]))
    assert [boundary.as_of_us / HOUR for boundary, _ in out] == [2, 2.5]
    last = out[-1][0]
    assert last.end_us == last.as_of_us + 1, "the last block is in the window"
    assert last.fill == pytest.approx(1.25 / 2)


def test_an_input_without_rows_has_no_windows() -> None:
    assert drive(make(), [[("a", end())]]) == []
    assert drive(make(), [[("a", Batch("blocks", empty("blocks"), FOREVER_US))], [("a", heartbeat(7))]]) == []


def test_how_full_a_window_is() -> None:
    rows = [row(0.5 + h) for h in range(4)]
    boundaries = [b for b, _ in windows(drive(make(), [[("a", transfers(rows, 4 * HOUR))]]))]
    assert [b.fill for b in boundaries] == [0.25, 0.75, 1.0, 1.0]
    assert all(0 < b.fill <= 1 for b in boundaries)


def test_a_late_block_enters_the_pane_of_its_own_time() -> None:
    """It is no row of the window that has been published, and of the next one it is."""
    batches = [
        [("a", transfers([row(0.5)], round(0.5 * HOUR)))],
        [("a", transfers([row(1.1)], round(1.1 * HOUR)))],
        [("a", transfers([row(0.75, amount=7)], round(1.1 * HOUR), [round(1.1 * HOUR)]))],
        [("a", heartbeat(2))],
    ]
    out = windows(drive(make(), batches))
    assert [b.as_of_us // HOUR for b, _ in out] == [1, 2]
    assert {edge[4] for edge in out[1][1]} == {1, 7}


def test_a_reorg_behind_an_empty_block_does_not_depend_on_batches() -> None:
    """Blocks without transfers pass a boundary by their watermark; what is taken back after them comes after it."""
    rows = [row(0.5), row(0.9), row(0.9, op=-1), row(0.95)]
    marks = [0, round(0.5 * HOUR), round(1.2 * HOUR), round(1.2 * HOUR)]
    whole = drive(make(), [[("a", transfers(rows, round(1.2 * HOUR), marks))]])
    live = drive(
        make(),
        [
            [("a", transfers(rows[:2], round(0.9 * HOUR), marks[:2]))],
            [("a", heartbeat(1.2))],
            [("a", transfers(rows[2:], round(1.2 * HOUR), marks[2:]))],
        ],
    )
    assert windows(live) == windows(whole)
    assert rows_before(whole) == [2, 2]


def test_calendar_months() -> None:
    config = Behaviour(window="month", refit_every_hours=24)
    day = [round(dt.datetime(2024, 1, 30, 12, tzinfo=dt.UTC).timestamp() * 1e6) + d * DAY_US for d in range(33)]
    rows = [Transfer(at, "alice", "bob") for at in day]
    out = windows(drive(make(config), [[("a", transfers(rows, day[-1]))], [("a", end())]]))
    spans = {_date(boundary.as_of_us): (_date(boundary.start_us), round(boundary.fill, 3)) for boundary, _ in out}
    assert spans["2024-01-31T00"] == ("2024-01-01T00", round(0.5 / 31, 3))
    assert spans["2024-02-01T00"] == ("2024-01-01T00", round(1.5 / 31, 3)), "midnight ends the month before"
    assert spans["2024-02-02T00"] == ("2024-02-01T00", round(1 / 29, 3))
    assert spans["2024-03-01T00"] == ("2024-02-01T00", 1.0), "the whole of a leap February"
    assert spans["2024-03-02T12"] == ("2024-03-01T00", round(1.5 / 31, 3)), "the end of the input"


def _date(us: int) -> str:
    return dt.datetime.fromtimestamp(us / 1e6, dt.UTC).isoformat()[:13]


# ------------------------------------------------------------------------------------------------- what a row is


def edges(rows: list[Transfer], config: Behaviour = CONFIG) -> list[tuple[int, float]]:
    """Return (direction, amount) of every half edge of the rows."""
    out = []
    for item in drive(make(config), [[("a", transfers(rows, rows[-1].at_us))]]):
        if not isinstance(item.item, Boundary):
            out += list(zip(item.item.direction.tolist(), to_float(item.item.hi, item.item.lo).tolist(), strict=True))
    return sorted(out)


def test_a_transfer_is_two_half_edges() -> None:
    assert edges([row(0.5, 10**18)]) == [(-1, 1e18), (1, 1e18)]
    assert edges([Transfer(1, "alice", None, 3)]) == [(-1, 3.0)], "a contract that is created has no address yet"
    assert edges([Transfer(1, "alice", "alice", 3)]) == [(-1, 3.0), (1, 3.0)]


@pytest.mark.parametrize("success", [True, None])
def test_value_moves_unless_the_transaction_failed(success: bool | None) -> None:
    assert edges([row(0.5, 5, success=success)]) == [(-1, 5.0), (1, 5.0)]
    assert edges([row(0.5, 5, success=False)]) == [(-1, 0.0), (1, 0.0)]


def test_transfers_of_nothing_count_if_they_are_to() -> None:
    rows = [row(0.5, 0), row(0.5, 5, success=False), row(0.5, 7)]
    assert len(edges(rows)) == 6
    assert edges(rows, Behaviour(window_days=1, count_zero_value=False)) == [(-1, 7.0), (1, 7.0)]


@pytest.mark.parametrize(
    ("kind", "halves"), [("native", 2), ("creation", 2), ("withdrawal", 0), ("coinbase", 0), ("fee", 0)]
)
def test_only_what_users_send_is_trade(kind: str, halves: int) -> None:
    assert len(edges([row(0.5, kind=kind)])) == halves


# ---------------------------------------------------------------------------------------------------- invariance


@st.composite
def inputs(draw: st.DrawFn, late: bool) -> tuple[list[Transfer], list[int], list[int]]:
    """Return rows of one partition, the watermark before each, and where its batches end."""
    steps = draw(st.lists(st.tuples(st.integers(0, HOUR), st.integers(0, HOUR if late else 0)), max_size=12))
    rows: list[Transfer] = []
    marks: list[int] = []
    at, mark = draw(st.integers(0, 3 * HOUR)), 0
    for step, back in steps:
        at += step
        mark = max(mark, at if draw(st.booleans()) and late else 0)  # an empty block
        rows.append(Transfer(max(0, at - back), "alice", draw(st.sampled_from(["bob", "carol"])), len(rows) + 1))
        marks.append(mark)
        mark = max(mark, rows[-1].at_us)
    return rows, marks, draw(st.lists(st.integers(1, 12), max_size=4))


def batches_of(rows: list[Transfer], marks: list[int], cuts: list[int]) -> list[Batch]:
    """Cut rows into batches; a batch's watermark is that before the next row."""
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    after = [*marks[1:], max(marks[-1], rows[-1].at_us)] if rows else []
    out = [transfers(rows[a:b], after[b - 1], marks[a:b]) for a, b in itertools.pairwise(edges) if b > a]
    return [*out, end()]


@settings(max_examples=150)
@given(inputs(late=True), st.data())
def test_batches_and_restarts_do_not_show(
    given: tuple[list[Transfer], list[int], list[int]], data: st.DataObject
) -> None:
    rows, marks, cuts = given
    whole = windows(drive(make(), [[("a", batch)] for batch in batches_of(rows, marks, [])]))
    batches = [[("a", batch)] for batch in batches_of(rows, marks, cuts)]
    restart = data.draw(st.sets(st.integers(1, len(batches))))
    assert windows(drive(make(), batches, restart)) == whole
    if rows:
        assert sum(sum(counted.values()) for _, counted in whole) == 2 * len(rows), "no row is lost"
        published = [boundary.as_of_us for boundary, _ in whole if boundary.chain != "open"]
        assert published == sorted(set(published))
        assert published[-1] >= max(r.at_us for r in rows), "only what comes late behind the last window is in none"


@settings(max_examples=100)
@given(inputs(late=False), inputs(late=False), st.data())
def test_how_inputs_are_interleaved_does_not_show(
    one: tuple[list[Transfer], list[int], list[int]],
    two: tuple[list[Transfer], list[int], list[int]],
    data: st.DataObject,
) -> None:
    queues = {name: batches_of(*part) for name, part in (("a", one), ("b", two))}
    serial = [[(name, batch)] for name, queue in queues.items() for batch in queue]
    expected = windows(drive(make(parts=("a", "b")), serial))
    turns = data.draw(st.lists(st.sampled_from("ab"), max_size=12))
    mixed = [[(name, queues[name].pop(0))] for name in turns if queues[name]]
    mixed += [[(name, batch)] for name, queue in queues.items() for batch in queue]
    restart = data.draw(st.sets(st.integers(1, 6)))
    assert windows(drive(make(parts=("b", "a")), mixed, restart)) == expected


# --------------------------------------------------------------------------------------------------------- panes


@settings(max_examples=60)
@given(st.floats(0.001, 40, allow_nan=False), st.sampled_from([1 / 3600, 0.1, 1.0, 6.0, 24.0, 168.0]), st.booleans())
def test_a_pane_divides_the_distance_of_boundaries(days: float, hours: float, month: bool) -> None:
    config = (
        Behaviour(window="month", refit_every_hours=hours)
        if month
        else Behaviour(window_days=days, refit_every_hours=hours)
    )
    bucket = bucket_us(config)
    assert bucket > 0
    assert config.refit_us % bucket == 0
    assert config.refit_us // bucket <= 60
    if month and config.refit_us // np.gcd(config.refit_us, DAY_US) <= 60:
        assert DAY_US % bucket == 0, "months begin at midnight"


def test_windows_of_the_panes_are_what_the_boundaries_say() -> None:
    """Ledger and panes together, against sums over the rows."""
    rows = [row(h / 4, amount=h + 1) for h in range(30)]
    items = drive(make(), [[("a", transfers(rows, rows[-1].at_us))], [("a", end())]])
    shards: dict[int, Any] = {}
    received: dict[int, float] = {}
    for item in items:
        logic = shards.setdefault(item.shard, PanesLogic(CONFIG, None))
        saved = PanesLogic(CONFIG, logic.snapshot())
        emitted = list(logic.on_batch([item])[0])
        again = list(saved.on_batch([item])[0])
        assert len(emitted) == len(again)
        for ready in emitted:
            assert isinstance(ready, ShardReady)
            total = to_float(ready.window.in_hi, ready.window.in_lo).sum()
            received[ready.boundary.as_of_us] = received.get(ready.boundary.as_of_us, 0.0) + float(total)
    for as_of_us, total in received.items():
        until = as_of_us if as_of_us % HOUR == 0 else as_of_us + 1
        start = (as_of_us - 2 * HOUR) // HOUR * HOUR
        assert total == sum(r.amount for r in rows if start <= r.at_us < until), as_of_us / HOUR
    assert sorted(received) == [h * HOUR for h in range(1, 8)] + [rows[-1].at_us]


def test_a_state_of_another_schema_is_refused() -> None:
    logic = make()(None)
    logic._state.schema = 1
    with pytest.raises(ValueError, match="schema 1 does not fit schema 2"):
        make()(logic.snapshot())
