"""What a study reads: a table of prices as daily closes, and the files of an index, a risk-free rate and coins.

A day is a bar that ends at midnight UTC; a price that stands at midnight belongs to the day that ends there, as in
the dataflow. Of several prices of a coin in one day the last counts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from connectors.archives import Archive, recognise
from connectors.errors import InputError
from connectors.schema import Batch, time_us
from flows.config import DAY_US

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Times = npt.NDArray[np.datetime64]

_ROWS = 262_144
_LONGEST_DAYS = 36_600


@dataclass(frozen=True, slots=True)
class DailyPrices:
    """Daily closes of n coins, sorted by id, over D days in a row; NaN where there was none."""

    coin_ids: tuple[str, ...]
    days: Times
    """datetime64[D, us], the moments at which the bars end."""
    closes: Float64
    """float64[D, n], USD."""
    market_cap: Float64
    """float64[D, n], USD."""
    volume: Float64
    """float64[D, n], units of the coin."""
    digest: str = ""
    """SHA-256 of the input."""
    quarantined: Mapping[str, int] = field(default_factory=dict)
    """Rows that could not be used, by reason."""

    def between(self, first: dt.date | None, last: dt.date | None) -> DailyPrices:
        """Return the days from ``first`` to ``last``, both in.

        Raises
        ------
        InputError
            If fewer than three days are left.
        """
        keep = np.ones(len(self.days), dtype=np.bool_)
        if first is not None:
            keep &= self.days >= np.datetime64(first, "us")
        if last is not None:
            keep &= self.days <= np.datetime64(last, "us")
        if keep.sum() < 3:
            span = f"{self.days[0].astype('M8[D]')} to {self.days[-1].astype('M8[D]')}"
            raise InputError(
                "--from/--to", f"{int(keep.sum())} days are left of {span}", "a study needs three days or more"
            )
        rows = np.flatnonzero(keep)
        cut = {name: getattr(self, name)[rows] for name in ("days", "closes", "market_cap", "volume")}
        return replace(self, **cut)


def read_daily(path: Path) -> DailyPrices:
    """Read a table of prices (any that ``shoal replay`` takes) as daily closes.

    Parameters
    ----------
    path
        A file, or a folder of files of one format.

    Raises
    ------
    InputError
        If there is no table of prices, or it holds none that can be used.
    """
    archive = recognise(path)
    if archive.kind != "bars":
        raise InputError(str(path), f"holds {archive.kind} and not prices", "a study reads a table of prices or bars")
    rows, quarantined = _rows(archive)
    coins = rows.column("symbol").combine_chunks().dictionary_encode()
    names = np.array(coins.dictionary.cast(pa.utf8()).to_pylist(), dtype=np.object_)
    order = np.argsort(names, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    coin = place[coins.indices.to_numpy()]
    end = -(-time_us(rows.column("ts_close").combine_chunks()) // DAY_US)
    first, count = int(end.min()), int(end.max() - end.min()) + 1
    if not 3 <= count <= _LONGEST_DAYS:
        raise InputError(str(path), f"spans {count} days", "a study needs three days or more, and a century at most")
    day = end - first
    return DailyPrices(
        coin_ids=tuple(names[order].tolist()),
        days=((first + np.arange(count)) * DAY_US).astype("datetime64[us]"),
        closes=_cells(rows, "close", day, coin, (count, len(order))),
        market_cap=_cells(rows, "market_cap", day, coin, (count, len(order))),
        volume=_volumes(rows, day, coin, (count, len(order))),
        digest=archive.digest(),
        quarantined=quarantined,
    )


def _rows(archive: Archive) -> tuple[pa.Table, dict[str, int]]:
    """Return all bars in the order of time, and the counts of what was passed over."""
    reader = archive.open()
    good: list[pa.RecordBatch] = []
    quarantined: dict[str, int] = {}
    batch: Batch | None
    while (batch := reader.next(_ROWS)) is not None:
        if batch.kind == "quarantine":
            for reason in batch.rows.column("reason").to_pylist():
                quarantined[reason] = quarantined.get(reason, 0) + 1
        elif batch.rows.num_rows:
            plain = {name: batch.rows.column(name) for name in ("symbol", "ts_close", "close", "volume", "market_cap")}
            plain["symbol"] = plain["symbol"].cast(pa.utf8())
            good.append(pa.RecordBatch.from_pydict(plain))
    return pa.Table.from_batches(good), dict(sorted(quarantined.items()))


def _numbers(rows: pa.Table, name: str) -> Float64:
    column = rows.column(name).combine_chunks()
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _cells(rows: pa.Table, name: str, day: Int64, coin: Int64, shape: tuple[int, int]) -> Float64:
    """Return the last known value of each day and coin; rows are in the order of time."""
    values = _numbers(rows, name)
    known = np.flatnonzero(np.isfinite(values))[::-1]
    cell = (day * shape[1] + coin)[known]
    _, last = np.unique(cell, return_index=True)  # the first of the reversed order is the last in time
    grid = np.full(shape, np.nan)
    grid.reshape(-1)[cell[last]] = values[known][last]
    return grid


def _volumes(rows: pa.Table, day: Int64, coin: Int64, shape: tuple[int, int]) -> Float64:
    """Return the sum of the volumes of each day and coin, NaN where none is known."""
    values = _numbers(rows, "volume")
    known = np.isfinite(values)
    cell = (day * shape[1] + coin)[known]
    total = np.bincount(cell, weights=values[known], minlength=shape[0] * shape[1])
    count = np.bincount(cell, minlength=shape[0] * shape[1])
    return np.where(count > 0, total, np.nan).reshape(shape)


def read_series(path: Path, column: str) -> tuple[Times, Float64]:
    """Read a file of ``date`` and one number per day (``close`` of an index, ``daily_rate``), CSV or Parquet.

    Raises
    ------
    InputError
        With the file, what is missing and the remedy.
    """
    table = _table(path, ("date", column))
    days = _dates(path, table.column("date"))
    try:
        numbers = table.column(column).cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise InputError(str(path), f"column {column!r} is not numbers: {error}", "write plain numbers") from None
    return days, np.asarray(numbers, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Coins:
    """What a file of coins says, by coin id."""

    listed_on: Mapping[str, np.datetime64]
    technology: Mapping[str, Mapping[str, str]]
    """For ``Algorithm``, ``ProofType`` and ``Category`` the coins' own."""


