"""The process pool for heavy jobs: fits and training never run inside the dataflow's worker.

Children are spawned, use one thread for linear algebra (so that results do not depend on the number of cores) and end
with their parent, whatever ended it: a thread in each of them waits for the parent's process handle.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from connectors.clock import Stopwatch
from connectors.errors import ServiceError

Job = TypeVar("Job")
Result = TypeVar("Result")

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def one_thread_each() -> None:
    """Ask the numeric libraries of this process and its children for one thread; call it before they are imported."""
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")


def _begin_child() -> None:
    """Leave Ctrl-C and SIGTERM, which reach the whole group, to the parent, and end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def _timed(work: Callable[[Job], Result], job: Job) -> tuple[Result, float]:
    watch = Stopwatch()
    result = work(job)
    return result, watch.seconds


class Pool:
    """A spawn process pool that starts its children when the first job comes."""

    def __init__(self, jobs: int) -> None:
        self.jobs = max(1, jobs)
        self._executor: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def submit(self, work: Callable[[Job], Result], job: Job) -> Future[tuple[Result, float]]:
        """Run ``work(job)`` in a child; the result comes with the seconds that it took."""
        with self._lock:
            if self._executor is None:
                self._executor = ProcessPoolExecutor(
                    max_workers=self.jobs,
                    mp_context=multiprocessing.get_context("spawn"),
                    initializer=_begin_child,
                )
            return self._executor.submit(_timed, work, job)

    def close(self) -> None:
        """End the children without waiting for jobs that have not begun."""
        with self._lock:
            if self._executor is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)
                self._executor = None


def _result_of(future: Future[tuple[Result, float]]) -> tuple[Result, float]:
    """Wait for a result; a child that ended without one (killed, or out of memory) is a fault of this machine."""
    try:
        return future.result()
    except BrokenProcessPool:
        raise ServiceError(
            "pool", "a process for fits ended before its time", "is there memory enough? start again: nothing is lost"
        ) from None


@dataclass(slots=True)
class _Entry(Generic[Job]):
    job: Job
    future: Future[Any]


class InOrder(Generic[Job, Result]):
    """Jobs of one key: they run side by side and their results come out in the order of submission.

    ``most`` bounds how many wait; :meth:`put` then waits for the oldest. The jobs that have no result yet are the
    state: a resume submits them again (``pending``, all of them: with another ``most`` none may get lost), and since
    a result is a function of its job, it gets the same.
    """

    def __init__(self, pool: Pool, work: Callable[[Job], Result], most: int, pending: Iterable[Job] = ()) -> None:
        self._pool, self._work, self._most = pool, work, most
        self._queue: deque[_Entry[Job]] = deque()
        for job in pending:
            self._submit(job)

    @property
    def pending(self) -> list[Job]:
        """The jobs that have no result yet, oldest first."""
        return [entry.job for entry in self._queue]

    def put(self, job: Job) -> list[tuple[Job, Result, float]]:
        """Submit a job; return the results for which it had to wait."""
        done = []
        while len(self._queue) >= self._most:
            done.append(self._take())
        self._submit(job)
        return done

    def ready(self) -> list[tuple[Job, Result, float]]:
        """Return the results that are there, up to the first that is not."""
        done = []
        while self._queue and self._queue[0].future.done():
            done.append(self._take())
        return done

    def drain(self) -> list[tuple[Job, Result, float]]:
        """Wait for all."""
        done = []
        while self._queue:
            done.append(self._take())
        return done

    def _submit(self, job: Job) -> None:
        self._queue.append(_Entry(job, self._pool.submit(self._work, job)))

    def _take(self) -> tuple[Job, Result, float]:
        entry = self._queue.popleft()
        result, seconds = _result_of(entry.future)
        return entry.job, result, seconds


class Chained(Generic[Job, Result]):
    """Jobs of one key that go on from each other: one at a time, each with the state that the one before left.

    The same calls as :class:`InOrder`. ``state_of`` takes the state out of a result; the state of the last result and
    the jobs that have none yet are what a resume goes on from.
    """

    def __init__(
        self,
        pool: Pool,
        work: Callable[[tuple[Job, bytes | None]], Result],
        most: int,
        state_of: Callable[[Result], bytes | None],
        state: bytes | None = None,
        pending: Iterable[Job] = (),
    ) -> None:
        self._pool, self._work, self._most, self._state_of = pool, work, most, state_of
        self.state = state
        self._queue: deque[Job] = deque(pending)
        self._running: Future[tuple[Result, float]] | None = None
        self._begin()

    @property
    def pending(self) -> list[Job]:
        """The jobs that have no result yet, oldest first."""
        return list(self._queue)

    def put(self, job: Job) -> list[tuple[Job, Result, float]]:
        """Queue a job; return the results for which it had to wait."""
        done = []
        while len(self._queue) >= self._most:
            done.append(self._take())
        self._queue.append(job)
        self._begin()
        return done

    def ready(self) -> list[tuple[Job, Result, float]]:
        """Return the results that are there."""
        done = []
        while self._running is not None and self._running.done():
            done.append(self._take())
        return done

    def drain(self) -> list[tuple[Job, Result, float]]:
        """Wait for all."""
        done = []
        while self._queue:
            done.append(self._take())
        return done

    def _begin(self) -> None:
        if self._running is None and self._queue:
            self._running = self._pool.submit(self._work, (self._queue[0], self.state))

    def _take(self) -> tuple[Job, Result, float]:
        self._begin()
        running = self._running
        if running is None:
            raise RuntimeError("no job to wait for")
        result, seconds = _result_of(running)
        self._running = None
        job = self._queue.popleft()
        self.state = self._state_of(result)
        self._begin()
        return job, result, seconds
