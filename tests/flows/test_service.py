"""The service where the world is not as it should be: nobody answers, or what is said makes no sense."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.sandbox.faults import Faults
from connectors.sandbox.service import SandboxConfig, spawn
from tests.live.test_service import Service, run_service
from tests.shell import members, wait_until

pytestmark = pytest.mark.timeout(180)

CONFIG = """
[[windows]]
name = "minutes"
bar_interval = "1s"
length_bars = 20
refit_every_bars = 5
views = ["comovement"]

[behaviour]
window_days = 0.003472222222222222
refit_every_hours = 0.005555555555555556

[behaviour.regime]
close_every = "1m"
lookback_days = 0.01

[service]
epoch_seconds = 0.5

[[feeds.exchanges]]
websocket_url = "{exchange_ws}"
rest_url = "{exchange_rest}"
history_bars = 20

[[feeds.nodes]]
websocket_url = "{node_ws}"
head_silence_seconds = 10
"""


@contextmanager
def running(folder: Path, exchange_ws: str, exchange_rest: str, node_ws: str, *more: object) -> Iterator[Service]:
    config = folder / "shoal.toml"
    config.write_text(CONFIG.format(exchange_ws=exchange_ws, exchange_rest=exchange_rest, node_ws=node_ws))
    service = run_service(folder / "state", "--config", config, *more)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.wait(20)


def test_nobody_answers(tmp_path: Path) -> None:
    """The service runs on and says so; it ends as cleanly as any other."""
    with running(tmp_path, "ws://127.0.0.1:9", "http://127.0.0.1:9", "ws://127.0.0.1:9") as service:
        downs = [f'shoal_feed_up{{feed="{feed}"}}' for feed in ("binance", "ethereum", "prices")]
        wait_until("feeds that are down", lambda: all(service.metrics().get(name) == 0 for name in downs), 30)
        status, text = service.get("/readyz")
        assert status == 503
        missing = " ".join(json.loads(text)["missing"])
        for feed in ("binance", "ethereum", "prices"):
            assert feed in missing
        assert "feed" in missing
        assert service.get("/healthz")[0] == 200
        assert service.get("/")[0] == 200
        assert service.process.poll() is None
        assert service.stop(signal.SIGTERM) == 0, service.log.read_text()
        log = service.log.read_text()
        assert "Traceback" not in log
        assert "goes on from here" in log
        wait_until("the end of its pool", lambda: not members(service.process.pid), 10)


def test_messages_that_make_no_sense_are_counted_and_passed_over(tmp_path: Path) -> None:
    often, rarely = Faults(malformed_every=2), Faults(malformed_every=7)  # a node says much less
    sandbox = spawn(SandboxConfig(coins=6, groups=2, agents=200, exchange_faults=rarely, node_faults=often))
    try:
        urls = sandbox.urls
        with running(tmp_path, urls.exchange_ws_url, urls.exchange_rest_url, urls.node_ws_url) as service:
            counted = [f'shoal_feed_parse_errors_total{{feed="{feed}"}}' for feed in ("binance", "ethereum")]
            wait_until("errors that are counted", lambda: all(service.metrics().get(n, 0) >= 2 for n in counted), 60)
            fits = 'shoal_fit_timestamp_seconds{view="comovement",window="minutes"}'
            wait_until("a fit all the same", lambda: service.metrics().get(fits, 0) > 0, 60)
            reached = service.metrics()
            events = 'shoal_feed_events_total{feed="binance"}'
            wait_until("more of both", lambda: service.metrics()[events] > reached[events] > 0, 30)
            wait_until("another fit", lambda: service.metrics()[fits] > reached[fits], 60)
            assert service.stop(signal.SIGINT) == 0, service.log.read_text()
            assert "Traceback" not in service.log.read_text()
            quarantined = service.state / "results" / "quarantine" / "all.parquet"
            assert quarantined.exists(), "what was passed over is kept with its reason"
    finally:
        sandbox.stop()
