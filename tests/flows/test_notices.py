"""Gaps, reorgs and quarantine become rows of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from connectors.schema import BLOCKS, GAPS, QUARANTINE, Batch, empty
from connectors.tables import TABLES
from flows.notices import notices
from tests.flows.driver import trades


def found(batch: Batch) -> list[dict[str, Any]]:
    out = []
    for rows in notices(("feed", batch)):
        assert rows.table == "events"
        assert rows.rows.schema.equals(TABLES["events"].schema)
        out += [{**row, "evidence": json.loads(row["evidence"])} for row in rows.rows.to_pylist()]
    return out


def gap(symbol: str, **more: Any) -> dict[str, Any]:
    row = {"feed": "binance", "symbol": symbol, "from_seq": 5, "to_seq": 9, "ts_from": 1_000_000, "ts_to": 3_000_000}
    return {**row, "reason": "sequence", "missing": 4, "filled": 3, **more}


def test_each_gap_is_an_event_of_its_coin() -> None:
    rows = [gap("BTC-USDT"), gap("", from_seq=None, to_seq=None)]
    first, second = found(Batch("gaps", pa.RecordBatch.from_pylist(rows, schema=GAPS), 0))
    assert (first["kind"], first["coin_id"], first["view"], first["window"]) == ("gap", "BTC-USDT", "binance", "")
    assert first["as_of"].timestamp() == 3.0, "a gap is known at its end"
    assert first["evidence"] == {
        "feed": "binance", "filled": 3, "from_seq": 5, "missing": 4, "reason": "sequence",
        "since": "1970-01-01T00:00:01+00:00", "to_seq": 9,
    }  # fmt: skip
    assert second["coin_id"] is None, "a gap of the whole feed"
    assert second["evidence"]["from_seq"] is None


def blocks(moves: Sequence[tuple[int, int]]) -> Batch:
    """Return blocks by (height, op); their time is their height in seconds."""
    rows = [
        {"chain": "ethereum", "height": abs(height), "hash": bytes([height % 256, n]), "parent_hash": b"", "n_tx": 0,
         "ts_block": height * 1_000_000, "op": op, "final_height": -1}
        for n, (height, op) in enumerate(moves)
    ]  # fmt: skip
    return Batch("blocks", pa.RecordBatch.from_pylist(rows, schema=BLOCKS), 0)


def test_a_run_of_disconnected_blocks_is_one_reorg() -> None:
    (event,) = found(blocks([(7, 1), (7, -1), (6, -1), (6, 1), (7, 1), (8, 1)]))
    assert (event["kind"], event["view"], event["coin_id"]) == ("reorg", "feed", None)
    assert event["as_of"].timestamp() == 7.0
    evidence = event["evidence"]
    assert (evidence["depth"], evidence["from_height"], evidence["to_height"]) == (2, 6, 7)
    assert (evidence["old_head"], evidence["new_branch"]) == ("0701", "0603")


def test_several_reorgs_and_one_whose_branch_is_still_to_come() -> None:
    first, second = found(blocks([(5, -1), (5, 1), (6, 1), (6, -1), (5, -1)]))
    assert (first["evidence"]["depth"], second["evidence"]["depth"]) == (1, 2)
    assert first["evidence"]["new_branch"] == "0501"
    assert second["evidence"]["new_branch"] is None


@given(st.lists(st.sampled_from([1, -1]), max_size=20))
def test_depths_sum_up_to_the_blocks_taken_back(ops: list[int]) -> None:
    events = found(blocks([(n + 1, op) for n, op in enumerate(ops)]))
    assert sum(event["evidence"]["depth"] for event in events) == ops.count(-1)
    runs = sum(op < 0 and (n == 0 or ops[n - 1] > 0) for n, op in enumerate(ops))
    assert len(events) == runs


def test_what_was_quarantined_is_passed_on() -> None:
    row = {"source": "s", "position": 1, "column": "c", "reason": "r", "detail": "d"}
    rows = pa.RecordBatch.from_pylist([row], schema=QUARANTINE)
    (out,) = notices(("feed", Batch("quarantine", rows, 0)))
    assert (out.table, out.rows) == ("quarantine", rows)


def test_data_and_empty_batches_say_nothing() -> None:
    assert list(notices(("feed", trades([(0, "a", 1.0)], 0)))) == []
    for kind in ("gaps", "quarantine", "blocks", "transfers", "bars"):
        assert list(notices(("feed", Batch(kind, empty(kind), 0)))) == []
    assert found(blocks([(1, 1), (2, 1)])) == []
