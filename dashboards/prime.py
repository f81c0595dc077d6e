"""The newest rows of a result folder, so that a service that starts again shows its state at once.

Two layouts: ``results/<table>/<period>.parquet`` of the live service, ``DIR/<table>.parquet`` of a replay.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.errors import SchemaError
from connectors.tables import TABLES
from dashboards.history import conform

LOG = logging.getLogger(__name__)

_WHOLE: Final = ("fits", "drift", "composition", "events")
_NEWEST: Final = {
    "shoals": ["window", "view"],
    "memberships": ["window", "view"],
    "edges": ["window"],
    "embedding": ["window"],
    "coverage": ["window"],
    "agreement": ["window"],
    "networks": ["chain", "window"],
    "behaviour_drift": ["chain", "window"],
    "transitions": ["chain", "window"],
}
_FILES_READ: Final = 64
_FITS_TAKEN: Final = 2


def newest_rows(folder: Path, problems: list[str]) -> Iterator[tuple[str, pa.Table]]:
    """Yield (table, rows): small tables whole, the others at the newest times of each window.

    A file that cannot be read is passed over and named in ``problems``.
    """
    root = folder / "results" if (folder / "results").is_dir() else folder
    for table in _WHOLE:
        for path in _files(root, table):
            rows = _read(path, table, problems)
            if rows is not None and len(rows):
                yield table, rows.sort_by("as_of")
    for table, groups in _NEWEST.items():
        yield from _newest(root, table, groups, problems)


def _newest(root: Path, table: str, groups: list[str], problems: list[str]) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each group's newest times; newest files first, until a file adds no group.

    The two newest times are taken, since a service that was killed may have written a part of the newest.
    """
    found: dict[tuple[str, ...], list[pa.Table]] = {}
    for path in reversed(_files(root, table)[-_FILES_READ:]):
        rows = _read(path, table, problems)
        if rows is None or len(rows) == 0:
            continue
        for names in rows.group_by(groups, use_threads=False).aggregate([]).to_pylist():
            mask = None
            for name in groups:
                here = pc.equal(rows[name], names[name])
                mask = here if mask is None else pc.and_(mask, here)
            mine = rows.filter(mask)
            times = sorted(pc.unique(mine["as_of"]).to_pylist())[-_FITS_TAKEN:]
            found.setdefault(tuple(names.values()), []).extend(mine.filter(pc.equal(mine["as_of"], t)) for t in times)
    for key in sorted(found):
        newest = sorted(found[key], key=lambda part: part["as_of"][0].as_py())[-_FITS_TAKEN:]
        yield from ((table, part) for part in newest)


def _files(root: Path, table: str) -> list[Path]:
    whole = root / f"{table}.parquet"
    return ([whole] if whole.is_file() else []) + sorted((root / table).glob("*.parquet"))


def _read(path: Path, table: str, problems: list[str]) -> pa.Table | None:
    try:
        return conform(table, pq.read_table(path, columns=TABLES[table].schema.names, partitioning=None))
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError, SchemaError) as error:
        problem = f"{path}: {str(error).splitlines()[0]}"
        problems.append(problem)
        LOG.warning("passed over: %s", problem)
        return None
