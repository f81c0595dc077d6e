from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.archives import NEVER_US, Options, recognise
from connectors.archives.prices import coin_of_file
from connectors.errors import InputError

from .conftest import Read, Write, drain

DAY_US = 86_400_000_000


def day(number: int, hour: int = 0) -> dt.datetime:
    return dt.datetime(2021, 1, number, hour, tzinfo=dt.UTC)


def read(path: Path, limit: int = 1_000, options: Options | None = None) -> Read:
    return drain(recognise(path).open(options), limit)


def closes(got: Read) -> list[tuple[dt.datetime, str, float]]:
    return [(row["ts_close"], row["symbol"], row["close"]) for row in got.rows]


LONG = "date,coin_id,price_usd\n2021-01-02,b,4\n2021-01-01,a,1\n2021-01-02,a,2\n2021-01-01,b,3\n"
SORTED = [(day(1), "a", 1.0), (day(1), "b", 3.0), (day(2), "a", 2.0), (day(2), "b", 4.0)]


def test_a_long_table_is_sorted_by_time_and_coin(write: Write) -> None:
    archive = recognise(write(LONG))
    assert (archive.format, archive.branch, archive.kind) == ("prices-long", "market", "bars")
    reader = archive.open()
    assert (reader.rows_total, reader.spacing_us, reader.position) == (4, DAY_US, 0)
    got = drain(reader)
    assert closes(got) == SORTED
    first = int(day(1).timestamp()) * 1_000_000 - 1
    assert got.marks == [NEVER_US, first, first, first + DAY_US]
    assert {(row["venue"], row["interval_us"], row["flags"]) for row in got.rows} == {("table", 0, 0)}
    assert all(row[name] is None for row in got.rows for name in ("open", "volume", "market_cap", "n_trades"))


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.csv.gz", "p.zip", "without_an_ending"])
@pytest.mark.parametrize("mark", [",", "\t", ";", "|"])
def test_any_container_and_delimiter_gives_the_same(write: Write, name: str, mark: str) -> None:
    assert closes(read(write(LONG.replace(",", mark), name))) == SORTED


@pytest.mark.parametrize(
    "text",
    [
        LONG.replace("\n", "\r\n"),
        LONG.replace("\n", "\r"),
        "\ufeff" + LONG,
        LONG.rstrip("\n"),
        "\n\n" + LONG.replace("\n", "\n\n"),
        '"' + LONG.replace(",", '","').replace("\n", '"\n"').removesuffix('"'),
        LONG.replace("date,coin_id,price_usd", "Date, Coin ID ,PRICE_USD"),
        LONG.replace("a", "a").replace("date", " date "),
    ],
)
def test_line_ends_marks_quotes_and_spelling_of_the_header_do_not_matter(write: Write, text: str) -> None:
    assert closes(read(write(text))) == SORTED


def test_parquet_of_any_types_gives_the_same(write_parquet: Write) -> None:
    days = [day(2), day(1), day(2), day(1)]
    coins, price = ["b", "a", "a", "b"], [4, 1, 2, 3]
    for kind in (pa.date32(), pa.timestamp("ns"), pa.timestamp("ms", "UTC"), pa.timestamp("s", "Asia/Tokyo")):
        table = {
            "timestamp": pa.array(days).cast(kind) if kind != pa.date32() else pa.array([d.date() for d in days]),
            "symbol": pa.array(coins).dictionary_encode(),
            "close": pa.array(price, pa.float32()),
        }
        assert closes(read(write_parquet(table, row_group_size=3))) == SORTED


def test_the_first_name_of_the_contract_wins(write: Write) -> None:
    text = "timestamp,date,symbol,pair,coin_id,close_usd,price_usd,close,price\n1,2021-01-01,s,p,c,4,3,2,1\n"
    assert closes(read(write(text))) == [(day(1), "c", 1.0)]
    text = "open_time,time,symbol,pair,close_usd,price_usd\n1,2021-01-01,s,p,4,3\n"
    assert closes(read(write(text))) == [(day(1), "p", 3.0)]


def test_a_column_that_is_there_twice_is_refused(write: Write, write_parquet: Write) -> None:
    with pytest.raises(InputError, match="2 columns named 'price'"):
        recognise(write("date,coin_id,price,price\n2021-01-01,a,1,2\n"))
    with pytest.raises(InputError, match="2 columns named 'date'"):
        recognise(write("Date,DATE,coin_id,price\n2021-01-01,2021-01-01,a,1\n"))
    with pytest.raises(InputError, match=r"of type list.*flat"):
        recognise(write_parquet({"date": ["2021-01-01"], "coin_id": ["a"], "price": [[1.0]]}))


