"""The real market of 2021 and the real Ethereum of November 2015 through the dataflow."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.replay.folders import check_chain, check_contract, check_market, digests, read
from tests.shell import ROOT, shoal

pytestmark = [pytest.mark.data, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def market_2021(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("market") / "out"
    prices = shared_data / "prices_daily_2021_coingecko.parquet"
    done = shoal("replay", prices, "--out", out, "--config", ROOT / "examples" / "market-2021.toml", timeout=300)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def ethereum_2015(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("chain") / "out"
    done = shoal("replay", shared_data / "eth_txs_mainnet_2015_481k.parquet", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def test_the_market_of_2021(market_2021: Path) -> None:
    check_contract(market_2021, "market")
    check_market(market_2021)
    fits = read(market_2021, "fits")
    assert fits.num_rows == 44, "61 closes fill the window on 2 March, then a fit a week"
    assert pc.all(fits["converged"]).as_py()
    assert pc.min(fits["coins"]).as_py() > 1_000
    members = read(market_2021, "memberships")
    assert not pc.any(pc.is_in(members["coin_id"], value_set=_names("tether", "wrapped-bitcoin"))).as_py()
    assert pc.any(pc.is_in(members["coin_id"], value_set=_names("bitcoin"))).as_py()
    kinds = set(read(market_2021, "events")["kind"].to_pylist())
    assert kinds >= {"left", "outcome", "born", "died"}


def test_absurd_prices_are_counted_and_passed_over(market_2021: Path) -> None:
    manifest = json.loads((market_2021 / "manifest.json").read_text())
    (entry,) = [found for found in manifest["quarantined"] if found["column"] == "price_usd"]
    assert entry["reason"] == "not a price"
    # 18 prices are not positive; the others are positive and below 1e-15
    assert entry["count"] == 65
    assert len(entry["first"]) == 5


def test_the_chain_of_2015(ethereum_2015: Path) -> None:
    check_contract(ethereum_2015, "chain")
    check_chain(ethereum_2015)
    composition = read(ethereum_2015, "composition")
    ends = sorted(set(composition["as_of"].to_pylist()))
    assert [end.isoformat() for end in ends] == [
        "2015-11-03T00:00:00+00:00",
        "2015-11-04T00:00:00+00:00",
        "2015-11-05T00:00:00+00:00",
        "2015-11-06T00:00:00+00:00",
        "2015-11-06T18:00:58+00:00",
    ]
    assert set(composition["regime"].to_pylist()) == {"unknown"}
    networks = read(ethereum_2015, "networks").to_pylist()
    assert networks[-1]["nodes"] == 3193
    assert 0.12 < networks[-1]["window_fill"] < 0.14, "four days of thirty"


def test_two_replays_of_the_chain_are_equal_in_bytes(ethereum_2015: Path, shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    transfers = shared_data / "eth_txs_mainnet_2015_481k.parquet"
    done = shoal("replay", transfers, "--out", out, "--workers", 2, "--batch-rows", 1000)
    assert done.returncode == 0, done.stderr
    assert digests(out) == digests(ethereum_2015)


def test_entities_are_written_when_asked_for(shared_data: Path, tmp_path: Path) -> None:
    config = tmp_path / "shoal.toml"
    config.write_text("[behaviour]\nwrite_entities = true\n")
    out = tmp_path / "out"
    transfers = shared_data / "eth_txs_mainnet_2015_481k.parquet"
    assert shoal("replay", transfers, "--out", out, "--config", config).returncode == 0
    entities = read(out, "behaviours")
    last = entities.filter(pc.equal(entities["as_of"], pc.max(entities["as_of"])))
    assert last.num_rows == 3201
    # conservation: what was sent without a receiver (contract creations) is all that is missing, 2 ether
    assert pc.sum(last["balance"]).as_py() == pytest.approx(-2.0, abs=1e-6)
    counted = read(out, "composition").filter(pc.field("as_of") == pc.max(entities["as_of"]))
    for row in counted.to_pylist():
        assert pc.sum(pc.equal(last["behaviour"], row["behaviour"])).as_py() == row["entities"]


def _names(*names: str) -> pa.Array:

    return pa.array(names)
