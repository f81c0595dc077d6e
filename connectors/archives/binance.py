"""Binance's public archives: klines, aggTrades and trades, a zip (or the CSV in it) per symbol and day or month.

Spot files have no header and are known by the number of their columns; some futures files have one. The symbol
stands in the name of the file alone. Times are milliseconds, microseconds from 2025-01-01 on; each value tells by
its magnitude (CONNECTORS section 6). ``is_buyer_maker`` means that the taker sold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.archives.bars import Bars, open_bars
from connectors.archives.files import load
from connectors.archives.formats import Format, Need
from connectors.archives.prices import coin_of_file
from connectors.archives.reader import ArchiveReader, Options
from connectors.archives.sieve import Sieve
from connectors.archives.source import Loaded, Source
from connectors.archives.times import parse_times
from connectors.archives.trades import Trades, open_trades, sift
from connectors.archives.values import is_text, not_a_price, parse_numbers
from connectors.schema import TIME

KLINES: Final = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time"),
    *("quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
AGG_TRADES: Final = (
    *("agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id"),
    *("transact_time", "is_buyer_maker", "is_best_match"),
)
TRADES: Final = ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match")
_BY_WIDTH: Final = {len(columns): columns for columns in (KLINES, AGG_TRADES, TRADES)}


def named(source: Source) -> Source:
    """Return a text without a header with the columns that its width tells; any other as it is."""
    if source.columns or not source.sample:
        return source
    return replace(source, columns=_BY_WIDTH.get(len(source.sample[0]), ()))


def symbol_of(source: Source) -> str:
    """Return the symbol: what stands before the first dash in the name of the file, or of the zip's member."""
    return coin_of_file(PurePosixPath(source.member or source.name).name).split("-")[0]


def _load(source: Source, names: Sequence[str]) -> tuple[dict[str, pa.Array], Loaded, dict[str, str]]:
    at = {name: source.position(name) for name in names}
    used = {name: position for name, position in at.items() if position is not None}
    loaded = load(source, list(used.values()))
    raw = {name: loaded.columns[position] for name, position in used.items()}
    return raw, loaded, {name: source.columns[position] for name, position in used.items()}


def _read_klines(file: int, source: Source) -> Bars:
    values = ("open", "high", "low", "close", "volume")
    raw, loaded, names = _load(source, ("open_time", "close_time", "count", *values))
    rows = len(loaded.rows)
    sieve = Sieve(np.full(rows, file), loaded.rows)
    sieve.reject_malformed(file, loaded.malformed)
    open_us, opened = parse_times(raw["open_time"])
    last_us, closed = parse_times(raw["close_time"])
    sieve.reject(~opened, names["open_time"], "not a time", raw["open_time"])
    sieve.reject(~closed, names["close_time"], "not a time", raw["close_time"])
    # the last instant of the interval, in the file's unit: one millisecond or one microsecond before the next open
    close_us = last_us + np.where(last_us % 1_000 == 0, 1_000, 1)
    sieve.reject(close_us <= open_us, names["close_time"], "not after the open", raw["close_time"])
    columns = {name: parse_numbers(raw[name])[0] for name in values}
    sieve.reject(not_a_price(columns["close"]), names["close"], "not a price", raw["close"])
    columns["n_trades"], _ = parse_numbers(raw["count"])
    interval = np.where(sieve.keep, close_us - open_us, 0)
    symbols = pa.array([symbol_of(source)] * rows, pa.large_string())
    venues = pa.array(["binance"] * rows, pa.large_string())
    return Bars(symbols, close_us, interval, columns, sieve, loaded.total, int(np.max(interval, initial=0)), venues)


def _read_trades(file: int, source: Source, number: str, qty: str, time: str) -> Trades:
    raw, loaded, names = _load(source, (number, "price", qty, time, "is_buyer_maker"))
    rows = len(loaded.rows)
    sieve = Sieve(np.full(rows, file), loaded.rows)
    sieve.reject_malformed(file, loaded.malformed)
    event_us, timely = parse_times(raw[time])
    ids, _ = parse_numbers(raw[number])
    good = (np.abs(ids) < 2**53) & (ids == np.rint(ids))
    maker = raw["is_buyer_maker"]
    word = pc.utf8_lower(pc.utf8_trim_whitespace(maker)) if is_text(maker.type) else maker.cast(pa.large_string())
    sold = pc.equal(word, "true").fill_null(False).to_numpy(zero_copy_only=False)
    bought = pc.equal(word, "false").fill_null(False).to_numpy(zero_copy_only=False)
    trades = Trades(
        pa.array(["binance"] * rows, pa.large_string()),
        pa.array([symbol_of(source)] * rows, pa.large_string()),
        pa.array(np.where(good, ids, 0).astype(np.int64), mask=~good),
        (bought.astype(np.int8) - sold.astype(np.int8)),
        parse_numbers(raw["price"])[0],
        parse_numbers(raw[qty])[0],
        event_us,
        pa.nulls(rows, TIME),
        np.zeros(rows, dtype=np.uint8),
        sieve,
        loaded.total,
    )
    fields = {"ts_event": time, "symbol": "price", "price": "price", "qty": qty}
    sift(trades, {f: names[n] for f, n in fields.items()}, {f: raw[n] for f, n in fields.items()}, timely)
    sieve.reject(~(sold | bought), names["is_buyer_maker"], "neither true nor false", maker)
    return trades


def _open_klines(sources: Sequence[Source], options: Options, position: int) -> ArchiveReader:
    del options
    return open_bars(sources, [_read_klines(i, s) for i, s in enumerate(sources)], position)


def _open_agg_trades(sources: Sequence[Source], options: Options, position: int) -> ArchiveReader:
    del options
    parts = [_read_trades(i, s, "agg_trade_id", "quantity", "transact_time") for i, s in enumerate(sources)]
    return open_trades(sources, parts, position)


def _open_trades(sources: Sequence[Source], options: Options, position: int) -> ArchiveReader:
    del options
    parts = [_read_trades(i, s, "id", "qty", "time") for i, s in enumerate(sources)]
    return open_trades(sources, parts, position)


def _needs(*names: str) -> tuple[Need, ...]:
    return tuple(Need(f"the column {name}", (name,)) for name in names)


def _of_one_symbol(source: Source) -> bool:
    return source.position("coin_id", "pair", "symbol") is None


FORMATS: Final = (
    Format(
        "binance-klines",
        "market",
        "bars",
        _needs(*KLINES[:7], "count"),
        _open_klines,
        _of_one_symbol,
    ),
    Format(
        "binance-aggtrades",
        "market",
        "trades",
        _needs("agg_trade_id", "price", "quantity", "transact_time", "is_buyer_maker"),
        _open_agg_trades,
        _of_one_symbol,
    ),
    Format(
        "binance-trades",
        "market",
        "trades",
        _needs("id", "price", "qty", "time", "is_buyer_maker"),
        _open_trades,
        _of_one_symbol,
    ),
)