def test_rows_of_open_high_low_close_stand_at_their_open(write: Write) -> None:
    text = "time,pair,open,high,low,close,volume\n"
    text += "".join(f"2021-01-01T0{hour}:00:00Z,A/B,1,4,0.5,{hour + 2},7\n" for hour in (0, 1, 2, 5))
    reader = recognise(write(text)).open()
    assert reader.spacing_us == 3_600_000_000
    got = drain(reader)
    assert closes(got) == [(day(1, hour + 1), "A/B", hour + 2.0) for hour in (0, 1, 2, 5)]
    row = got.rows[0]
    assert [row[name] for name in ("open", "high", "low", "volume", "interval_us")] == [1, 4, 0.5, 7, 3_600_000_000]


def test_open_time_and_interval_say_that_a_stamp_is_the_open(write: Write) -> None:
    assert closes(read(write("open_time,symbol,close\n1609459200000,A,2\n1609545600000,A,3\n"))) == [
        (day(2), "A", 2.0),
        (day(3), "A", 3.0),
    ]
    text = "date,symbol,close,interval\n2021-01-01,A,2,1d\n2021-01-01,B,3,1h\n2021-01-01,C,3,often\n"
    got = read(write(text))
    assert closes(got) == [(day(1, 1), "B", 3.0), (day(2), "A", 2.0)]
    assert [row["reason"] for row in got.quarantined] == ["not an interval"]


def test_bars_of_one_time_need_their_interval_said(write: Write) -> None:
    path = write("open_time,symbol,close\n1609459200000,A,2\n")
    with pytest.raises(InputError, match=r"length of its bars is unknown \(add a column `interval`"):
        recognise(path).open()
    assert closes(read(path, options=Options(interval_us=DAY_US))) == [(day(2), "A", 2.0)]


def test_volume_is_in_units_of_the_coin(write: Write) -> None:
    text = "date,coin_id,price_usd,volume_usd,market_cap_usd,open_usd\n2021-01-01,a,4,10,0,-1\n2021-01-02,a,5,-1,7,x\n"
    rows = read(write(text)).rows
    assert [(row["volume"], row["market_cap"], row["open"]) for row in rows] == [(2.5, None, None), (None, 7.0, None)]
    rows = read(write(text.replace("volume_usd", "volume"))).rows
    assert rows[0]["volume"] == 10.0


def test_what_is_no_price_is_counted_with_its_reason(write: Write) -> None:
    lines = [
        *("2021-01-01,a,0", "2021-01-01,b,-1", "2021-01-01,c,nan", "2021-01-01,d,inf", "2021-01-01,e,8.9e-46"),
        *("2021-01-01,f,", "2021-01-01,g,x", "2021-13-01,h,1", ",i,1", "2021-01-01,,1", "2021-01-01,j"),
        *("2021-01-01,k,1,2", "2021-01-01,l,1e-15", "2021-01-01,l,2", "2021-01-01T00:00Z,l,3", "2021-01-02,l,1"),
    ]
    got = read(write("date,coin_id,price\n" + "\n".join(lines) + "\n", "p.csv"), limit=3)
    assert closes(got) == [(day(1), "l", 1e-15), (day(2), "l", 1.0)]
    assert [(row["position"], row["column"], row["reason"], row["detail"]) for row in got.quarantined] == [
        (1, "price", "not a price", "0"),
        (2, "price", "not a price", "-1"),
        (3, "price", "not a price", "nan"),
        (4, "price", "not a price", "inf"),
        (5, "price", "not a price", "8.9e-46"),
        (6, "price", "not a price", ""),
        (7, "price", "not a price", "x"),
        (8, "date", "not a time", "2021-13-01"),
        (9, "date", "not a time", ""),
        (10, "coin_id", "no coin", ""),
        (11, "", "2 cells where 3 are", "2021-01-01,j"),
        (12, "", "4 cells where 3 are", "2021-01-01,k,1,2"),
        (14, "", "time and coin came before", "first in row 13 of p.csv"),
        (15, "", "time and coin came before", "first in row 13 of p.csv"),
    ]
    assert {row["source"] for row in got.quarantined} == {"p.csv"}


def test_a_bad_price_does_not_hide_a_good_one_of_the_same_time(write: Write) -> None:
    got = read(write("date,coin_id,price\n2021-01-01,a,0\n2021-01-01,a,5\n"))
    assert closes(got) == [(day(1), "a", 5.0)]


