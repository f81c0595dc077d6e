"""``shoal screen``: the coins of a study's intersections with these classes, from the tables that the study wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from connectors.errors import ConfigError, InputError, StateError
from flows.study_tables import as_table
from models.screening import VALUE, screen

_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_VALUES: Final = ("MkCap", "Beta", "Sharpe", "Volume", "Age", "HeavyTail")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a coin must meet; an empty one asks for nothing."""

    cells: str = ""
    beta: str = ""
    sharpe: str = ""
    """At least this class (``ERP``) or annual ratio (``0.5``)."""
    cap: str = ""
    """At least this class (``P99``) or number of US dollars (``1e9``)."""
    volume: str = ""
    where: tuple[str, ...] = ()
    """``COLUMN=LEVEL[,LEVEL...]``."""


def screened(folder: Path, wanted: Conditions) -> dict[str, Any]:
    """Return the rows of a study's coins that meet all conditions, sorted by coin.

    Raises
    ------
    ShoalError
        If the folder holds no study, or a condition names no column, class or cell.
    """
    path = folder / "tables" / "coins.parquet"
    try:
        read = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        raise InputError(str(folder), "holds no study", "write one with shoal report INPUT --out DIR") from None
    table = {name: _column(read.column(name)) for name in read.column_names}
    where = {}
    for condition in wanted.where:
        name, equals, levels = condition.partition("=")
        if not equals or not levels:
            raise ConfigError(
                "--where", "", f"{condition!r} is not COLUMN=LEVEL", "write for example --where moments=1,2"
            )
        where[name] = _listed(levels)
    _check_cells(table, wanted.cells)
    try:
        return screen(
            table,
            cells=_listed(wanted.cells) if wanted.cells else None,
            beta=_listed(wanted.beta) if wanted.beta else None,
            sharpe_at_least=_least(wanted.sharpe),
            market_cap_at_least=_least(wanted.cap),
            volume_at_least=_least(wanted.volume),
            where=where,
        )
    except ValueError as error:
        raise ConfigError("screen", "", str(error)) from None


def lines(found: dict[str, Any]) -> list[str]:
    """Return a table for a terminal: coin, cell, classes and values, and a line that counts them."""
    names = [name for name in _VALUES if name in found]
    heads = ["coin", "cell", *names]
    rows = []
    for i, coin in enumerate(found["coin_id"].tolist()):
        row = [coin, found["cell"][i] or "-"]
        for name in names:
            value = found[name + VALUE][i]
            row.append("-" if np.isnan(value) else f"{found[name][i]} {value:.4g}")
        rows.append(row)
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (heads, *rows)
    ]
    return [*text, f"{len(rows)} coins"]


def write_csv(found: dict[str, Any], path: Path) -> None:
    """Write the rows as CSV."""
    try:
        pc.write_csv(as_table(found), path)
    except OSError as error:
        raise StateError(str(path), f"cannot be written: {error.strerror}", "choose another --csv") from None


def _column(column: pa.ChunkedArray) -> Any:
    if pa.types.is_floating(column.type):
        return column.to_numpy()
    return np.array(column.to_pylist(), dtype=np.object_)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _least(text: str) -> str | float | None:
    if not text:
        return None
    return float(text) if _NUMBER.fullmatch(text) else text


def _check_cells(table: dict[str, Any], cells: str) -> None:
    known = {cell for cell in table.get("cell", ()) if cell}
    odd = [cell for cell in _listed(cells) if cell not in known]
    if odd:
        raise ConfigError("--cells", "", f"no coin is in {', '.join(odd)}", f"cells: {', '.join(sorted(known))}")
