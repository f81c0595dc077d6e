"""Rows in the types of the contract, frame files that can be cut back, and the folder of a replay."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import StateError
from connectors.tables import TABLES
from flows.results import (
    OUTPUTS,
    TIMINGS,
    FolderLock,
    FrameFile,
    ReplayFolder,
    drift_rows,
    event_rows,
    make_rows,
    read_frames,
    write_parquet,
)
from models.detectors import Alarm

EDGES = TABLES["edges"]
IDENTITY = {"shoal": "0", "configuration": "c", "inputs": {"prices": "p"}}


def edges(as_of: int, names: list[str], rho: float = 0.5) -> pa.RecordBatch:
    """Return edges from coin 'a' to each name."""
    return make_rows(
        "edges", {"as_of": as_of, "window": "w", "coin_a": "a", "coin_b": names, "partial_correlation": rho}
    ).rows


# ---------------------------------------------------------------------------------------------------------- rows


def value_of(kind: pa.DataType) -> Any:
    if pa.types.is_timestamp(kind):
        return 1_600_000_000_000_000
    if pa.types.is_list(kind):
        return [1, 2]
    return {"string": "x", "int64": np.int64(3), "double": 0.5, "bool": True}[str(kind)]


@pytest.mark.parametrize("table", [name for name in OUTPUTS if name != "quarantine"])
def test_rows_have_the_types_of_their_table(table: str) -> None:
    """One value stands for all rows; arrays and lists are columns."""
    schema = OUTPUTS[table].schema
    columns = {field.name: value_of(field.type) for field in schema}
    rows = make_rows(table, {**columns, schema.names[-1]: [value_of(schema.types[-1])] * 3}).rows
    assert rows.schema.equals(schema)
    assert rows.num_rows == 3
    assert make_rows(table, {**columns, schema.names[-1]: []}).rows.num_rows == 0


@pytest.mark.parametrize("values", [np.array([1.0, math.nan]), [1.0, math.nan], [1.0, None]])
def test_what_is_no_number_is_null(values: Any) -> None:
    rows = make_rows(
        "drift",
        {"as_of": 0, "window": "w", "view": ["a", "b"], "ari": values, "ami": math.nan, "vi": np.float64("nan"),
         "churn": None, "effective_rank": np.float32(0.5), "edge_density": 1},
    ).rows  # fmt: skip
    assert rows.column("ari").to_pylist() == [1.0, None]
    assert rows.column("ami").null_count == rows.column("vi").null_count == rows.column("churn").null_count == 2
    assert rows.column("edge_density").to_pylist() == [1.0, 1.0]


def test_times_are_microseconds_in_utc() -> None:
    numbers = make_rows(
        "behaviour_drift", {"as_of": np.array([1, 2]), "chain": "c", "window": "w", "js": 0, "entropy": 0}
    )
    assert [at.microsecond for at in numbers.rows.column("as_of").to_pylist()] == [1, 2]
    assert str(numbers.rows.schema.field("as_of").type) == "timestamp[us, tz=UTC]"


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises((pa.ArrowInvalid, ValueError)):
        make_rows(
            "edges", {"as_of": 0, "window": "w", "coin_a": ["a", "b"], "coin_b": ["c"], "partial_correlation": 0.0}
        )


def test_evidence_is_json_with_sorted_keys_that_any_reader_takes() -> None:
    where: dict[str, object] = {"as_of": 5, "window": "w", "view": "v"}
    evidence = {"z": math.nan, "a": [1.5, math.inf, {"k": -math.inf}], "n": None, "i": 7, "t": "é"}
    (row,) = event_rows(where, "left", evidence, "coin", 1, None, math.nan).rows.to_pylist()
    assert row["evidence"] == '{"a": [1.5, null, {"k": null}], "i": 7, "n": null, "t": "\\u00e9", "z": null}'
    assert (row["shoal_from"], row["shoal_to"], row["margin"]) == (1, None, None)
    (drift,) = drift_rows(where, "ari", Alarm("ari", 0.1234567891, 0.5, 12)).rows.to_pylist()
    assert json.loads(drift["evidence"]) == {"after": 0.5, "before": 0.123457, "series": "ari", "width": 12}
    assert drift["kind"] == "drift"


# -------------------------------------------------------------------------------------------------------- frames


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    batches = [edges(i, [f"c{j}" for j in range(i)]) for i in range(5)]
    file = FrameFile(tmp_path / "deep" / "edges.arrows", None)
    for batch in batches:
        file.append(batch)
    assert file.flush() == file.offset == file.path.stat().st_size
    file.close()
    assert list(read_frames(file.path, EDGES.schema)) == batches
    assert list(read_frames(tmp_path / "none.arrows", EDGES.schema)) == []


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_what_stands_behind_an_offset_is_cut_away(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("frames") / "edges.arrows"
    file, offsets = FrameFile(path, None), [0]
    for i, size in enumerate(sizes):
        file.append(edges(i, [f"c{j}" for j in range(size)]))
        offsets.append(file.flush())
    file.close()
    keep = data.draw(st.integers(0, len(sizes)))
    again = FrameFile(path, offsets[keep])
    again.append(edges(99, ["new"]))
    again.flush()
    again.close()
    found = [batch.num_rows for batch in read_frames(path, EDGES.schema)]
    assert found == [*sizes[:keep], 1]


@settings(max_examples=40)
@given(st.integers(0, 2_000))
def test_a_torn_last_frame_is_passed_over(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("frames") / "edges.arrows"
    file, ends = FrameFile(path, None), []
    for i in range(3):
        file.append(edges(i, ["b"]))
        ends.append(file.flush())
    file.close()
    size = max(0, ends[-1] - cut)
    with path.open("r+b") as raw:
        raw.truncate(size)
    assert len(list(read_frames(path, EDGES.schema))) == sum(end <= size for end in ends)


def test_a_frame_file_that_lost_rows_is_refused(tmp_path: Path) -> None:
    file = FrameFile(tmp_path / "edges.arrows", None)
    file.append(edges(1, ["b"]))
    offset = file.flush()
    file.close()
    file.path.write_bytes(b"")
    with pytest.raises(StateError, match=f"holds 0 bytes where {offset} were written"):
        FrameFile(file.path, offset)


def test_frames_are_little_endian_lengths_and_arrow_messages(tmp_path: Path) -> None:
    file = FrameFile(tmp_path / "edges.arrows", None)
    file.append(edges(1, ["b"]))
    file.flush()
    raw = file.path.read_bytes()
    assert struct.unpack("<Q", raw[:8])[0] == len(raw) - 8


# ------------------------------------------------------------------------------------------------------- parquet


def frames_of(path: Path, batches: list[pa.RecordBatch]) -> Path:
    file = FrameFile(path, None)
    for batch in batches:
        file.append(batch)
    file.flush()
    file.close()
    return path


@settings(max_examples=30)
@given(st.permutations([(i, f"c{j}") for i in range(3) for j in range(4)]), st.integers(1, 12))
def test_the_file_does_not_depend_on_the_order_of_the_rows(
    tmp_path_factory: pytest.TempPathFactory, order: list[tuple[int, str]], size: int
) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    rows = [edges(at, [name], rho=at / 10) for at, name in order]
    parts = [rows[at : at + size] for at in range(0, len(rows), size)]
    batches = [pa.Table.from_batches(part).combine_chunks().to_batches()[0] for part in parts]
    write_parquet(frames_of(folder / "a.arrows", batches), folder / "a.parquet", EDGES)
    write_parquet(frames_of(folder / "b.arrows", sorted(rows, key=str)), folder / "b.parquet", EDGES)
    assert (folder / "a.parquet").read_bytes() == (folder / "b.parquet").read_bytes()
    keys = pq.read_table(folder / "a.parquet").select(["as_of", "coin_b"]).to_pylist()
    assert keys == sorted(keys, key=lambda row: (row["as_of"], row["coin_b"]))


def test_a_table_without_rows_is_a_file_with_its_columns(tmp_path: Path) -> None:
    for name, table in OUTPUTS.items():
        assert write_parquet(tmp_path / "none.arrows", tmp_path / f"{name}.parquet", table) == 0
        assert pq.read_table(tmp_path / f"{name}.parquet").schema.equals(table.schema), name


def test_a_merge_keeps_one_row_of_each_key(tmp_path: Path) -> None:
    target = tmp_path / "edges.parquet"
    write_parquet(frames_of(tmp_path / "1", [edges(1, ["b", "c"])]), target, EDGES, merge=True)
    write_parquet(frames_of(tmp_path / "2", [edges(1, ["c", "d"]), edges(0, ["b"])]), target, EDGES, merge=True)
    found = [(row["as_of"].microsecond, row["coin_b"]) for row in pq.read_table(target).to_pylist()]
    assert found == [(0, "b"), (1, "b"), (1, "c"), (1, "d")]
    write_parquet(frames_of(tmp_path / "3", [edges(5, ["z"])]), target, EDGES)
    assert pq.read_table(target).num_rows == 1


def test_nulls_in_a_key_are_equal_and_differ_from_values(tmp_path: Path) -> None:
    where: dict[str, object] = {"as_of": 5, "window": "w", "view": "v"}
    gap, left = event_rows(where, "gap", {}).rows, event_rows(where, "gap", {}, "coin").rows
    target = tmp_path / "events.parquet"
    for number in range(2):
        frames = frames_of(tmp_path / str(number), [gap, left, gap])
        assert write_parquet(frames, target, TABLES["events"], merge=True) == 2


# -------------------------------------------------------------------------------------------------- the folder


def open_folder(path: Path, *, overwrite: bool = False, **identity: Any) -> ReplayFolder:
    return ReplayFolder(path, {**IDENTITY, **identity}, [EDGES, TABLES["events"]], overwrite=overwrite)


def test_a_replays_folder_from_first_to_last(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "new" / "out")
    assert not folder.resumed
    frames_of(folder.frames("edges"), [edges(2, ["b"]), edges(1, ["b"])])
    bad = OUTPUTS["quarantine"].schema
    rows = [{"source": "s", "position": n, "column": "c", "reason": "r", "detail": str(n)} for n in (9, 3, 7, 1, 8, 2)]
    frames_of(folder.frames("quarantine"), [pa.RecordBatch.from_pylist(rows, schema=bad)])
    assert folder.finish() == {"edges": 2, "events": 0, "timings": 0}
    files = sorted(path.name for path in folder.path.iterdir())
    assert files == ["edges.parquet", "events.parquet", "manifest.json", "timings.parquet"]
    manifest = json.loads((folder.path / "manifest.json").read_text())
    assert manifest["rows"] == {"edges": 2, "events": 0}, "what may differ between two runs is not in the manifest"
    assert {name: manifest[name] for name in IDENTITY} == IDENTITY
    (found,) = manifest["quarantined"]
    assert found["count"] == 6
    assert [entry["position"] for entry in found["first"]] == [1, 2, 3, 7, 8]


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder(tmp_path / "out")
    frames_of(folder.frames("edges"), [edges(1, ["b"])])
    written: list[str] = []
    monkeypatch.setattr(
        ReplayFolder, "_quarantined", lambda self: written.extend(p.name for p in self.path.glob("*.parquet"))
    )
    folder.finish()
    assert sorted(written) == ["edges.parquet", "events.parquet", "timings.parquet"]


def test_a_finished_folder_is_refused_unless_it_may_be_replaced(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    frames_of(folder.frames("edges"), [edges(1, ["b"])])
    folder.finish()
    with pytest.raises(StateError, match="holds a finished replay"):
        open_folder(tmp_path)
    assert pq.read_table(tmp_path / "edges.parquet").num_rows == 1, "it is left as it is"
    (tmp_path / "note.txt").write_text("mine")
    again = open_folder(tmp_path, overwrite=True, configuration="other")
    assert not (tmp_path / "manifest.json").exists()
    assert again.finish()["edges"] == 0
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_an_interrupted_replay_goes_on_with_the_same_input_alone(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    frames_of(folder.frames("edges"), [edges(1, ["b"])])
    folder.lock.release()
    early = open_folder(tmp_path)
    assert not early.resumed, "it had no snapshot yet"
    folder.recovery.mkdir()
    early.lock.release()
    again = open_folder(tmp_path)
    assert again.resumed
    again.lock.release()
    with pytest.raises(StateError, match="interrupted replay of another input, configuration or version"):
        open_folder(tmp_path, configuration="other")
    (tmp_path / "composition.parquet").write_bytes(b"of the one before")
    fresh = open_folder(tmp_path, overwrite=True, configuration="other")
    assert not fresh.resumed
    assert not fresh.recovery.exists()
    assert not fresh.frames("edges").exists()
    fresh.finish()
    assert not (tmp_path / "composition.parquet").exists(), "no table of the other replay is left"


def test_one_at_a_time(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    with pytest.raises(StateError, match="is in use by another shoal process"):
        open_folder(tmp_path)
    folder.lock.release()
    open_folder(tmp_path).lock.release()
    lock = FolderLock(tmp_path / "state")
    with pytest.raises(StateError, match="stop it, or use another folder"):
        FolderLock(tmp_path / "state")
    lock.release()


def test_a_folder_that_cannot_be_one_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for make in (lambda: open_folder(tmp_path / "file"), lambda: FolderLock(tmp_path / "file")):
        with pytest.raises(StateError, match=r"cannot be used as a folder: .* \(choose another") as caught:
            make()
        assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("mine")
    with pytest.raises(StateError, match="neither empty nor a result folder"):
        open_folder(tmp_path / "full")


def test_timings_are_no_result() -> None:
    assert TIMINGS.name not in TABLES
