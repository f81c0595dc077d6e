"""Timing two ways of doing the same thing, in turn, so that a machine that drifts harms neither."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(ours: Callable[[], object], rival: Callable[[], object], runs: int = 5) -> tuple[float, float, float]:
    """Return the median seconds of both and the median of the ratios rival/ours, pair by pair, after a warm-up."""
    ours()
    rival()
    pairs = [(seconds(ours), seconds(rival)) for _ in range(runs)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(b / a for a, b in pairs),
    )


def row(*cells: object) -> None:
    """Print a row of a Markdown table."""
    print("| " + " | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |")


def head(*cells: str) -> None:
    """Print the head of a Markdown table."""
    row(*cells)
    print("|" + "---|" * len(cells))
