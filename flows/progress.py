"""Progress bars on a terminal; silence in a pipe."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flows.readers import Progress

_REFRESH_SECONDS = 0.2


@contextmanager
def progress_bars(inputs: Sequence[Progress], *, resumed: bool) -> Iterator[None]:
    """Show how far each input has been read while the block runs, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 only a terminal needs it
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    ended = threading.Event()
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = [bars.add_task(("resuming " if resumed else "") + one.name, total=None) for one in inputs]

        def follow() -> None:
            while not ended.wait(_REFRESH_SECONDS):
                show()

        def show() -> None:
            for task, one in zip(tasks, inputs, strict=True):
                bars.update(task, total=one.total or None, completed=one.done)

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            show()


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Yield what is told each step; it shows the last one beside a spinner, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 only a terminal needs it

    with Console(stderr=True).status("starting") as status:
        yield lambda text: status.update(text.replace("[", r"\["))
