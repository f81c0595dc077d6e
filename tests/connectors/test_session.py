"""The session: it loses nothing, connects for ever, and is patient with a peer that refuses."""

from __future__ import annotations

import socket as sockets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection

from connectors.errors import FeedError
from connectors.records import Fetch, Reconnect, Send
from connectors.session import Arrival, Backoff, Session, SessionConfig, endpoint, retry_after_s
from tests.connectors.peer import WITHIN_S, Inbox, Peer


@contextmanager
def session_to(peer: Peer | None, jitter: Any = None, **changes: Any) -> Iterator[tuple[Session, Inbox]]:
    settings: dict[str, Any] = {
        "name": "test",
        "websocket_url": peer.url if peer else None,
        "http_url": peer.http_url if peer else None,
        "backoff_base_s": 0.001,
        "backoff_cap_s": 0.01,
        "connect_spacing_s": 0.0,
        "tick_s": 0.02,
        **changes,
    }
    session = Session(SessionConfig(**settings), uniform=jitter or (lambda low, high: high))
    session.start()
    try:
        yield session, Inbox(session)
    finally:
        session.stop()
        assert session._thread is not None
        assert not session._thread.is_alive()


def count(kind: str, wanted: int) -> Any:
    return lambda arrivals: sum(arrival[1] == kind for arrival in arrivals) >= wanted


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(f"echo {message!r}")


async def stay(socket: ServerConnection) -> None:
    await socket.wait_closed()


def test_receives_stamps_and_sends() -> None:
    ticks = iter(range(1_000_000))
    with Peer(echo) as peer:
        session = Session(SessionConfig(name="t", websocket_url=peer.url, tick_s=60.0), clock_us=lambda: next(ticks))
        session.start()
        inbox = Inbox(session)
        inbox.until(count("open", 1))
        session.submit([Send("one"), Send("two")])
        inbox.until(count("msg", 2))
        session.stop()
    assert [a[1:3] for a in inbox.all] == [
        ("open", peer.url.removesuffix("/stream").encode()),
        ("msg", b"echo 'one'"),
        ("msg", b"echo 'two'"),
    ]
    assert [a[0] for a in inbox.all] == [0, 1, 2]
    assert session.queue_depth == 0


def test_end_without_an_error_is_a_disconnection() -> None:
    async def bye(socket: ServerConnection) -> None:
        await socket.send("hello")
        await socket.close(1000, "maintenance")

    with Peer(bye) as peer, session_to(peer) as (_, inbox):
        inbox.until(count("open", 3))
    assert inbox.kinds()[:6] == ["open", "msg", "close", "open", "msg", "close"]
    assert inbox.all[2][2] == b"closed: 1000 maintenance"


def test_broken_connection_and_too_large_a_message_are_disconnections() -> None:
    async def broken(socket: ServerConnection) -> None:
        if peer.attempts == 1:
            socket.transport.abort()
        else:
            await socket.send("x" * 5000)
            await socket.wait_closed()

    with Peer(broken) as peer, session_to(peer, max_message_bytes=1000) as (_, inbox):
        inbox.until(count("close", 2))
    reasons = [a[2] for a in inbox.all if a[1] == "close"]
    assert reasons[0] == b"closed: 1006 lost"
    assert reasons[1].startswith(b"closed: 1009")


@pytest.mark.parametrize("status", [400, 403, 418, 429, 451, 500, 502, 503, 504])
def test_every_refusal_is_tried_again(status: int) -> None:
    with Peer(stay, [(status, "0"), (status, "0")]) as peer, session_to(peer) as (_, inbox):
        inbox.until(count("open", 1))
    assert [a[1] for a in inbox.all] == ["close", "close", "open"]
    assert inbox.all[0][2] == f"http_{status}: connection refused".encode()


def test_refusal_is_waited_for_as_long_as_asked() -> None:
    waits: list[float] = []

    def jitter(low: float, high: float) -> float:
        waits.append(high)
        return low

    with Peer(stay, [(429, "3600")]) as peer, session_to(peer, jitter) as (_, inbox):
        inbox.until(count("close", 1))
        threading.Event().wait(0.1)
        assert peer.attempts == 1
    with Peer(stay, [(451, None)]) as peer, session_to(peer, jitter) as (_, inbox):
        inbox.until(count("close", 1))
        threading.Event().wait(0.1)
        assert peer.attempts == 1


