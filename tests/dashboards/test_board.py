from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import SchemaError
from connectors.tables import BEHAVIOURS, TABLES
from dashboards.board import Board
from dashboards.history import History, as_dicts, event_key, merge
from dashboards.state import EVENTS_KEPT, POINTS_KEPT
from tests.dashboards.feeder import CHAIN, CHAIN_WINDOW, COINS, START_US, VIEW, WINDOW, Feeder, batch, event


class Recorder(Board):
    """A board that remembers what was published on it."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[tuple[str, Any]] = []

    def publish(self, table: str, rows: pa.RecordBatch | pa.Table) -> None:
        self.published.append((table, rows))
        super().publish(table, rows)


def picture(board: Board) -> Any:
    """Everything that a reader can see of the results."""
    now = board.snapshot()
    fits = {k: (f.as_of_us, f.row, f.shoals.to_pylist(), f.members.to_pylist()) for k, f in now.fits.items()}
    tables = {k: t.to_pylist() for k, t in {**now.of_window, **now.of_chain}.items()}
    histories = [board.events(), *(board.drift(v) for v in now.views), *(board.compositions(c) for c in now.chains)]
    return fits, tables, histories, now.departures, now.event_counts, now.regimes, now.compositions, now.fits_published


def test_the_same_rows_twice_change_nothing() -> None:
    board = Recorder()
    Feeder(board).story(14)
    before = picture(board)
    for table, rows in list(board.published):
        board.publish(table, rows)
    assert picture(board) == before
    assert sum(before[3][(WINDOW, VIEW)].values()) == 2


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_rows_in_any_pieces_and_repetitions_show_the_same_state(data: st.DataObject) -> None:
    whole = Recorder()
    Feeder(whole, coins=COINS[:5], shoals=2).story(4)
    cut = Board()
    cut.expect([(WINDOW, [VIEW])], [(CHAIN, CHAIN_WINDOW)], ["binance", CHAIN])
    position = 0
    while position < len(whole.published):
        table, rows = whole.published[position]
        at = data.draw(st.integers(0, rows.num_rows)) if table not in ("fits", "shoals", "memberships") else 0
        cut.publish(table, rows.slice(0, at))
        cut.publish(table, rows.slice(at))
        position += 1
        if data.draw(st.booleans()):
            position = max(0, position - data.draw(st.integers(0, 4)))
    assert picture(cut) == picture(whole)


def test_a_fit_is_shown_when_all_its_parts_are_there() -> None:
    source, board = Recorder(), Board()
    feeder = Feeder(source)
    feeder.fit()
    feeder.fit()
    parts: dict[int, dict[str, Any]] = {}
    for table, rows in source.published:
        parts.setdefault(rows["as_of"][0].value, {})[table] = rows
    first, second = (parts[t] for t in sorted(parts))
    for table in ("memberships", "fits", "shoals"):
        board.publish(table, first[table])
    assert board.snapshot().fits[(WINDOW, VIEW)].as_of_us == START_US
    for table in ("memberships", "shoals"):
        board.publish(table, second[table])
        assert board.snapshot().fits[(WINDOW, VIEW)].as_of_us == START_US
    board.publish("fits", second["fits"])
    assert board.snapshot().fits[(WINDOW, VIEW)].as_of_us > START_US


def test_a_fit_that_did_not_converge_needs_no_shoals() -> None:
    board = Board()
    at = {"as_of": START_US, "window": WINDOW, "view": VIEW}
    board.publish("fits", batch("fits", {**at, "clusters": 0, "converged": False, "iterations": 400, "silhouette": None,
                                         "coins": 1, "coverage": 1.0}))  # fmt: skip
    board.publish("memberships", batch("memberships", {**at, "coin_id": "BTC", "shoal": None, "home": 3,
                                                       "margin": None, "distance": None, "is_exemplar": False,
                                                       "coverage": 1.0}))  # fmt: skip
    assert board.snapshot().fits[(WINDOW, VIEW)].row["converged"] is False


def test_an_older_fit_never_replaces_a_newer_one() -> None:
    source, board = Recorder(), Board()
    feeder = Feeder(source)
    for _ in range(3):
        feeder.fit()
    for table, rows in reversed(source.published):
        board.publish(table, rows)
    assert board.snapshot().fits[(WINDOW, VIEW)].as_of_us == feeder.fits * 60_000_000 + START_US - 60_000_000
    assert board.snapshot().fits_published[(WINDOW, VIEW)] == 3


def test_a_snapshot_does_not_change_when_the_board_does() -> None:
    board = Board()
    feeder = Feeder(board)
    feeder.story(3)
    before = board.snapshot()
    seen = (before.fits[(WINDOW, VIEW)].as_of_us, dict(before.compositions), before.departures, before.feeds["binance"])
    feeder.fit(mover=3)
    feeder.composition()
    feeder.heard()
    after = (
        before.fits[(WINDOW, VIEW)].as_of_us,
        dict(before.compositions),
        before.departures,
        before.feeds["binance"],
    )
    assert after == seen
    assert board.snapshot() is not before
    assert board.snapshot() is board.snapshot()


def test_histories_are_bounded_and_evicted_events_are_not_counted_again() -> None:
    board = Board()
    many = EVENTS_KEPT + 50
    columns = {
        "as_of": [START_US + i for i in range(many)], "window": WINDOW, "view": VIEW, "kind": "left", "coin_id": "BTC",
        "shoal_from": 1, "shoal_to": 2, "margin": -0.2, "evidence": "{}",
    }  # fmt: skip
    rows = batch("events", columns)
    for _ in range(2):
        board.publish("events", rows)
        assert len(board.events()) == EVENTS_KEPT
        assert board.snapshot().departures[(WINDOW, VIEW)] == {"BTC": many}
    feeder = Feeder(board)
    for _ in range(POINTS_KEPT + 5):
        feeder.composition()
    points = board.compositions((CHAIN, CHAIN_WINDOW))
    assert len(points) == POINTS_KEPT
    assert points[-1]["as_of_us"] == START_US + (POINTS_KEPT + 4) * 60_000_000


def test_events_are_kept_in_order_of_their_time() -> None:
    board = Board()
    for offset in (5, 1, 9, 3):
        board.publish("events", event("joined", START_US + offset, coin_id=f"C{offset}", shoal_to=1))
    assert [row["coin_id"] for row in board.events()] == ["C1", "C3", "C5", "C9"]


def test_ready_says_what_is_missing_until_nothing_is() -> None:
    board = Board()
    assert board.ready() == (False, ["the service is starting"])
    feeder = Feeder(board)
    feeder.expect()
    board.progress(WINDOW, 63, 120)
    ready, missing = board.ready()
    assert not ready
    assert missing == [
        f"window {WINDOW}, view {VIEW}: 0 of 2 fits published (63 of 120 bars)",
        f"chain {CHAIN}, window {CHAIN_WINDOW}: no composition published",
        "feed binance: nothing heard yet",
        f"feed {CHAIN}: nothing heard yet",
    ]
    feeder.fit()
    assert f"window {WINDOW}, view {VIEW}: 1 of 2 fits published" in board.ready()[1]
    feeder.fit()
    feeder.composition()
    feeder.heard(up=False)
    assert board.ready() == (False, ["feed binance: down"])
    feeder.heard()
    assert board.ready() == (True, [])


def test_bad_rows_and_bad_gauges_are_refused() -> None:
    board = Board()
    rows = batch("drift", {"as_of": START_US, "window": "w", "view": "v", "ari": 1.0, "ami": 1.0, "vi": 0.0,
                           "churn": 0.0, "effective_rank": 2.0, "edge_density": 0.1})  # fmt: skip
    with pytest.raises(SchemaError, match="no such table"):
        board.publish("nonsense", rows)
    with pytest.raises(SchemaError, match=r"'churn'.*missing"):
        board.publish("drift", rows.drop_columns(["churn"]))
    with pytest.raises(SchemaError, match="'ari'"):
        board.publish("drift", rows.set_column(3, "ari", pa.array(["much"])))
    for table in TABLES:  # tables that nothing here shows are passed over
        board.publish(table, TABLES[table].schema.empty_table())
    board.publish("timings", rows)
    with pytest.raises(ValueError, match="not a gauge"):
        board.gauge("shoal_unheard_of", {}, 1.0)
    with pytest.raises(ValueError, match="has the labels"):
        board.gauge("shoal_behaviour_silhouette", {"chain": "ethereum"}, 1.0)
    with pytest.raises(ValueError, match="never labels"):
        board.gauge("shoal_behaviour_silhouette", {"chain": "0x" + "ab" * 20, "window": "5m"}, 1.0)
    assert board.snapshot().gauges == {}


def test_compositions_of_four_rows_become_one_point() -> None:
    board = Board()
    Feeder(board).composition()
    (point,) = board.compositions((CHAIN, CHAIN_WINDOW))
    assert set(point["share"]) == set(BEHAVIOURS)
    assert sum(point["share"].values()) == pytest.approx(1.0)
    assert board.snapshot().regimes == {CHAIN: "rising"}


def test_reconnect_reasons_are_few_and_never_addresses() -> None:
    board = Board()
    reasons = {f"reason {i:03d}": 1 for i in range(300)} | {"0x" + "ab" * 20: 5}
    board.feed("binance", {"up": True, "reconnects": reasons})
    kept = board.snapshot().feeds["binance"]["reconnects"]
    assert sum(kept.values()) == 305
    assert len(kept) <= 21
    assert not any(name.startswith("0x") for name in kept)


def test_messages_reach_a_subscriber_from_another_thread_and_a_slow_one_is_dropped() -> None:
    async def run() -> None:
        board = Board()
        feeder = Feeder(board)
        quick, slow = board.subscribe(), board.subscribe(limit=3)
        writer = threading.Thread(target=lambda: (feeder.story(3), feeder.fit(mover=2)))
        writer.start()
        kinds = []
        while "event" not in kinds or kinds.count("fit") < 4:
            message = await quick.next(10.0)
            assert message is not None
            kinds.append(message.kind)
        writer.join()
        assert set(kinds) <= {"fit", "event", "composition", "feed"}
        assert slow.closed
        assert slow.overrun
        assert await slow.next(1.0) is None
        board.unsubscribe(slow)
        board.unsubscribe(quick)
        assert board.listeners == (0, 1)

    asyncio.run(run())


def test_a_repeated_event_is_sent_once() -> None:
    async def run() -> None:
        board = Board()
        subscription = board.subscribe()
        rows = event("left", START_US, coin_id="BTC", shoal_from=1, shoal_to=2, margin=-0.3)
        board.publish("events", rows)
        board.publish("events", rows)
        message = await subscription.next(5.0)
        assert message is not None
        assert message.body["coin_id"] == "BTC"
        assert await subscription.next(0.0) is None

    asyncio.run(run())


def test_many_threads_write_and_read_at_once() -> None:
    board = Board()
    feeders = [Feeder(board, coins=COINS[:6], shoals=2, seed=s) for s in range(3)]
    faults: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            faults.append(error)

    threads = [threading.Thread(target=guarded, args=(lambda f=f: f.story(8),)) for f in feeders]
    threads += [threading.Thread(target=guarded, args=(lambda: [picture(board) for _ in range(40)],))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert board.snapshot().fits_published[(WINDOW, VIEW)] == 8


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=80), st.integers(1, 12))
def test_history_is_a_bounded_sorted_map(items: list[tuple[int, int]], limit: int) -> None:
    history = History(limit)
    seen: dict[int, int] = {}
    evicted = -1
    for key, value in items:
        new = history.add((key,), {"v": value})
        assert new == (key not in seen and key > evicted)
        if key in seen or key > evicted:
            seen[key] = value
        if len(seen) > limit:
            evicted = min(seen)
            del seen[evicted]
    assert [row["v"] for row in history.rows()] == [seen[key] for key in sorted(seen)]


def test_merge_keeps_the_later_of_two_rows_and_sorts_by_key() -> None:
    rng = np.random.default_rng(3)
    names = [f"c{i}" for i in rng.integers(0, 6, 20)]
    values = rng.normal(size=20)
    rows = batch("embedding", {"as_of": START_US, "window": "w", "coin_id": names, "x": values, "y": 0.0, "z": 0.0})
    table = pa.Table.from_batches([rows])
    merged = as_dicts(merge("embedding", table.slice(0, 9), table.slice(9)))
    twin = dict(zip(names, values.tolist(), strict=True))
    assert [(r["coin_id"], r["x"]) for r in merged] == sorted(twin.items())


def test_event_keys_compare_with_missing_parts() -> None:
    rows = [as_dicts(pa.Table.from_batches([event(k, START_US, coin_id=c, shoal_from=f, shoal_to=2)]))[0]
            for k in ("left", "born") for c in (None, "A") for f in (None, 1)]  # fmt: skip
    assert len({event_key(row) for row in rows}) == len(sorted(map(event_key, rows))) == 8