_TECHNOLOGY = {"algorithm": "Algorithm", "proof_type": "ProofType", "category": "Category"}


def read_coins(path: Path) -> Coins:
    """Read ``coin_id`` and optionally ``listed_on``, ``algorithm``, ``proof_type``, ``category``.

    Raises
    ------
    InputError
        With the file, what is missing and the remedy.
    """
    table = _table(path, ("coin_id",))
    ids = [str(coin) for coin in table.column("coin_id").to_pylist()]
    listed: dict[str, np.datetime64] = {}
    if "listed_on" in table.column_names:
        days = _dates(path, table.column("listed_on"))
        listed = {coin: day for coin, day in zip(ids, days, strict=True) if not np.isnat(day)}
    technology = {}
    for column, name in _TECHNOLOGY.items():
        if column in table.column_names:
            own = table.column(column).cast(pa.utf8()).to_pylist()
            technology[name] = {coin: value for coin, value in zip(ids, own, strict=True) if value}
    return Coins(listed, technology)


def _table(path: Path, needed: tuple[str, ...]) -> pa.Table:
    try:
        with path.open("rb") as file:
            table = pq.read_table(path) if file.read(4) == b"PAR1" else pc.read_csv(path)
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror or error}", "check the path") from None
    except pa.ArrowInvalid as error:
        raise InputError(str(path), f"is neither CSV nor Parquet: {error}", "export it again") from None
    names = [str(name).strip().lower() for name in table.column_names]
    table = table.rename_columns(names)
    for name in needed:
        if name not in names:
            raise InputError(str(path), f"has no column {name!r}; it has {', '.join(names)}", "rename its columns")
    return table


def _dates(path: Path, column: pa.ChunkedArray) -> Times:
    try:
        stamps = column.cast(pa.timestamp("us")) if not pa.types.is_timestamp(column.type) else column
        us = stamps.cast(pa.timestamp("us", tz=stamps.type.tz)).cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(str(path), f"has a date that is none: {error}", "write dates as 2021-12-31") from None
    return np.asarray(us.to_numpy().astype("datetime64[us]"))
