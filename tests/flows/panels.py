"""Panels for tests: bars of one day, partitions that send them, and the step that makes panels of them."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from connectors.schema import FOREVER_US
from flows.config import Window
from flows.items import PanelReady, PartBars
from flows.panel import PanelLogic
from models.bars import ClosedBars
from tests.flows.driver import drive

DAY = 86_400_000_000
NAN = float("nan")


@dataclass(frozen=True)
class Bar:
    """One bar of one coin in one partition: its close (None: nothing but late rows or duplicates)."""

    end: int  # in days
    coin: str
    close: float | None
    late: int = 0
    duplicate: int = 0


@dataclass
class Part:
    """What a partition sends: bars, and after how many days it has closed how much."""

    name: str
    bars: list[Bar] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    ends: bool = True

    def messages(self) -> list[PartBars]:
        """Cut the bars into messages at the days of ``cuts``."""
        edges = [0, *sorted(set(self.cuts))]
        out = [
            part_bars(self.name, [bar for bar in self.bars if a < bar.end <= b], b * DAY)
            for a, b in itertools.pairwise(edges)
        ]
        rest = [bar for bar in self.bars if bar.end > edges[-1]]
        if self.ends:
            return [*out, part_bars(self.name, rest, FOREVER_US)]
        return [*out, *([part_bars(self.name, rest, max(bar.end for bar in rest) * DAY)] if rest else [])]


def part_bars(name: str, rows: list[Bar], closed_to_us: int) -> PartBars:
    rows = sorted(rows, key=lambda bar: (bar.end, bar.coin))
    coins = sorted({bar.coin for bar in rows}, reverse=True)
    close = np.array([NAN if bar.close is None else bar.close for bar in rows])
    closed = ClosedBars(
        end_us=np.array([bar.end * DAY for bar in rows], np.int64),
        code=np.array([coins.index(bar.coin) for bar in rows], np.int64),
        open=close,
        high=close,
        low=close,
        close=close,
        volume=np.ones(len(rows)),
        market_cap=np.full(len(rows), NAN),
        rows=np.array([bar.close is not None for bar in rows], np.int64),
        late=np.array([bar.late for bar in rows], np.int64),
        duplicate=np.array([bar.duplicate for bar in rows], np.int64),
    )
    return PartBars(name, closed if rows else None, coins, closed_to_us)


def window(length: int = 3, every: int = 1, presence: float = 0.5) -> Window:
    return Window(length_bars=length, refit_every_bars=every, minimum_presence=presence)


def make(window: Window, parts: list[str]) -> Any:
    return functools.partial(PanelLogic, window, 2, parts)


def run(window: Window, parts: list[Part], order: list[int] | None = None, **more: Any) -> list[PanelReady]:
    """Send the messages of all partitions, in the order given by partition numbers (else one after the other)."""
    queues = [part.messages() for part in parts]
    turns = [] if order is None else order
    sent = [queues[i].pop(0) for i in turns if queues[i]]
    sent += [message for queue in queues for message in queue]
    return drive(make(window, [part.name for part in parts]), [[message] for message in sent], **more)


def steady(name: str, days: range, coins: str = "ab", close: float = 1.0) -> Part:
    return Part(name, [Bar(day, coin, close + day) for day in days for coin in coins])
