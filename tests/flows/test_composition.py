"""Compositions come in order of time, with the regime of their price, whatever the order in which the parts arrive."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.schema import FOREVER_US, Batch, empty
from connectors.tables import BEHAVIOURS, TABLES
from flows.composition import ComposeLogic
from flows.config import DAY_US, Behaviour, NamedPeriod, Regime
from flows.items import Boundary, Gauge, Int64, Priced, ShardLabels, Timed, Trained
from flows.results import Rows
from models.addresses import SHARDS
from models.behaviour import BehaviourModel, TrainingReport
from models.composition import entropy
from models.network import network
from tests.flows.driver import bars, drive, plain, trades

PERIODS = (
    NamedPeriod(name="new year", from_=dt.date(1970, 1, 3), to=dt.date(1970, 1, 4)),
    NamedPeriod(name="all of it", from_=dt.date(1970, 1, 1), to=dt.date(1970, 1, 5)),
)
CONFIG = Behaviour(window_days=2, regime=Regime(lookback_days=2), events=PERIODS)
REPORT = TrainingReport(
    rows=9, trained=8, elbow_inertia=(), elbow=0, silhouette=0.5, misclassified=0.125, cluster_types=(0, 1, 2, 3)
)
MODEL = BehaviourModel(
    columns=np.arange(2),
    mean=np.zeros(2),
    scale=np.ones(2),
    classes=np.zeros(1, np.int8),
    weights=np.zeros((0, 2)),
    bias=np.zeros(0),
    one_against_one=True,
    report=REPORT,
)


def make(*prices: str, config: Behaviour = CONFIG) -> Any:
    return functools.partial(ComposeLogic, "ethereum", "2d", config, prices)


def boundary(day: float) -> Boundary:
    at = round(day * DAY_US)
    return Boundary("ethereum", at, at - 2 * DAY_US, at, 0.5)


def labels(day: float, counts: list[int], moved: Int64 | None = None) -> list[ShardLabels]:
    """Spread counts over the shards: each behaviour's in a shard of its own."""
    spread = np.zeros((SHARDS, 4), np.int64)
    for i, count in enumerate(counts):
        spread[7 * i, i] = count
    none = np.zeros((5, 5), np.int64)
    return [
        ShardLabels(boundary(day), shard, spread[shard], None if moved is None else (moved if shard == 3 else none))
        for shard in range(SHARDS)
    ]


def timed(day: float, *, model: bool = True) -> Timed:
    edges = np.array([1, 2, 3], np.uint64), np.array([2, 3, 1], np.uint64), np.ones(3, np.int64)
    found = Trained(
        boundary=boundary(day),
        model=MODEL if model else None,
        network=network(*edges, seed=1),
        entities=3,
        noisy_share=0.25,
        exponent_degree=float("nan"),
        exponent_value=2.5,
        transacted=1.0,
    )
    return Timed(found, 0.75)


def closes(rows: dict[float, float], symbol: str = "ETHUSDT", watermark: float | None = None) -> Batch:
    until = max(rows) if watermark is None else watermark
    return bars([(round(day * DAY_US), symbol, close) for day, close in rows.items()], round(until * DAY_US), DAY_US)


def end() -> Batch:
    return Batch("bars", empty("bars"), FOREVER_US, end=True)


