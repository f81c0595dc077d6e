"""Result rows reach their files exactly once, from whichever of the last snapshots a run goes on."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import StateError
from connectors.tables import TABLES
from flows.config import DAY_US, HOUR_US
from flows.results import OUTPUTS, Rows, make_rows, read_frames
from flows.sinks import CallSink, TableSink, publish_frames

DRIFT = TABLES["drift"]


def drift(*hours: int, window: str = "w") -> Rows:
    """Return a row for each hour since the epoch."""
    numbers = {name: float(len(window)) for name in ("ari", "ami", "vi", "churn", "effective_rank", "edge_density")}
    at = pa.array([hour * HOUR_US for hour in hours], pa.int64()).cast(DRIFT.schema.field("as_of").type)
    return make_rows("drift", {"as_of": at, "window": window, "view": "v", **numbers})


def partition(root: Path, state: dict[str, int] | None = None, *, live: bool = True, table: str = "drift") -> Any:
    sink = TableSink([table], root / "frames", root / "results" if live else None)
    return sink.build_part("tables", table, state)


def published(root: Path, table: str = "drift") -> list[tuple[int, str]]:
    """Return (hour, window) of every row in the Parquet files, file by file."""
    out = []
    for path in sorted((root / "results" / table).glob("*.parquet")):
        rows = pq.read_table(path)
        assert rows.schema.equals(TABLES[table].schema)
        day = dt.date.fromisoformat(path.stem)
        for row in rows.to_pylist():
            assert row["as_of"].date() == day
            out.append((int(row["as_of"].timestamp()) // 3600, row["window"]))
    return out


def test_one_partition_for_each_table(tmp_path: Path) -> None:
    sink = TableSink(["fits", "drift", "events"], tmp_path, None)
    assert sink.list_parts() == ["drift", "events", "fits"]
    assert [sink.part_fn(name) for name in sink.list_parts()] == [0, 1, 2]


# ------------------------------------------------------------------------------------------------------- replay


def test_a_replays_table_is_one_file_that_is_cut_back(tmp_path: Path) -> None:
    part = partition(tmp_path, live=False)
    part.write_batch([drift(1), drift(2, 3)])
    first = part.snapshot()
    part.write_batch([drift(4)])
    part.close()
    again = partition(tmp_path, first, live=False)
    again.write_batch([drift(5)])
    again.snapshot()
    rows = pa.Table.from_batches(read_frames(tmp_path / "frames" / "drift.arrows", DRIFT.schema))
    assert [at.hour for at in rows["as_of"].to_pylist()] == [1, 2, 3, 5]
    anew = partition(tmp_path, live=False)
    assert anew.snapshot() == {"": 0}


# --------------------------------------------------------------------------------------------------------- live


def test_a_day_becomes_parquet_when_the_next_has_begun(tmp_path: Path) -> None:
    part = partition(tmp_path)
    part.write_batch([drift(1), drift(20)])
    assert list(part.snapshot()) == ["1970-01-01"]
    assert published(tmp_path) == []
    part.write_batch([drift(23, 25)])
    assert list(part.snapshot()) == ["1970-01-01", "1970-01-02"]
    assert published(tmp_path) == [(1, "w"), (20, "w"), (23, "w")]


def test_frames_go_some_snapshots_after_their_day_was_written(tmp_path: Path) -> None:
    part = partition(tmp_path)
    part.write_batch([drift(1, 25)])
    frames = tmp_path / "frames" / "drift" / "1970-01-01.arrows"
    named, held = [], []
    for _ in range(12):
        named.append("1970-01-01" in part.snapshot())
        held.append(frames.exists())
    assert named == sorted(named, reverse=True)
    assert held == sorted(held, reverse=True)
    assert 2 <= sum(named) < sum(held) < 12, "a snapshot that names frames finds them for some time"
    assert sum(held) - sum(named) >= 2
    assert published(tmp_path) == [(1, "w")]


@pytest.mark.parametrize("snapshots", range(12))
def test_rows_that_come_late_for_a_day_join_it(tmp_path: Path, snapshots: int) -> None:
    """Of two windows one may be behind by some days; what is late must replace nothing that was published."""
    part = partition(tmp_path)
    part.write_batch([drift(1, 2), drift(25)])
    for _ in range(snapshots):
        part.snapshot()
    part.write_batch([drift(1, 3, window="slow")])
    state: dict[str, int] = {}
    for _ in range(9):
        state = part.snapshot()
    assert published(tmp_path) == [(1, "slow"), (1, "w"), (2, "w"), (3, "slow")]
    assert list(state) == ["1970-01-02"]
    part.close()
    publish_frames(tmp_path / "frames", tmp_path / "results")
    assert published(tmp_path) == [(1, "slow"), (1, "w"), (2, "w"), (3, "slow"), (25, "w")]


def test_a_long_history_is_written_a_few_days_at_a_time(tmp_path: Path) -> None:
    part = partition(tmp_path)
    part.write_batch([drift(*range(0, 24 * 400, 24))])
    opened = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    assert opened < 200, "one file at a time is open"
    part.snapshot()
    assert 1 <= len(published(tmp_path)) <= 10
    for _ in range(100):
        part.snapshot()
    assert len(published(tmp_path)) == 399


def test_what_was_quarantined_is_one_file(tmp_path: Path) -> None:
    schema = OUTPUTS["quarantine"].schema
    row = {"source": "s", "position": 1, "column": "c", "reason": "r", "detail": "d"}
    part = partition(tmp_path, table="quarantine")
    for _ in range(3):
        part.write_batch([Rows("quarantine", pa.RecordBatch.from_pylist([row, row], schema=schema))])
        assert list(part.snapshot()) == ["all"]
    part.close()
    for _ in range(2):
        publish_frames(tmp_path / "frames", tmp_path / "results")
        assert pq.read_table(tmp_path / "results" / "quarantine" / "all.parquet").num_rows == 6, "each of them counts"


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 120), max_size=4), min_size=2, max_size=12),
    st.booleans(),
    st.data(),
)
def test_a_resume_from_any_of_the_last_snapshots_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, epochs: list[list[int]], sorted_: bool, data: st.DataObject
) -> None:
    """Rows of each epoch, a snapshot at its end; a crash after some epoch, and a resume from one shortly before."""
    seen: set[int] = set()
    rows = [[hour for hour in epoch if not (hour in seen or seen.add(hour))] for epoch in epochs]  # type: ignore[func-returns-value]
    if sorted_:
        flat = iter(sorted(hour for epoch in rows for hour in epoch))
        rows = [[next(flat) for _ in epoch] for epoch in rows]
    root = tmp_path_factory.mktemp("sink")
    part = partition(root)
    states: list[dict[str, int] | None] = [None]
    crash = data.draw(st.integers(1, len(rows)))
    for epoch in rows[:crash]:
        part.write_batch([drift(hour) for hour in epoch])
        states.append(part.snapshot())
    part.write_batch([drift(hour) for hour in rows[crash]] if crash < len(rows) else [])
    part.close() if data.draw(st.booleans()) else part._flush()
    crashed = tmp_path_factory.mktemp("crashed") / "copy"
    shutil.copytree(root, crashed)
    if data.draw(st.booleans()):
        publish_frames(crashed / "frames", crashed / "results")
    back = data.draw(st.integers(max(0, crash - 3), crash))
    again = partition(crashed, states[back])
    for epoch in rows[back:]:
        again.write_batch([drift(hour) for hour in epoch])
        again.snapshot()
    again.close()
    publish_frames(crashed / "frames", crashed / "results")
    assert [hour for hour, _ in published(crashed)] == sorted(hour for epoch in rows for hour in epoch)


def test_frames_that_a_snapshot_does_not_name_are_removed(tmp_path: Path) -> None:
    part = partition(tmp_path)
    part.write_batch([drift(1)])
    state = part.snapshot()
    part.write_batch([drift(25)])
    part.close()
    partition(tmp_path, state).close()
    assert [path.stem for path in (tmp_path / "frames" / "drift").iterdir()] == ["1970-01-01"]


def test_a_state_without_its_frames_is_refused(tmp_path: Path) -> None:
    part = partition(tmp_path)
    part.write_batch([drift(1)])
    state = part.snapshot()
    part.close()
    shutil.rmtree(tmp_path / "frames")
    with pytest.raises(StateError, match="holds 0 bytes"):
        partition(tmp_path, state)


def test_publishing_nothing(tmp_path: Path) -> None:
    publish_frames(tmp_path / "frames", tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_rows_of_a_day_are_its_own_to_the_microsecond(tmp_path: Path) -> None:
    part = partition(tmp_path)
    at = pa.array([DAY_US - 1, DAY_US], pa.int64()).cast(DRIFT.schema.field("as_of").type)
    zero = dict.fromkeys(("ari", "ami", "vi", "churn", "effective_rank", "edge_density"), 0.0)
    part.write_batch([make_rows("drift", {"as_of": at, "window": "w", "view": "v", **zero})])
    assert list(part.snapshot()) == ["1970-01-01", "1970-01-02"]


def test_the_board_hears_of_everything() -> None:
    heard: list[object] = []
    part = CallSink(heard.append).build("board", 0, 1)
    part.write_batch([1, "two"])
    part.write_batch([])
    assert heard == [1, "two"]
