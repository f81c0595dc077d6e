"""Running the command line as a person does: in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def command(arguments: Sequence[object]) -> list[str]:
    """Return the words that start ``shoal`` with these arguments."""
    return [sys.executable, "-m", "flows.cli", *map(str, arguments)]


def shoal(*arguments: object, timeout: float = 150, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run ``shoal`` to its end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        command(arguments), cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def start(*arguments: object, log: Path | None = None) -> subprocess.Popen[bytes]:
    """Start ``shoal`` in a session of its own, so that nothing of it can be left behind."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    out = log.open("ab") if log is not None else subprocess.DEVNULL
    return subprocess.Popen(
        command(arguments), cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
    )


def wait_until(what: str, happens: Callable[[], bool], seconds: float) -> None:
    """Look again until something happens; fail with its name if it does not."""
    deadline = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def members(session: int) -> list[int]:
    """Return the processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill -9 the process itself; its children have to notice by themselves."""
    process.send_signal(signal.SIGKILL)
    process.wait(10)
