"""The entities of a shard: key, lifetime degree and address text, in columns.

A table in ascending order of key with the number of interactions since the first block seen (exact; a disconnected
block is taken back) and the place of the address in one append-only byte heap. Ethereum's ``0x`` and forty lower
case hex digits take 21 bytes there, other texts their length and one more byte.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from models.addresses import UInt8, UInt64, string_buffers
from models.amounts import Int64
from models.segments import Int8

UInt32 = npt.NDArray[np.uint32]
Int32 = npt.NDArray[np.int32]

_PACKED: Final = 255  # first byte of a record: twenty bytes of an Ethereum address follow
_LONG: Final = 254  # first byte of a record: four bytes of length and the text follow
_NOWHERE: Final = np.uint32(0xFFFFFFFF)  # an entity whose address nobody gave
_HEX_ADDRESS: Final = 42
_HEAP_LIMIT: Final = 0xFFFFFFFF


_DIGITS: Final = np.full(256, 255, np.uint8)  # value of a lower-case hex digit, 255 for any other byte
_DIGITS[48:58], _DIGITS[97:103] = np.arange(10), np.arange(10, 16)


@njit(cache=True)
def _encode(data, start, end, out, at):  # type: ignore[no-untyped-def]
    """Write the record of a text at ``out[at:]`` and return its length."""
    size = end - start
    if size == _HEX_ADDRESS and data[start] == 48 and data[start + 1] == 120:
        text, packed, seen = data[start + 2 : end], out[at + 1 : at + 21], np.uint8(0)
        for k in range(20):
            high, low = _DIGITS[text[2 * k]], _DIGITS[text[2 * k + 1]]
            seen |= high | low
            packed[k] = high << np.uint8(4) | low
        if seen < 16:
            out[at] = _PACKED
            return 21
    head = 1
    if size >= _LONG:
        head = 5
        for k in range(4):
            out[at + 1 + k] = np.uint8((size >> (8 * k)) & 255)
    out[at] = min(size, _LONG)
    for k in range(size):
        out[at + head + k] = data[start + k]
    return head + size


@njit(cache=True, inline="always")
def _record_size(heap, at):  # type: ignore[no-untyped-def]
    """Return (bytes of the record's head, bytes of its body, bytes of its text)."""
    first = np.int64(heap[at])
    if first == _PACKED:
        return 1, np.int64(20), np.int64(_HEX_ADDRESS)
    if first < _LONG:
        return 1, first, first
    size = np.int64(0)
    for k in range(4):
        size |= np.int64(heap[at + 1 + k]) << (8 * k)
    return 5, size, size


@njit(cache=True)
def _decode(heap, starts, offsets, out):  # type: ignore[no-untyped-def]
    """Write the texts of the records at ``starts`` one after the other."""
    for i in range(starts.size):
        if starts[i] == _NOWHERE:
            continue
        at, to = np.int64(starts[i]), offsets[i]
        head, body, _ = _record_size(heap, at)
        if heap[at] == _PACKED:
            out[to], out[to + 1] = 48, 120
            for k in range(20):
                byte = np.int64(heap[at + 1 + k])
                high, low = byte >> 4, byte & 15
                out[to + 2 + 2 * k] = high + (48 if high < 10 else 87)
                out[to + 3 + 2 * k] = low + (48 if low < 10 else 87)
        else:
            out[to : to + body] = heap[at + head : at + head + body]


@njit(cache=True)
def _text_offsets(heap, starts):  # type: ignore[no-untyped-def]
    offsets = np.zeros(starts.size + 1, np.int64)
    for i in range(starts.size):
        size = np.int64(0)
        if starts[i] != _NOWHERE:
            size = _record_size(heap, np.int64(starts[i]))[2]
        offsets[i + 1] = offsets[i] + size
    return offsets


@njit(cache=True)
def _in_key_order(heap, starts):  # type: ignore[no-untyped-def]
    """Return the heap with its records in the order of ``starts``, and the new starts."""
    out, moved = np.empty_like(heap), np.empty_like(starts)
    to = 0
    for i in range(starts.size):
        moved[i] = _NOWHERE
        if starts[i] != _NOWHERE:
            at = np.int64(starts[i])
            head, body, _ = _record_size(heap, at)
            out[to : to + head + body] = heap[at : at + head + body]
            moved[i] = to
            to += head + body
    return out[:to].copy(), moved


@njit(cache=True)
def _equal(a, b):  # type: ignore[no-untyped-def]
    """Compare bytes of equal number without an early end: the loop becomes a few vector instructions."""
    difference = np.uint8(0)
    for k in range(a.size):
        difference |= a[k] ^ b[k]
    return difference == 0


@njit(cache=True)
def _is_record_of(heap, at, data, start, end, room):  # type: ignore[no-untyped-def]
    """Tell whether the record at ``heap[at:]`` is that of a text."""
    size = _encode(data, start, end, room, 0)
    head, body, _ = _record_size(heap, at)
    return size == head + body and _equal(heap[at : at + size], room[:size])


@njit(cache=True)
def _count(keys, degree, start, order, key, sign):  # type: ignore[no-untyped-def]
    """Merge rows, in ascending order of key, into the table; new keys have no address yet."""
    fresh, i = 0, 0
    for j in range(order.size):
        k = key[order[j]]
        if j == 0 or k != key[order[j - 1]]:
            while i < keys.size and keys[i] < k:
                i += 1
            fresh += i == keys.size or keys[i] != k
    n = keys.size + fresh
    out_keys, out_degree, out_start = np.empty(n, np.uint64), np.empty(n, np.int64), np.empty(n, np.uint32)
    i, j, m = 0, 0, 0
    while i < keys.size or j < order.size:
        if j == order.size or (i < keys.size and keys[i] <= key[order[j]]):
            out_keys[m], out_degree[m], out_start[m] = keys[i], degree[i], start[i]
            i += 1
        else:
            out_keys[m], out_degree[m], out_start[m] = key[order[j]], 0, _NOWHERE
        while j < order.size and key[order[j]] == out_keys[m]:
            out_degree[m] += sign[order[j]]
            j += 1
        m += 1
    return out_keys, out_degree, out_start


@njit(cache=True)
def _remember(keys, start, heap, used, order, key, data, offsets, given):  # type: ignore[no-untyped-def]
    """Give keys without an address that of their first row; return the heap, its use, and the collisions."""
    longest = np.int64(0)
    for j in range(given.size):
        longest = max(longest, offsets[j + 1] - offsets[j])
    record = np.empty(longest + 32, np.uint8)
    collisions, i, j = 0, 0, 0
    while j < order.size:
        k, first, arrival = key[order[j]], j, np.int64(-1)
        while j < order.size and key[order[j]] == k:
            row = order[j]
            if given[row] and (arrival < 0 or row < arrival):
                arrival = row
            j += 1
        if arrival < 0:
            continue
        i += np.searchsorted(keys[i:], k)
        if start[i] == _NOWHERE:
            size = _encode(data, offsets[arrival], offsets[arrival + 1], record, 0)
            if used + size > heap.size:
                grown = np.empty(used + size + used // 8 + 1024, np.uint8)
                grown[:used] = heap[:used]
                heap = grown
            heap[used : used + size] = record[:size]
            start[i] = used
            used += size
        at, begin, end = np.int64(start[i]), offsets[arrival], offsets[arrival + 1]
        strange = not _is_record_of(heap, at, data, begin, end, record)
        for row in order[first:j]:
            if not given[row]:
                continue
            size = offsets[row + 1] - offsets[row]
            if size == end - begin and _equal(data[offsets[row] : offsets[row + 1]], data[begin:end]):
                collisions += strange
            else:
                collisions += not _is_record_of(heap, at, data, offsets[row], offsets[row + 1], record)
    return heap, used, collisions


class Registry:
    """Keys of a shard with lifetime degree and address.

    Attributes
    ----------
    keys : uint64 [n]
        Every key ever seen, ascending.
    degree : int32 [n]
        Interactions since the first block seen; 0 where all were taken back.
    collisions : int
        Rows whose address is not the one first seen under their key.
    """

    def __init__(self) -> None:
        self.keys: UInt64 = np.empty(0, np.uint64)
        self.degree: Int32 = np.empty(0, np.int32)
        self.start: UInt32 = np.empty(0, np.uint32)
        self.heap: UInt8 = np.empty(0, np.uint8)
        self.used = 0
        self.collisions = 0

    @property
    def nbytes(self) -> int:
        """Bytes held, room for growth included."""
        return self.keys.nbytes + self.degree.nbytes + self.start.nbytes + self.heap.nbytes

    def absorb(self, order: Int64, key: UInt64, sign: Int8, address: pa.Array | None) -> None:
        """Count rows and remember the addresses of new keys.

        Parameters
        ----------
        order : int64 [m]
            Row numbers in ascending order of key; a smaller row number means earlier arrival.
        key, sign : uint64 [m], int8 [m]
            The half-edges.
        address : string column [m] or None
            Their addresses (null: not given); without one an entity is known by its key alone.
        """
        keys, degree, start = _count(self.keys, self.degree, self.start, order, key, sign)
        if degree.size and int(np.abs(degree).max()) > np.iinfo(np.int32).max:
            raise ValueError("an entity has more than 2**31 - 1 interactions")
        self.keys, self.degree, self.start = keys, degree.astype(np.int32), start
        if address is None or len(address) == 0:
            return
        data, narrow = string_buffers(address)
        offsets = narrow.astype(np.int64)
        given = address.is_valid().to_numpy(zero_copy_only=False)
        if self.used + int(offsets[-1] - offsets[0]) + 5 * len(address) > _HEAP_LIMIT:
            raise ValueError("the addresses of one shard exceed 4 GiB")
        self.heap, self.used, collisions = _remember(
            self.keys, self.start, self.heap, self.used, order, key, data, offsets, given
        )
        self.collisions += collisions

    def degrees(self, keys: UInt64) -> Int64:
        """Return the lifetime degree of each key, int64 [m]; 0 for an unknown one."""
        at, known = self._find(keys)
        out = np.zeros(keys.size, np.int64)
        out[known] = self.degree[at[known]]
        return out

    def addresses(self, keys: UInt64) -> pa.LargeStringArray:
        """Return the address of each key [m]; null where it is not known."""
        at, known = self._find(keys)
        starts = np.full(keys.size, _NOWHERE, np.uint32)
        starts[known] = self.start[at[known]]
        offsets = _text_offsets(self.heap, starts)
        out = np.empty(int(offsets[-1]), np.uint8)
        _decode(self.heap, starts, offsets, out)
        absent = starts == _NOWHERE
        valid = pa.array(~absent).buffers()[1] if bool(absent.any()) else None
        buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(out)]
        return pa.Array.from_buffers(pa.large_utf8(), keys.size, buffers)

    def canonical_heap(self) -> tuple[UInt32, UInt8]:
        """Return starts and heap with the records in order of key, so that equal content has equal bytes."""
        heap, start = _in_key_order(self.heap[: self.used], self.start)
        return start, heap

    def _find(self, keys: UInt64) -> tuple[Int64, npt.NDArray[np.bool_]]:
        at = np.searchsorted(self.keys, keys)
        known = at < self.keys.size
        known[known] = self.keys[at[known]] == keys[known]
        return at, known