def test_bytes_that_are_not_utf8_cost_their_row(write: Write) -> None:
    got = read(write(b"date,coin_id,price\n2021-01-01,a\xff,1\n2021-01-01,b,2\n2021-01-01,b,\xff\n"))
    assert closes(got) == [(day(1), "b", 2.0)]
    assert [(row["position"], row["reason"]) for row in got.quarantined] == [
        (1, "not UTF-8 text"),
        (3, "not UTF-8 text"),
    ]


def test_malformed_rows_keep_their_numbers_also_where_bytes_are_not_utf8(write: Write) -> None:
    got = read(write(b"\n\ndate,coin_id,price\n\n2021-01-01,a\xff\n2021-01-01,b,2\n\xfe\n2021-01-01,c\xc3\xa9,1,\n"))
    assert [row["symbol"] for row in got.rows] == ["b"]
    assert [(row["position"], row["reason"]) for row in got.quarantined] == [
        (1, "2 cells where 3 are"),
        (3, "1 cells where 3 are"),
        (4, "4 cells where 3 are"),
    ]


def test_a_stray_quote_costs_its_row_and_not_those_after_it(write: Write) -> None:
    rows = "".join(f"2021-01-01,c{i},1\n" for i in range(8_000))
    got = read(write("date,coin_id,price\n" + rows + '2021-01-01,"a,1\n2021-01-02,a,"2\n2021-01-01,a,2\n'), 10_000)
    assert len(got.rows) == 8_002
    assert [row["reason"] for row in got.quarantined] == ["not a price"]


def test_an_open_quote_in_a_quoted_file_is_an_error_with_its_row(write: Write) -> None:
    text = 'date,coin_id,price,note\n2021-01-01,a,1,"x"\n2021-01-02,a,1,"y\n2021-01-03,a,1,z\n'
    with pytest.raises(InputError, match="a quoted value of row 2 runs over the end of its line"):
        recognise(write(text)).open()


WIDE = "date,bitcoin,Ether 2\n2021-01-02,4,5\n2021-01-01,1,\n2021-01-03,0,nan\n"


def test_a_wide_table_has_a_coin_in_every_column(write: Write) -> None:
    archive = recognise(write(WIDE))
    assert archive.format == "prices-wide"
    got = drain(archive.open())
    assert closes(got) == [(day(1), "bitcoin", 1.0), (day(2), "Ether 2", 5.0), (day(2), "bitcoin", 4.0)]
    assert [(row["position"], row["column"], row["reason"]) for row in got.quarantined] == [
        (3, "bitcoin", "not a price")
    ]


@pytest.mark.parametrize("name", ["", "index", "Unnamed: 0", "Time", "timestamp", "open_time"])
def test_the_first_column_of_a_wide_table_may_be_an_index(write: Write, name: str) -> None:
    archive = recognise(write(WIDE.replace("date", name)))
    assert archive.format == "prices-wide"
    assert len(drain(archive.open()).rows) == 3


def test_a_bad_time_in_a_wide_table_costs_its_prices(write: Write) -> None:
    got = read(write(WIDE + "tomorrow,7,8\n2021-01-01,9,9\n"))
    assert len(got.rows) == 4  # the second row of the same day still has the price that the first lacks
    assert [(row["position"], row["column"], row["reason"]) for row in got.quarantined] == [
        (3, "bitcoin", "not a price"),
        (4, "date", "not a time"),
        (4, "date", "not a time"),
        (5, "", "time and coin came before"),
    ]


def test_wide_parquet_with_its_time_first_or_as_the_index_of_pandas(write_parquet: Write) -> None:
    times, prices = pa.array([day(2), day(1)]), pa.array([2.0, None])
    for table in (
        {"time": times, "a": prices, "b": pa.array([3, 4])},
        {"a": prices, "b": pa.array([3, 4]), "__index_level_0__": times},
    ):
        archive = recognise(write_parquet(table))
        assert archive.format == "prices-wide"
        assert closes(drain(archive.open())) == [(day(1), "b", 4.0), (day(2), "a", 2.0), (day(2), "b", 3.0)]


def test_a_table_without_a_coin_is_of_the_coin_that_its_file_names(write: Write) -> None:
    header = "Date,Open,High,Low,Close,Volume,Market Cap,Time Open,Time High,Time Low,Time Close\n"
    rows = "02-01-2021,2,3,1,2,10,100,,,,\n01-01-2021,1,3,1,4,10,100,,,,\n"
    archive = recognise(write(header + rows, "BTC_USD-01-01-2021_02-01-2021.csv"))
    assert archive.format == "prices-single"
    got = drain(archive.open())
    assert closes(got) == [(day(2), "BTC", 4.0), (day(3), "BTC", 2.0)]
    assert got.rows[0]["volume"] == 2.5  # CoinMarketCap counts it in money
    assert got.rows[0]["market_cap"] == 100.0


