"""Bars of several files as one table in the order of time, and bars in the columns of the schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from connectors.archives.reader import ArchiveReader, Section
from connectors.archives.sieve import Sieve, codes, paired, quarantine, repeated
from connectors.archives.source import Source
from connectors.errors import InputError
from connectors.schema import BARS, Int64, times

Float64 = npt.NDArray[np.float64]

_VALUES: Final = ("open", "high", "low", "close", "volume", "market_cap", "n_trades", "flags")
_VENUE: Final = "table"


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars of one file, good and bad, all of shape (rows,); ``values`` are by column, NaN where unknown.

    ``total`` counts what the file held, malformed rows included.
    """

    names: pa.Array
    close_us: Int64
    interval_us: Int64
    values: dict[str, Float64]
    sieve: Sieve
    total: int
    spacing_us: int
    venues: pa.Array | None = None


def open_bars(sources: Sequence[Source], parts: Sequence[Bars], position: int) -> ArchiveReader:
    """Return a reader of the bars of all files, sorted by (close, coin, venue); of repeated ones the first is kept.

    Raises :class:`InputError` if there is no row, or none that is usable.
    """
    files = [source.name for source in sources]
    pieces = [piece for part in parts for piece in part.sieve.pieces]
    keep = [pa.array(part.sieve.keep) for part in parts]
    names = pa.concat_arrays([part.names.filter(k) for part, k in zip(parts, keep, strict=True)])
    close = np.concatenate([part.close_us[part.sieve.keep] for part in parts])
    interval = np.concatenate([part.interval_us[part.sieve.keep] for part in parts])
    sieve = Sieve(
        np.concatenate([part.sieve.file_of[part.sieve.keep] for part in parts]),
        np.concatenate([part.sieve.row_of[part.sieve.keep] for part in parts]),
    )
    venues = pa.concat_arrays([_venues(part).filter(k) for part, k in zip(parts, keep, strict=True)])
    same = paired(paired(close, interval), paired(codes(names), codes(venues)))
    reject_repeated(sieve, same, "time and coin", files)
    bad = quarantine(files, [*pieces, *sieve.pieces])
    refuse_useless(sources, sum(part.total for part in parts), bad, int(sieve.keep.sum()))

    rank, dictionary = _ranked(names)
    venue_rank, venue_dictionary = _ranked(venues)
    order = np.lexsort((interval, venue_rank, rank, close))
    order = order[sieve.keep[order]]
    columns: dict[str, pa.Array] = {
        "venue": pa.DictionaryArray.from_arrays(pa.array(venue_rank[order].astype(np.int32)), venue_dictionary),
        "symbol": pa.DictionaryArray.from_arrays(pa.array(rank[order].astype(np.int32)), dictionary),
        "interval_us": pa.array(interval[order]),
        "ts_close": times(close[order]),
    }
    for name in _VALUES:
        columns[name] = _values(parts, name, order)
    rows = pa.RecordBatch.from_arrays([columns[field.name] for field in BARS], schema=BARS)
    spacing = max(part.spacing_us for part in parts)
    return ArchiveReader.of("bars", Section(bad, rows, close[order] - 1), position, spacing)


def reject_repeated(sieve: Sieve, keys: Int64, what: str, files: Sequence[str]) -> None:
    """Pass over rows whose key came before, saying where."""
    again, first = repeated(keys)
    if len(again):
        detail = [f"first in row {sieve.row_of[i]} of {files[sieve.file_of[i]]}" for i in first]
        sieve.reject_at(again, "", f"{what} came before", pa.array(detail, pa.large_string()))


def refuse_useless(sources: Sequence[Source], total: int, bad: pa.RecordBatch, good: int) -> None:
    """Raise :class:`InputError` if files have no row, or none that is usable."""
    where = str(sources[0].path if len(sources) == 1 else sources[0].path.parent)
    if total == 0:
        raise InputError(where, "has no rows", "export it again, or leave it out")
    if good == 0:
        first = bad.slice(0, 1).to_pylist()[0]
        at = f"row {first['position']} of {first['source']}, column {first['column']!r}: {first['reason']}"
        shown = " ".join([at, *first["detail"].split()])
        raise InputError(where, f"has no usable row among {total}; the first: {shown}", "check units and column names")


def constant(name: str, rows: int) -> pa.DictionaryArray:
    """Return a name column with one name."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int32)), pa.array([name]))


def _ranked(names: pa.Array) -> tuple[Int64, pa.Array]:
    """Return each name's place among the sorted distinct names, and these."""
    encoded = names.dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[encoded.indices.to_numpy()], encoded.dictionary.take(pa.array(order)).cast(pa.utf8())


def _venues(part: Bars) -> pa.Array:
    return part.venues if part.venues is not None else pa.array([_VENUE] * len(part.names), pa.large_string())


def _values(parts: Sequence[Bars], name: str, order: Int64) -> pa.Array:
    """Return a column with null for what cannot be; a capitalisation of 0 is an unknown one."""
    kind = BARS.field(name).type
    if not any(name in part.values for part in parts):
        return pa.nulls(len(order), kind).fill_null(0) if name == "flags" else pa.nulls(len(order), kind)
    whole = np.concatenate(
        [
            part.values[name][part.sieve.keep] if name in part.values else np.full(int(part.sieve.keep.sum()), np.nan)
            for part in parts
        ]
    )[order]
    if name == "flags":
        return pa.array(np.where((whole >= 0) & (whole < 256), whole, 0).astype(np.uint8))
    if name == "n_trades":
        fine = (whole >= 0) & (whole < 2**53) & (whole == np.rint(whole))
        return pa.array(np.where(fine, whole, 0).astype(np.int64), mask=~fine)
    fine = np.isfinite(whole) & ((whole >= 0) if name == "volume" else (whole > 0))
    return pa.array(whole, mask=~fine)