def rows(out: list[Any], table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in out:
        if isinstance(one, Rows) and one.table == table:
            if table in TABLES:
                assert one.rows.schema.equals(TABLES[table].schema)
            found += one.rows.to_pylist()
    return found


def test_a_composition_with_all_its_tables() -> None:
    out = drive(make(), [[*labels(3, [6, 1, 0, 3]), timed(3)]])
    composition = rows(out, "composition")
    assert [row["behaviour"] for row in composition] == list(BEHAVIOURS)
    assert [row["entities"] for row in composition] == [6, 1, 0, 3]
    assert [row["share"] for row in composition] == [0.6, 0.1, 0.0, 0.3]
    assert {row["regime"] for row in composition} == {"unknown"}
    (drift,) = rows(out, "behaviour_drift")
    assert drift["js"] is None, "there is nothing before it"
    assert drift["entropy"] == pytest.approx(entropy(np.array([0.6, 0.1, 0.0, 0.3])))
    (network_row,) = rows(out, "networks")
    assert (network_row["nodes"], network_row["edges"], network_row["window_fill"]) == (3, 3, 0.5)
    assert network_row["exponent_degree"] is None
    assert rows(out, "timings") == [
        {"as_of": network_row["as_of"], "job": "train", "window": "2d", "view": "ethereum", "seconds": 0.75}
    ]
    assert rows(out, "transitions") == rows(out, "events") == []


def test_too_few_entities_are_a_network_and_no_composition() -> None:
    out = drive(make(), [[*labels(3, [0, 0, 0, 0]), timed(3, model=False)], [*labels(4, [1, 1, 1, 1]), timed(4)]])
    assert [row["as_of"].day for row in rows(out, "networks")] == [4, 5]
    assert {row["as_of"].day for row in rows(out, "composition")} == {5}
    (drift,) = rows(out, "behaviour_drift")
    assert drift["js"] is None


def test_a_model_that_classifies_nobody_has_shares_of_nought() -> None:
    out = drive(make(), [[*labels(3, [0, 0, 0, 0]), timed(3)]])
    assert [row["share"] for row in rows(out, "composition")] == [0.0] * 4


def test_nothing_comes_before_all_shards_and_the_model() -> None:
    logic = make()(None)
    (first, *rest) = labels(3, [4, 4, 4, 4])
    assert list(logic.on_batch([*rest, timed(3)])[0]) == []
    assert rows(list(logic.on_batch([first])[0]), "composition")


@settings(max_examples=60)
@given(st.data())
def test_the_order_of_arrival_does_not_show(data: st.DataObject) -> None:
    moved = np.arange(25, dtype=np.int64).reshape(5, 5)
    moved[4, 4] = 0
    parts: list[Any] = []
    for day in (3, 4, 5):
        parts += [*labels(day, [day, 1, 2, 3], moved if day > 3 else None), timed(day)]
    parts += [Priced("prices", closes({float(d): 100.0 + 20 * d for d in range(1, 7)}))]
    expected = drive(make("prices"), [parts])
    assert len(rows(expected, "composition")) == 12
    # models come in the order of time (training sees to that); everything else may come in any
    shuffled = [parts[i] for i in data.draw(st.permutations(range(len(parts))))]
    models = iter([part for part in parts if isinstance(part, Timed)])
    shuffled = [next(models) if isinstance(part, Timed) else part for part in shuffled]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(parts) - 1), max_size=4)))
    batches = [shuffled[a:b] for a, b in itertools.pairwise([0, *cuts, len(parts)])]
    restart = data.draw(st.sets(st.integers(1, len(batches))))
    assert plain(drive(make("prices"), batches, restart)) == plain(expected)


# ------------------------------------------------------------------------------------------------------- regime


def regimes(out: list[Any]) -> dict[int, str]:
    """Return the regime of each composition by its day since the epoch."""
    return {
        (row["as_of"] - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)).days: row["regime"] for row in rows(out, "composition")
    }


def priced(prices: list[Priced], *days: float, config: Behaviour = CONFIG) -> list[Any]:
    parts = [part for day in days for part in (*labels(day, [1, 1, 1, 1]), timed(day))]
    names = sorted({price.partition for price in prices})
    return drive(make(*names, config=config), [[price] for price in prices] + [parts])


@pytest.mark.parametrize(
    ("prices", "regime"),
    [
        ({1: 100, 2: 104, 3: 111}, "rising"),
        ({1: 100, 2: 104, 3: 109}, "stable"),
        ({1: 100, 2: 95, 3: 89}, "falling"),
        ({3: 100}, "unknown"),
        ({0.5: 1, 1: 100, 2: 104, 3: 109, 3.5: 900, 4: 900}, "stable"),
    ],
)
def test_the_regime_is_that_of_the_last_closes_in_the_lookback(prices: dict[float, float], regime: str) -> None:
    """What is no daily close, or lies before or behind, does not count."""
    out = priced([Priced("p", closes(prices, watermark=9.0))], 3.25)
    assert regimes(out) == {3: regime}


def test_a_composition_waits_for_the_price() -> None:
    logic = make("p")(None)
    assert list(logic.on_batch([*labels(3.5, [1, 1, 1, 1]), timed(3.5)])[0]) == []
    assert list(logic.on_batch([Priced("p", closes({1: 100, 2: 100}))])[0]) == []
    known = list(logic.on_batch([Priced("p", closes({3: 200}))])[0])
    assert regimes(known) == {3: "rising"}


def test_a_watermark_just_before_the_close_lets_rows_of_it_come() -> None:
    """A table's rows of one day may lie in two batches; the first then promises a microsecond less than the close."""
    logic = make("p")(None)
    logic.on_batch([*labels(3.5, [1, 1, 1, 1]), timed(3.5)])
    day = 3 * DAY_US
    first = bars([(day - DAY_US, "ethereum", 100.0), (day, "aave", 1.0)], day - 1)
    assert list(logic.on_batch([Priced("p", first)])[0]) == []
    second = bars([(day, "ethereum", 150.0), (day, "zcash", 1.0)], day - 1)
    assert list(logic.on_batch([Priced("p", second)])[0]) == []
    assert regimes(list(logic.on_batch([Priced("p", end())])[0])) == {3: "rising"}


def test_without_prices_nothing_is_waited_for() -> None:
    assert regimes(priced([], 3, 4)) == {3: "unknown", 4: "unknown"}


