"""Batches of one partition to closed bars, for every interval that a window asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pyarrow as pa
from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from connectors.schema import FLAG_BACKFILL, FLAG_DUPLICATE, FOREVER_US, Batch, Int64, time_us
from flows.items import PartBars
from models.bars import BarBuilder, BarRows, ClosedBars


class _State(msgspec.Struct):
    builders: dict[int, bytes]


class BarsLogic(StatefulBatchLogic[tuple[str, Batch], tuple[int, PartBars], bytes]):
    """Builds the bars of one partition; emits (interval, bars) whenever a bar of that interval has closed."""

    def __init__(self, intervals: Sequence[int], state: bytes | None) -> None:
        saved = msgspec.msgpack.decode(state, type=_State) if state is not None else None
        builders = saved.builders if saved else {}
        self._builders = {us: BarBuilder(us, builders.get(us)) for us in sorted(set(intervals))}

    @override
    def on_batch(self, values: list[tuple[str, Batch]]) -> tuple[Iterable[tuple[int, PartBars]], bool]:
        out: list[tuple[int, PartBars]] = []
        for partition, batch in values:
            if batch.kind not in ("trades", "bars"):
                continue
            for interval, builder in self._builders.items():
                out += _close(partition, batch, interval, builder)
        return out, self.RETAIN

    @override
    def snapshot(self) -> bytes:
        builders = {us: builder.snapshot() for us, builder in self._builders.items()}
        return msgspec.msgpack.encode(_State(builders))


def _close(partition: str, batch: Batch, interval: int, builder: BarBuilder) -> list[tuple[int, PartBars]]:
    """Add a batch to one builder; return what that closes, if anything."""
    before = builder.closed_to_us
    closed = builder.add(_rows(batch, interval, builder), min(batch.watermark_us, FOREVER_US - 1))
    if batch.end and batch.watermark_us >= FOREVER_US:
        closed += builder.finish()
    to_us = FOREVER_US if batch.watermark_us >= FOREVER_US else builder.closed_to_us
    bars = _concatenate([part for part in closed if len(part.end_us)])
    if to_us == before and bars is None and not batch.end:
        return []
    return [(interval, PartBars(partition, bars, list(builder.names), to_us))]


def _rows(batch: Batch, interval: int, builder: BarBuilder) -> BarRows:
    """Return the rows of ``batch`` that belong into bars of ``interval`` as plain columns."""
    rows = batch.rows
    watermarks = batch.row_watermarks_us
    if batch.kind == "bars":
        spans = _ints(rows, "interval_us")
        backfill = (_ints(rows, "flags") & FLAG_BACKFILL) != 0
        fits = np.where(backfill, spans == interval, (spans <= interval) & (interval % np.maximum(spans, 1) == 0))
        if not fits.all():
            rows = rows.filter(pa.array(fits))
            watermarks = watermarks[fits] if watermarks is not None else None
        event = time_us(rows.column("ts_close")) - 1
        low, high = ("low", "high")
        open_, close, volume = ("open", "close", "volume")
    else:
        event = time_us(rows.column("ts_event"))
        open_ = high = low = close = "price"
        volume = "qty"
    close_values = _reals(rows, close)
    return BarRows(
        event_us=event,
        watermark_us=_in_order(event) if watermarks is None else watermarks,
        code=_codes(rows.column("symbol"), builder),
        open=_or(_reals(rows, open_), close_values),
        high=_or(_reals(rows, high), close_values),
        low=_or(_reals(rows, low), close_values),
        close=close_values,
        volume=_reals(rows, volume),
        market_cap=_reals(rows, "market_cap") if batch.kind == "bars" else np.full(len(event), np.nan),
        duplicate=(_ints(rows, "flags") & FLAG_DUPLICATE) != 0,
    )


def _codes(column: pa.DictionaryArray, builder: BarBuilder) -> Int64:
    """Return the builder's number of each row's symbol: one look-up per name, not per row."""
    used = np.unique(column.indices.to_numpy(zero_copy_only=False))
    lookup = np.zeros(len(column.dictionary), dtype=np.int64)
    if len(used):
        lookup[used] = builder.codes(column.dictionary.take(pa.array(used)).to_pylist())
    codes: Int64 = lookup[column.indices.to_numpy(zero_copy_only=False)]
    return codes


def _ints(rows: pa.RecordBatch, name: str) -> Int64:
    return np.asarray(rows.column(name).to_numpy(zero_copy_only=False), dtype=np.int64)


def _reals(rows: pa.RecordBatch, name: str) -> np.ndarray:
    return np.asarray(rows.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)


def _or(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), others, values)


def _in_order(event: Int64) -> Int64:
    """Return the watermark before each row of an input that is in order: the latest event so far."""
    before = np.empty_like(event)
    if len(event):
        before[0] = np.iinfo(np.int64).min // 4
        np.maximum.accumulate(event[:-1], out=before[1:])
    return before


def _concatenate(parts: list[ClosedBars]) -> ClosedBars | None:
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    names = ClosedBars.__slots__
    return ClosedBars(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