@pytest.mark.parametrize(
    ("name", "coin"),
    [
        ("bitcoin-cash.csv", "bitcoin-cash"),
        ("btc.parquet", "btc"),
        ("ETH_EUR_01-01-2020_02-01-2021.CSV.gz", "ETH"),
        ("BTCUSDT-1m-2024-01.zip", "BTCUSDT"),
        ("BTCUSDT-1d-2024-01-05.csv", "BTCUSDT"),
        ("cci30", "cci30"),
    ],
)
def test_the_coin_of_a_file_name(name: str, coin: str) -> None:
    assert coin_of_file(name) == coin


def test_a_folder_of_tables_is_one_table(write: Write, tmp_path: Path) -> None:
    write("date,coin_id,price\n2021-01-02,a,2\n2021-01-01,b,0\n", "in/2.csv")
    write("date,coin_id,price_usd\n2021-01-01,a,1\n2021-01-02,a,9\n", "in/1.csv.gz")
    write("hello\n", "in/readme.txt")
    write("x", "in/.hidden")
    archive = recognise(tmp_path / "in")
    assert [source.name for source in archive.sources] == ["1.csv.gz", "2.csv"]
    assert [text.split(":")[0] for text in archive.unknown] == ["readme.txt"]
    got = drain(archive.open())
    assert closes(got) == [(day(1), "a", 1.0), (day(2), "a", 9.0)]
    assert [(row["source"], row["position"], row["detail"]) for row in got.quarantined] == [
        ("2.csv", 1, "first in row 2 of 1.csv.gz"),
        ("2.csv", 2, "0"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("date,coin_id,price\n", "has no rows"),
        ("date,coin_id,price", "has no rows"),
        (
            "date,coin_id,price\n2021-01-01,a,0\nx,a,1\n",
            r"no usable row among 2; the first: row 1 of table.csv, column 'price'",
        ),
    ],
)
def test_a_table_with_nothing_usable_is_an_error(write: Write, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        recognise(write(text)).open()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "date,coin_id,volume\n2021-01-01,a,1\n",
            r"lacks a price \(price, close, price_usd, close_usd\).*date, coin_id, volume",
        ),
        ("day,coin_id,price\n2021-01-01,a,1\n", r"lacks a time \(date, time, timestamp, open_time\)"),
        ("date,what\n2021-01-01,words\n2021-01-02,words\n", "no format that is known here; its columns are date, what"),
        ("time,symbol,price,side\n2021-01-01,a,1,buy\n", "no format that is known"),
        ("date\n2021-01-01\n", "no format that is known"),
        ("1,2,3\n4,5,6\n", "has no header; its first row is 1, 2, 3"),
    ],
)
def test_what_cannot_be_read_says_what_was_found_and_what_is_needed(write: Write, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        recognise(write(text))
    assert caught.value.path.endswith("table.csv")
    assert caught.value.remedy


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from("abcd"), st.sampled_from([0.0, -1.0, 1.0, 2.5, 1e-20])),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 10),
)
def test_a_table_in_any_order_agrees_with_a_plain_sort(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, float]], limit: int
) -> None:
    path = tmp_path_factory.mktemp("sorted") / "t.csv"
    stamps = [1_609_459_200 + 3_600 * hour for hour, _, _ in rows]
    body = "".join(f"{stamp},{coin},{price}\n" for stamp, (_, coin, price) in zip(stamps, rows, strict=True))
    path.write_text("timestamp,coin_id,price\n" + body)
    expected: dict[tuple[int, str], float] = {}
    for stamp, (_, coin, price) in zip(stamps, rows, strict=True):
        if price > 1e-15:
            expected.setdefault((stamp, coin), price)
    if not expected:
        with pytest.raises(InputError, match="no usable row"):
            recognise(path).open()
        return
    got = read(path, limit)
    found = [((int(time.timestamp()), coin), price) for time, coin, price in closes(got)]
    assert found == sorted(expected.items())
    assert len(got.rows) + len(got.quarantined) == len(rows)
    ends = np.array([int(row["ts_close"].timestamp()) * 1_000_000 - 1 for row in got.rows])
    assert got.marks == [NEVER_US, *np.maximum.accumulate(ends)[:-1].tolist()]
