"""Fits of one view: in order, pending ones in the snapshot, polled live at a time that does not move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flows.fits import FitLogic, WarmFitLogic
from flows.items import PanelReady
from flows.looks import POLL_SECONDS
from flows.pool import Pool
from flows.views import FitResult, Fitted
from tests.flows.driver import HeldPool, InlinePool, drive, plain
from tests.flows.panels import run, steady, window

(PANEL,) = run(window(), [steady("x", range(1, 5))])


def panel(bar: int) -> PanelReady:
    return replace(PANEL, bar=bar, as_of_us=bar * 1_000)


def work(panel: PanelReady) -> Any:
    return panel.bar * 10


def make(pool: HeldPool | InlinePool, *, live: bool, most: int = 4, state: bytes | None = None) -> FitLogic:
    return FitLogic(cast(Pool, pool), work, most, live, state)


def bars(fitted: Any) -> list[int]:
    out = list(fitted)
    assert all(isinstance(one, Fitted) and cast(Any, one.result) == 10 * one.panel.bar for one in out)
    return [one.panel.bar for one in out]


@given(st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=5), st.sets(st.integers(0, 5)))
def test_every_panel_is_fitted_once_and_in_order(sizes: list[list[int]], restart: set[int]) -> None:
    number = iter(range(1, 1_000))
    batches = [[panel(next(number)) for _ in batch] for batch in sizes]
    pool = InlinePool()
    out = drive(lambda state: make(pool, live=False, state=state), batches, restart, eof=True)
    assert bars(out) == list(range(1, sum(map(len, batches)) + 1))
    assert all(one.seconds == 0.25 for one in out)


def test_a_replay_waits_at_its_end_and_never_polls() -> None:
    pool = HeldPool()
    logic = make(pool, live=False)
    assert bars(logic.on_batch([panel(1), panel(2)])[0]) == []
    assert logic.notify_at() is None, "what comes when must not depend on a clock"
    pool.finish(0)
    pool.finish(1)
    assert bars(logic.on_eof()[0]) == [1, 2]
    assert bars(logic.on_eof()[0]) == []


def test_the_time_of_the_next_look_stays_while_data_arrive() -> None:
    """A time that moves with every batch would never come: the engine asks again after each of them."""
    pool = HeldPool()
    logic = make(pool, live=True)
    assert logic.notify_at() is None, "nothing to look for"
    logic.on_batch([panel(1)])
    due = logic.notify_at()
    assert due is not None
    for _ in range(3):
        logic.on_batch([])
        assert logic.notify_at() == due
    logic.on_batch([panel(2)])
    assert logic.notify_at() == due
    assert bars(logic.on_notify()[0]) == []
    later = logic.notify_at()
    assert later is not None
    assert later > due
    assert (later - due).total_seconds() < POLL_SECONDS + 60
    pool.finish(0)
    pool.finish(1)
    assert bars(logic.on_notify()[0]) == [1, 2]
    assert logic.notify_at() is None


def test_a_result_that_is_there_comes_with_the_next_batch() -> None:
    pool = HeldPool()
    logic = make(pool, live=True)
    logic.on_batch([panel(1)])
    pool.finish(0)
    assert bars(logic.on_batch([])[0]) == [1]
    assert logic.notify_at() is None


def test_a_snapshot_holds_what_is_pending_and_a_resume_submits_it_again() -> None:
    first, second = HeldPool(), HeldPool()
    logic = make(first, live=True)
    logic.on_batch([panel(1), panel(2), panel(3)])
    first.finish(0)
    assert bars(logic.on_batch([])[0]) == [1]
    saved = logic.snapshot()
    logic.on_batch([panel(4)])
    resumed = make(second, live=True, most=1, state=saved)
    assert len(second.held) == 2
    assert resumed.snapshot() == saved
    assert resumed.notify_at() is not None, "nobody else would look again"
    second.finish(1)
    second.finish(0)
    assert bars(resumed.on_notify()[0]) == [2, 3]
    assert plain(make(second, live=True, state=resumed.snapshot()).snapshot()) == plain(resumed.snapshot())


# ---------------------------------------------------------------------------------------- fits that go on from others


def warm_work(job: tuple[PanelReady, bytes | None]) -> FitResult:
    """Write the bars of all fits so far into the state."""
    panel, state = job
    return FitResult(cast(Any, panel.bar), np.zeros((0, 0)), (state or b"") + b"%d," % panel.bar)


def warm(pool: HeldPool | InlinePool, *, live: bool = False, most: int = 4, state: bytes | None = None) -> WarmFitLogic:
    return WarmFitLogic(cast(Pool, pool), warm_work, most, live, state)


def chain(fitted: Any) -> list[tuple[int, bytes | None]]:
    return [(one.panel.bar, one.result.state) for one in fitted]


@given(st.lists(st.integers(0, 4), max_size=6), st.sets(st.integers(0, 6)), st.integers(1, 5))
def test_a_warm_fit_starts_from_the_one_before_also_after_a_resume(
    sizes: list[int], restart: set[int], most: int
) -> None:
    number = iter(range(1, 1_000))
    batches = [[panel(next(number)) for _ in range(size)] for size in sizes]
    out = drive(lambda state: warm(InlinePool(), most=most, state=state), batches, restart, eof=True)
    total = sum(sizes)
    steps = ["".join(f"{bar}," for bar in range(1, last + 1)).encode() for last in range(1, total + 1)]
    assert chain(out) == list(zip(range(1, total + 1), steps, strict=True))


def test_warm_fits_run_one_after_the_other() -> None:
    pool = HeldPool()
    logic = warm(pool, live=True)
    assert chain(logic.on_batch([panel(1), panel(2), panel(3)])[0]) == []
    assert len(pool.held) == 1, "the second needs what the first leaves"
    due = logic.notify_at()
    assert due is not None
    logic.on_batch([])
    assert logic.notify_at() == due
    pool.finish(0)
    assert chain(logic.on_notify()[0]) == [(1, b"1,")]
    assert len(pool.held) == 2
    saved = logic.snapshot()
    pool.finish(1)
    assert chain(logic.on_batch([])[0]) == [(2, b"1,2,")]
    again = HeldPool()
    resumed = warm(again, live=True, most=1, state=saved)
    assert len(again.held) == 1
    assert resumed.notify_at() is not None
    again.finish(0)
    assert chain(resumed.on_notify()[0]) == [(2, b"1,2,")]
    again.finish(1)
    assert chain(resumed.on_eof()[0]) == [(3, b"1,2,3,")]
