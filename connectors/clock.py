"""The one place that reads the clock of this machine.

``models`` and ``flows`` never do (a test holds it): what they compute is a function of event time alone. The shells
around them need wall time for three things only: when to look again, how long a job took, and the age of a lock.
None of these reaches a result table other than ``timings``.
"""

from __future__ import annotations

import datetime as dt
import time


def utc_now() -> dt.datetime:
    """Return the wall time."""
    return dt.datetime.now(dt.UTC)


def now_us() -> int:
    """Return the wall time in microseconds since the epoch."""
    return time.time_ns() // 1000


def in_seconds(seconds: float) -> dt.datetime:
    """Return the wall time ``seconds`` from now, as bytewax wants it."""
    return utc_now() + dt.timedelta(seconds=seconds)


class Stopwatch:
    """Seconds since it was made, by the monotonic clock."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the stopwatch was made."""
        return time.perf_counter() - self._start