def test_delays_go_on_growing_while_connections_open_and_close_at_once() -> None:
    async def slam(socket: ServerConnection) -> None:
        await socket.send("hello")

    ceilings: list[float] = []

    def jitter(low: float, high: float) -> float:
        ceilings.append(high)
        return 0.0

    with Peer(slam) as peer, session_to(peer, jitter, backoff_base_s=1.0, backoff_cap_s=60.0) as (_, inbox):
        inbox.until(count("close", 8))
    assert ceilings[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]

    ceilings.clear()
    with (
        Peer(slam) as peer,
        session_to(peer, jitter, backoff_base_s=1.0, backoff_cap_s=60.0, healthy_after_s=0.0) as (_, inbox),
    ):
        inbox.until(count("close", 3))
    assert ceilings[:3] == [1.0, 1.0, 1.0]  # it delivered long enough: short delays again


def test_peer_that_is_not_there_is_reported_and_tried_for_ever() -> None:
    with Peer(stay) as peer:
        url = peer.url
    with session_to(None, websocket_url=url) as (_, inbox):
        inbox.until(count("close", 3))
    assert inbox.kinds()[:3] == ["close"] * 3
    assert inbox.all[0][2].startswith(b"unreachable: ")


def test_address_that_is_none_is_reported() -> None:
    with session_to(None, websocket_url="http://127.0.0.1:1/") as (_, inbox):
        inbox.until(count("close", 1))
    assert inbox.all[0][2] == b"address: not a websocket address"


def test_silent_opening_handshake_times_out() -> None:
    with sockets.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with session_to(None, websocket_url=f"ws://127.0.0.1:{port}", open_timeout_s=0.05) as (_, inbox):
            inbox.until(count("close", 1))
    assert inbox.all[0][2].startswith(b"timeout")


