"""Addresses as 64-bit keys: a stable hash over Arrow string buffers, and the shard of a key.

The hash is XXH64 with seed 0 (Collet, xxHash specification 0.1.1): the same on every machine, process and version,
unlike Python's ``hash``. Key 0 means "no address" (contract creation, coinbase); the one string in 2**64 whose
hash is 0 gets key 1.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

UInt8: TypeAlias = npt.NDArray[np.uint8]
UInt64: TypeAlias = npt.NDArray[np.uint64]
Offsets: TypeAlias = npt.NDArray[np.signedinteger[Any]]

SHARDS: Final = 64
NO_ADDRESS: Final = np.uint64(0)

_SHARD_SHIFT: Final = np.uint64(58)

# numba would widen uint64 with a Python integer to float64: every constant is typed
_P1: Final = np.uint64(11400714785074694791)
_P2: Final = np.uint64(14029467366897019727)
_P3: Final = np.uint64(1609587929392839161)
_P4: Final = np.uint64(9650029242287828579)
_P5: Final = np.uint64(2870177450012600261)
_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)


@njit(cache=True, inline="always")
def _rotate(x, r):  # type: ignore[no-untyped-def]
    return (x << np.uint64(r)) | (x >> np.uint64(64 - r))


@njit(cache=True, inline="always")
def _word(data, at, size):  # type: ignore[no-untyped-def]
    """Read ``size`` bytes as a little-endian integer."""
    word = _ZERO
    for k in range(size):
        word |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return word


@njit(cache=True, inline="always")
def _round(lane, word):  # type: ignore[no-untyped-def]
    return _rotate(lane + word * _P2, 31) * _P1


@njit(cache=True)
def _xxh64(data, start, end):  # type: ignore[no-untyped-def]
    at = start
    if end - start >= 32:
        v1, v2, v3, v4 = _P1 + _P2, _P2, _ZERO, _ZERO - _P1
        while at + 32 <= end:
            v1 = _round(v1, _word(data, at, 8))
            v2 = _round(v2, _word(data, at + 8, 8))
            v3 = _round(v3, _word(data, at + 16, 8))
            v4 = _round(v4, _word(data, at + 24, 8))
            at += 32
        h = _rotate(v1, 1) + _rotate(v2, 7) + _rotate(v3, 12) + _rotate(v4, 18)
        h = (h ^ _round(_ZERO, v1)) * _P1 + _P4
        h = (h ^ _round(_ZERO, v2)) * _P1 + _P4
        h = (h ^ _round(_ZERO, v3)) * _P1 + _P4
        h = (h ^ _round(_ZERO, v4)) * _P1 + _P4
    else:
        h = _P5
    h += np.uint64(end - start)
    while at + 8 <= end:
        h = _rotate(h ^ _round(_ZERO, _word(data, at, 8)), 27) * _P1 + _P4
        at += 8
    if at + 4 <= end:
        h = _rotate(h ^ (_word(data, at, 4) * _P1), 23) * _P2 + _P3
        at += 4
    while at < end:
        h = _rotate(h ^ (np.uint64(data[at]) * _P5), 11) * _P1
        at += 1
    h = (h ^ (h >> np.uint64(33))) * _P2
    h = (h ^ (h >> np.uint64(29))) * _P3
    return h ^ (h >> np.uint64(32))


@njit(cache=True)
def _hash_all(data, offsets):  # type: ignore[no-untyped-def]
    keys = np.empty(max(offsets.size - 1, 0), np.uint64)
    for i in range(keys.size):
        key = _xxh64(data, np.int64(offsets[i]), np.int64(offsets[i + 1]))
        keys[i] = key if key != _ZERO else _ONE
    return keys


def hash_strings(data: UInt8, offsets: Offsets) -> UInt64:
    """Hash the strings of an Arrow string buffer.

    Parameters
    ----------
    data : uint8 [bytes]
        The concatenated strings.
    offsets : int32 or int64 [n + 1]
        String ``i`` is ``data[offsets[i]:offsets[i + 1]]``.

    Returns
    -------
    uint64 [n]
        XXH64 of each string; never 0.

    Raises
    ------
    ValueError
        If the offsets descend or leave ``data``.
    """
    if offsets.size and (offsets[0] < 0 or offsets[-1] > data.size or bool(np.any(offsets[1:] < offsets[:-1]))):
        raise ValueError("offsets must ascend within the data")
    keys: UInt64 = _hash_all(data, offsets)
    return keys


def string_buffers(column: pa.Array) -> tuple[UInt8, Offsets]:
    """Return data and offsets of a string column, of its slice only, without a copy.

    Accepts ``string`` and ``large_string``; others raise ValueError.
    """
    large = pa.types.is_large_string(column.type)
    if not large and not pa.types.is_string(column.type):
        raise ValueError(f"addresses must be strings, not {column.type}")
    _, offsets_buffer, data_buffer = column.buffers()
    if offsets_buffer is None or len(column) == 0:
        return np.empty(0, np.uint8), np.zeros(1, np.int32)
    whole: Offsets = np.frombuffer(offsets_buffer, np.int64) if large else np.frombuffer(offsets_buffer, np.int32)
    offsets = whole[column.offset : column.offset + len(column) + 1]
    data = np.empty(0, np.uint8) if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    return data, offsets


def hash_column(column: pa.Array) -> UInt64:
    """Return the key of each address of a string column, uint64 [n]; nulls become 0."""
    data, offsets = string_buffers(column)
    keys = hash_strings(data, offsets)
    if column.null_count:
        keys[column.is_null().to_numpy(zero_copy_only=False)] = NO_ADDRESS
    return keys


def shard_of(keys: UInt64) -> UInt8:
    """Return the shard of each key, 0 to 63: its top six bits, so that sorted keys are sorted by shard too."""
    return (keys >> _SHARD_SHIFT).astype(np.uint8)
