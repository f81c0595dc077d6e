from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from connectors.tables import BEHAVIOURS
from dashboards.board import Board
from dashboards.coins import CoinBlock, withheld
from dashboards.exposition import Exposition
from dashboards.metrics import METRICS, RECONNECT_REASONS, label, markdown
from tests.conftest import ROOT
from tests.dashboards.feeder import CHAIN, CHAIN_WINDOW, COINS, START_US, VIEW, WINDOW, Feeder, batch, event

OPEN = "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"
GOLDEN = Path(__file__).with_name("scrape.golden.txt")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(board: Board, accept: str = OPEN) -> Samples:
    body, kind = Exposition(board, CollectorRegistry()).render(accept)
    parse = parse_open if "openmetrics" in kind else parse_plain
    samples: Samples = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, f"{key} stands twice"
            samples[key] = sample.value
    return samples


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, tuple(sorted(labels.items()))))


def filled(fits: int = 8) -> Board:
    board = Board()
    Feeder(board).story(fits)
    return board


def test_golden_scrape(request: pytest.FixtureRequest) -> None:
    """The whole text, byte for byte (rewrite it with ``python -m tests.dashboards.test_metrics``)."""
    assert golden_text() == GOLDEN.read_text(encoding="utf-8")


def golden_text() -> str:
    board = Board()
    feeder = Feeder(board, coins=COINS[:4], shoals=2)
    feeder.expect()
    feeder.fit()
    feeder.fit(mover=3)
    feeder.composition()
    feeder.heard()
    board.gauge("shoal_behaviour_silhouette", {"chain": CHAIN, "window": CHAIN_WINDOW}, 0.5)
    return Exposition(board, CollectorRegistry()).render(OPEN)[0].decode()


def test_both_formats_say_the_same() -> None:
    board = filled()
    assert scrape(board, OPEN) == scrape(board, "text/plain; version=0.0.4")
    assert scrape(board, "") == scrape(board, "*/*")
    open_text, open_kind = Exposition(board, CollectorRegistry()).render(OPEN)
    plain_text, plain_kind = Exposition(board, CollectorRegistry()).render("")
    assert open_kind.startswith("application/openmetrics-text")
    assert plain_kind.startswith("text/plain")
    assert open_text.endswith(b"# EOF\n")
    assert b"# EOF" not in plain_text
    assert b"_created" not in open_text + plain_text


def test_every_sample_is_defined_and_has_the_defined_labels() -> None:
    families = {metric.family: metric for metric in METRICS.values()}
    body, _ = Exposition(filled(), CollectorRegistry()).render(OPEN)
    found = set()
    for family in parse_open(body.decode()):
        metric = families[family.name]
        found.add(metric.name)
        assert family.type == metric.kind
        assert family.documentation == metric.help
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample
    only_by_gauge = {name for name in METRICS if name.endswith(("misclassified_ratio", "silhouette", "budget_per_90d"))}
    assert found == set(METRICS) - only_by_gauge - {"shoal_view_agreement_ari"}


def test_values_are_those_of_the_rows() -> None:
    board = filled()
    samples = scrape(board)
    fit = board.snapshot().fits[(WINDOW, VIEW)]
    here = {"window": WINDOW, "view": VIEW}
    assert value(samples, "shoal_clusters", **here) == 5
    assert value(samples, "shoal_cluster_ari", **here) == board.snapshot().drift[(WINDOW, VIEW)]["ari"]
    for row in fit.members.to_pylist():
        assert value(samples, "shoal_coin_shoal", **here, coin=row["coin_id"]) == row["shoal"]
        assert value(samples, "shoal_coin_margin", **here, coin=row["coin_id"]) == row["margin"]
        assert value(samples, "shoal_coin_in_home", **here, coin=row["coin_id"]) == float(row["shoal"] == row["home"])
        assert value(samples, "shoal_coin_coverage_ratio", window=WINDOW, coin=row["coin_id"]) == row["coverage"]
    assert value(samples, "shoal_coin_departures_total", **here, coin=COINS[35]) == 1
    assert value(samples, "shoal_coin_departures_total", **here, coin="BTC") == 0
    shares = [
        value(samples, "shoal_behaviour_share_ratio", chain=CHAIN, window=CHAIN_WINDOW, behaviour=b) for b in BEHAVIOURS
    ]
    assert sum(s for s in shares if s is not None) == pytest.approx(1.0)
    regimes = {r: value(samples, "shoal_price_regime", asset=CHAIN, regime=r) for r in ("rising", "stable", "falling")}
    assert sorted(regimes.values(), key=str) == [0.0, 0.0, 1.0]
    assert value(samples, "shoal_chain_head_height", chain=CHAIN) == 908
    assert value(samples, "shoal_chain_reorg_depth_blocks_bucket", chain=CHAIN, le="1.0") == 1
    assert value(samples, "shoal_chain_reorg_depth_blocks_count", chain=CHAIN) == 2
    assert value(samples, "shoal_job_duration_seconds_count", job="fit") == 8
    assert value(samples, "shoal_journal_bytes_total") == 120_412 * 131 + 5_000_000
    assert value(samples, "shoal_events_total", **here, kind="merged") == 1


