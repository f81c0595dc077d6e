"""Whatever bytes a file holds, it is refused by an InputError or read with every row accounted for."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.archives import recognise
from connectors.errors import InputError

from .conftest import drain

# what a callback of the reader raises is printed and forgotten: here it counts
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")

HEADERS = [
    "date,coin_id,price",
    "open_time,symbol,close,open,high,low,volume_usd",
    "Date,Open,High,Low,Close,Volume,Market Cap",
    "time,a,b",
    "chain,block_number,block_timestamp,tx_hash,from_address,to_address,value,log_index",
    "hash,nonce,block_number,transaction_index,from_address,to_address,value,gas,block_timestamp",
    "from,to,value,time",
    "symbol,price,qty,ts_event,side,trade_id",
    "symbol,interval_us,ts_close,close",
    "7,1.5,2,1,1,1600000000000000,True,True",
]
CELLS = st.one_of(
    st.sampled_from(["2021-01-01", "1600000000", "a", "1", "0", "-1", "1e999", "nan", "0xAB", "True", "", " ", "1.5"]),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters=',\n\r"\0'), max_size=8),
)
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, int]:
    """Text in the shape of a table, and how many rows it has (blank lines are none)."""
    header = draw(st.sampled_from(HEADERS))
    width = header.count(",") + 1
    end = draw(ENDS)
    lines, count = [header], 0
    for _ in range(draw(st.integers(0, 12))):
        cells = draw(st.lists(CELLS, min_size=width, max_size=width + draw(st.integers(0, 1))))
        lines.append(",".join(cells[: draw(st.integers(1, width + 1))] if draw(st.integers(0, 9)) == 0 else cells))
        count += lines[-1] != ""
    return end.join(lines).encode() + draw(st.sampled_from([b"", b"\n"])), count + header[0].isdigit()


def read(path: Path, limit: int) -> int | None:
    """Return the rows accounted for, or None where the file is refused."""
    try:
        archive = recognise(path)
        reader = archive.open(chain="" if archive.chains else "c")
    except InputError:
        return None
    got = drain(reader, limit)
    assert got.rows, "a file without a usable row is refused"
    return len(got.rows) + len(got.quarantined)


@settings(max_examples=300)
@given(tables(), st.integers(1, 9), st.booleans())
@example((b"date,coin_id,price\n2021-01-01,a,1\n2021-01-01,a\n", 2), 1, False)
def test_every_row_of_a_table_is_data_or_quarantine(
    tmp_path_factory: pytest.TempPathFactory, table: tuple[bytes, int], limit: int, zipped: bool
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    raw, rows = table
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    accounted = read(path, limit)
    if accounted is not None and not raw.startswith((b"time,a,b", b"chain")):  # wide cells and chains are counted apart
        assert accounted == rows


@settings(max_examples=300)
@given(
    st.sampled_from(HEADERS).map(str.encode),
    st.binary(max_size=200),
    st.sampled_from([b"\n", b"\r", b"\t\n", b'"\n', b""]),
    st.integers(1, 9),
)
def test_any_bytes_behind_a_header(
    tmp_path_factory: pytest.TempPathFactory, header: bytes, body: bytes, end: bytes, limit: int
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    path.write_bytes(header + end + body)
    read(path, limit)


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=60).map(lambda raw: b"PAR1" + raw + b"PAR1"),
        st.binary(max_size=60).map(lambda raw: b"\x1f\x8b" + raw),
        st.binary(max_size=60).map(lambda raw: b"PK\x03\x04" + raw),
    )
)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t"
    path.write_bytes(raw)
    read(path, 5)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("parquet") / "t.parquet"
    table = {
        "date": ["2021-01-01", "2021-01-02"] * 20,
        "coin_id": [f"c{i // 2}" for i in range(40)],
        "price": [1.0] * 40,
    }
    pq.write_table(pa.table(table), path)
    return path.read_bytes()


@settings(max_examples=200)
@given(st.data())
def test_a_parquet_with_bytes_changed(
    tmp_path_factory: pytest.TempPathFactory, parquet: bytes, data: st.DataObject
) -> None:
    raw = bytearray(parquet)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "t.parquet"
    path.write_bytes(bytes(raw))
    read(path, 100)


KINDS: list[pa.DataType] = [
    *(pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_binary()),
    *(pa.timestamp("ns"), pa.timestamp("s", "UTC"), pa.date32(), pa.date64(), pa.time64("us"), pa.decimal128(20, 3)),
    *(pa.null(), pa.binary(4), pa.duration("us"), pa.list_(pa.int64()), pa.dictionary(pa.int8(), pa.string())),
]
VALUES = st.one_of(st.none(), st.integers(0, 120))


def column(cells: list[int | None], kind: pa.DataType) -> pa.Array:  # noqa: PLR0911 - one line a type
    """Return small integers as any type."""
    if pa.types.is_null(kind):
        return pa.nulls(len(cells))
    if pa.types.is_list(kind):
        return pa.array([None if c is None else [c] for c in cells], kind)
    if pa.types.is_boolean(kind):
        return pa.array([None if c is None else c % 2 == 0 for c in cells])
    if pa.types.is_dictionary(kind):
        return pa.array([None if c is None else str(c) for c in cells], pa.string()).dictionary_encode()
    if pa.types.is_fixed_size_binary(kind) and not pa.types.is_decimal(kind):
        return pa.array([None if c is None else c.to_bytes(4, "big") for c in cells], kind)
    if pa.types.is_large_binary(kind):
        return pa.array([None if c is None else bytes([c, 255]) for c in cells], kind)
    if pa.types.is_string(kind):
        return pa.array([None if c is None else str(c) for c in cells], kind)
    if pa.types.is_decimal(kind):
        return pa.array(cells, pa.int64()).cast(pa.decimal128(19, 0)).cast(kind)
    if pa.types.is_date32(kind) or pa.types.is_date64(kind):
        days = pa.array([None if c is None else 18_000 + c for c in cells], pa.int32()).cast(pa.date32())
        return days.cast(kind)
    if pa.types.is_timestamp(kind):
        factor = 10**9 if kind.unit == "ns" else 1
        return pa.array([None if c is None else (1_600_000_000 + c) * factor for c in cells], pa.int64()).cast(kind)
    return pa.array(cells, pa.int64()).cast(kind)


@settings(max_examples=300)
@given(st.sampled_from(HEADERS[:-1]), st.data())
def test_columns_of_any_type(tmp_path_factory: pytest.TempPathFactory, header: str, data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 5))
    times = {"date", "time", "open_time", "block_timestamp", "ts_event", "ts_close", "Date"}
    table = {}
    for name in header.split(","):
        cells = data.draw(st.lists(VALUES, min_size=rows, max_size=rows))
        likely = [pa.timestamp("ns"), pa.date32()] if name in times else [pa.int64(), pa.string()]
        table[name] = column(cells, data.draw(st.sampled_from(likely * 6 + KINDS)))
    path = tmp_path_factory.mktemp("fuzz") / "t.parquet"
    pq.write_table(pa.table(table), path, row_group_size=3)
    try:
        archive = recognise(path)
        reader = archive.open(chain="" if archive.chains else "c")
    except InputError:
        return
    total = 0
    while (batch := reader.next(2)) is not None:
        total += batch.rows.num_rows
    if archive.format not in ("prices-wide", "transfers"):
        assert total == rows
