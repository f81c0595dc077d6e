"""Runs every benchmark in a process of its own and writes benchmarks/RESULTS.md.

``python -m benchmarks.run`` runs all; ``python -m benchmarks.run affinity bars`` those named.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
APART = {"__init__", "run", "timing", "memory"}
PACKAGES = ("bytewax", "numpy", "numba", "pyarrow", "pandas", "scikit-learn", "scipy")


def main(names: list[str]) -> int:
    chosen = names or sorted(path.stem for path in HERE.glob("*.py") if path.stem not in APART)
    parts, failed = [_head()], 0
    for name in chosen:
        print(f"{name} ...", flush=True)
        done = subprocess.run(  # noqa: S603 our own modules
            [sys.executable, "-m", f"benchmarks.{name}"], capture_output=True, text=True, check=False
        )
        said = (HERE / f"{name}.py").read_text().split('"""')[1].strip()
        parts.append(f"## {name}\n\n{said}\n\n{done.stdout.strip() or done.stderr.strip()}\n")
        failed += done.returncode != 0
        print(done.stdout or done.stderr, flush=True)
    if not names:
        (HERE / "RESULTS.md").write_text("\n".join(parts), encoding="utf-8")
    return failed


def _head() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    return (
        f"# Results\n\nMade by `make bench` on {dt.datetime.now(dt.UTC):%Y-%m-%d}: {machine}, Python "
        f"{platform.python_version()}, {versions}.\nRatios of one run count; absolute times are this machine's.\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
