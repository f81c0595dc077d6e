"""Transfers of value: ethereum-etl's transactions, general tables of transfers, and published edge lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from connectors.archives.bars import constant, refuse_useless, reject_repeated
from connectors.archives.files import load
from connectors.archives.formats import Format, Need
from connectors.archives.reader import ArchiveReader, Options, Section
from connectors.archives.sieve import Sieve, codes, occurrence, paired, quarantine
from connectors.archives.source import Loaded, Source
from connectors.archives.times import parse_times
from connectors.archives.values import parse_addresses, parse_amounts, parse_hashes, parse_names, parse_numbers
from connectors.errors import InputError
from connectors.schema import TRANSFERS, Int64, times

Bools = npt.NDArray[np.bool_]

_FROM: Final = Need("a sender", ("from_address", "from", "from_addr", "source"))
_TO: Final = Need("a receiver", ("to_address", "to", "to_addr", "target"))
_VALUE: Final = Need("an amount", ("value_wei", "value", "amount"))
_TIME: Final = Need("a time", ("block_timestamp", "timestamp", "time", "ts_block"))
_HASH: Final = ("tx_hash", "hash", "transaction_hash")
_HEIGHT: Final = ("block_number", "height")
_ORDER: Final = ("transaction_index",)
_INDEX: Final = ("xfer_index", "log_index", "index", "transaction_index")
_SUCCESS: Final = ("success", "receipt_status")
_ETL: Final = (Need("a hash", ("hash", "transaction_hash")), Need("a nonce", ("nonce",)), Need("gas", ("gas",)))


@dataclass(frozen=True, slots=True)
class _Part:
    """The transfers of one file, good and bad; every column of shape (rows,)."""

    columns: dict[str, pa.Array]
    time_us: Int64
    height: Int64
    order: Int64
    index: Int64 | None
    hashed: bool
    sieve: Sieve
    total: int


def _read(file: int, source: Source, chain: str, first_chain: bool) -> _Part:
    at = {
        "from": source.position(*_FROM.names),
        "to": source.position(*_TO.names),
        "value": source.position(*_VALUE.names),
        "time": source.position(*_TIME.names),
        "chain": source.position("chain"),
        "hash": source.position(*_HASH),
        "height": source.position(*_HEIGHT),
        "order": source.position(*_ORDER),
        "index": source.position(*_INDEX),
        "success": source.position(*_SUCCESS),
    }
    used = {name: position for name, position in at.items() if position is not None}
    loaded = load(source, list(used.values()))
    columns = {name: loaded.columns[position] for name, position in used.items()}
    loaded, columns, strangers = _of_chain(loaded, columns, chain, first_chain)
    sieve = Sieve(np.full(len(loaded.rows), file), loaded.rows)
    sieve.reject_malformed(file, loaded.malformed)
    named = {name: source.columns[position] for name, position in used.items()}
    if "chain" in columns:
        nameless = parse_names(columns["chain"]).is_null().to_numpy(zero_copy_only=False)
        sieve.reject(nameless, named["chain"], "no chain")
    time_us, timely = parse_times(columns["time"])
    sieve.reject(~timely, named["time"], "not a time", columns["time"])
    sender, receiver = parse_addresses(columns["from"]), parse_addresses(columns["to"])
    nobody = pc.and_(sender.is_null(), receiver.is_null()).to_numpy(zero_copy_only=False)
    sieve.reject(nobody, named["from"], "neither sender nor receiver")
    amount, reasons = parse_amounts(columns["value"])
    for reason, mask in reasons.items():
        sieve.reject(mask, named["value"], reason, columns["value"])
    rows = len(loaded.rows)
    success = pa.nulls(rows, pa.bool_()) if "success" not in columns else _success(columns["success"])
    hashes = pa.nulls(rows, pa.binary()) if "hash" not in columns else parse_hashes(columns["hash"])
    return _Part(
        {"from_addr": sender, "to_addr": receiver, "amount": amount, "success": success, "tx_hash": hashes},
        time_us,
        _whole_numbers(sieve, columns.get("height"), named.get("height", ""), -1, 1 << 62),
        _whole_numbers(sieve, columns.get("order"), named.get("order", ""), 0, 1 << 62),
        None if "index" not in columns else _whole_numbers(sieve, columns["index"], named["index"], 0, 1 << 31),
        "hash" in columns,
        sieve,
        loaded.total - strangers,
    )


def _of_chain(
    loaded: Loaded, columns: dict[str, pa.Array], chain: str, first_chain: bool
) -> tuple[Loaded, dict[str, pa.Array], int]:
    """Leave out the rows of other chains; rows of none, and malformed ones, are counted with the first chain."""
    if "chain" not in columns:
        return loaded, columns, 0
    names = parse_names(columns["chain"])
    mask = pc.equal(names, chain).fill_null(first_chain)
    malformed = loaded.malformed if first_chain else ()
    keep = mask.to_numpy(zero_copy_only=False)
    strangers = int((~keep).sum()) + len(loaded.malformed) - len(malformed)
    columns = {name: column.filter(mask) for name, column in columns.items()}
    return Loaded({}, loaded.rows[keep], malformed, loaded.total), columns, strangers


def _whole_numbers(sieve: Sieve, column: pa.Array | None, name: str, absent: int, limit: int) -> Int64:
    """Return block numbers or indexes; ``absent`` where there is none; what is no such number is passed over."""
    rows = len(sieve.row_of)
    if column is None:
        return np.full(rows, absent, dtype=np.int64)
    if pa.types.is_integer(column.type):
        present = column.is_valid().to_numpy(zero_copy_only=False)
        fine = pc.and_(pc.greater_equal(column, 0), pc.less(column, limit)).fill_null(False)
        fine = fine.to_numpy(zero_copy_only=False)
        numbers = column.fill_null(0).to_numpy(zero_copy_only=False)
    else:
        numbers, present = parse_numbers(column)
        fine = present & (numbers >= 0) & (numbers < min(limit, 1 << 53)) & (numbers == np.rint(numbers))
    sieve.reject(present & ~fine, name, "not a number of a block or of a place in it", column)
    return np.where(fine, numbers, absent).astype(np.int64)


def _success(column: pa.Array) -> pa.Array:
    """Return true for 1, false for 0, null for all else."""
    if pa.types.is_boolean(column.type):
        return column
    numbers, _ = parse_numbers(column)
    return pa.array(numbers == 1, pa.bool_(), mask=~np.isin(numbers, (0, 1)))


def chains_of(sources: Sequence[Source]) -> tuple[str, ...]:
    """Return the distinct chains that files name, sorted; empty if they name none."""
    found: set[str] = set()
    for source in sources:
        position = source.position("chain")
        if position is not None:
            names = parse_names(load(source, [position]).columns[position]).unique().drop_null()
            found.update(names.to_pylist())
    return tuple(sorted(found))


def _choose(sources: Sequence[Source], options: Options, default: str) -> tuple[str, bool]:
    """Return the chain to read, and whether rows of no chain are counted with it."""
    where = str(sources[0].path)
    named = chains_of(sources)
    chosen = options.chain or (named[0] if len(named) == 1 else "" if named else default)
    if not named and not chosen:
        raise InputError(where, "does not say of which chain its transfers are", "give --chain NAME")
    if named and not chosen:
        raise InputError(where, f"has transfers of {', '.join(named)}", "choose one with --chain NAME")
    if named and chosen not in named:
        raise InputError(where, f"has no transfers of {chosen}, but of {', '.join(named)}", "choose one of these")
    return chosen, not named or chosen == named[0]


def _open(sources: Sequence[Source], options: Options, position: int, default: str) -> ArchiveReader:
    chain, first_chain = _choose(sources, options, default)
    parts = [_read(i, source, chain, first_chain) for i, source in enumerate(sources)]
    files = [source.name for source in sources]
    keep = [part.sieve.keep for part in parts]
    joined = {
        name: pa.concat_arrays([part.columns[name].filter(pa.array(k)) for part, k in zip(parts, keep, strict=True)])
        for name in parts[0].columns
    }
    sieve = Sieve(_joined([p.sieve.file_of for p in parts], keep), _joined([p.sieve.row_of for p in parts], keep))
    time_us = _joined([p.time_us for p in parts], keep)
    height = _joined([p.height for p in parts], keep)
    index = _identify(parts, keep, joined, time_us, sieve, files)
    bad = quarantine(files, [piece for part in parts for piece in part.sieve.pieces] + sieve.pieces)
    refuse_useless(sources, sum(part.total for part in parts), bad, int(sieve.keep.sum()))
    order = np.lexsort((_joined([p.order for p in parts], keep), height, time_us))  # stable: then rows of the files
    order = order[sieve.keep[order]]
    rows = _rows(chain, {name: column.take(pa.array(order)) for name, column in joined.items()}, len(order)) | {
        "height": pa.array(height[order]),
        "xfer_index": pa.array(index[order].astype(np.int32)),
        "ts_block": times(time_us[order]),
    }
    batch = pa.RecordBatch.from_arrays([rows[field.name] for field in TRANSFERS], schema=TRANSFERS)
    return ArchiveReader.of("transfers", Section(bad, batch, time_us[order]), position)


def _joined(columns: Sequence[Int64], keep: Sequence[Bools]) -> Int64:
    return np.concatenate([column[k] for column, k in zip(columns, keep, strict=True)])


def _identify(
    parts: Sequence[_Part],
    keep: Sequence[Bools],
    joined: dict[str, pa.Array],
    time_us: Int64,
    sieve: Sieve,
    files: Sequence[str],
) -> Int64:
    """Return each transfer's index in its transaction, and pass over what came before.

    With an index in the file, (hash, index) is the identity. Without one, rows of a transaction that are equal in
    everything are repeats, and the others are numbered as they come. Without a hash nothing can be told apart: all
    rows stay, numbered through.
    """
    count = len(time_us)
    if not all(part.hashed for part in parts):
        return np.arange(count, dtype=np.int64)
    transaction = codes(joined["tx_hash"])
    has_hash = transaction >= 0
    transaction = np.where(has_hash, transaction, -1 - np.arange(count))
    if all(part.index is not None for part in parts):
        index = _joined([part.index for part in parts if part.index is not None], keep)
        reject_repeated(sieve, paired(transaction, index), "transaction and index", files)
        return index
    keys = paired(transaction, time_us)
    for name in ("from_addr", "to_addr", "amount"):
        keys = paired(keys, codes(joined[name]))
    reject_repeated(sieve, keys, "the same transfer", files)
    index = np.zeros(count, dtype=np.int64)
    index[sieve.keep] = occurrence(transaction[sieve.keep])
    return index


def _rows(chain: str, joined: dict[str, pa.Array], count: int) -> dict[str, pa.Array]:
    creation = joined["to_addr"].is_null()
    kinds = pa.DictionaryArray.from_arrays(creation.cast(pa.int32()), pa.array(["native", "creation"]))
    return {
        "chain": constant(chain, count),
        "tx_hash": joined["tx_hash"],
        "kind": kinds,
        "from_addr": joined["from_addr"].cast(pa.utf8()),
        "to_addr": joined["to_addr"].cast(pa.utf8()),
        "amount": joined["amount"],
        "success": joined["success"],
        "op": pa.array(np.ones(count, dtype=np.int8)),
    }


def _open_etl(sources: Sequence[Source], options: Options, position: int) -> ArchiveReader:
    return _open(sources, options, position, "ethereum")


def _open_transfers(sources: Sequence[Source], options: Options, position: int) -> ArchiveReader:
    return _open(sources, options, position, "")


def _no_tokens(source: Source) -> bool:
    if source.position("token_address") is not None:
        problem = "holds token transfers, whose values are of many tokens and in no common unit"
        raise InputError(str(source.path), problem, "give transactions, which move the chain's own coin")
    return True


def _etl_chains(sources: Sequence[Source]) -> tuple[str, ...]:
    return chains_of(sources) or ("ethereum",)


_NEEDS: Final = (_FROM, _TO, _VALUE, _TIME)
FORMATS: Final = (
    Format("ethereum-etl", "chain", "transfers", (*_NEEDS, *_ETL), _open_etl, _no_tokens, _etl_chains),
    Format("transfers", "chain", "transfers", _NEEDS, _open_transfers, _no_tokens, chains_of),
)
