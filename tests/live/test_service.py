"""The service on its sandbox, as a person runs it: start, look, stop, start again, and replay what it recorded."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import sync_playwright

from connectors.tables import TABLES
from tests.browser.conftest import ARGUMENTS, chromium_path
from tests.shell import ROOT, members, shoal, start, wait_until

pytestmark = pytest.mark.timeout(540)

READY_WITHIN_S = 60
# a coin moves every 150 s, give or take a quarter, and is seen to have left up to two minutes later
EVENT_WITHIN_S = 330


@dataclass(slots=True)
class Service:
    """A running service."""

    process: subprocess.Popen[bytes]
    state: Path
    log: Path
    url: str = ""
    seen: dict[str, Any] = field(default_factory=dict)

    def get(self, path: str) -> tuple[int, str]:
        """Fetch a path; return status and body."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:  # noqa: S310 our own loopback
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """Return the exposed samples."""
        samples = {}
        for line in self.get("/metrics")[1].splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it as the system would, and return its exit code."""
        self.process.send_signal(how)
        return self.process.wait(40)


def run_service(state: Path, *more: object) -> Service:
    """Start the service and wait until it says where it listens."""
    log = state.parent / f"{state.name}.log"
    log.touch()
    before = log.stat().st_size
    service = Service(start("run", "--listen", "127.0.0.1:0", "--state", state, *more, log=log), state, log)

    def listening() -> bool:
        assert service.process.poll() is None, log.read_text()
        found = re.search(r"listening on (http://\S+)", log.read_text()[before:])
        service.url = found[1] if found else ""
        return found is not None

    wait_until("the line that says where it listens", listening, 30)
    return service


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A run that was watched until a planted move had become an event, then stopped by SIGTERM."""
    service = run_service(tmp_path_factory.mktemp("live") / "state")
    try:
        began = time.monotonic()
        wait_until("/readyz answers 200", lambda: service.get("/readyz")[0] == 200, READY_WITHIN_S)
        service.seen["ready after"] = time.monotonic() - began
        service.seen["early"] = service.metrics()
        service.seen["page"] = service.get("/")
        service.seen["healthz"] = service.get("/healthz")
        service.seen["live since"] = time.time()
        wait_until("a departure that came live", lambda: _departed_since(service) > 0, EVENT_WITHIN_S)
        service.seen["late"] = service.metrics()
        service.seen["in the browser"] = _look(service.url)
        service.seen["events"] = json.loads(service.get("/api/v1/events?limit=500")[1])
        service.seen["exit"] = service.stop()
        yield service
    finally:
        service.process.kill()


def _look(url: str) -> dict[str, Any] | None:
    """Open the page in Chromium; return what a person would see, None where there is no Chromium."""
    path = chromium_path()
    if path is None:
        assert not os.environ.get("CI"), "CI has no Chromium: nothing may be skipped there"
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        page.wait_for_selector("html[data-stream=open]", state="attached")
        page.wait_for_selector("#feed .event[data-kind=left]")
        seen = {
            "coins": page.locator("#map [data-coin]").count(),
            "left": page.locator("#feed .event[data-kind=left] p").first.inner_text(),
            "shares": page.locator("#shares li").count(),
            "complaints": complaints,
        }
        browser.close()
    return seen


def _departures(samples: dict[str, float]) -> float:
    return sum(value for name, value in samples.items() if name.startswith("shoal_coin_departures_total"))


def _departed_since(service: Service) -> int:
    """Count the departures after the history that was fetched at the start."""
    since = dt.datetime.fromtimestamp(service.seen["live since"], dt.UTC)
    events = json.loads(service.get("/api/v1/events?limit=500")[1])["events"]
    times = [dt.datetime.fromisoformat(event["as_of"]) for event in events if event["kind"] == "left"]
    return sum(time > since for time in times)


def read(state: Path, table: str) -> pa.Table:
    """Read a live result table, all its periods."""
    files = sorted((state / "results" / table).glob("*.parquet"))
    schema = TABLES[table].schema
    return pa.concat_tables([pq.read_table(path) for path in files]) if files else schema.empty_table()


def test_it_is_ready_within_a_minute_and_serves_a_page(first_run: Service) -> None:
    assert first_run.seen["ready after"] < READY_WITHIN_S
    status, page = first_run.seen["page"]
    assert status == 200
    assert "<title>" in page
    assert first_run.seen["healthz"][0] == 200