def test_peer_that_answers_no_ping_is_left() -> None:
    async def frozen(socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        await socket.wait_closed()

    with Peer(frozen) as peer, session_to(peer, ping_interval_s=0.05, ping_timeout_s=0.05) as (_, inbox):
        inbox.until(count("close", 1))
    assert inbox.all[1][2] == b"closed: 1011 keepalive ping timeout"


def test_full_queue_holds_the_peer_back_and_loses_nothing() -> None:
    total = 5_000

    async def flood(socket: ServerConnection) -> None:
        for n in range(total):
            await socket.send(f"{n:064d}")
        await socket.wait_closed()

    with Peer(flood) as peer, session_to(peer, queue_records=100, tick_s=60.0) as (session, inbox):
        most = 0

        def complete(arrivals: list[Arrival]) -> bool:
            nonlocal most
            most = max(most, session.queue_depth)
            return len(arrivals) > total

        inbox.until(complete, limit=37)
    assert most <= 101
    assert [int(a[2]) for a in inbox.all[1:]] == list(range(total))


def test_queue_is_bounded_in_bytes_too() -> None:
    async def flood(socket: ServerConnection) -> None:
        for _ in range(200):
            await socket.send("x" * 10_000)
        await socket.wait_closed()

    with Peer(flood) as peer, session_to(peer, queue_bytes=50_000, tick_s=60.0) as (session, inbox):
        most = 0

        def complete(arrivals: list[Arrival]) -> bool:
            nonlocal most
            most = max(most, session.queue_depth)
            return len(arrivals) > 200

        inbox.until(complete, limit=3)
    assert most <= 6


def test_core_can_ask_for_another_connection_though_the_queue_is_full() -> None:
    async def flood(socket: ServerConnection) -> None:
        for n in range(500):
            await socket.send(str(n))
        await socket.wait_closed()

    with Peer(flood) as peer, session_to(peer, queue_records=10, tick_s=60.0) as (session, inbox):
        inbox.until(count("open", 1), limit=1)
        session.submit([Reconnect("silence")])
        inbox.until(count("open", 2))
    reasons = [a[2] for a in inbox.all if a[1] == "close"]
    assert reasons[0] == b"silence: asked by the core"


def test_what_was_meant_for_an_older_connection_is_dropped() -> None:
    with Peer(echo) as peer, session_to(peer) as (session, inbox):
        inbox.until(count("open", 1))
        session.submit([Reconnect("roll")])
        pause = threading.Event()
        for _ in range(4000):  # the second connection is open, and the core has not seen that
            if peer.attempts == 2 and session.queue_depth >= 2:
                break
            pause.wait(0.005)
        session.submit([Send("stale"), Reconnect("stale")])
        inbox.until(count("open", 2))
        session.submit([Send("fresh")])
        inbox.until(count("msg", 1))
    assert [a[2] for a in inbox.all if a[1] == "msg"] == [b"echo 'fresh'"]
    assert peer.attempts == 2


def test_requests_come_back_with_their_tags() -> None:
    with Peer(stay) as peer, session_to(peer, websocket_url=None) as (session, inbox):
        inbox.until(count("open", 1))
        assert inbox.all[0][2] == peer.http_url.encode()
        peer.responses = [(404, {}, "none")]
        session.submit([Fetch("a", "/api?x=1")])
        inbox.until(count("reply", 1))
        session.submit([Fetch("b", "/api/v3?y=[1]"), Fetch("c", "/post", '{"z":1}', 0.01)])
        inbox.until(count("reply", 3))
    replies = {a[3]: a[2:] for a in inbox.all if a[1] == "reply"}
    assert replies["a"] == (b"none", "a", 404)
    assert replies["b"][2] == 200
    assert replies["c"] == (b"answer to /post", "c", 200)
    assert ("POST", "/post", '{"z":1}') in peer.requests


def test_requests_are_few_at_a_time_and_paced() -> None:
    with Peer(stay) as peer, session_to(peer, websocket_url=None, http_per_s=200.0, http_burst=5) as (session, inbox):
        inbox.until(count("open", 1))
        session.submit([Fetch(str(n), f"/{n}") for n in range(40)])
        inbox.until(count("reply", 40))
    stamps = sorted(a[0] for a in inbox.all if a[1] == "reply")
    assert peer.most_in_flight <= 4
    assert stamps[-1] - stamps[0] >= 100_000  # 35 beyond the burst at 200 a second take 0.17 s


def test_request_that_gets_no_answer_says_so() -> None:
    with Peer(stay) as peer:
        gone = peer.http_url
    with session_to(None, http_url=gone) as (session, inbox):
        inbox.until(count("open", 1))
        session.submit([Fetch("x", "/")])
        inbox.until(count("reply", 1))
    assert inbox.all[1][4] == 0
    assert b"ClientConnectorError" in inbox.all[1][2]
    with Peer(stay) as peer, session_to(peer, websocket_url=None, http_timeout_s=0.1) as (session, inbox):
        inbox.until(count("open", 1))
        session.submit([Fetch("x", "/stall")])
        inbox.until(count("reply", 1))
        assert inbox.all[1][1:] == ("reply", b"timeout", "x", 0)


def test_too_many_requests_make_all_requests_pause() -> None:
    with Peer(stay) as peer, session_to(peer, websocket_url=None) as (session, inbox):
        inbox.until(count("open", 1))
        peer.responses = [(429, {"Retry-After": "3600"}, "slow down")]
        session.submit([Fetch("a", "/a")])
        inbox.until(count("reply", 1))
        assert inbox.all[1][4] == 429
        session.submit([Fetch("b", "/b")])
        threading.Event().wait(0.1)
        assert len(peer.requests) == 1


def test_ticks_come_also_without_a_peer() -> None:
    with session_to(None, websocket_url="ws://127.0.0.1:9") as (session, _):
        ticks: list[Arrival] = []
        pause = threading.Event()
        for _ in range(int(WITHIN_S / 0.005)):
            ticks += [a for a in session.drain(100) if a[1] == "tick"]
            if len(ticks) >= 5:
                break
            pause.wait(0.005)
    assert len(ticks) >= 5


def test_faults_of_the_thread_reach_the_consumer() -> None:
    def broken_clock() -> int:
        raise ArithmeticError("no clock")

    session = Session(SessionConfig(name="feed", http_url="http://127.0.0.1:9"), clock_us=broken_clock)
    session.start()
    assert session._thread is not None
    session._thread.join(WITHIN_S)
    with pytest.raises(FeedError, match="its thread ended: ArithmeticError"):
        session.drain(10)
    with pytest.raises(FeedError, match="was started before"):
        session.start()
    session.stop()


def test_session_to_nowhere_is_an_error() -> None:
    with pytest.raises(FeedError, match="neither a websocket_url nor an http_url"):
        Session(SessionConfig(name="feed"))


def test_stopping_before_starting_and_twice_is_harmless() -> None:
    session = Session(SessionConfig(name="feed", http_url="http://127.0.0.1:9"))
    session.stop()
    session.submit([Send("x")])
    assert session.drain(5) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 1000))
def test_delays_are_full_jitter_above_the_floor(draws: list[float], floor: float) -> None:
    values = iter(draws)
    backoff = Backoff(1.0, 60.0, lambda low, high: low + (high - low) * next(values))
    for n, draw in enumerate(draws):
        assert backoff.next(floor) == floor + draw * min(60.0, 2.0**n)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("-3", 0.0),
        ("1e99", 345_600.0),
        ("nan", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, 100.0) == seconds


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("wss://user:secret@node.example/v2/KEY?token=x", "wss://node.example"),
        ("ws://127.0.0.1:8546/", "ws://127.0.0.1:8546"),
        ("wss://[::1]:9443/stream", "wss://[::1]:9443"),
    ],
)
def test_journals_never_see_keys_of_addresses(url: str, shown: str) -> None:
    assert endpoint(url) == shown
