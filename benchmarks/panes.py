"""Transfers to per-entity sums on one core: exact panes against a pandas group-by and a plain dictionary."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.timing import head, in_turn, row
from models.addresses import SHARDS
from models.panes import PaneConfig, split

DAY = 86_400_000_000


def transfers(n: int, entities: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    keys = rng.integers(1, 1 << 63, entities).astype(np.uint64)
    pick = (entities * rng.random((2, n)) ** 3).astype(np.int64)
    return keys[pick[0]], keys[pick[1]], rng.integers(1, 1 << 60, n)


def panes(sender: np.ndarray, receiver: np.ndarray, value: np.ndarray, batch: int = 50_000) -> int:
    config = PaneConfig(bucket_us=DAY, window_us=30 * DAY)
    shards = [config.build() for _ in range(SHARDS)]
    for start in range(0, len(value), batch):
        part = slice(start, start + batch)
        n = len(value[part])
        hi, lo = np.zeros(n, np.int64), value[part].astype(np.uint64)
        halves = split(sender[part], receiver[part], hi, lo, np.zeros(n, np.int64), np.ones(n, np.int8))
        for shard, edges in halves.items():
            shards[shard].apply(edges)
    return sum(len(shard.window(0, DAY).keys) for shard in shards)


def with_pandas(sender: np.ndarray, receiver: np.ndarray, value: np.ndarray) -> int:
    frame = pd.DataFrame({"from": sender, "to": receiver, "value": value.astype(np.float64)})
    out = frame.groupby("from")["value"].agg(["count", "sum"])
    received = frame.groupby("to")["value"].agg(["count", "sum"])
    return len(out.join(received, how="outer", lsuffix="_out", rsuffix="_in"))


def dictionaries(sender: np.ndarray, receiver: np.ndarray, value: np.ndarray) -> int:
    sums: dict[int, list[int]] = {}
    for a, b, amount in zip(sender.tolist(), receiver.tolist(), value.tolist(), strict=True):
        out, received = sums.setdefault(a, [0, 0, 0, 0]), sums.setdefault(b, [0, 0, 0, 0])
        out[0] += 1
        out[1] += amount
        received[2] += 1
        received[3] += amount
    return len(sums)


def main() -> None:
    head("rival", "transfers", "entities", "ours M/s", "rival M/s", "ratio", "exact")
    for name, rival, exact in (("dict loop", dictionaries, True), ("pandas groupby", with_pandas, False)):
        data = transfers(1_000_000, 300_000)
        a, b, ratio = in_turn(lambda data=data: panes(*data), lambda data=data, rival=rival: rival(*data), runs=3)
        assert panes(*data) == rival(*data)
        row(name, "1,000,000", f"{panes(*data):,}", 1 / a, 1 / b, ratio, f"ours yes, rival {'yes' if exact else 'no'}")


if __name__ == "__main__":
    main()
