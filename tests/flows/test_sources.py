"""Partitions poll without waiting, rest when idle, and end cleanly: one more snapshot of each, then the signal."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from connectors.schema import Batch, empty
from flows.sources import IDLE_SECONDS, Position, Stopping, StreamSource


class Listed:
    """A reader of given polls."""

    def __init__(self, polls: list[list[Batch]], *, live: bool, position: Position | None = None) -> None:
        self.live, self._polls, self._at = live, polls, position or 0
        self.closed = False

    def poll(self) -> list[Batch]:
        if self._at >= len(self._polls):
            if self.live:
                return []
            raise StopIteration
        self._at += 1
        return self._polls[self._at - 1]

    def position(self) -> Position:
        return self._at

    def close(self) -> None:
        self.closed = True


def batch(watermark_us: int) -> Batch:
    return Batch("trades", empty("trades"), watermark_us)


def part(
    polls: list[list[Batch]], *, live: bool, stopping: Stopping | None = None, state: Any = None, name: str = "a"
) -> Any:
    source = StreamSource({name: lambda position: Listed(polls, live=live, position=position)}, stopping)
    assert source.list_parts() == [name]
    return source.build_part("ticks", name, state)


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sent: list[int] = []

    def kill(pid: int, number: int) -> None:
        assert pid == os.getpid()
        sent.append(number)

    monkeypatch.setattr(os, "kill", kill)
    return sent


def test_partitions_are_sorted_by_name() -> None:
    opener = Listed
    source = StreamSource({"b": lambda _: opener([], live=True), "a": lambda _: opener([], live=True)})
    assert source.list_parts() == ["a", "b"]


def test_batches_carry_the_name_of_their_partition_and_go_on_from_a_position() -> None:
    polls = [[batch(1), batch(2)], [], [batch(3)]]
    one = part(polls, live=False)
    assert [(name, b.watermark_us) for name, b in one.next_batch()] == [("a", 1), ("a", 2)]
    assert one.snapshot() == 1
    again = part(polls, live=False, state=1)
    assert again.next_batch() == []
    assert [b.watermark_us for _, b in again.next_batch()] == [3]
    with pytest.raises(StopIteration):
        again.next_batch()


def test_only_a_live_input_that_has_nothing_rests() -> None:
    live = part([[batch(1)], []], live=True)
    live.next_batch()
    assert live.next_awake() is None, "there may be more at once"
    live.next_batch()
    due, later = live.next_awake(), live.next_awake()
    assert due is not None
    assert 0 <= (later - due).total_seconds() < IDLE_SECONDS + 60
    archive = part([[], [batch(1)]], live=False)
    archive.next_batch()
    assert archive.next_awake() is None, "a file never makes one wait"


def test_a_clean_stop_waits_for_a_snapshot_and_a_further_call(signalled: list[int]) -> None:
    stopping = Stopping()
    one = part([[batch(1)]] * 9, live=True, stopping=stopping)
    one.snapshot()
    assert len(one.next_batch()) == 1, "a snapshot before the request counts for nothing"
    stopping.request()
    assert stopping.requested
    for _ in range(3):
        assert one.next_batch() == [], "nothing is emitted that no snapshot would hold"
        assert one.next_awake() is not None
    assert signalled == []
    assert one.snapshot() == 1
    assert signalled == [], "the epoch of that snapshot is not closed yet"
    assert one.next_batch() == []
    assert signalled == [signal.SIGUSR1]
    one.next_batch()
    assert signalled == [signal.SIGUSR1], "once"


def test_the_last_of_all_partitions_gives_the_signal(signalled: list[int]) -> None:
    stopping = Stopping()
    first = part([], live=True, stopping=stopping)
    second = part([], live=True, stopping=stopping, name="b")
    stopping.request()
    for one in (first, second):
        assert signalled == []
        one.next_batch()
        one.snapshot()
        one.next_batch()
    assert signalled == [signal.SIGUSR1]


def test_an_input_that_ends_by_itself_does_not_hold_up_the_stop(signalled: list[int]) -> None:
    stopping = Stopping()
    live = part([], live=True, stopping=stopping)
    ended = part([], live=False, stopping=stopping, name="b")
    with pytest.raises(StopIteration):
        ended.next_batch()
    ended.close()
    stopping.request()
    live.next_batch()
    live.snapshot()
    live.next_batch()
    assert signalled == [signal.SIGUSR1]


def test_closing_ends_the_reader() -> None:
    reader = Listed([], live=True)
    one = StreamSource({"a": lambda _: reader}).build_part("ticks", "a", None)
    one.close()
    assert reader.closed
