"""The real files of ../shared/data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from connectors.archives import ArchiveReader, recognise
from connectors.errors import InputError
from connectors.schema import FOREVER_US, time_us

pytestmark = pytest.mark.data


def tables(reader: ArchiveReader, limit: int) -> tuple[pa.Table, list[dict[str, object]], np.ndarray]:
    """Return the data, the quarantine and the watermark in force before each row."""
    data, bad, marks = [], [], []
    while (batch := reader.next(limit)) is not None:
        if batch.kind == "quarantine":
            bad += batch.rows.to_pylist()
        elif batch.row_watermarks_us is not None:
            data.append(batch.rows)
            marks.append(batch.row_watermarks_us)
        else:
            assert batch.end
            assert batch.watermark_us == FOREVER_US
    return pa.Table.from_batches(data), bad, np.concatenate(marks)


def test_the_prices_of_2021(shared_data: Path) -> None:
    path = shared_data / "prices_daily_2021_coingecko.parquet"
    archive = recognise(path)
    assert (archive.format, archive.branch, archive.rows_estimate) == ("prices-long", "market", 674_207)
    reader = archive.open()
    assert (reader.rows_total, reader.spacing_us) == (674_207, 86_400_000_000)
    data, bad, marks = tables(reader, 100_000)
    raw = pq.read_table(path)
    price = raw.column("price_usd").to_numpy()
    assert [row["position"] for row in bad] == (np.flatnonzero(~(price >= 1e-15)) + 1).tolist()
    assert len(bad) == 65
    assert sum(float(str(row["detail"])) <= 0 for row in bad) == 18
    assert {(row["column"], row["reason"]) for row in bad} == {("price_usd", "not a price")}
    assert data.num_rows == 674_207 - 65
    good = raw.filter(pa.array(price >= 1e-15)).sort_by([("date", "ascending"), ("coin_id", "ascending")])
    assert (
        data.column("symbol").cast(pa.large_string()).combine_chunks().equals(good.column("coin_id").combine_chunks())
    )
    assert data.column("close").combine_chunks().equals(good.column("price_usd").combine_chunks())
    value = pc.multiply(data.column("volume"), data.column("close")).to_numpy()
    np.testing.assert_allclose(value, good.column("volume_usd").to_numpy(), rtol=1e-12)
    stamps = time_us(data.column("ts_close").combine_chunks())
    assert (stamps == good.column("date").cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()).all()
    assert (marks[1:] == np.maximum.accumulate(stamps - 1)[:-1]).all()
    assert (marks < stamps).all()


def test_the_minutes_of_40_pairs(shared_data: Path) -> None:
    path = shared_data / "klines_1m_binance_40pairs_2021.parquet"
    reader = recognise(path).open()
    assert (reader.rows_total, reader.spacing_us) == (2_002_199, 60_000_000)
    data, bad, _ = tables(reader, 500_000)
    assert bad == []
    assert data.num_rows == 2_002_199
    raw = pq.read_table(path, columns=["time", "pair", "open", "volume"])
    raw = raw.sort_by([("time", "ascending"), ("pair", "ascending")])
    opened = raw.column("time").cast(pa.int64()).to_numpy()
    assert (time_us(data.column("ts_close").combine_chunks()) == opened + 60_000_000).all()
    for ours, theirs in (("open", "open"), ("volume", "volume")):
        assert data.column(ours).combine_chunks().equals(raw.column(theirs).combine_chunks())
    assert pc.all(pc.equal(data.column("interval_us"), 60_000_000)).as_py()


@pytest.mark.parametrize(
    ("name", "rows"), [("eth_txs_mainnet_2015_481k.parquet", 28_426), ("eth_txs_from_jsonrpc_blocks.parquet", 29_868)]
)
def test_the_transactions_of_ethereum(shared_data: Path, name: str, rows: int) -> None:
    path = shared_data / name
    archive = recognise(path)
    assert (archive.format, archive.branch, archive.chains) == ("ethereum-etl", "chain", ("ethereum",))
    reader = archive.open()
    data, bad, marks = tables(reader, 10_000)
    assert (reader.rows_total, data.num_rows, bad) == (rows, rows, [])
    raw = pq.read_table(path)
    assert sum(data.column("amount").to_pylist()) == sum(map(int, raw.column("value_wei").to_pylist()))
    assert pc.sum(data.column("to_addr").is_null()).as_py() == raw.column("to_address").null_count
    assert (
        pc.sum(pc.equal(data.column("kind").cast(pa.utf8()), "creation")).as_py() == raw.column("to_address").null_count
    )
    hashes = {bytes.fromhex(text[2:]) for text in raw.column("hash").to_pylist()}
    assert set(data.column("tx_hash").to_pylist()) == hashes
    stamps = time_us(data.column("ts_block").combine_chunks())
    assert (np.diff(stamps) >= 0).all()
    assert (marks <= stamps).all()
    place = list(zip(data.column("height").to_pylist(), data.column("xfer_index").to_pylist(), strict=True))
    assert place == sorted(place)


def test_prices_written_as_text_give_the_same(shared_data: Path, tmp_path: Path) -> None:
    raw = pq.read_table(shared_data / "prices_daily_2021_coingecko.parquet").slice(0, 30_000)
    pq.write_table(raw, tmp_path / "p.parquet")
    raw.to_pandas().to_csv(tmp_path / "p.csv.gz", index=False)
    one, other = (tables(recognise(tmp_path / name).open(), 7_000) for name in ("p.parquet", "p.csv.gz"))
    assert one[0].equals(other[0])
    assert (one[2] == other[2]).all()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("eth_token_transfers_17173049_50.parquet", "token transfers"),
        ("btc_outputs.parquet", "no format that is known"),
        ("bookticker_binance_6streams_20240808.parquet", "no format that is known"),
        ("trades_binance_6streams_20240808.parquet", "lacks a time"),
        ("eth_address_fraud_features.parquet", "no format that is known"),
    ],
)
def test_what_is_no_input_is_refused_with_a_reason(shared_data: Path, name: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        recognise(shared_data / name)
