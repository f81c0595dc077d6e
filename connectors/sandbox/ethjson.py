"""Blocks, headers, transactions and receipts as an Ethereum node writes them in JSON."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from connectors.sandbox.draws import digest
from connectors.sandbox.ledger import GAS_LIMIT, Block, Transaction

CHAIN_ID: Final = 1337
_BLOOM: Final = "0x" + "0" * 512
_EMPTY_UNCLES: Final = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
_BLOB_GAS_PRICE: Final = 1


def quantity(number: int) -> str:
    """Write a number as JSON-RPC does: hex without leading zeros."""
    return hex(number)


def _filler(*parts: int | str) -> str:
    return "0x" + digest(0, *parts).hex()


def header(block: Block) -> dict[str, Any]:
    """Return the header as newHeads sends it."""
    of = block.hash
    blobs = sum(transaction.blob_gas for transaction in block.transactions)
    return {
        "parentHash": block.parent_hash,
        "sha3Uncles": _EMPTY_UNCLES,
        "miner": block.miner,
        "stateRoot": _filler("state", of),
        "transactionsRoot": _filler("transactions", of),
        "receiptsRoot": _filler("receipts", of),
        "logsBloom": _BLOOM,
        "difficulty": "0x0",
        "number": quantity(block.height),
        "gasLimit": quantity(GAS_LIMIT),
        "gasUsed": quantity(block.gas_used),
        "timestamp": quantity(block.timestamp),
        "extraData": "0x",
        "mixHash": _filler("mix", of),
        "nonce": "0x0000000000000000",
        "baseFeePerGas": quantity(block.base_fee),
        "withdrawalsRoot": _filler("withdrawals", of),
        "blobGasUsed": quantity(blobs),
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": _filler("beacon", of),
        "requestsHash": _filler("requests", of),
        "hash": block.hash,
    }


def full_block(block: Block, transactions: bool) -> dict[str, Any]:
    """Return the block; with whole transactions or with their hashes alone."""
    listed: list[Any] = [transaction.hash for transaction in block.transactions]
    if transactions:
        listed = [_transaction(block, index) for index in range(len(block.transactions))]
    withdrawals = [
        {
            "index": quantity(paid.index),
            "validatorIndex": quantity(paid.validator),
            "address": paid.address,
            "amount": quantity(paid.amount_gwei),
        }
        for paid in block.withdrawals
    ]
    size = 800 + 180 * len(listed)
    rest = {"size": quantity(size), "transactions": listed, "uncles": [], "withdrawals": withdrawals}
    return {**header(block), **rest}


def _gas_price(block: Block, transaction: Transaction) -> int:
    return block.base_fee + transaction.tip


def _transaction(block: Block, index: int) -> dict[str, Any]:
    transaction = block.transactions[index]
    signature = hashlib.blake2b(transaction.hash.encode("ascii"), digest_size=64).hexdigest()
    parity = quantity(int(signature[0], 16) & 1)
    price = _gas_price(block, transaction)
    fields: dict[str, Any] = {
        "blockHash": block.hash,
        "blockNumber": quantity(block.height),
        "from": transaction.sender,
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(price),
        "hash": transaction.hash,
        "input": "0x" if transaction.kind in ("transfer", "noise_in", "noise_out") else "0xa9059cbb" + signature[:64],
        "nonce": quantity(transaction.nonce),
        "to": transaction.receiver,
        "transactionIndex": quantity(index),
        "value": quantity(transaction.value),
        "type": quantity(transaction.type),
        "chainId": quantity(CHAIN_ID),
        "v": parity if transaction.type else quantity(2 * CHAIN_ID + 35 + int(parity, 16)),
        "r": "0x" + signature[:64],
        "s": "0x" + signature[64:],
    }
    if transaction.type >= 1:
        fields |= {"accessList": [], "yParity": parity}
    if transaction.type >= 2:
        fields |= {"maxFeePerGas": quantity(price * 2), "maxPriorityFeePerGas": quantity(transaction.tip)}
    if transaction.type == 3:
        blob = "0x01" + signature[2:64]
        fields |= {"maxFeePerBlobGas": quantity(1_000_000_000), "blobVersionedHashes": [blob]}
    if transaction.type == 4:
        fields["authorizationList"] = [
            {
                "chainId": quantity(CHAIN_ID),
                "address": transaction.receiver,
                "nonce": "0x1",
                "yParity": parity,
                "r": "0x" + signature[:64],
                "s": "0x" + signature[64:],
            }
        ]
    return fields


def receipts(block: Block) -> list[dict[str, Any]]:
    """Return the receipts of a block."""
    cumulative = 0
    written = []
    for index, transaction in enumerate(block.transactions):
        cumulative += transaction.gas_used
        receipt: dict[str, Any] = {
            "blockHash": block.hash,
            "blockNumber": quantity(block.height),
            "contractAddress": _created(transaction),
            "cumulativeGasUsed": quantity(cumulative),
            "effectiveGasPrice": quantity(_gas_price(block, transaction)),
            "from": transaction.sender,
            "gasUsed": quantity(transaction.gas_used),
            "logs": [],
            "logsBloom": _BLOOM,
            "status": "0x1" if transaction.success else "0x0",
            "to": transaction.receiver,
            "transactionHash": transaction.hash,
            "transactionIndex": quantity(index),
            "type": quantity(transaction.type),
        }
        if transaction.type == 3:
            receipt |= {"blobGasUsed": quantity(transaction.blob_gas), "blobGasPrice": quantity(_BLOB_GAS_PRICE)}
        written.append(receipt)
    return written


def _created(transaction: Transaction) -> str | None:
    """Return the address of a created contract."""
    if transaction.receiver is not None:
        return None
    return "0x" + digest(0, "created", transaction.hash)[:20].hex()
