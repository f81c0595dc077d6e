"""Trades and bars in the columns of the schema."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from connectors.archives.bars import Bars, open_bars, refuse_useless
from connectors.archives.files import load
from connectors.archives.formats import Format, Need
from connectors.archives.parquet import load_row_groups, row_group_sizes, time_ranges
from connectors.archives.reader import NEVER_US, ArchiveReader, Options, Section
from connectors.archives.sieve import Sieve, quarantine
from connectors.archives.source import Loaded, Source
from connectors.archives.times import parse_times
from connectors.archives.values import not_a_price, parse_names, parse_numbers
from connectors.schema import TIME, TRADES, Int64, conform, times

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_SYMBOL: Final = Need("a symbol", ("symbol",))
_TRADE: Final = (
    _SYMBOL,
    Need("a price", ("price",)),
    Need("a quantity", ("qty",)),
    Need("a time", ("ts_event",)),
)
_BAR: Final = (
    _SYMBOL,
    Need("an interval", ("interval_us",)),
    Need("a closing time", ("ts_close",)),
    Need("a close", ("close",)),
)
_TRADE_COLUMNS: Final = ("symbol", "price", "qty", "ts_event", "venue", "side", "trade_id", "ts_recv", "flags")
_BAR_VALUES: Final[tuple[str, ...]] = ("close", "open", "high", "low", "volume", "market_cap", "n_trades", "flags")
_BAR_COLUMNS: Final = ("symbol", "interval_us", "ts_close", "venue", *_BAR_VALUES)
_PER_US: Final = {"us": 1, "ms": 1_000, "s": 1_000_000}


@dataclass(frozen=True, slots=True)
class Trades:
    """The trades of one file, good and bad; every column of shape (rows,)."""

    venue: pa.Array
    symbol: pa.Array
    trade_id: pa.Array
    side: npt.NDArray[np.int8]
    price: Float64
    qty: Float64
    event_us: Int64
    recv: pa.Array
    flags: npt.NDArray[np.uint8]
    sieve: Sieve
    total: int


def sift(trades: Trades, named: dict[str, str], raw: dict[str, pa.Array], timely: Bools) -> None:
    """Pass over the trades that are none: no time, no symbol, no price, no quantity, no side."""
    sieve = trades.sieve
    sieve.reject(~timely, named["ts_event"], "not a time", raw["ts_event"])
    sieve.reject(trades.symbol.is_null().to_numpy(zero_copy_only=False), named["symbol"], "no symbol")
    sieve.reject(not_a_price(trades.price), named["price"], "not a price", raw["price"])
    fine = np.isfinite(trades.qty) & (trades.qty > 0)
    sieve.reject(~fine, named["qty"], "not a quantity", raw["qty"])


def section_of(files: Sequence[str], parts: Sequence[Trades], before_us: int = NEVER_US) -> Section:
    """Return trades of several files in the order of time, equal times in the order of files and rows."""
    bad = quarantine(files, [piece for part in parts for piece in part.sieve.pieces])
    keep = [part.sieve.keep for part in parts]
    event = np.concatenate([part.event_us[k] for part, k in zip(parts, keep, strict=True)])
    order = np.argsort(event, kind="stable")

    def taken(name: str) -> pa.Array:
        columns = [getattr(part, name) for part in parts]
        arrays = [c if isinstance(c, pa.Array) else pa.array(c) for c in columns]
        kept = [a.filter(pa.array(k)) for a, k in zip(arrays, keep, strict=True)]
        return pa.concat_arrays(kept).take(pa.array(order))

    columns = {
        "venue": taken("venue").dictionary_encode(),
        "symbol": taken("symbol").dictionary_encode(),
        "ts_event": times(event[order]),
        "ts_recv": taken("recv"),
    } | {name: taken(name) for name in ("trade_id", "side", "price", "qty", "flags")}
    rows = pa.RecordBatch.from_pydict({field.name: columns[field.name] for field in TRADES})
    return Section(bad, conform("trades", rows), event[order], before_us)


def _positions(source: Source, names: Sequence[str]) -> dict[str, int]:
    found = {name: source.position(name) for name in names}
    return {name: position for name, position in found.items() if position is not None}


def _trades(file: int, source: Source, at: dict[str, int], loaded: Loaded) -> Trades:
    raw = {name: loaded.columns[position] for name, position in at.items()}
    sieve = Sieve(np.full(len(loaded.rows), file), loaded.rows)
    sieve.reject_malformed(file, loaded.malformed)
    rows = len(loaded.rows)
    event_us, timely = parse_times(raw["ts_event"])
    side = _numbers(raw.get("side"), rows, 0.0)
    flags = _numbers(raw.get("flags"), rows, 0.0)
    trades = Trades(
        parse_names(raw["venue"]).fill_null("table") if "venue" in raw else pa.array(["table"] * rows),
        parse_names(raw["symbol"]),
        _ids(raw.get("trade_id"), rows),
        np.where(np.isin(side, (-1, 0, 1)), side, 0).astype(np.int8),
        parse_numbers(raw["price"])[0],
        parse_numbers(raw["qty"])[0],
        event_us,
        _received(raw.get("ts_recv"), rows),
        np.where((flags >= 0) & (flags < 256), flags, 0).astype(np.uint8),
        sieve,
        loaded.total,
    )
    named = {name: source.columns[position] for name, position in at.items()}
    sift(trades, named, raw, timely)
    if "side" in raw:
        sieve.reject(~np.isin(side, (-1, 0, 1)), named["side"], "not a side (1, -1 or 0)", raw["side"])
    return trades


def _numbers(column: pa.Array | None, rows: int, default: float) -> Float64:
    return np.full(rows, default) if column is None else parse_numbers(column)[0]


def _ids(column: pa.Array | None, rows: int) -> pa.Array:
    """Return trade numbers; null for what is none, since a trade counts without it."""
    if column is None:
        return pa.nulls(rows, pa.int64())
    if column.type == pa.int64():
        return column
    numbers, _ = parse_numbers(column)
    fine = (np.abs(numbers) < 2**53) & (numbers == np.rint(numbers))
    return pa.array(np.where(fine, numbers, 0).astype(np.int64), mask=~fine)


def _received(column: pa.Array | None, rows: int) -> pa.Array:
    if column is None:
        return pa.nulls(rows, TIME)
    us, fine = parse_times(column)
    return pa.array(us, mask=~fine).cast(TIME)


def _open_trades(sources: Sequence[Source], options: Options, position: int) -> ArchiveReader:
    del options
    lazy = _open_lazily(sources[0], position) if len(sources) == 1 else None
    if lazy is not None:
        return lazy
    parts = []
    for i, source in enumerate(sources):
        at = _positions(source, _TRADE_COLUMNS)
        parts.append(_trades(i, source, at, load(source, list(at.values()))))
    return open_trades(sources, parts, position)


def open_trades(sources: Sequence[Source], parts: Sequence[Trades], position: int) -> ArchiveReader:
    """Return a reader of the trades of all files; raise :class:`InputError` if none is usable."""
    section = section_of([source.name for source in sources], parts)
    refuse_useless(sources, sum(part.total for part in parts), section.bad, section.rows.num_rows)
    return ArchiveReader.of("trades", section, position)


def _open_lazily(source: Source, position: int) -> ArchiveReader | None:
    """Return a reader that holds one row group at a time, if the statistics say that they follow each other."""
    at = _positions(source, _TRADE_COLUMNS)
    if source.container != "parquet" or not pa.types.is_timestamp(source.types[at["ts_event"]]):
        return None
    factor = _PER_US.get(source.types[at["ts_event"]].unit)
    ranges = time_ranges(source, at["ts_event"])
    if factor is None or ranges is None or len(ranges) < 2:
        return None
    if any(last > first for (_, last), (first, _) in itertools.pairwise(ranges)):
        return None

    def section(group: int) -> Section:
        loaded = load_row_groups(source, list(at.values()), [group])
        before = ranges[group - 1][1] * factor if group else NEVER_US
        return section_of([source.name], [_trades(0, source, at, loaded)], before)

    return ArchiveReader("trades", row_group_sizes(source), section, position)


def _read_bars(file: int, source: Source) -> Bars:
    at = _positions(source, _BAR_COLUMNS)
    loaded = load(source, list(at.values()))
    raw = {name: loaded.columns[position] for name, position in at.items()}
    sieve = Sieve(np.full(len(loaded.rows), file), loaded.rows)
    sieve.reject_malformed(file, loaded.malformed)
    close_us, timely = parse_times(raw["ts_close"])
    sieve.reject(~timely, source.columns[at["ts_close"]], "not a time", raw["ts_close"])
    names = parse_names(raw["symbol"])
    sieve.reject(names.is_null().to_numpy(zero_copy_only=False), source.columns[at["symbol"]], "no symbol")
    lengths, _ = parse_numbers(raw["interval_us"])
    fine = (lengths >= 0) & (lengths < 1 << 53) & (lengths == np.rint(lengths))
    sieve.reject(~fine, source.columns[at["interval_us"]], "not an interval", raw["interval_us"])
    interval = np.where(fine, lengths, 0).astype(np.int64)
    venues = parse_names(raw["venue"]).fill_null("table") if "venue" in raw else None
    values: dict[str, Float64] = {name: parse_numbers(raw[name])[0] for name in _BAR_VALUES if name in raw}
    sieve.reject(not_a_price(values["close"]), source.columns[at["close"]], "not a price", raw["close"])
    return Bars(names, close_us, interval, values, sieve, loaded.total, int(np.max(interval, initial=0)), venues)


def _open_bars(sources: Sequence[Source], options: Options, position: int) -> ArchiveReader:
    del options
    return open_bars(sources, [_read_bars(i, source) for i, source in enumerate(sources)], position)


FORMATS: Final = (
    Format("trades", "market", "trades", _TRADE, _open_trades),
    Format("bars", "market", "bars", _BAR, _open_bars),
)
