"""What a feed has to say beside its data: gaps, reorgs, and rows that were put into quarantine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from connectors.schema import Batch, time_us
from flows.results import Rows, event_rows


def notices(item: tuple[str, Batch]) -> Iterator[Rows]:
    """Return the result rows that a batch gives rise to by itself."""
    partition, batch = item
    if batch.kind == "quarantine" and batch.rows.num_rows:
        yield Rows("quarantine", batch.rows)
    elif batch.kind == "gaps":
        yield from _gaps(batch.rows)
    elif batch.kind == "blocks":
        yield from _reorgs(partition, batch.rows)


def _gaps(rows: pa.RecordBatch) -> Iterator[Rows]:
    for row in rows.to_pylist():
        evidence = {
            "feed": row["feed"],
            "from_seq": row["from_seq"],
            "to_seq": row["to_seq"],
            "since": row["ts_from"].isoformat(),
            "reason": row["reason"],
            "missing": row["missing"],
            "filled": row["filled"],
        }
        where: dict[str, object] = {"as_of": row["ts_to"], "window": "", "view": row["feed"]}
        yield event_rows(where, "gap", evidence, coin_id=row["symbol"] or None)


def _reorgs(partition: str, rows: pa.RecordBatch) -> Iterator[Rows]:
    """Make one event of each run of disconnected blocks; a connector never cuts a run in two."""
    op = np.asarray(rows.column("op").to_numpy(zero_copy_only=False))
    if not (op < 0).any():
        return
    at_us = time_us(rows.column("ts_block"))
    heights = rows.column("height").to_pylist()
    hashes = rows.column("hash").to_pylist()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (op < 0).astype(np.int8), [0]])))
    for start, stop in edges.reshape(-1, 2).tolist():
        evidence = {
            "depth": stop - start,
            "from_height": heights[stop - 1],
            "to_height": heights[start],
            "old_head": hashes[start].hex(),
            "new_branch": hashes[stop].hex() if stop < len(hashes) else None,
        }
        where: dict[str, object] = {"as_of": int(at_us[start]), "window": "", "view": partition}
        yield event_rows(where, "reorg", evidence)
