from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from connectors.archives import NEVER_US, recognise
from connectors.archives.binance import KLINES
from connectors.errors import InputError

from .conftest import Write, drain

T_US = 1_600_000_000_000_000


def at(us: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(T_US / 1e6, dt.UTC) + dt.timedelta(microseconds=us)


def trades(offsets_us: list[int]) -> pa.Table:
    count = len(offsets_us)
    return pa.table(
        {
            "venue": ["v"] * count,
            "symbol": ["A" if i % 3 else "B" for i in range(count)],
            "trade_id": pa.array(range(count)),
            "side": pa.array([1] * count, pa.int8()),
            "price": [float(i + 1) for i in range(count)],
            "qty": [2.0] * count,
            "ts_event": pa.array([T_US + us for us in offsets_us]).cast(pa.timestamp("us", "UTC")),
        }
    )


def trade(venue: str, symbol: str, number: int | None, side: int, price: float) -> dict[str, Any]:
    """A trade of 2 coins at the first instant."""
    row = {"venue": venue, "symbol": symbol, "trade_id": number, "side": side, "price": price, "qty": 2.0}
    return row | {"ts_event": at(0), "ts_recv": None, "flags": 0}


def test_trades_of_the_schema_are_sorted_by_time_and_keep_their_order_within_it(write_parquet: Write) -> None:
    archive = recognise(write_parquet(trades([5, 1, 5, 0])))
    assert (archive.format, archive.branch, archive.kind, archive.rows_estimate) == ("trades", "market", "trades", 4)
    got = drain(archive.open(), 3)
    assert [row["trade_id"] for row in got.rows] == [3, 1, 0, 2]
    assert got.marks == [NEVER_US, T_US, T_US + 1, T_US + 5]
    assert got.rows[0] == {
        "venue": "v",
        "symbol": "B",
        "trade_id": 3,
        "side": 1,
        "price": 4.0,
        "qty": 2.0,
        "ts_event": at(0),
        "ts_recv": None,
        "flags": 0,
    }


def test_trades_of_one_instant_stay_in_their_order(write_parquet: Write) -> None:
    got = drain(recognise(write_parquet(trades([i // 100 % 2 for i in range(400)]))).open())
    assert [row["trade_id"] for row in got.rows] == [*range(100), *range(200, 300), *range(100, 200), *range(300, 400)]


def test_trades_of_text_may_lack_what_is_optional(write: Write) -> None:
    got = drain(recognise(write("symbol,price,qty,ts_event\nA,1,2,1600000000\n")).open())
    assert got.rows == [
        {
            "venue": "table",
            "symbol": "A",
            "trade_id": None,
            "side": 0,
            "price": 1.0,
            "qty": 2.0,
            "ts_event": at(0),
            "ts_recv": None,
            "flags": 0,
        }
    ]


def test_what_is_no_trade_is_counted_with_its_reason(write: Write) -> None:
    rows = ["A,0,1,1600000000,1", "A,1,0,1600000000,1", "A,1,nan,1600000000,1", ",1,1,1600000000,1", "A,1,1,x,1"]
    rows += ["A,1,1,1600000000,7", "A,1,1,1600000000,-1", "A,1,1,1600000000,-1"]
    got = drain(recognise(write("symbol,price,qty,ts_event,side\n" + "\n".join(rows) + "\n")).open())
    assert [(row["position"], row["reason"]) for row in got.quarantined] == [
        (1, "not a price"),
        (2, "not a quantity"),
        (3, "not a quantity"),
        (4, "no symbol"),
        (5, "not a time"),
        (6, "not a side (1, -1 or 0)"),
    ]
    assert [row["side"] for row in got.rows] == [-1, -1]  # without numbers equal trades are two


def sorted_by_groups(rng: np.random.Generator, count: int, group: int) -> pa.Table:
    """Trades whose row groups follow each other, in disorder within each."""
    offsets = np.sort(rng.integers(0, count, count))
    for start in range(0, count, group):
        rng.shuffle(offsets[start : start + group])
    table = trades(offsets.tolist())
    price = table.column("price").to_numpy().copy()
    price[::17] = 0.0
    return table.set_column(table.schema.get_field_index("price"), "price", pa.array(price))


@pytest.mark.parametrize("unit", ["us", "ms"])
def test_row_groups_that_follow_each_other_are_read_one_by_one(
    write_parquet: Write, rng: np.random.Generator, unit: str
) -> None:
    table = sorted_by_groups(rng, 500, 64)
    if unit == "ms":
        stamps = table.column("ts_event").cast(pa.timestamp("ms", "UTC"), safe=False)
        table = table.set_column(table.schema.get_field_index("ts_event"), "ts_event", stamps)
    path = write_parquet(table, row_group_size=64)
    reader = recognise(path).open()
    assert reader.rows_total == 500
    rows: list[dict[str, Any]] = []
    bad: list[int] = []
    marks: list[int] = []
    watermark = NEVER_US
    while (batch := reader.next(50)) is not None:
        assert batch.watermark_us >= watermark
        watermark = batch.watermark_us
        if batch.kind == "quarantine":
            bad += batch.rows.column("position").to_pylist()
        elif batch.row_watermarks_us is not None:
            rows += batch.rows.to_pylist()
            marks += batch.row_watermarks_us.tolist()
    assert sorted(bad) == [i + 1 for i in range(0, 500, 17)]
    whole = drain(recognise(write_parquet(table, "whole.parquet")).open())
    assert [row["ts_event"] for row in rows] == [row["ts_event"] for row in whole.rows]
    assert sorted(row["trade_id"] for row in rows) == sorted(row["trade_id"] for row in whole.rows)
    events = [
        (row["ts_event"] - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) for row in rows
    ]
    assert marks[0] == NEVER_US
    assert all(mark <= event for mark, event in zip(marks, events, strict=True)), "a row is never late"
    # from anywhere on, the same
    for position in (0, 63, 64, 65, 300, 499, 500):
        one, other = recognise(path).open(position=position), recognise(path).open()
        left, right = one.next(40), other.read(position, 40)
        assert left is not None
        assert right is not None
        assert left.rows.equals(right.rows)
        assert left.watermark_us == right.watermark_us


def test_row_groups_in_disorder_are_sorted_as_a_whole(write_parquet: Write, rng: np.random.Generator) -> None:
    offsets = rng.permutation(200).tolist()
    path = write_parquet(trades(offsets), row_group_size=32)
    got = drain(recognise(path).open(), 30)
    assert [row["ts_event"] for row in got.rows] == [at(us) for us in range(200)]


def test_bars_of_the_schema_keep_their_venue_interval_and_counts(write: Write) -> None:
    header = "venue,symbol,interval_us,ts_close,close,open,n_trades,flags,volume\n"
    rows = "w,A,60000000,1600000060,2,1,7,1,-4\nv,A,60000000,1600000060,3,,x,900,4\n,A,60000000,1600000120,2,1,7,0,0\n"
    bad = "v,A,soon,1600000060,2,1,7,0,0\nv,A,60000000,1600000060,9,1,7,0,0\n"
    archive = recognise(write(header + rows + bad))
    assert archive.format == "bars"
    reader = archive.open()
    assert reader.spacing_us == 60_000_000
    got = drain(reader)
    assert [
        (r["venue"], r["ts_close"], r["close"], r["open"], r["n_trades"], r["flags"], r["volume"]) for r in got.rows
    ] == [
        ("v", at(60_000_000), 3.0, None, None, 0, 4.0),
        ("w", at(60_000_000), 2.0, 1.0, 7, 1, None),
        ("table", at(120_000_000), 2.0, 1.0, 7, 0, 0.0),
    ]
    assert [row["reason"] for row in got.quarantined] == ["not an interval", "time and coin came before"]


def test_bars_of_one_time_stand_in_the_order_of_symbols_then_venues(write: Write) -> None:
    rows = [f"{venue},{symbol},0,1600000060,2" for venue in "vw" for symbol in "BA"]
    got = drain(recognise(write("venue,symbol,interval_us,ts_close,close\n" + "\n".join(rows) + "\n")).open())
    assert [row["symbol"] + row["venue"] for row in got.rows] == ["Av", "Aw", "Bv", "Bw"]


def test_a_trade_file_without_a_time_is_told_so(write: Write) -> None:
    with pytest.raises(InputError, match=r"looks like trades but lacks a time \(ts_event\)"):
        recognise(write("symbol,price,qty,when\nA,1,2,3\n"))


def klines(open_time: int, count: int, step: int) -> str:
    rows = []
    for i in range(count):
        opened = open_time + i * step
        rows.append(f"{opened},{i + 1}.0,{i + 2}.0,0.5,{i + 1}.5,10.0,{opened + step - 1},15.0,{i},5.0,7.5,0\n")
    return "".join(rows)


@pytest.mark.parametrize(("per_s", "header"), [(1_000, False), (1_000_000, False), (1_000, True)])
def test_klines_in_milliseconds_and_microseconds(write: Write, per_s: int, header: bool) -> None:
    text = (",".join(KLINES) + "\n" if header else "") + klines(1_600_000_000 * per_s, 3, 60 * per_s)
    archive = recognise(write(text, "BTCUSDT-1m-2020-09.zip"))
    assert (archive.format, archive.kind) == ("binance-klines", "bars")
    reader = archive.open()
    assert reader.spacing_us == 60_000_000
    got = drain(reader)
    assert [(r["venue"], r["symbol"], r["ts_close"], r["close"], r["n_trades"]) for r in got.rows] == [
        ("binance", "BTCUSDT", at(60_000_000 * (i + 1)), i + 1.5, i) for i in range(3)
    ]
    assert {r["interval_us"] for r in got.rows} == {60_000_000}


def test_a_folder_of_klines_is_one_table_over_the_change_of_unit(write: Write, tmp_path: Path) -> None:
    write(klines(1_600_000_000_000, 2, 60_000), "k/ETHUSDT-1m-2020-09.zip")
    write(klines(1_600_000_000_000_000, 3, 60_000_000), "k/BTCUSDT-1m-2020-09.zip")
    got = drain(recognise(tmp_path / "k").open(), 2)
    assert [row["symbol"] for row in got.rows] == ["BTCUSDT", "ETHUSDT", "BTCUSDT", "ETHUSDT", "BTCUSDT"]


def test_agg_trades_and_trades_name_the_side_of_the_taker(write: Write) -> None:
    rows = (
        "7,1.5,2,1,1,1600000000000000,True,True\n8,1.6,2,2,2,1600000000001,false,True\n9,1,1,3,3,1600000000002,?,True\n"
    )
    archive = recognise(write(rows, "BTCUSDT-aggTrades-2020-09.csv.gz"))
    assert (archive.format, archive.kind) == ("binance-aggtrades", "trades")
    got = drain(archive.open())
    assert [(r["symbol"], r["trade_id"], r["side"], r["ts_event"]) for r in got.rows] == [
        ("BTCUSDT", 7, -1, at(0)),
        ("BTCUSDT", 8, 1, at(1_000)),
    ]
    assert [(r["position"], r["column"]) for r in got.quarantined] == [(3, "is_buyer_maker")]
    rows = "7,1.5,2,3,1600000000000,False,True\n8,0,2,3,1600000000000,False,True\n"
    archive = recognise(write(rows, "ETHUSDT-trades-2020-09-13.zip"))
    assert archive.format == "binance-trades"
    got = drain(archive.open())
    assert [(r["venue"], r["symbol"], r["trade_id"], r["side"]) for r in got.rows] == [("binance", "ETHUSDT", 7, 1)]
    assert [r["reason"] for r in got.quarantined] == ["not a price"]