def test_counters_exist_at_zero_before_anything_is_heard() -> None:
    board = Board()
    Feeder(board).expect()
    samples = scrape(board)
    for name, metric in METRICS.items():
        if metric.kind == "counter" and metric.labels == ("feed",):
            assert value(samples, name, feed="binance") == 0
    for reason in RECONNECT_REASONS:
        assert value(samples, "shoal_feed_reconnects_total", feed="binance", reason=reason) == 0
    assert value(samples, "shoal_events_total", window=WINDOW, view=VIEW, kind="left") == 0
    assert value(samples, "shoal_chain_reorgs_total", chain=CHAIN) == 0
    assert value(samples, "shoal_chain_reorg_depth_blocks_count", chain=CHAIN) == 0
    assert value(samples, "shoal_feed_up", feed="binance") == 0
    assert value(samples, "shoal_feed_last_event_timestamp_seconds", feed="binance") is None


def test_all_behaviours_are_always_there() -> None:
    board = Board()
    board.publish("composition", batch("composition", {
        "as_of": START_US, "chain": CHAIN, "window": CHAIN_WINDOW, "regime": "unknown", "event": None,
        "behaviour": "optimist", "entities": 10, "share": 1.0}))  # fmt: skip
    samples = scrape(board)
    for behaviour in BEHAVIOURS:
        share = value(samples, "shoal_behaviour_share_ratio", chain=CHAIN, window=CHAIN_WINDOW, behaviour=behaviour)
        assert share == float(behaviour == "optimist")
    assert {v for (name, _), v in samples.items() if name == "shoal_price_regime"} == {0.0}


def test_no_address_becomes_a_label() -> None:
    addresses = ["0x" + "aB" * 20, "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"]
    board = Board()
    feeder = Feeder(board, coins=["BTC", *addresses], shoals=1)
    feeder.fit()
    board.publish("events", event("left", START_US, coin_id=addresses[0], shoal_from=1, shoal_to=2, margin=-1.0))
    text = Exposition(board, CollectorRegistry()).render(OPEN)[0].decode()
    assert 'coin="BTC"' in text
    assert not any(address in text for address in addresses)
    for address in addresses:
        with pytest.raises(ValueError, match="never labels"):
            label(address)
    assert not any(
        word in name for metric in METRICS.values() for name in metric.labels for word in ("address", "block", "hash")
    )


def test_odd_coin_names_are_escaped() -> None:
    odd = ['quo"te', "back\\slash", "new\nline", "ünï", "x" * 200]
    board = Board()
    Feeder(board, coins=odd, shoals=1).fit()
    samples = scrape(board)
    for coin in odd:
        assert value(samples, "shoal_coin_shoal", window=WINDOW, view=VIEW, coin=coin) == 1


def test_coins_only_where_they_are_exposed_and_within_the_budget() -> None:
    board = Board()
    feeder = Feeder(board)
    board.expect([(WINDOW, [VIEW])], [], [], expose_coins=set())
    feeder.fit()
    assert not any(name.startswith("shoal_coin_") for name, _ in scrape(board))
    assert value(scrape(board), "shoal_clusters", window=WINDOW, view=VIEW) == 5
    board.expect([(WINDOW, [VIEW])], [], [], expose_coins={WINDOW})
    block = CoinBlock(board, budget=100).text(open_metrics=True)
    assert block == ""
    assert withheld(board.snapshot(), 100) == {WINDOW: len(COINS)}
    text = CoinBlock(board, budget=len(COINS) * 7).text(open_metrics=True)
    assert 0 < sum(not line.startswith("#") for line in text.splitlines()) <= len(COINS) * 7


def test_coins_that_left_the_market_lose_their_series() -> None:
    board = Board()
    block = CoinBlock(board)
    Feeder(board).fit()
    assert 'coin="THETA"' in block.text(open_metrics=True)
    later = Feeder(board, coins=COINS[:-1])
    later.fits = 1
    later.fit()
    assert 'coin="THETA"' not in block.text(open_metrics=True)


def test_the_block_is_rendered_once_per_fit() -> None:
    board = Board()
    feeder = Feeder(board)
    feeder.story(2)
    block = CoinBlock(board)
    first = block.text(open_metrics=True)
    kept = {key: piece for key, (_, piece) in block._pieces.items()}
    board.watermark("market", 5)
    assert block.text(open_metrics=True) == first
    assert all(block._pieces[key][1] is piece for key, piece in kept.items())
    feeder.fit(mover=1)
    assert block.text(open_metrics=True) != first


def test_a_scrape_during_writes_shows_whole_fits() -> None:
    board = Board()
    exposition = Exposition(board, CollectorRegistry())
    feeder = Feeder(board)
    rng = np.random.default_rng(1)
    for _ in range(6):
        feeder.fit(mover=int(rng.integers(0, len(COINS))))
        text = exposition.render(OPEN)[0].decode()
        lines = re.findall(r'shoal_coin_shoal\{.*coin="(\w+)"\} (\d)', text)
        assert {coin: int(number) - 1 for coin, number in lines} == dict(zip(COINS, feeder.home.tolist(), strict=True))


def test_the_reference_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == markdown(METRICS.values())
    done = subprocess.run(
        [sys.executable, "-m", "dashboards.metrics"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == markdown(METRICS.values())


def test_definitions_follow_the_rules() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"shoal_[a-z0-9_]+", name)
        assert (metric.kind == "counter") == name.endswith("_total"), name
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert metric.help.endswith(".")
        assert not any(unit in name for unit in ("_ms", "_us", "_percent", "_age")), name
        if metric.per_coin:
            assert metric.labels[-1] == "coin"


if __name__ == "__main__":
    started = time.perf_counter()
    GOLDEN.write_text(golden_text(), encoding="utf-8")
    sys.stdout.write(f"{GOLDEN} written in {time.perf_counter() - started:.1f} s\n")
