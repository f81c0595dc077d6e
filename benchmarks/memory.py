"""How much memory one call adds to a fresh process (Linux): its high-water mark before and after."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path


def high_water() -> float:
    """Return this process's peak resident memory in megabytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _added(prepare: Callable[[int], object], call: Callable[[object], object], size: int) -> float:
    given = prepare(size)
    call(prepare(40))  # imports and compiled kernels
    before = high_water()
    call(given)
    return high_water() - before


def megabytes(prepare: Callable[[int], object], call: Callable[[object], object], size: int) -> float:
    """Return the megabytes that ``call(prepare(size))`` adds at its peak, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_added, (prepare, call, size))
