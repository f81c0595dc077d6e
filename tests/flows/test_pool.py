"""Jobs leave the dataflow's worker, run side by side and come back in order; a resume loses none."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import ServiceError
from flows.pool import THREAD_VARIABLES, Chained, InOrder, Pool, one_thread_each
from tests.flows.driver import HeldPool, InlinePool


def double(job: int) -> int:
    return 2 * job


def in_order(pool: HeldPool | InlinePool, most: int = 4, pending: list[int] | None = None) -> InOrder[int, int]:
    return InOrder(cast(Pool, pool), double, most, pending or ())


def test_results_come_in_the_order_of_submission() -> None:
    pool = HeldPool()
    jobs = in_order(pool)
    assert [jobs.put(number) for number in (5, 6, 7)] == [[], [], []]
    pool.finish(1)
    pool.finish(2)
    assert jobs.ready() == [], "the first is not there yet"
    assert jobs.pending == [5, 6, 7]
    pool.finish(0)
    assert [job for job, _, _ in jobs.ready()] == [5, 6, 7]
    assert jobs.pending == []
    assert jobs.ready() == jobs.drain() == []


@given(st.permutations(list(range(6))), st.integers(0, 6))
def test_any_order_of_finishing_gives_the_same(order: list[int], looks: int) -> None:
    pool = HeldPool()
    jobs = in_order(pool, most=6)
    out = [entry for number in range(6) for entry in jobs.put(number)]
    for at, number in enumerate(order):
        pool.finish(number)
        if at < looks:
            out += jobs.ready()
    out += jobs.drain()
    assert out == [(number, 2 * number, 0.25) for number in range(6)]


def test_no_more_wait_than_allowed() -> None:
    pool = HeldPool()
    jobs = in_order(pool, most=2)
    jobs.put(1)
    jobs.put(2)
    pool.finish(0)
    assert [job for job, _, _ in jobs.put(3)] == [1], "the oldest is waited for"
    assert jobs.pending == [2, 3]


def test_a_resume_submits_what_was_pending_also_where_fewer_may_wait() -> None:
    """`shoal replay --jobs 8` that was killed goes on with `--jobs 1`: its snapshot holds more than that may wait."""
    before = in_order(HeldPool(), most=16)
    for number in range(10):
        before.put(number)
    pool = InlinePool()
    after = in_order(pool, most=2, pending=before.pending)
    assert pool.submitted == list(range(10))
    assert [job for job, _, _ in [*after.put(10), *after.drain()]] == list(range(11))


def test_a_job_that_fails_is_not_passed_over() -> None:
    pool = HeldPool()
    jobs: InOrder[int, float] = InOrder(cast(Pool, pool), lambda job: 1 / job, 4)
    jobs.put(0)
    pool.held[0][1].set_exception(ZeroDivisionError("division by zero"))
    with pytest.raises(ZeroDivisionError):
        jobs.ready()


def test_a_pool_works_in_other_processes_and_closes() -> None:
    pool = Pool(0)
    assert pool.jobs == 1
    pool.close()
    try:
        child, seconds = pool.submit(os.readlink, "/proc/self").result(60)
        assert int(str(child)) != os.getpid()
        assert seconds >= 0.0
        again: tuple[Any, float] = pool.submit(os.readlink, "/proc/self").result(60)
        assert again[0] == child, "the child is kept"
    finally:
        pool.close()
    pool.close()


def end_at_once(_job: int) -> int:
    os._exit(9)


def test_a_child_that_dies_is_one_clear_line() -> None:
    pool = Pool(1)
    try:
        jobs: InOrder[int, int] = InOrder(pool, end_at_once, 2)
        jobs.put(1)
        with pytest.raises(ServiceError, match="a process for fits ended before its time"):
            jobs.drain()
    finally:
        pool.close()


def test_jobs_that_go_on_from_each_other_run_one_by_one_with_the_state_of_the_one_before() -> None:
    def count(job: tuple[int, bytes | None]) -> tuple[int, bytes]:
        number, state = job
        return number, (state or b"") + bytes([number])

    chain: Chained[int, tuple[int, bytes]] = Chained(cast(Pool, InlinePool()), count, 2, lambda result: result[1])
    done = [entry for number in (1, 2, 3) for entry in chain.put(number)] + chain.drain()
    assert [job for job, _, _ in done] == [1, 2, 3]
    assert [state for _, (_, state), _ in done] == [b"\x01", b"\x01\x02", b"\x01\x02\x03"]
    resumed: Chained[int, tuple[int, bytes]] = Chained(
        cast(Pool, InlinePool()), count, 2, lambda result: result[1], chain.state, [4]
    )
    assert resumed.pending == [4]
    assert [state for _, (_, state), _ in resumed.drain()] == [b"\x01\x02\x03\x04"]


def test_one_thread_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    one_thread_each()
    assert [os.environ[name] for name in THREAD_VARIABLES] == ["3", "1", "1", "1", "1"]
    for name in THREAD_VARIABLES[1:]:
        monkeypatch.delenv(name)
