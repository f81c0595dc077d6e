"""The journal: nothing complete is ever lost, nothing damaged passes unnoticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.errors import JournalError
from connectors.journal import (
    JournalMeta,
    JournalReader,
    JournalWriter,
    encode_records,
    find_journals,
    is_journal,
    read_meta,
)
from connectors.records import Record

META = JournalMeta(feed="binance", kind="binance", config={"symbols": ["BTCUSDT"], "idle_us": 5})

bodies = st.one_of(st.binary(max_size=40), st.text(max_size=30).map(str.encode), st.just(b'{"e":"trade","p":"1.0"}\n'))
contents = st.lists(
    st.tuples(
        st.integers(0, 1 << 52),
        st.sampled_from(["open", "close", "msg", "reply", "tick"]),
        bodies,
        st.text(max_size=5),
        st.integers(0, 599),
    ),
    max_size=30,
)


def records_of(rows: list[tuple[int, str, bytes, str, int]], first: int = 0) -> list[Record]:
    return [Record(first + n, *row) for n, row in enumerate(rows)]  # type: ignore[arg-type]


def ticks(count: int, first: int = 0) -> list[Record]:
    return [Record(n, n * 1_000_000, "msg", f"message {n}".encode()) for n in range(first, first + count)]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=contents, chunk=st.integers(1, 7), segment=st.integers(60, 2000))
def test_reads_back_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, bytes, str, int]], chunk: int, segment: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    records = records_of(rows)
    with JournalWriter(folder, META, segment) as writer:
        for at in range(0, len(records), chunk):
            writer.append(records[at : at + chunk])
        assert writer.next_n == len(records)
        assert writer.bytes_total == len(encode_records(records))
    reader = JournalReader(folder)
    assert list(reader) == records
    assert reader.end_n == len(records)
    for start in range(len(records) + 1):
        assert reader.read(start, 3) == records[start : start + 3]
    with JournalWriter(folder, META, segment) as writer:
        assert writer.bytes_total == len(encode_records(records))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=contents.filter(bool), data=st.data())
def test_cut_at_any_byte_all_complete_records_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, bytes, str, int]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    records = records_of(rows)
    with JournalWriter(folder, META) as writer:
        writer.append(records)
    segment = folder / "0000000000000000.jsonl.open"
    whole = segment.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    segment.write_bytes(whole[:cut])
    complete = whole[:cut].count(b"\n")
    assert list(JournalReader(folder)) == records[:complete]
    with JournalWriter(folder, META) as writer:  # goes on behind the last complete one
        assert writer.next_n == complete
        writer.append(records[complete:])
    assert list(JournalReader(folder)) == records
    assert segment.read_bytes() == whole


def test_rotates_into_frames_that_any_zstd_reads(tmp_path: Path) -> None:
    records = ticks(10_000)
    with JournalWriter(tmp_path, META, segment_bytes=200_000) as writer:
        for at in range(0, len(records), 500):
            writer.append(records[at : at + 500])
    packed = sorted(tmp_path.glob("*.jsonl.zst"))
    assert len(packed) >= 2
    assert len(list(tmp_path.glob("*.jsonl.open"))) == 1
    assert not list(tmp_path.glob("*.tmp"))
    text = zstandard.ZstdDecompressor().stream_reader(packed[0].read_bytes(), read_across_frames=True).read()
    assert text == encode_records(records[: text.count(b"\n")])
    reader = JournalReader(tmp_path)
    assert reader.read(9_990, 100) == records[9_990:]
    assert reader.read(4_097, 2) == records[4_097:4_099]
    assert list(reader) == records


def test_reader_follows_a_journal_that_is_being_written(tmp_path: Path) -> None:
    records = ticks(600)
    with JournalWriter(tmp_path, META, segment_bytes=5_000) as writer:
        reader = JournalReader(tmp_path)
        seen: list[Record] = []
        for at in range(0, 600, 60):
            writer.append(records[at : at + 60])
            while block := reader.read(len(seen), 25):
                seen += block
            assert seen == records[: at + 60]


def test_crash_between_packing_and_removing_leaves_one_copy(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, META, segment_bytes=1_000) as writer:
        writer.append(ticks(50))
        writer.append(ticks(3, 50))
    packed = tmp_path / "0000000000000000.jsonl.zst"
    plain = tmp_path / "0000000000000000.jsonl.open"
    plain.write_bytes(encode_records(ticks(50)))
    assert list(JournalReader(tmp_path)) == ticks(53)
    JournalWriter(tmp_path, META).close()
    assert packed.exists()
    assert not plain.exists()
    # and a crash before packing began: the full segment is packed at the next start
    packed.unlink()
    plain.write_bytes(encode_records(ticks(50)))
    assert list(JournalReader(tmp_path)) == ticks(53)
    JournalWriter(tmp_path, META).close()
    assert packed.exists()
    assert not plain.exists()
    assert list(JournalReader(tmp_path)) == ticks(53)


def test_missing_segment_is_named(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, META, segment_bytes=1_000) as writer:
        for at in range(0, 150, 50):
            writer.append(ticks(50, at))
    (tmp_path / "0000000000000050.jsonl.zst").unlink()
    reader = JournalReader(tmp_path)
    with pytest.raises(JournalError, match=r"0000000000000000\.jsonl\.zst:51: ends before record 50"):
        list(reader)
    (tmp_path / "0000000000000000.jsonl.zst").unlink()
    with pytest.raises(JournalError, match="begins with record 100, wanted is 7"):
        JournalReader(tmp_path).read(7, 1)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"not json\n", "not a record"),
        (b'{"n":3,"t":1}\n', "missing required field `k`"),
        (b'{"n":7,"t":1,"k":"tick"}\n', "record 7 stands where 3 must"),
        (b'{"n":3,"t":1,"k":"msg","x":"@@"}\n', "not base64"),
        (b"\xff\xfe\n", "not a record"),
    ],
)
def test_damage_in_the_middle_names_file_and_line(tmp_path: Path, line: bytes, problem: str) -> None:
    with JournalWriter(tmp_path, META) as writer:
        writer.append(ticks(6))
    segment = tmp_path / "0000000000000000.jsonl.open"
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([*lines[:3], line, *lines[4:]]))
    with pytest.raises(JournalError, match=problem) as caught:
        list(JournalReader(tmp_path))
    assert caught.value.path == f"{segment}:4"


def test_damaged_frame_and_cut_packed_segment_are_errors(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, META, segment_bytes=1_000) as writer:
        writer.append(ticks(50))
    packed = tmp_path / "0000000000000000.jsonl.zst"
    whole = packed.read_bytes()
    packed.write_bytes(bytes(4) + whole[4:])
    with pytest.raises(JournalError, match="frame of record 0 is damaged"):
        list(JournalReader(tmp_path))
    packed.write_bytes(whole[:-9])
    with pytest.raises(JournalError, match="no index at its end"):
        list(JournalReader(tmp_path))


def test_second_writer_is_refused(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, META), pytest.raises(JournalError, match="another process writes"):
        JournalWriter(tmp_path, META)
    JournalWriter(tmp_path, META).close()


def test_other_settings_are_refused(tmp_path: Path) -> None:
    JournalWriter(tmp_path, META).close()
    with pytest.raises(JournalError, match="other settings"):
        JournalWriter(tmp_path, JournalMeta(feed="binance", kind="binance", config={"symbols": []}))
    assert read_meta(tmp_path) == META


def test_gap_in_what_is_appended_is_refused(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, META) as writer:
        writer.append(ticks(2))
        with pytest.raises(JournalError, match="record 3 does not follow 1"):
            writer.append(ticks(1, 3))
        writer.append(ticks(1, 2))
    assert list(JournalReader(tmp_path)) == ticks(3)


def test_syncs_at_most_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    synced: list[float] = []
    with JournalWriter(tmp_path, META, monotonic=lambda: clock[0]) as writer:
        monkeypatch.setattr("connectors.journal.os.fsync", lambda _: synced.append(clock[0]))
        for n in range(35):
            clock[0] = n / 10
            writer.append(ticks(1, n))
        assert synced == [1.0, 2.0, 3.0]
        writer.sync()
        writer.sync()
        assert synced == [1.0, 2.0, 3.0, 3.4]


def test_full_disk_leaves_whole_records_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(file: int, text: memoryview) -> int:
        if len(text) < 60:
            raise OSError(28, "No space left on device")
        return write(file, text[:-50])

    with JournalWriter(tmp_path, META) as writer:
        writer.append(ticks(2))
        with monkeypatch.context() as patch:
            patch.setattr("connectors.journal.os.write", full)
            with pytest.raises(JournalError, match="No space left on device"):
                writer.append(ticks(5, 2))
        assert list(JournalReader(tmp_path)) == ticks(2)
        writer.append(ticks(5, 2))
    assert list(JournalReader(tmp_path)) == ticks(7)


def test_finds_journals(tmp_path: Path) -> None:
    for name in ("b", "a"):
        JournalWriter(tmp_path / name, META).close()
    (tmp_path / "c").mkdir()
    assert find_journals(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert find_journals(tmp_path / "a") == [tmp_path / "a"]
    assert find_journals(tmp_path / "none") == []
    assert is_journal(tmp_path / "a")
    assert not is_journal(tmp_path)
    (tmp_path / "c" / "feed.json").write_text('{"feed":1}')
    with pytest.raises(JournalError, match="does not describe a feed"):
        JournalReader(tmp_path / "c")
    (tmp_path / "c" / "feed.json").write_text('{"feed":"x","kind":"binance","config":{},"version":9}')
    with pytest.raises(JournalError, match="format version 9"):
        JournalReader(tmp_path / "c")
    with pytest.raises(JournalError, match="cannot be read"):
        read_meta(tmp_path / "d")
