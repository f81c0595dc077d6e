"""What the tests of the dataflow's steps share: driving a step without an engine, and comparing what it emits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pyarrow as pa

from connectors.schema import BARS, FLAG_DUPLICATE, TRADES, TRANSFERS, Batch, times

Trade = tuple[int, str, float]
"""Time of the event in microseconds, symbol, price."""


def plain(value: Any) -> Any:
    """Return a value in a form in which equal means equal in every bit (NaN too)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(field.name, plain(getattr(value, field.name))) for field in dataclasses.fields(value)]
        return (type(value).__name__, fields)
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, pa.RecordBatch | pa.Array):
        return repr(value.to_pylist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return value


def drive(
    make: Callable[[bytes | None], Any],
    batches: Iterable[Sequence[Any]],
    restart: Collection[int] = (),
    eof: bool = False,
) -> list[Any]:
    """Send batches of values through a step; before those numbered in ``restart`` it is made anew of its snapshot."""
    logic, out = make(None), []
    for number, values in enumerate(batches):
        if number in restart:
            logic = make(logic.snapshot())
        emitted, discard = logic.on_batch(list(values))
        assert discard is False, "a step never forgets its state"
        out += list(emitted)
    if eof:
        out += list(logic.on_eof()[0])
    return out


class InlinePool:
    """Does each job at once."""

    def __init__(self) -> None:
        self.submitted: list[Any] = []

    def submit(self, work: Callable[[Any], Any], job: Any) -> Future[Any]:
        self.submitted.append(job)
        future: Future[Any] = Future()
        future.set_result((work(job), 0.25))
        return future


class HeldPool:
    """Does a job when it is told to."""

    def __init__(self) -> None:
        self.held: list[tuple[Any, Future[Any]]] = []

    def submit(self, work: Callable[[Any], Any], job: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.held.append((lambda: (work(job), 0.25), future))
        return future

    def finish(self, number: int) -> None:
        """Do the job that was submitted as this number."""
        work, future = self.held[number]
        future.set_result(work())


def names(values: Sequence[str]) -> pa.Array:
    """Return a column of names."""
    return pa.array(values, pa.utf8()).dictionary_encode()


def trades(
    rows: Sequence[Trade],
    watermark_us: int,
    row_watermarks_us: Sequence[int] | None = None,
    duplicates: Collection[int] = (),
    end: bool = False,
) -> Batch:
    """Return a batch of trades of one unit each; those numbered in ``duplicates`` are marked so."""
    n = len(rows)
    batch = pa.RecordBatch.from_pydict(
        {
            "venue": names(["venue"] * n),
            "symbol": names([symbol for _, symbol, _ in rows]),
            "trade_id": pa.nulls(n, pa.int64()),
            "side": pa.array([0] * n, pa.int8()),
            "price": pa.array([price for _, _, price in rows], pa.float64()),
            "qty": pa.array([1.0] * n, pa.float64()),
            "ts_event": times(np.array([at for at, _, _ in rows], np.int64)),
            "ts_recv": times(np.array([at for at, _, _ in rows], np.int64)),
            "flags": pa.array([FLAG_DUPLICATE if i in duplicates else 0 for i in range(n)], pa.uint8()),
        },
        schema=TRADES,
    )
    marks = None if row_watermarks_us is None else np.array(row_watermarks_us, np.int64)
    return Batch("trades", batch, watermark_us, marks, end)


def bars(
    rows: Sequence[tuple[int, str, float]],
    watermark_us: int,
    interval_us: int = 0,
    row_watermarks_us: Sequence[int] | None = None,
    flags: int = 0,
    end: bool = False,
    **columns: Sequence[float | None],
) -> Batch:
    """Return a batch of bars (close time, symbol, close), or of snapshots where the interval is 0."""
    n = len(rows)
    given = {name: columns.get(name, [None] * n) for name in ("open", "high", "low", "volume", "market_cap")}
    batch = pa.RecordBatch.from_pydict(
        {
            "venue": names(["table"] * n),
            "symbol": names([symbol for _, symbol, _ in rows]),
            "interval_us": pa.array([interval_us] * n, pa.int64()),
            "ts_close": times(np.array([at for at, _, _ in rows], np.int64)),
            **{name: pa.array(given[name], pa.float64()) for name in ("open", "high", "low")},
            "close": pa.array([close for _, _, close in rows], pa.float64()),
            **{name: pa.array(given[name], pa.float64()) for name in ("volume", "market_cap")},
            "n_trades": pa.nulls(n, pa.int64()),
            "flags": pa.array([flags] * n, pa.uint8()),
        },
        schema=BARS,
    )
    marks = None if row_watermarks_us is None else np.array(row_watermarks_us, np.int64)
    return Batch("bars", batch, watermark_us, marks, end)


@dataclasses.dataclass(frozen=True)
class Transfer:
    """One row of transfers."""

    at_us: int
    sender: str | None
    receiver: str | None
    amount: int = 1
    success: bool | None = True
    kind: str = "native"
    op: int = 1


def transfers(
    rows: Sequence[Transfer], watermark_us: int, row_watermarks_us: Sequence[int] | None = None, end: bool = False
) -> Batch:
    """Return a batch of transfers."""
    n = len(rows)
    batch = pa.RecordBatch.from_pydict(
        {
            "chain": names(["ethereum"] * n),
            "height": pa.array([-1] * n, pa.int64()),
            "tx_hash": pa.nulls(n, pa.binary()),
            "xfer_index": pa.array([0] * n, pa.int32()),
            "kind": names([row.kind for row in rows]),
            "from_addr": pa.array([row.sender for row in rows], pa.utf8()),
            "to_addr": pa.array([row.receiver for row in rows], pa.utf8()),
            "amount": pa.array([row.amount for row in rows], pa.int64()).cast(pa.decimal128(38, 0)),
            "success": pa.array([row.success for row in rows], pa.bool_()),
            "ts_block": times(np.array([row.at_us for row in rows], np.int64)),
            "op": pa.array([row.op for row in rows], pa.int8()),
        },
        schema=TRANSFERS,
    )
    marks = None if row_watermarks_us is None else np.array(row_watermarks_us, np.int64)
    return Batch("transfers", batch, watermark_us, marks, end)
