"""Fits in the process pool: side by side, results in order of ``as_of``."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Callable, Iterable

from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from connectors.clock import in_seconds
from flows.items import Fitted, PanelReady
from flows.pool import InOrder, Pool
from models.comovement import ComovementFit

POLL_SECONDS = 0.05


class FitLogic(StatefulBatchLogic[PanelReady, Fitted, bytes]):
    """Fits one view of one window.

    In a replay the dataflow waits when ``most`` fits are pending; live it looks again every 50 ms, so that ticks are
    never held up. Either way a fit is a function of its panel alone.
    """

    def __init__(
        self, pool: Pool, work: Callable[[PanelReady], ComovementFit], most: int, live: bool, state: bytes | None
    ) -> None:
        pending: list[PanelReady] = pickle.loads(state) if state is not None else []  # noqa: S301 our own snapshot
        self._jobs: InOrder[PanelReady, ComovementFit] = InOrder(pool, work, most, pending)
        self._live = live
        self._due: dt.datetime | None = None
        self._schedule()

    @override
    def on_batch(self, values: list[PanelReady]) -> tuple[Iterable[Fitted], bool]:
        done = []
        for panel in values:
            done += self._jobs.put(panel)
        done += self._jobs.ready()
        self._schedule()
        return [Fitted(*entry) for entry in done], self.RETAIN

    @override
    def on_notify(self) -> tuple[Iterable[Fitted], bool]:
        self._due = None
        done = self._jobs.ready()
        self._schedule()
        return [Fitted(*entry) for entry in done], self.RETAIN

    @override
    def on_eof(self) -> tuple[Iterable[Fitted], bool]:
        return [Fitted(*entry) for entry in self._jobs.drain()], self.RETAIN

    @override
    def notify_at(self) -> dt.datetime | None:
        return self._due

    @override
    def snapshot(self) -> bytes:
        return pickle.dumps(self._jobs.pending)

    def _schedule(self) -> None:
        """Fix the time of the next look once; a time that moves with every batch would never come."""
        if not self._live or not self._jobs.pending:
            self._due = None
        elif self._due is None:
            self._due = in_seconds(POLL_SECONDS)
