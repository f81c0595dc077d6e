"""Fits in the process pool: side by side, results in order of ``as_of``."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Callable, Iterable

from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from flows.items import PanelReady
from flows.looks import Looks
from flows.pool import Chained, InOrder, Pool
from flows.views import FitResult, Fitted


class FitLogic(StatefulBatchLogic[PanelReady, Fitted, bytes]):
    """Fits one view of one window, each fit by itself.

    In a replay the dataflow waits when ``most`` fits are pending; live it looks again every 50 ms, so that ticks are
    never held up. Either way a fit is a function of its panel alone (:class:`WarmFitLogic`: and of those before it).
    """

    def __init__(
        self, pool: Pool, work: Callable[[PanelReady], FitResult], most: int, live: bool, state: bytes | None
    ) -> None:
        pending: list[PanelReady] = pickle.loads(state) if state is not None else []  # noqa: S301 our own snapshot
        self._begin(InOrder(pool, work, most, pending), live)

    def _begin(self, jobs: InOrder[PanelReady, FitResult] | Chained[PanelReady, FitResult], live: bool) -> None:
        self._jobs = jobs
        self._looks = Looks(live)
        self._looks.plan(pending=bool(self._jobs.pending))

    @override
    def on_batch(self, values: list[PanelReady]) -> tuple[Iterable[Fitted], bool]:
        done = []
        for panel in values:
            done += self._jobs.put(panel)
        done += self._jobs.ready()
        self._looks.plan(pending=bool(self._jobs.pending))
        return [Fitted(*entry) for entry in done], self.RETAIN

    @override
    def on_notify(self) -> tuple[Iterable[Fitted], bool]:
        done = self._jobs.ready()
        self._looks.again(pending=bool(self._jobs.pending))
        return [Fitted(*entry) for entry in done], self.RETAIN

    @override
    def on_eof(self) -> tuple[Iterable[Fitted], bool]:
        return [Fitted(*entry) for entry in self._jobs.drain()], self.RETAIN

    @override
    def notify_at(self) -> dt.datetime | None:
        return self._looks.due

    @override
    def snapshot(self) -> bytes:
        return pickle.dumps(self._jobs.pending)


class WarmFitLogic(FitLogic):
    """Fits a view that goes on from the fit before: one fit after the other."""

    def __init__(
        self,
        pool: Pool,
        work: Callable[[tuple[PanelReady, bytes | None]], FitResult],
        most: int,
        live: bool,
        state: bytes | None,
    ) -> None:
        warm, pending = pickle.loads(state) if state is not None else (None, [])  # noqa: S301 our own snapshot
        self._chain: Chained[PanelReady, FitResult] = Chained(pool, work, most, _state_of, warm, pending)
        self._begin(self._chain, live)

    @override
    def snapshot(self) -> bytes:
        return pickle.dumps((self._chain.state, self._chain.pending))


def _state_of(result: FitResult) -> bytes | None:
    return result.state