@pytest.mark.browser
def test_the_page_shows_the_live_market_in_a_browser(first_run: Service) -> None:
    seen = first_run.seen["in the browser"]
    if seen is None:
        pytest.skip("no Chromium on the PATH")
    assert seen["coins"] == 40
    assert " left " in seen["left"]
    assert seen["shares"] == 4
    assert seen["complaints"] == []


def test_metrics_have_values_that_move(first_run: Service) -> None:
    early, late = first_run.seen["early"], first_run.seen["late"]
    assert late['shoal_clusters{view="comovement",window="minutes"}'] >= 4
    assert 0 < late['shoal_cluster_ari{view="comovement",window="minutes"}'] <= 1
    for name in ('shoal_feed_events_total{feed="binance"}', 'shoal_chain_head_height{chain="ethereum"}'):
        assert late[name] > early[name] > 0, name
    shares = [value for name, value in late.items() if name.startswith("shoal_behaviour_share_ratio")]
    assert len(shares) == 4
    assert sum(shares) == pytest.approx(1.0)
    assert _departures(late) > _departures(early), "the counter says so too"
    in_home = {value for name, value in late.items() if name.startswith("shoal_coin_in_home")}
    assert in_home <= {0.0, 1.0}
    assert 1.0 in in_home
    assert late['shoal_feed_up{feed="binance"}'] == 1


def test_departures_are_the_planted_moves(first_run: Service) -> None:
    truth = json.loads((first_run.state / "truth.json").read_text())
    moves = [(move["symbol"], move["at_us"]) for move in truth["moves"]]
    left = read(first_run.state, "events").filter(pc.field("kind") == "left")
    assert left.num_rows >= 1
    found = 0
    for row in left.to_pylist():
        at_us = int(row["as_of"].timestamp() * 1e6)
        symbol = row["coin_id"].replace("-", "")
        # the window holds two minutes: what moved before the last three cannot be what was seen
        found += any(name == symbol and 0 < at_us - moved_us < 180e6 for name, moved_us in moves)
    assert found >= 1
    assert left.num_rows - found <= 1, "departures are planted moves, but for one false alarm at most"
    shown = [event for event in first_run.seen["events"]["events"] if event["kind"] == "left"]
    assert len(shown) >= 1


def test_it_stops_cleanly_and_leaves_nothing_behind(first_run: Service) -> None:
    assert first_run.seen["exit"] == 0, first_run.log.read_text()
    assert "Traceback" not in first_run.log.read_text()
    assert "panicked" not in first_run.log.read_text()
    wait_until("the end of pool and sandbox", lambda: not members(first_run.process.pid), 10)


def test_a_second_start_goes_on_and_its_journal_replays_to_the_same_rows(first_run: Service, tmp_path: Path) -> None:
    before = read(first_run.state, "fits")
    service = run_service(first_run.state)
    try:
        status, text = service.get("/api/v1/events?limit=500")
        assert status == 200
        assert [event["id"] for event in json.loads(text)["events"] if event["kind"] == "left"], "shown from the start"
        wait_until("/readyz answers 200", lambda: service.get("/readyz")[0] == 200, READY_WITHIN_S)
        fits = 'shoal_fit_timestamp_seconds{view="comovement",window="minutes"}'
        reached = service.metrics()[fits]
        wait_until("three more fits", lambda: service.metrics()[fits] >= reached + 15, 60)
        exit_code = service.stop(signal.SIGINT)
    finally:
        service.process.kill()
    assert exit_code == 0
    after = read(first_run.state, "fits")
    assert after.slice(0, before.num_rows).equals(before), "what was published stays"
    ends = after["as_of"].to_pylist()
    steps = {(b - a).total_seconds() for a, b in itertools.pairwise(ends)}
    assert steps == {5.0}, "no fit is lost and none comes twice, also over the restart"
    out = tmp_path / "replayed"
    done = shoal("replay", first_run.state / "journal", "--out", out, "--config", ROOT / "flows" / "sandbox.toml")
    assert done.returncode == 0, done.stderr
    for table in ("fits", "memberships", "shoals", "drift", "embedding", "coverage", "composition", "networks"):
        live, replayed = read(first_run.state, table), pq.read_table(out / f"{table}.parquet")
        last = pc.max(live["as_of"])
        upto = replayed.filter(pc.less_equal(replayed["as_of"], last))
        order = [(key, "ascending") for key in TABLES[table].key]
        assert live.num_rows > 0
        assert upto.sort_by(order).equals(live.sort_by(order)), f"{table}: live and replay differ"
