from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.tables import TABLES
from dashboards.board import Board
from tests.dashboards.feeder import CHAIN, CHAIN_WINDOW, VIEW, WINDOW, Feeder
from tests.dashboards.test_board import Recorder, picture


def recorded(fits: int = 14) -> Recorder:
    board = Recorder()
    Feeder(board).story(fits)
    return board


def tables_of(board: Recorder) -> dict[str, pa.Table]:
    result = {}
    for name, table in TABLES.items():
        batches = [rows for published, rows in board.published if published == name]
        whole = pa.Table.from_batches(batches, schema=table.schema)
        result[name] = whole.sort_by([(key, "ascending") for key in table.key])
    return result


@pytest.mark.parametrize("layout", ["replay", "live", "live under results"])
def test_a_second_start_shows_the_state_at_once(tmp_path: Path, layout: str) -> None:
    first = recorded()
    for name, rows in tables_of(first).items():
        if layout == "replay":
            pq.write_table(rows, tmp_path / f"{name}.parquet")
            continue
        folder = (tmp_path / "results" if layout.endswith("results") else tmp_path) / name
        folder.mkdir(parents=True)
        for k, start in enumerate(range(0, len(rows), max(1, len(rows) // 4))):
            pq.write_table(rows.slice(start, max(1, len(rows) // 4)), folder / f"2024-08-18T{k:02d}.parquet")
    second = Board()
    second.expect([(WINDOW, [VIEW])], [(CHAIN, CHAIN_WINDOW)], [])
    assert second.prime(tmp_path) == []
    assert picture(second) == picture(first)
    assert second.ready() == (True, [])


def test_an_empty_or_absent_folder_primes_nothing(tmp_path: Path) -> None:
    board = Board()
    assert board.prime(tmp_path) == []
    assert board.prime(tmp_path / "nowhere") == []
    assert board.snapshot().fits == {}


def test_files_that_cannot_be_read_are_named_and_passed_over(tmp_path: Path) -> None:
    for name, rows in tables_of(recorded(4)).items():
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    (tmp_path / "drift.parquet").write_bytes(b"PAR1 this is not a table")
    (tmp_path / "edges.parquet").write_bytes(b"")
    pq.write_table(pa.table({"as_of": [1], "odd": ["x"]}), tmp_path / "networks.parquet")
    board = Board()
    problems = board.prime(tmp_path)
    assert sorted(Path(p.split(": ")[0]).name for p in problems) == [
        "drift.parquet",
        "edges.parquet",
        "networks.parquet",
    ]
    assert (WINDOW, VIEW) in board.snapshot().fits


def test_a_part_of_a_newer_fit_does_not_hide_the_last_whole_one(tmp_path: Path) -> None:
    tables = tables_of(recorded(4))
    newest = max(tables["fits"]["as_of"].to_pylist())
    for name, rows in tables.items():
        kept = rows if name != "memberships" else rows.filter(pa.compute.less(rows["as_of"], newest))
        pq.write_table(kept, tmp_path / f"{name}.parquet")
    board = Board()
    board.prime(tmp_path)
    fit = board.snapshot().fits[(WINDOW, VIEW)]
    assert fit.members["as_of"][0].as_py() < newest
    assert fit.row["as_of_us"] == fit.as_of_us
