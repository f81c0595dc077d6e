"""When a step looks at its pending jobs again."""

from __future__ import annotations

import datetime as dt
from typing import Final

from connectors.clock import in_seconds

POLL_SECONDS: Final = 0.05


class Looks:
    """The time of a step's next look at jobs in the pool; live only, since a replay waits for its jobs.

    The time is fixed once: one that moved on with every batch would never come, because bytewax asks again after each.
    """

    def __init__(self, live: bool) -> None:
        self._live = live
        self.due: dt.datetime | None = None

    def plan(self, *, pending: bool) -> None:
        """Fix the next look if there is something to look for and none is fixed yet."""
        if not self._live or not pending:
            self.due = None
        elif self.due is None:
            self.due = in_seconds(POLL_SECONDS)

    def again(self, *, pending: bool) -> None:
        """Fix the look after the one whose time has come."""
        self.due = None
        self.plan(pending=pending)
