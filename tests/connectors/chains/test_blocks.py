"""Blocks of the real chain, parsed: counts and amounts to the wei."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from connectors.chains.blocks import add_receipts, parse_block, parse_header, transfers_to_arrow
from tests.connectors.chains.node import Node


@pytest.mark.data
def test_real_blocks_equal_their_flattened_table(shared_data: Path) -> None:
    lines = gzip.decompress((shared_data / "eth_blocks_jsonrpc_mainnet.jsonl.gz").read_bytes()).splitlines()
    blocks = [parse_block(json.dumps(json.loads(line)["result"]).encode()) for line in lines]
    truth = pq.read_table(shared_data / "eth_txs_from_jsonrpc_blocks.parquet")
    assert sum(block.n_tx for block in blocks) == truth.num_rows == 29_868
    assert not any(block.rejected for block in blocks)
    rows = transfers_to_arrow("ethereum", [(block, 1, -1) for block in blocks]).to_pylist()
    columns = ["transaction_index", "from_address", "to_address", "value_wei"]
    expected = {(t["hash"], t["block_number"]): [t[name] for name in columns] for t in truth.to_pylist()}
    got = {
        ("0x" + r["tx_hash"].hex(), r["height"]): (r["xfer_index"], r["from_addr"], r["to_addr"], int(r["amount"]))
        for r in rows
        if r["kind"] != "withdrawal"
    }
    assert got == {key: (i, f.lower(), t.lower() if t else None, int(v)) for key, (i, f, t, v) in expected.items()}
    assert {r["success"] for r in rows if r["kind"] != "withdrawal"} == {None}


def test_receipts_of_another_block_or_too_few_change_nothing() -> None:
    node = Node(6)
    block = parse_block(msgspec.json.encode(node.head))
    before = msgspec.json.encode(block)
    for receipts in (node.receipts_of(node.canonical[4]), node.receipts_of(node.head)[:-1], {"x": 1}):
        with pytest.raises(ValueError):
            add_receipts(block, msgspec.json.encode(receipts))
        assert msgspec.json.encode(block) == before


def test_receipts_without_status_leave_success_unknown() -> None:
    node = Node(6)
    block = parse_block(msgspec.json.encode(node.head))
    receipts = [{**receipt, "status": None, "root": "0x00"} for receipt in node.receipts_of(node.head)]
    add_receipts(block, msgspec.json.encode(receipts))
    assert [t.success for t in block.transfers] == [-1, -1, -1, 1]


def test_header_with_an_absurd_time_is_refused() -> None:
    header = {**Node(3).head, "timestamp": "0xffffffffffff"}
    with pytest.raises(ValueError, match="absurd"):
        parse_header(msgspec.json.encode(header))
