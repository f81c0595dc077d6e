"""A replay writes the contract's tables, the same bytes however it runs, and goes on after a kill -9."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.replay.folders import check_chain, check_contract, check_market, digests, read
from tests.shell import kill, members, shoal, start, wait_until


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, config: Path, prices: Path, transfers: Path) -> Path:
    """Both branches, replayed without any disturbance."""
    out = tmp_path_factory.mktemp("reference") / "out"
    done = shoal("replay", prices, transfers, "--out", out, "--config", config, "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "memberships" in done.stdout
    return out


def test_every_table_of_both_branches(reference: Path) -> None:
    check_contract(reference, "market", "chain")
    check_market(reference)
    check_chain(reference)
    assert read(reference, "fits").num_rows > 100
    assert read(reference, "composition").num_rows == 4 * 10


def test_all_views_and_what_they_have_in_common(reference: Path) -> None:
    fits = read(reference, "fits").to_pylist()
    views = {row["view"] for row in fits if row["window"] == "weekly"}
    assert views == {"comovement", "moments", "distribution", "shape"}
    assert all(row["converged"] for row in fits)
    agreement = read(reference, "agreement")
    weekly = {row["as_of"] for row in fits if row["window"] == "weekly"}
    assert agreement.num_rows == 6 * len(weekly), "every pair of views at every fit"
    assert all(-1 <= value <= 1 for value in agreement["ari"].to_pylist())
    members = {
        (row["as_of"], row["view"], row["coin_id"]): row["shoal"] for row in read(reference, "memberships").to_pylist()
        if row["window"] == "weekly"
    }  # fmt: skip
    for row in read(reference, "intersections").to_pylist():
        shoals = [members[row["as_of"], view, row["coin_id"]] for view in ("moments", "distribution", "shape")]
        assert row["cell"] == "-".join(map(str, shoals))
        assert row["rank"] >= 1
    described = read(reference, "descriptors")
    assert set(described["name"].to_pylist()) >= {"Beta", "Sharpe", "HeavyTail", "MkCap", "Volume"}
    assert len(set(described["as_of"].to_pylist())) == 3, "every fifth of fifteen fits"
    tested = read(reference, "associations").to_pylist()
    assert {row["as_of"] for row in tested} == set(described["as_of"].to_pylist())
    assert all(0 < row["p_fisher"] <= 1 for row in tested if row["p_fisher"] is not None)
    assert {"combination", "moments", "Beta"} <= {row["a"] for row in tested} | {row["b"] for row in tested}
    statistics = set(read(reference, "prototypes")["statistic"].to_pylist())
    assert statistics >= {"mean", "deviation", "quantile", "medoid_return"}


def test_quarantined_prices_are_counted(reference: Path) -> None:
    found = json.loads((reference / "manifest.json").read_text())["quarantined"]
    assert sum(entry["count"] for entry in found) == 2
    assert {entry["source"] for entry in found} == {"prices.parquet"}


def test_the_planted_move_is_an_event(reference: Path) -> None:
    left = [row for row in read(reference, "events").to_pylist() if row["kind"] == "left" and row["window"] == "short"]
    moved = [row for row in left if row["coin_id"] == "coin-04"]
    assert len(moved) == 1
    evidence = json.loads(moved[0]["evidence"])
    assert evidence["similarity_to"] > evidence["similarity_from"]


@pytest.mark.parametrize(
    "how",
    [("--batch-rows", 17), ("--workers", 2), ("--workers", 2, "--jobs", 2, "--batch-rows", 1000)],
    ids=["small batches", "two workers", "two workers, two processes"],
)
def test_same_bytes_however_it_runs(
    reference: Path, tmp_path: Path, config: Path, prices: Path, transfers: Path, how: tuple[object, ...]
) -> None:
    out = tmp_path / "out"
    done = shoal("replay", transfers, prices, "--out", out, "--config", config, *how)
    assert done.returncode == 0, done.stderr
    assert digests(out) == digests(reference)


def test_same_bytes_after_kill_9(reference: Path, tmp_path: Path, config: Path, prices: Path, transfers: Path) -> None:
    out = tmp_path / "out"
    frames = out / ".work" / "frames" / "fits.arrows"
    written = 0
    for workers in (1, 2):
        arguments = ("replay", prices, transfers, "--out", out, "--config", config, "--workers", workers)
        process = start(*arguments, log=tmp_path / "log")

        def further(before: int = written) -> bool:
            return (frames.exists() and frames.stat().st_size > before) or (out / "manifest.json").exists()

        wait_until("another snapshot of the replay", further, 60)
        assert not (out / "manifest.json").exists(), "the replay ended before it could be killed"
        written = frames.stat().st_size
        kill(process)
        wait_until("the end of its pool", lambda session=process.pid: not members(session), 20)
        again = shoal("replay", prices, "--out", out, "--config", config)
        assert again.returncode == 2
        assert "interrupted replay of another input" in again.stderr
    done = shoal("replay", prices, transfers, "--out", out, "--config", config)
    assert done.returncode == 0, done.stderr
    assert digests(out) == digests(reference)


def test_a_finished_folder_is_refused_and_overwritten_on_request(
    reference: Path, tmp_path: Path, config: Path, transfers: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("replay", transfers, "--out", out, "--config", config)
    assert shoal(*arguments).returncode == 0
    check_contract(out, "chain")
    refused = shoal(*arguments)
    assert refused.returncode == 2
    assert refused.stderr.startswith("shoal: ")
    assert "--overwrite" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert shoal(*arguments, "--overwrite").returncode == 0
    assert digests(out)["composition.parquet"] == digests(reference)["composition.parquet"]


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, config: Path, transfers: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    refused = shoal("replay", transfers, "--out", tmp_path, "--config", config)
    assert refused.returncode == 2
    assert "neither empty nor a result folder" in refused.stderr
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_bars_cannot_be_finer_than_the_table(tmp_path: Path, prices: Path) -> None:
    fine = tmp_path / "fine.toml"
    fine.write_text('[[windows]]\nbar_interval = "1h"\n')
    refused = shoal("replay", prices, "--out", tmp_path / "out", "--config", fine)
    assert refused.returncode == 2
    assert "bars cannot be finer than their table" in refused.stderr
