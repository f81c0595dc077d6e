"""Tables of prices: long (a row per time and coin), wide (a column per coin), or of one coin that the file names.

A plain price is a snapshot, its stamp is when it was true. A row with open, high and low (or with a column
``open_time`` or ``interval``) stands at the open of its interval and is known at the close.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from connectors.archives.bars import Bars, open_bars
from connectors.archives.files import load
from connectors.archives.formats import TIME_NAMES, Format, Need
from connectors.archives.reader import ArchiveReader, Options
from connectors.archives.sieve import Sieve
from connectors.archives.source import Loaded, Source
from connectors.archives.times import parse_intervals, parse_times, spacing_us
from connectors.archives.values import is_text, not_a_price, parse_names, parse_numbers
from connectors.errors import InputError
from connectors.schema import Int64

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_TIME: Final = Need("a time", TIME_NAMES)
_COIN: Final = Need("a coin", ("coin_id", "pair", "symbol"))
_PRICE: Final = Need("a price", ("price", "close", "price_usd", "close_usd"))
_TRADE_COLUMNS: Final = ("side", "is_buyer_maker", "buyer_is_maker", "trade_id", "agg_trade_id")
_INDEX_NAMES: Final = ("", "unnamed:_0", "index", "__index_level_0__", *TIME_NAMES)
_FILE_NAMES: Final = (
    re.compile(r"(?P<coin>[^_]+)_[A-Za-z]{3,4}[-_]\d\d-\d\d-\d{4}_\d\d-\d\d-\d{4}"),  # cryptocmd
    re.compile(r"(?P<coin>[A-Za-z0-9]+)-\d+(s|m|h|d|w|mo)-\d{4}-\d\d(-\d\d)?"),  # Binance archives
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Positions of the columns of a long table; the flag says that it is in dollars and not in coins."""

    time: int
    coin: int | None
    price: int
    interval: int | None
    optional: dict[str, int]
    volume_in_money: bool
    opens: bool

    @property
    def used(self) -> list[int]:
        extra = [p for p in (self.coin, self.interval) if p is not None]
        return [self.time, self.price, *extra, *self.optional.values()]


def coin_of_file(name: str) -> str:
    """Return the coin that a file name tells: all of it, but for endings and for what the known sites append."""
    stem = re.sub(r"(\.(csv|tsv|txt|parquet|gz|zip))+$", "", name, flags=re.IGNORECASE)
    for pattern in _FILE_NAMES:
        if match := pattern.fullmatch(stem):
            return match["coin"]
    return stem


def _layout(source: Source) -> _Layout:
    time, price = source.position(*_TIME.names), source.position(*_PRICE.names)
    if time is None or price is None:
        raise ValueError("recognised without a time or a price")
    coin = source.position(*_COIN.names)
    optional = {}
    for name in ("open", "high", "low", "volume", "market_cap"):
        found = source.position(name, f"{name}_usd")
        if found is not None and found != price:
            optional[name] = found
    interval = source.position("interval")
    ohlc = {"open", "high", "low"} <= optional.keys()
    at_open = source.position("open_time") == time
    # CoinMarketCap's exports (one coin a file, capitalisation beside the volume) count volume in money
    money = source.position("volume") is None or (coin is None and "market_cap" in optional)
    return _Layout(time, coin, price, interval, optional, money, ohlc or at_open or interval is not None)


def _read_long(file: int, source: Source, options: Options) -> Bars:
    layout = _layout(source)
    loaded = load(source, layout.used)
    sieve = Sieve(np.full(len(loaded.rows), file), loaded.rows)
    sieve.reject_malformed(file, loaded.malformed)
    stamps, timely = parse_times(loaded.columns[layout.time])
    sieve.reject(~timely, source.columns[layout.time], "not a time", loaded.columns[layout.time])
    if layout.coin is None:
        names = pa.array([coin_of_file(source.name)] * len(loaded.rows), pa.large_string())
    else:
        names = parse_names(loaded.columns[layout.coin])
        nameless = names.is_null().to_numpy(zero_copy_only=False)
        sieve.reject(nameless, source.columns[layout.coin], "no coin")
    price, _ = parse_numbers(loaded.columns[layout.price])
    sieve.reject(not_a_price(price), source.columns[layout.price], "not a price", loaded.columns[layout.price])
    interval = _intervals(source, layout, loaded, stamps, sieve, options)
    values = {"close": price}
    for name, position in layout.optional.items():
        values[name], _ = parse_numbers(loaded.columns[position])
    if "volume" in values and layout.volume_in_money:
        with np.errstate(all="ignore"):
            values["volume"] = values["volume"] / price
    spacing = interval if layout.opens else spacing_us(stamps[sieve.keep])
    return Bars(names, stamps + interval, interval, values, sieve, loaded.total, int(np.max(spacing, initial=0)))