def test_prices_of_other_coins_are_no_prices_of_this_chain() -> None:
    assert regimes(priced([Priced("p", closes({1: 1, 2: 2, 3: 3}, "BTCUSDT", 9.0))], 3)) == {3: "unknown"}
    ticks = trades([(DAY_US, "ETHUSDT", 1.0), (3 * DAY_US, "ETHUSDT", 2.0)], FOREVER_US)
    assert regimes(priced([Priced("p", ticks)], 3)) == {3: "unknown"}


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_partitions_the_name_that_sorts_first_counts(first: int) -> None:
    dear: dict[float, float] = {1: 100, 2: 150, 3: 200}
    cheap: dict[float, float] = {1: 100, 2: 100, 3: 100}
    prices = [Priced("a", closes(dear, watermark=9.0)), Priced("b", closes(cheap, watermark=9.0))]
    assert regimes(priced(prices[first:] + prices[:first], 3)) == {3: "rising"}


def test_a_change_of_regime_is_an_event() -> None:
    out = priced([Priced("p", closes({1: 100, 2: 100, 3: 100, 4: 150, 5: 150, 6: 150}, watermark=9.0))], 3, 4, 5, 6)
    assert regimes(out) == {3: "stable", 4: "rising", 5: "rising", 6: "stable"}
    events = rows(out, "events")
    assert [(row["kind"], row["view"], row["window"]) for row in events] == [("price_regime", "ethereum", "2d")] * 3
    assert events[1]["evidence"] == '{"asset": "ethereum", "before": "stable", "closes": 3, "now": "rising"}'


# -------------------------------------------------------------------------------------------- periods, transitions


@pytest.mark.parametrize(
    ("day", "name"),
    [(0.0, "all of it"), (1.99, "all of it"), (2.0, "new year"), (3.99, "new year"), (4.0, "all of it"), (5.0, None)],
)
def test_named_periods_hold_their_last_day_and_the_first_that_fits_counts(day: float, name: str | None) -> None:
    out = priced([], day)
    assert {row["event"] for row in rows(out, "composition")} == {name}


def test_transitions_sum_up_to_the_compositions_they_join() -> None:
    moved = np.array(
        [[5, 1, 0, 0, 2], [0, 3, 0, 1, 0], [0, 0, 2, 0, 1], [1, 0, 0, 4, 0], [3, 0, 1, 0, 0]], dtype=np.int64
    )
    before, after = moved[:4].sum(axis=1), moved[:, :4].sum(axis=0)
    batches = [[*labels(3, before.tolist()), timed(3)], [*labels(4, after.tolist(), moved), timed(4)]]
    out = drive(make(), batches)
    found = rows(out, "transitions")
    assert len(found) == 24, "nobody goes from absent to absent"
    composition = {(row["as_of"].day, row["behaviour"]): row["entities"] for row in rows(out, "composition")}
    for name in BEHAVIOURS:
        assert sum(row["entities"] for row in found if row["from"] == name) == composition[4, name]
        assert sum(row["entities"] for row in found if row["to"] == name) == composition[5, name]
    assert sum(row["entities"] for row in found if "absent" in (row["from"], row["to"])) == 7


@settings(max_examples=50)
@given(st.lists(st.integers(0, 10**6), min_size=4, max_size=4))
def test_shares_sum_to_one(counts: list[int]) -> None:
    shares = [row["share"] for row in rows(drive(make(), [[*labels(3, counts), timed(3)]]), "composition")]
    assert sum(shares) == pytest.approx(1.0 if sum(counts) else 0.0, abs=1e-12)


def test_a_shift_of_the_shares_is_a_drift_event() -> None:
    days = [([50, 1, 4, 5] if day < 60 else [1, 50, 4, 5]) for day in range(100)]
    batches = [[*labels(day + 3, counts), timed(day + 3)] for day, counts in enumerate(days)]
    out = drive(make(), batches)
    events = [row for row in rows(out, "events") if row["kind"] == "drift"]
    series = {json.loads(row["evidence"])["series"] for row in events}
    assert series == {"share of optimist", "share of pessimist"}
    shift = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=63)
    assert all(dt.timedelta(0) <= row["as_of"] - shift <= dt.timedelta(days=35) for row in events)
    middle = plain(drive(make(), batches, restart={70}))
    assert middle == plain(out)


def test_a_state_of_another_schema_is_refused() -> None:
    logic = make()(None)
    logic._state.schema = 1
    with pytest.raises(ValueError, match="schema 1 does not fit schema 2"):
        make()(logic.snapshot())


def test_how_well_the_rules_held_is_a_gauge() -> None:
    out = drive(make(), [[*labels(3, [1, 1, 1, 1]), timed(3)], [*labels(4, [1, 1, 1, 1]), timed(4, model=False)]])
    gauges = [one for one in out if isinstance(one, Gauge)]
    where = (("chain", "ethereum"), ("window", "2d"))
    assert gauges == [
        Gauge("shoal_behaviour_misclassified_ratio", where, 0.125),
        Gauge("shoal_behaviour_silhouette", where, 0.5),
    ]
