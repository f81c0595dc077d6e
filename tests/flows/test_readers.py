"""Archives and journals as inputs: the same rows from any position, and a digest of what they hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.archives import recognise
from connectors.exchanges.binance import BinanceConfig
from connectors.feed import meta_of
from connectors.journal import JournalReader, JournalWriter
from connectors.records import Record
from connectors.schema import FOREVER_US, Batch
from flows.readers import ArchiveInput, JournalInput, Progress, archive_opener, journal_digest, journal_opener
from flows.sources import Position, Reader
from tests.connectors.exchanges.test_binance import connected, trade


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "prices.csv"
    rows = [f"2021-01-{day:02d},{coin},{day + 1}" for day in range(1, 15) for coin in ("btc", "eth", "xrp")]
    path.write_text("date,coin_id,price\n" + "\n".join(rows) + "\n2021-01-15,btc,-3\n")
    return path


def drain(reader: Reader, polls: int | None = None) -> list[Batch]:
    out: list[Batch] = []
    while polls is None or polls > 0:
        try:
            out += reader.poll()
        except StopIteration:
            break
        polls = None if polls is None else polls - 1
    return out


def table(batches: list[Batch], kind: str) -> list[dict[str, object]]:
    return [row for batch in batches if batch.kind == kind for row in batch.rows.to_pylist()]


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(0, 60))
def test_an_archive_goes_on_from_any_position(prices: Path, limit: int, polls: int) -> None:
    whole = drain(ArchiveInput(recognise(prices).open(), Progress("p"), 1_000, None))
    assert whole[-1].end
    assert whole[-1].watermark_us == FOREVER_US
    first = ArchiveInput(recognise(prices).open(), Progress("p"), limit, None)
    before = drain(first, polls)
    progress = Progress("p")
    again = archive_opener(recognise(prices).open(), progress, 7)(first.position())
    assert not again.live
    after = drain(again)
    for kind in ("bars", "quarantine"):
        assert table(before, kind) + table(after, kind) == table(whole, kind)
    assert (progress.done, progress.total) == (43, 43)
    again.close()


# ------------------------------------------------------------------------------------------------------- journals


CONFIG = BinanceConfig(feed="binance")


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A connection and some trades, a few of which are no JSON."""
    return written(tmp_path_factory.mktemp("journal"), 64 << 20)


def written(folder: Path, segment_bytes: int) -> Path:
    driver = connected(CONFIG)
    for number in range(1, 60):
        driver.now_us += 100_000
        driver.msg(trade("BTC", number, driver.now_us - (number % 7) * 300_000))
        if number % 10 == 0:
            driver.give("msg", b"{torn")
            driver.give("tick")
    writer = JournalWriter(folder, meta_of(CONFIG), segment_bytes)
    writer.append(driver.records)
    writer.close()
    return folder


@settings(max_examples=25)
@given(st.integers(1, 90), st.integers(0, 40))
def test_a_journal_goes_on_from_any_position(journal: Path, limit: int, polls: int) -> None:
    whole = drain(JournalInput(journal, Progress("j"), 1_000, None))
    assert table(whole, "trades")
    assert len(table(whole, "quarantine")) == 5
    assert not any(batch.end or batch.watermark_us >= FOREVER_US for batch in whole), "its end is not the world's"
    first = journal_opener(journal, Progress("j"), limit)(None)
    before = drain(first, polls)
    position: Position = first.position()
    progress = Progress("j")
    again = journal_opener(journal, progress, 3)(position)
    assert not again.live
    after = drain(again)
    for kind in ("trades", "quarantine"):
        assert table(before, kind) + table(after, kind) == table(whole, kind)
    assert progress.done == progress.total == JournalReader(journal).end_n
    first.close()
    again.close()


def test_a_digest_is_of_records_and_not_of_their_packing(journal: Path, tmp_path: Path) -> None:
    packed = written(tmp_path / "packed", 600)
    assert len(list(packed.iterdir())) > len(list(journal.iterdir()))
    assert journal_digest(packed) == journal_digest(journal)
    writer = JournalWriter(packed, meta_of(CONFIG), 600)
    writer.append([Record(JournalReader(packed).end_n, 1, "tick", b"", "", 0)])
    writer.close()
    assert journal_digest(packed) != journal_digest(journal)
