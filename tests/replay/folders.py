"""What is true of every result folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.tables import BEHAVIOURS, TABLES, Table, tables_of


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file but ``timings``."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != "timings.parquet"
    }


def read(folder: Path, table: str) -> pa.Table:
    """Read one table."""
    return pq.read_table(folder / f"{table}.parquet")


def check_contract(folder: Path, *branches: str) -> None:
    """Check files, schemas, order and keys of a finished folder."""
    tables: dict[str, Table] = {}
    for branch in branches:
        tables |= {table.name: table for table in tables_of(branch)}  # type: ignore[arg-type]
    expected = {f"{name}.parquet" for name in tables} | {"timings.parquet", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == expected
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, table in tables.items():
        rows = read(folder, name)
        assert rows.schema.equals(table.schema), name
        assert manifest["rows"][name] == rows.num_rows
        keys = rows.select(list(table.key)).to_pylist()
        order = [tuple((value is not None, value) for value in key.values()) for key in keys]
        assert len({str(key) for key in keys}) == len(keys), f"{name}: its key is not unique"
        # nulls sort last in the files, and only events have any in their key
        if not any(None in key.values() for key in keys):
            assert order == sorted(order), f"{name} is not sorted"


def check_market(folder: Path) -> None:
    """Check what must hold between the tables of the market branch."""
    members = read(folder, "memberships")
    fits = read(folder, "fits")
    assert pc.all(pc.greater(fits["coins"], 0)).as_py()
    sizes = members.group_by(["as_of", "window", "view"]).aggregate([("coin_id", "count")])
    joined = fits.join(sizes, ["as_of", "window", "view"])
    assert joined["coins"].to_pylist() == joined["coin_id_count"].to_pylist(), "every coin of a fit has a membership"
    adrift = set()
    for row in read(folder, "events").to_pylist():
        if row["shoal_to"] is None and row["kind"] in ("left", "structure_shift"):
            coins = [row["coin_id"]] if row["kind"] == "left" else json.loads(row["evidence"])["coins"]
            adrift |= {(row["window"], coin) for coin in coins}
    for row in members.filter(pc.field("home").is_null()).select(["window", "coin_id", "as_of"]).to_pylist():
        assert (row["window"], row["coin_id"]) in adrift, f"{row} has no home and never left one"
    exemplars = members.filter(pc.field("is_exemplar"))
    converged = fits.filter(pc.field("converged"))
    assert exemplars.num_rows == pc.sum(converged["clusters"]).as_py(), "one exemplar per cluster"
    assert pc.all(pc.is_valid(exemplars["shoal"])).as_py(), "an exemplar belongs to its own shoal"
    per_shoal = exemplars.group_by(["as_of", "window", "view", "shoal"]).aggregate([("coin_id", "count")])
    assert set(per_shoal["coin_id_count"].to_pylist()) <= {1}
    alive = read(folder, "shoals").filter(pc.field("died_as_of").is_null()).drop_columns(["parents"])
    counted = members.filter(pc.field("shoal").is_valid()).group_by(["as_of", "window", "view", "shoal"])
    both = alive.join(counted.aggregate([("coin_id", "count")]), ["as_of", "window", "view", "shoal"])
    assert both["size"].to_pylist() == both["coin_id_count"].to_pylist(), "a shoal's size is the number of its members"
    coverage = read(folder, "coverage")
    assert pc.all(pc.equal(pc.add(coverage["received"], coverage["missing"]), coverage["expected"])).as_py()
    assert read(folder, "drift").num_rows == fits.num_rows
    for name in ("ari", "churn"):
        values = [value for value in read(folder, "drift")[name].to_pylist() if value is not None]
        assert all(-1.0 <= value <= 1.0 for value in values)
    edges = read(folder, "edges")
    assert pc.all(pc.less(edges["coin_a"], edges["coin_b"])).as_py()
    assert pc.all(pc.less_equal(pc.abs(edges["partial_correlation"]), 1.0)).as_py()


def check_chain(folder: Path) -> None:
    """Check what must hold between the tables of the chain branch."""
    composition = read(folder, "composition")
    groups: dict[object, list[dict[str, object]]] = {}
    for row in composition.to_pylist():
        groups.setdefault((row["as_of"], row["chain"], row["window"]), []).append(row)
    for rows in groups.values():
        assert sorted(str(row["behaviour"]) for row in rows) == sorted(BEHAVIOURS)
        assert len({row["regime"] for row in rows}) == 1
        assert abs(sum(float(row["share"]) for row in rows) - 1.0) < 1e-12  # type: ignore[arg-type]
    moved = read(folder, "transitions").group_by(["as_of", "to"]).aggregate([("entities", "sum")]).to_pylist()
    arrived = {(row["as_of"], row["to"]): row["entities_sum"] for row in moved}
    for row in composition.to_pylist():
        if (row["as_of"], row["behaviour"]) in arrived:
            assert arrived[row["as_of"], row["behaviour"]] == row["entities"], "transitions end in the composition"
    networks = read(folder, "networks").to_pylist()
    assert all(0 < row["window_fill"] <= 1 for row in networks)
    assert all(row["largest_component"] <= row["nodes"] for row in networks)
    assert set(TABLES) >= {"composition", "transitions"}
