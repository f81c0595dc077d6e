from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge

from connectors.errors import ServiceError
from connectors.tables import EVENT_KINDS
from dashboards import api
from dashboards import server as service
from dashboards.board import Board
from dashboards.server import PAGE, Server
from tests.dashboards.feeder import CHAIN, COINS, START_US, VIEW, WINDOW, Feeder, event

Answer = tuple[int, dict[str, str], bytes]

PATHS = [f"/api/v1/{endpoint.path.replace('{id}', '')}" for endpoint in api.ENDPOINTS]
PARAMETERS = ["window", "view", "limit", "kind", "before", "chain", "id", "x"]


class Client:
    """A service and plain HTTP requests to it."""

    def __init__(self) -> None:
        self.board = Board()
        self.feeder = Feeder(self.board)
        self.registry = CollectorRegistry()
        self.server = Server(self.board, self.registry, "127.0.0.1", 0)
        self.host, self.port = self.server.start()

    def ask(self, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def json(self, path: str, status: int = 200) -> Any:
        found, headers, body = self.ask(path)
        assert found == status, body
        assert headers["content-type"] == "application/json; charset=utf-8"
        return json.loads(body, parse_constant=pytest.fail)  # no NaN, no Infinity


@pytest.fixture(scope="module")
def full() -> Iterator[Client]:
    client = Client()
    client.feeder.story(9)
    yield client
    client.server.stop()


@pytest.fixture
def client() -> Iterator[Client]:
    fresh = Client()
    yield fresh
    fresh.server.stop()


def test_health_and_readiness(client: Client) -> None:
    assert client.json("/healthz") == {"status": "ok"}
    assert client.json("/readyz", 503) == {"ready": False, "missing": ["the service is starting"]}
    client.feeder.story(2)
    assert client.json("/readyz") == {"ready": True, "missing": []}


def test_an_empty_board_answers_everywhere(client: Client) -> None:
    for path in ("status", "windows", "events", "composition", "feeds"):
        client.json(f"/api/v1/{path}")
    for path in ("map", "shoals", "drift", "coins/BTC"):
        assert "error" in client.json(f"/api/v1/{path}", 404)
    client.feeder.expect()
    assert client.json("/api/v1/map")["waiting"] == "waiting for the first fit"
    client.board.progress(WINDOW, 5, 9)
    assert client.json("/api/v1/map")["waiting"] == "waiting for the first fit: 5 of 9 bars"
    assert client.ask("/metrics")[0] == 200


def test_the_map_holds_every_coin_its_place_and_shoal(full: Client) -> None:
    tree = full.json(f"/api/v1/map?window={WINDOW}")
    assert [c["coin_id"] for c in tree["coins"]] == sorted(COINS)
    for coin in tree["coins"]:
        assert coin["shoal"] == full.feeder.home[COINS.index(coin["coin_id"])] + 1
        assert all(isinstance(coin[axis], float) for axis in "xyz")
    assert {a for a, _, _ in tree["edges"]} <= set(COINS)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", tree["as_of"])


def test_shoals_partition_the_coins(full: Client) -> None:
    shoals = full.json("/api/v1/shoals")["shoals"]
    assert sorted(coin for shoal in shoals for coin in shoal["coins"]) == sorted(COINS)
    assert all(shoal["exemplar"] in shoal["coins"] and shoal["size"] == len(shoal["coins"]) for shoal in shoals)


def test_drift_and_composition_are_in_order(full: Client) -> None:
    for tree in (full.json("/api/v1/drift"), full.json(f"/api/v1/composition?chain={CHAIN}")):
        times = [point["as_of"] for point in tree["points"]]
        assert len(times) == 9
        assert times == sorted(times)
    assert all(sum(p["share"].values()) == pytest.approx(1.0) for p in tree["points"])


def test_events_are_newest_first_and_can_be_chosen(full: Client) -> None:
    everything = full.json("/api/v1/events?limit=2000")["events"]
    times = [e["as_of"] for e in everything]
    assert times == sorted(times, reverse=True)
    assert len({e["id"] for e in everything}) == len(everything)
    assert len(full.json("/api/v1/events?limit=2")["events"]) == 2
    left = full.json("/api/v1/events?kind=left,joined")["events"]
    assert {e["kind"] for e in left} == {"left", "joined"}
    middle = times[len(times) // 2]
    before = full.json(f"/api/v1/events?before={middle}")["events"]
    assert [e["as_of"] for e in before] == [t for t in times if t < middle]
    assert full.json("/api/v1/events?kind=lift", 404)["known"] == list(EVENT_KINDS)
    for bad in ("limit=0", "limit=-1", "limit=many", "limit=99999999999", "before=yesterday"):
        assert "error" in full.json(f"/api/v1/events?{bad}", 400)


def test_a_coin_has_its_place_its_neighbours_and_its_past(full: Client) -> None:
    tree = full.json("/api/v1/coins/THETA")
    assert tree["views"][0]["window"] == WINDOW
    assert tree["neighbours"][WINDOW]
    assert [e["kind"] for e in tree["events"]] == ["joined"]
    assert full.json("/api/v1/coins/NOSUCH", 404)["error"] == "no coin 'NOSUCH'"


def test_coin_names_with_odd_characters_are_found(client: Client) -> None:
    odd = ["a/b", "100% coin", "ünï", "q?x=1&y"]
    Feeder(client.board, coins=odd, shoals=1).fit()
    for coin in odd:
        assert client.json(f"/api/v1/coins/{quote(coin, safe='')}")["coin_id"] == coin


def test_an_unknown_window_view_or_chain_names_the_known_ones(full: Client) -> None:
    assert full.json("/api/v1/map?window=nights", 404) == {"error": "no window 'nights'", "known": [WINDOW]}
    assert full.json(f"/api/v1/drift?window={WINDOW}&view=shape", 404)["known"] == [VIEW]
    assert full.json("/api/v1/composition?chain=dogecoin", 404)["known"] == [CHAIN]


def test_numbers_that_are_not_finite_are_null(client: Client) -> None:
    client.board.publish("events", event("left", START_US, coin_id="BTC", shoal_from=1, margin=float("nan")))
    assert client.json("/api/v1/events")["events"][0]["margin"] is None


def test_metrics_by_accept_header_with_the_given_registry(full: Client) -> None:
    _, plain, text = full.ask("/metrics")
    _, opened, open_text = full.ask("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert plain["content-type"].startswith("text/plain; version=0.0.4")
    assert opened["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_text.endswith(b"# EOF\n")
    assert b'shoal_coin_in_home{window="minutes",view="comovement",coin="BTC"} 1.0' in text


def test_other_collectors_of_the_registry_are_served_too(client: Client) -> None:
    Gauge("other_thing", "Of somebody else.", registry=client.registry).set(3)
    assert b"other_thing 3.0" in client.ask("/metrics")[2]


def test_openapi_describes_every_endpoint(full: Client) -> None:
    paths = full.json("/api/openapi.json")["paths"]
    assert set(paths) == {f"/api/v1/{e.path}" for e in api.ENDPOINTS} | {"/api/v1/stream"}
    for path, operations in paths.items():
        if path != "/api/v1/stream":
            assert full.ask(path.replace("{id}", "BTC"))[0] == 200
        assert set(operations) == {"get"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_it_is_read_only(full: Client, method: str) -> None:
    for path in ("/", "/metrics", "/api/v1/map", "/nowhere"):
        status, headers, _ = full.ask(path, method)
        assert status in (400, 405)
        if status == 405:
            assert headers["allow"] == "GET, HEAD"


def test_head_has_no_body(full: Client) -> None:
    for path in ("/", "/metrics", "/healthz", "/api/v1/status", "/api/v1/stream"):
        status, _, body = full.ask(path, "HEAD")
        assert (status, body) == (200, b"")


def test_every_answer_has_the_security_headers(full: Client) -> None:
    for path in ("/", "/static/app.js", "/metrics", "/api/v1/map?window=x", "/nowhere", "/api/v1/events?limit=x"):
        _, headers, _ = full.ask(path)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["server"] == "shoal"


def test_static_files_have_tags_and_types_and_nothing_else_is_served(full: Client) -> None:
    status, headers, body = full.ask("/static/app.js")
    assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert body == (PAGE / "app.js").read_bytes()
    again = full.ask("/static/app.js", headers={"If-None-Match": headers["etag"]})
    assert (again[0], again[2]) == (304, b"")
    for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/static//etc/passwd",
                 "/static/nothing.js", "/static/", "/server.py", "/favicon.ico"):  # fmt: skip
        assert full.ask(path)[0] == 404, path


def test_the_page_names_no_other_host_and_every_file_it_names_is_there(full: Client) -> None:
    _, _, page = full.ask("/")
    for path in re.findall(r'(?:href|src)="(/[^"]*)"', page.decode()):
        assert full.ask(path)[0] == 200, path
    own = [p for p in PAGE.rglob("*") if p.suffix in (".js", ".css", ".html") and "vendor" not in p.parts]
    assert len(own) >= 10
    for path in own:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import", text), path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), path
    assert (PAGE / "vendor" / "uplot" / "LICENSE").is_file()
    assert (PAGE / "vendor" / "inter" / "LICENSE").is_file()


def test_long_addresses_are_refused(full: Client) -> None:
    assert full.ask("/api/v1/events?kind=" + "x" * 2_000)[0] == 414
    assert full.ask("/static/" + "x" * 1_000)[0] == 414
    assert full.ask("/api/v1/events?kind=" + "x" * 60_000)[0] in (400, 414)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["", "/", "/static/", "/api/", "/api/v1/", *PATHS]),
    st.text(max_size=40),
    st.dictionaries(st.sampled_from(PARAMETERS), st.text(max_size=20), max_size=4),
)  # fmt: skip
def test_no_address_makes_it_fail(full: Client, start: str, rest: str, query: dict[str, str]) -> None:
    text = "&".join(f"{k}={quote(v, errors='replace')}" for k, v in query.items())
    path = "/" + (start + quote(rest, errors="replace")).lstrip("/") + (f"?{text}" if text else "")
    if path.startswith("/api/v1/stream"):
        return
    status, _, body = full.ask(path)
    assert status < 500, (path, body)
    assert b"Traceback" not in body


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=200))
def test_no_bytes_make_it_fail(full: Client, junk: bytes) -> None:
    with socket.create_connection((full.host, full.port), timeout=10) as plug:
        plug.sendall(b"GET /" + junk + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        plug.shutdown(socket.SHUT_WR)
        heard = b""
        while part := plug.recv(65_536):
            heard += part
    assert not re.match(rb"HTTP/1\.[01] 5", heard)
    assert b"Traceback" not in heard


def test_a_fault_in_a_handler_shows_no_trace(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client.board, "ready", lambda: 1 / 0)
    status, _, body = client.ask("/readyz")
    assert (status, json.loads(body)) == (500, {"error": "internal error; the log has the details"})
    assert "ZeroDivisionError" in caplog.text


class Stream:
    """A reader of the stream of events."""

    def __init__(self, client: Client) -> None:
        self.connection = http.client.HTTPConnection(client.host, client.port, timeout=20)
        self.connection.request("GET", "/api/v1/stream")
        self.answer = self.connection.getresponse()
        assert self.answer.getheader("Content-Type") == "text/event-stream"
        assert self.line().startswith("retry:")

    def line(self) -> str:
        return self.answer.readline().decode().rstrip("\n")

    def message(self) -> tuple[str, Any]:
        while not (line := self.line()).startswith("event: "):
            assert line == "" or line.startswith(":"), line
        return line.removeprefix("event: "), json.loads(self.line().removeprefix("data: "))


def test_the_stream_carries_what_is_published(client: Client) -> None:
    stream = Stream(client)
    client.feeder.expect()
    client.feeder.fit()
    client.feeder.fit(mover=2)
    client.feeder.composition()
    client.feeder.heard()
    kinds = [stream.message() for _ in range(6)]
    assert [kind for kind, _ in kinds] == ["fit", "event", "fit", "composition", "feed", "feed"]
    assert kinds[1][1] == client.json("/api/v1/events?limit=1")["events"][0]
    assert kinds[0][1]["window"] == WINDOW
    assert kinds[3][1] == client.json("/api/v1/composition")["points"][-1]
    assert kinds[4][1] == client.json("/api/v1/feeds")["feeds"][0]


def test_the_stream_beats_and_ends_with_the_service(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_HEARTBEAT_SECONDS", 0.05)
    stream = Stream(client)
    seen = [stream.line() for _ in range(6)]
    assert ": beat" in seen
    began = time.monotonic()
    client.server.stop()
    while stream.answer.readline():
        pass
    assert time.monotonic() - began < 10
    assert client.board.listeners[0] == 0


def test_streams_are_bounded_and_freed_when_readers_go(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_STREAMS", 2)
    monkeypatch.setattr(service, "_HEARTBEAT_SECONDS", 0.02)
    first, second = Stream(client), Stream(client)
    assert client.ask("/api/v1/stream")[0] == 503
    first.answer.close()
    first.connection.close()
    free = threading.Event()
    for _ in range(500):
        if client.board.listeners[0] < 2:
            break
        free.wait(0.02)
    Stream(client)
    second.connection.close()


def test_a_port_in_use_is_a_service_error(full: Client) -> None:
    other = Server(Board(), CollectorRegistry(), full.host, full.port)
    with pytest.raises(ServiceError) as caught:
        other.start()
    assert str(caught.value) == (f"127.0.0.1:{full.port}: port in use (--listen HOST:PORT or stop the other one)")
    other.stop()


@pytest.mark.parametrize(
    ("host", "port", "problem"),
    [("203.0.113.7", 0, "not an address of this machine"), ("127.0.0.1", 70_000, "no such port"),
     ("no such host", 0, "no such host")],
)  # fmt: skip
def test_addresses_that_cannot_be_listened_on(host: str, port: int, problem: str) -> None:
    with pytest.raises(ServiceError, match=problem):
        Server(Board(), CollectorRegistry(), host, port).start()


def test_it_starts_again_after_a_stop_on_the_same_port(client: Client) -> None:
    client.server.stop()
    client.server.stop()
    again = Server(client.board, CollectorRegistry(), client.host, client.port)
    assert again.start() == (client.host, client.port)
    assert client.json("/healthz") == {"status": "ok"}
    with pytest.raises(RuntimeError, match="started already"):
        again.start()
    again.stop()


def test_two_servers_need_two_registries_and_share_nothing() -> None:
    one, two = Client(), Client()
    one.feeder.story(2)
    assert one.ask("/metrics")[2] != two.ask("/metrics")[2]
    one.server.stop()
    two.server.stop()
