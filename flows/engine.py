"""Running a dataflow with its snapshots: the one call into bytewax's untyped part."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.recovery
import bytewax.run
from bytewax.dataflow import Dataflow

_init: Any = bytewax.recovery.init_db_dir
_config: Any = bytewax.recovery.RecoveryConfig
_main: Any = bytewax.run.cli_main


def execute(flow: Dataflow, recovery: Path, epoch_seconds: float, workers: int = 1) -> None:
    """Run ``flow`` in the main thread until its inputs end; go on from the snapshots in ``recovery`` if there are any.

    The folder is made whole before it gets its name, so that a crash in between leaves no half of one.
    """
    if not recovery.exists():
        fresh = recovery.with_name(f".{recovery.name}.fresh")
        fresh.mkdir(parents=True, exist_ok=True)
        for leftover in fresh.iterdir():
            leftover.unlink()
        _init(fresh, 1)
        fresh.rename(recovery)
    _main(
        flow,
        workers_per_process=workers,
        epoch_interval=timedelta(seconds=epoch_seconds),
        recovery_config=_config(str(recovery)),
    )
