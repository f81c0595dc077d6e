"""Blocks of Ethereum: from a node's JSON to columns, exact to the wei.

One transfer per transaction (the top-level movement of ether; what contracts move inside is not in a block), then
one per withdrawal of staked ether. A receipt says whether a transaction succeeded; without receipts nobody knows,
and ``success`` is null. A failed transaction keeps its row and its amount, with ``success`` false: it moved nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Meta

from connectors.schema import AMOUNT, BLOCKS, TRANSFERS, times

AMOUNT_LIMIT: Final = 10**38
GWEI: Final = 10**9
KINDS: Final = ("native", "creation", "withdrawal")
_LATEST_S: Final = 10**11

Quantity: TypeAlias = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{1,64}$")]
Hash: TypeAlias = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{64}$")]
Address: TypeAlias = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{40}$")]


class Header(msgspec.Struct, rename="camel"):
    """What everything rests on; nodes add fields of their own."""

    number: Quantity
    hash: Hash
    parent_hash: Hash
    timestamp: Quantity


class _Transaction(msgspec.Struct, rename="camel", gc=False):
    hash: Hash
    from_: Address = msgspec.field(name="from")
    value: Quantity
    transaction_index: Quantity
    to: Address | None = None


class _Withdrawal(msgspec.Struct, gc=False):
    address: Address
    amount: Quantity  # Gwei


class _Block(Header, rename="camel"):
    transactions: list[_Transaction]
    withdrawals: list[_Withdrawal] | None = None


class _Receipt(msgspec.Struct, rename="camel", gc=False):
    transaction_hash: Hash
    block_hash: Hash | None = None
    status: Quantity | None = None
    contract_address: Address | None = None


class Transfer(msgspec.Struct, array_like=True, gc=False):
    """One transfer; ``amount`` in wei as 16 little-endian bytes, ``success`` 1, 0 or -1 for unknown."""

    tx_hash: bytes | None
    index: int
    kind: int
    from_addr: str | None
    to_addr: str | None
    amount: bytes
    success: int


class Block(msgspec.Struct):
    """A block with its transfers; ``time_us`` in microseconds, ``rejected`` holds (column, reason, detail)."""

    height: int
    hash: bytes
    parent: bytes
    time_us: int
    n_tx: int
    transfers: list[Transfer]
    rejected: list[tuple[str, str, str]] = []


_header = msgspec.json.Decoder(Header)
_block = msgspec.json.Decoder(_Block)
_receipts = msgspec.json.Decoder(list[_Receipt])


def parse_header(text: bytes | msgspec.Raw) -> tuple[int, bytes, bytes, int]:
    """Return (height, hash, parent hash, time in microseconds); raises :class:`ValueError`."""
    return _checked(_header.decode(text))


def _checked(header: Header) -> tuple[int, bytes, bytes, int]:
    height, seconds = int(header.number, 16), int(header.timestamp, 16)
    if height >= 2**62 or seconds >= _LATEST_S:
        raise ValueError("height or time is absurd")
    return height, bytes.fromhex(header.hash[2:]), bytes.fromhex(header.parent_hash[2:]), seconds * 1_000_000


def parse_block(text: bytes | msgspec.Raw) -> Block:
    """Return the block that ``eth_getBlockBy...(.., true)`` gave; raises :class:`ValueError`."""
    block = _block.decode(text)
    height, own, parent, time_us = _checked(block)
    out = Block(height, own, parent, time_us, len(block.transactions), [])
    for tx in block.transactions:
        amount = int(tx.value, 16)
        index = int(tx.transaction_index, 16)
        if amount >= AMOUNT_LIMIT or index >= 2**31:
            out.rejected.append(("amount", "more than 38 digits of wei", f"{tx.hash}: {tx.value}"))
            continue
        kind, to = (0, tx.to.lower()) if tx.to is not None else (1, None)
        raw = amount.to_bytes(16, "little")
        out.transfers.append(Transfer(bytes.fromhex(tx.hash[2:]), index, kind, tx.from_.lower(), to, raw, -1))
    for at, item in enumerate(block.withdrawals or ()):
        amount = int(item.amount, 16) * GWEI
        if amount >= AMOUNT_LIMIT:
            out.rejected.append(("amount", "more than 38 digits of wei", f"withdrawal to {item.address}"))
            continue
        raw = amount.to_bytes(16, "little")
        out.transfers.append(Transfer(None, out.n_tx + at, 2, None, item.address.lower(), raw, 1))
    return out


def add_receipts(block: Block, text: bytes | msgspec.Raw) -> None:
    """Set the outcome of each transaction, and the address of each created contract.

    Raises
    ------
    ValueError
        If these are not the receipts of ``block``; it is unchanged then.
    """
    receipts = _receipts.decode(text)
    by_hash = {}
    for receipt in receipts:
        if receipt.block_hash is not None and bytes.fromhex(receipt.block_hash[2:]) != block.hash:
            raise ValueError("receipts of another block")
        by_hash[bytes.fromhex(receipt.transaction_hash[2:])] = receipt
    if len(by_hash) < block.n_tx:
        raise ValueError(f"{len(by_hash)} receipts for {block.n_tx} transactions")
    for transfer in block.transfers:
        found = by_hash.get(transfer.tx_hash) if transfer.tx_hash is not None else None
        if found is None:
            continue
        if found.status is not None:  # before Byzantium a receipt had none
            transfer.success = int(int(found.status, 16) != 0)
        if transfer.kind == 1 and found.contract_address is not None:
            transfer.to_addr = found.contract_address.lower()


def blocks_to_arrow(chain: str, moves: Sequence[tuple[Block, int, int]]) -> pa.RecordBatch:
    """Return rows of the table ``blocks`` for (block, op, final height) in order."""
    rows = len(moves)
    return pa.RecordBatch.from_arrays(
        [
            _constant(chain, rows),
            pa.array([block.height for block, _, _ in moves], pa.int64()),
            pa.array([block.hash for block, _, _ in moves], pa.binary()),
            pa.array([block.parent for block, _, _ in moves], pa.binary()),
            times(np.array([block.time_us for block, _, _ in moves], np.int64)),
            pa.array([block.n_tx for block, _, _ in moves], pa.int32()),
            pa.array([op for _, op, _ in moves], pa.int8()),
            pa.array([final for _, _, final in moves], pa.int64()),
        ],
        schema=BLOCKS,
    )


def transfers_to_arrow(chain: str, moves: Sequence[tuple[Block, int, int]]) -> pa.RecordBatch:
    """Return rows of the table ``transfers`` for (block, op, ...) in order; within a block in order of their index."""
    each = [transfer for block, _, _ in moves for transfer in block.transfers]
    counts = np.array([len(block.transfers) for block, _, _ in moves], np.int64)
    heights = np.array([block.height for block, _, _ in moves], np.int64)
    stamps = np.array([block.time_us for block, _, _ in moves], np.int64)
    ops = np.array([op for _, op, _ in moves], np.int8)
    success = np.array([transfer.success for transfer in each], np.int8)
    amounts = pa.py_buffer(b"".join(transfer.amount for transfer in each))
    kinds = np.array([transfer.kind for transfer in each], np.int32)
    return pa.RecordBatch.from_arrays(
        [
            _constant(chain, len(each)),
            pa.array(np.repeat(heights, counts)),
            pa.array([transfer.tx_hash for transfer in each], pa.binary()),
            pa.array([transfer.index for transfer in each], pa.int32()),
            pa.DictionaryArray.from_arrays(pa.array(kinds), pa.array(KINDS)),
            pa.array([transfer.from_addr for transfer in each], pa.utf8()),
            pa.array([transfer.to_addr for transfer in each], pa.utf8()),
            pa.Array.from_buffers(AMOUNT, len(each), [None, amounts]),
            pa.array(success == 1, mask=success < 0),
            times(np.repeat(stamps, counts)),
            pa.array(np.repeat(ops, counts)),
        ],
        schema=TRANSFERS,
    )


def _constant(text: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))
