"""Trades to closed bars on one core: our columns against a loop over dictionaries, and against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.timing import head, in_turn, row
from models.bars import BarBuilder, BarRows

COINS, SECOND = 200, 1_000_000


def trades(n: int) -> BarRows:
    rng = np.random.default_rng(1)
    at = np.sort(rng.integers(0, 120 * SECOND, n))
    before = np.concatenate([[0], at[:-1]]) - SECOND // 2
    price, qty = 100 + rng.standard_normal(n), rng.random(n)
    nan, never = np.full(n, np.nan), np.zeros(n, dtype=bool)
    return BarRows(at, before, rng.integers(0, COINS, n), price, price, price, price, qty, nan, never)


def columns(rows: BarRows, batch: int) -> int:
    builder = BarBuilder(SECOND)
    builder.codes([f"coin-{i:03d}" for i in range(COINS)])
    closed = 0
    for start in range(0, len(rows.event_us), batch):
        part = BarRows(*(getattr(rows, name)[start : start + batch] for name in BarRows.__slots__))
        closed += sum(len(bars.end_us) for bars in builder.add(part, int(part.watermark_us[-1])))
    return closed + sum(len(bars.end_us) for bars in builder.finish())


def dictionaries(rows: BarRows) -> int:
    bars: dict[tuple[int, int], list[float]] = {}
    for at, coin, price, qty in zip(
        rows.event_us.tolist(), rows.code.tolist(), rows.close.tolist(), rows.volume.tolist(), strict=True
    ):
        key = (at // SECOND, coin)
        bar = bars.get(key)
        if bar is None:
            bars[key] = [price, price, price, price, qty]
        else:
            bar[1], bar[2], bar[3] = max(bar[1], price), min(bar[2], price), price
            bar[4] += qty
    return len(bars)


def with_pandas(rows: BarRows) -> int:
    frame = pd.DataFrame({"bar": rows.event_us // SECOND, "coin": rows.code, "price": rows.close, "qty": rows.volume})
    grouped = frame.groupby(["bar", "coin"], sort=False)
    return len(
        grouped.agg(
            o=("price", "first"), h=("price", "max"), lo=("price", "min"), c=("price", "last"), v=("qty", "sum")
        )
    )


def main() -> None:
    head("rival", "trades", "ours M/s", "rival M/s", "ratio", "bars")
    for name, rival, n in (("dict loop", dictionaries, 1_000_000), ("pandas groupby", with_pandas, 2_000_000)):
        rows = trades(n)
        a, b, ratio = in_turn(
            lambda rows=rows: columns(rows, 10_000), lambda rows=rows, rival=rival: rival(rows), runs=3
        )
        assert columns(rows, 10_000) == rival(rows)
        row(name, f"{n:,}", n / a / 1e6, n / b / 1e6, ratio, columns(rows, 10_000))


if __name__ == "__main__":
    main()
