"""Running a dataflow with its snapshots: the one call into bytewax's untyped part, and how it is ended.

bytewax runs until its inputs end. What ends it earlier is an exception from a signal handler, and it has to come while
the engine itself is at work: raised inside one of our own methods it would be taken for a fault of that method. So a
handler looks at the frame that it interrupts and, if that is not the call into the engine, tries again a moment later.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Final

import bytewax.recovery
import bytewax.run
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError

from connectors.errors import ShoalError

_init: Any = bytewax.recovery.init_db_dir
_config: Any = bytewax.recovery.RecoveryConfig
_main: Any = bytewax.run.cli_main
_AGAIN_S: Final = 0.005
_STDERR: Final = 2


class Ended(Exception):  # noqa: N818 not an error
    """The dataflow was told to end before its inputs did."""


@contextmanager
def handling(handlers: dict[signal.Signals, Callable[[], bool]]) -> Iterator[None]:
    """Install signal handlers while the block runs; one that returns True ends the dataflow with :class:`Ended`."""

    def handle(number: int, frame: FrameType | None) -> None:
        if over.is_set():
            return
        ending = number in asked or handlers[signal.Signals(number)]()
        if not ending:
            return
        if frame is not None and frame.f_code is execute.__code__:
            raise Ended
        asked.add(number)
        again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
        again.daemon = True
        timers[number] = again
        again.start()

    asked: set[int] = set()
    timers: dict[int, threading.Timer] = {}
    over = threading.Event()
    before = {number: signal.signal(number, handle) for number in handlers}
    try:
        yield
    finally:
        over.set()
        for timer in timers.values():  # a signal that nobody handles any more would end the process
            timer.cancel()
            timer.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def execute(flow: Dataflow, recovery: Path, epoch_seconds: float, workers: int = 1) -> None:
    """Run ``flow`` in the main thread until its inputs end; go on from the snapshots in ``recovery`` if there are any.

    The folder is made whole before it gets its name, so that a crash in between leaves no half of one. Raises
    :class:`Ended` if a handler ended it, and whatever of ours was raised inside the dataflow as itself.
    """
    if not recovery.exists():
        fresh = recovery.with_name(f".{recovery.name}.fresh")
        fresh.mkdir(parents=True, exist_ok=True)
        for leftover in fresh.iterdir():
            leftover.unlink()
        _init(fresh, 1)
        fresh.rename(recovery)
    try:
        with _without_native_noise():
            _main(
                flow,
                workers_per_process=workers,
                epoch_interval=timedelta(seconds=epoch_seconds),
                recovery_config=_config(str(recovery)),
            )
    except BytewaxRuntimeError as error:
        cause = _ours(error)
        if cause is None:
            raise
        raise cause from None


def _ours(error: BaseException) -> Ended | ShoalError | None:
    """Find what we raised in what the engine has wrapped around it."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, Ended | ShoalError):
        seen = seen.__cause__ or seen.__context__
    return seen


@contextmanager
def _without_native_noise() -> Iterator[None]:
    """Keep what the engine's native part prints when it unwinds (a panic with its backtrace) off the terminal.

    The exception itself says all of it. Only where Python's own stderr is another file descriptor, as the command
    line arranges, or its lines would be lost with them.
    """
    try:
        apart = sys.stderr.fileno() != _STDERR
    except (OSError, ValueError, AttributeError):
        apart = False
    if not apart:
        yield
        return
    kept = os.dup(_STDERR)
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