def _intervals(source: Source, layout: _Layout, loaded: Loaded, stamps: Int64, sieve: Sieve, options: Options) -> Int64:
    """Return the length of each row's interval in microseconds; 0 for snapshots."""
    if not layout.opens:
        return np.zeros(len(stamps), dtype=np.int64)
    if layout.interval is not None:
        lengths, fine = parse_intervals(loaded.columns[layout.interval])
        sieve.reject(~fine, source.columns[layout.interval], "not an interval", loaded.columns[layout.interval])
        return lengths
    length = options.interval_us or spacing_us(stamps[sieve.keep])
    if not length and sieve.keep.any():
        problem = "has open stamps at one time only, so that the length of its bars is unknown"
        raise InputError(str(source.path), problem, "add a column `interval` (1m, 1h, 1d)")
    return np.full(len(stamps), length, dtype=np.int64)


def _read_wide(file: int, source: Source, options: Options) -> Bars:
    del options  # a wide table holds snapshots: there is nothing to choose
    at = _wide_time(source)
    if at is None:
        raise ValueError("recognised without a time")
    coins = [i for i in range(len(source.columns)) if i != at]
    _refuse_repeated(source)
    loaded = load(source, [at, *coins])
    cells = np.empty((len(loaded.rows), len(coins)))
    present = np.empty(cells.shape, dtype=bool)
    for j, position in enumerate(coins):
        cells[:, j], present[:, j] = parse_numbers(loaded.columns[position])
    row, column = np.nonzero(present)
    price = cells[row, column]
    names = pa.array([source.columns[p] for p in coins], pa.large_string()).take(pa.array(column))
    sieve = Sieve(np.full(len(row), file), loaded.rows[row])
    sieve.reject_malformed(file, loaded.malformed)
    stamps, timely = parse_times(loaded.columns[at])
    raw = loaded.columns[at].take(pa.array(row))
    sieve.reject(~timely[row], source.columns[at], "not a time", raw)
    sieve.reject(not_a_price(price), names, "not a price", pa.array(price))
    zeros = np.zeros(len(row), dtype=np.int64)
    total = len(row) + len(loaded.malformed)
    return Bars(names, stamps[row], zeros, {"close": price}, sieve, total, spacing_us(stamps[timely]))


def _refuse_repeated(source: Source) -> None:
    seen: set[str] = set()
    for name in source.columns:
        if name in seen:
            raise InputError(str(source.path), f"has two columns named {name!r}", "keep one of them")
        seen.add(name)


def _wide_time(source: Source) -> int | None:
    """Return the column of the time: the first; in Parquet also the last, where pandas puts its index."""
    if len(source.columns) < 2:
        return None
    ends = (0, len(source.columns) - 1) if source.types else (0,)
    for i in ends:
        named = source.columns[i].strip().lower().replace(" ", "_") in _INDEX_NAMES
        temporal = bool(source.types) and pa.types.is_temporal(source.types[i])
        if (named or temporal) and _rest_are_numbers(source, i):
            return i
    return None


def _rest_are_numbers(source: Source, at: int) -> bool:
    if source.types:
        rest = [kind for i, kind in enumerate(source.types) if i != at]
        return all(pa.types.is_floating(k) or pa.types.is_integer(k) or pa.types.is_decimal(k) for k in rest) and (
            not is_text(source.types[at]) or source.columns[at] != ""
        )
    rows = [row for row in source.sample if len(row) == len(source.columns)]
    if not rows:
        return False
    times = parse_times(pa.array([row[at] for row in rows], pa.large_string()))[1]
    cells = pa.array([cell for row in rows for i, cell in enumerate(row) if i != at], pa.large_string())
    numbers, present = parse_numbers(cells)
    # a few bad cells are for the quarantine; a table of words is no table of prices
    return bool(2 * times.sum() >= len(rows) and 2 * np.isfinite(numbers).sum() >= present.sum())


def _is_long(source: Source) -> bool:
    return source.position(*_TRADE_COLUMNS) is None


def _is_single(source: Source) -> bool:
    return source.position(*_COIN.names) is None and _is_long(source)


def _is_wide(source: Source) -> bool:
    price = source.position(*_COIN.names, *_PRICE.names)
    return price is None and _wide_time(source) is not None


def _open_long(sources: Sequence[Source], options: Options, position: int) -> ArchiveReader:
    return open_bars(sources, [_read_long(i, s, options) for i, s in enumerate(sources)], position)


def _open_wide(sources: Sequence[Source], options: Options, position: int) -> ArchiveReader:
    return open_bars(sources, [_read_wide(i, s, options) for i, s in enumerate(sources)], position)


FORMATS: Final = (
    Format("prices-long", "market", "bars", (_TIME, _COIN, _PRICE), _open_long, _is_long),
    Format("prices-single", "market", "bars", (_TIME, _PRICE), _open_long, _is_single),
    Format("prices-wide", "market", "bars", (), _open_wide, _is_wide),
)
