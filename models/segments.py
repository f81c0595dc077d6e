"""Sorted column segments and the kernels that make and merge them.

A segment holds one row per entity in ascending order of key, an edge list one row per directed edge in ascending
order of (from, to). Segments are never changed in place: a merge makes a new one. Rows whose columns are all zero
vanish, so that what was added and subtracted again leaves no trace.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from models.amounts import Int64, UInt64, add128, negate128

Int8: TypeAlias = npt.NDArray[np.int8]
Int32: TypeAlias = npt.NDArray[np.int32]


class Segment(NamedTuple):
    """Sums of one bucket (or of several) per entity; equal lengths, ascending unique keys, 56 bytes a row."""

    keys: UInt64
    in_count: Int64
    out_count: Int64
    in_hi: Int64
    in_lo: UInt64
    out_hi: Int64
    out_lo: UInt64


class EdgeList(NamedTuple):
    """Unique directed edges with the number of transfers along each; 20 bytes a row."""

    from_keys: UInt64
    to_keys: UInt64
    counts: Int32


def empty_segment() -> Segment:
    """Return a segment without rows."""
    i, u = np.empty(0, np.int64), np.empty(0, np.uint64)
    return Segment(u, i, i, i, u, i, u)


def empty_edges() -> EdgeList:
    """Return an edge list without rows."""
    u = np.empty(0, np.uint64)
    return EdgeList(u, u, np.empty(0, np.int32))


@njit(cache=True)
def _allocate(n):  # type: ignore[no-untyped-def]
    return Segment(
        np.empty(n, np.uint64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.uint64),
        np.empty(n, np.int64),
        np.empty(n, np.uint64),
    )


@njit(cache=True, inline="always")
def _put(out, m, src, i):  # type: ignore[no-untyped-def]
    out.keys[m] = src.keys[i]
    out.in_count[m], out.out_count[m] = src.in_count[i], src.out_count[i]
    out.in_hi[m], out.in_lo[m] = src.in_hi[i], src.in_lo[i]
    out.out_hi[m], out.out_lo[m] = src.out_hi[i], src.out_lo[i]


@njit(cache=True, inline="always")
def _is_zero(s, m):  # type: ignore[no-untyped-def]
    counts = s.in_count[m] == 0 and s.out_count[m] == 0
    high = s.in_hi[m] == 0 and s.out_hi[m] == 0
    return counts and high and s.in_lo[m] == np.uint64(0) and s.out_lo[m] == np.uint64(0)


@njit(cache=True)
def _trim(s, m):  # type: ignore[no-untyped-def]
    """Copy the first ``m`` rows, so that the room beyond them is given back."""
    return Segment(
        s.keys[:m].copy(),
        s.in_count[:m].copy(),
        s.out_count[:m].copy(),
        s.in_hi[:m].copy(),
        s.in_lo[:m].copy(),
        s.out_hi[:m].copy(),
        s.out_lo[:m].copy(),
    )


@njit(cache=True)
def _reduce(order, key, direction, sign, hi, lo):  # type: ignore[no-untyped-def]
    runs = 0
    for j in range(order.size):
        if j == 0 or key[order[j]] != key[order[j - 1]]:
            runs += 1
    out = _allocate(runs)
    m = -1
    for j in range(order.size):
        i = order[j]
        if m < 0 or key[i] != out.keys[m]:
            if m < 0 or not _is_zero(out, m):
                m += 1
            out.keys[m] = key[i]
            out.in_count[m], out.out_count[m] = 0, 0
            out.in_hi[m], out.in_lo[m] = 0, 0
            out.out_hi[m], out.out_lo[m] = 0, 0
        h, low = hi[i], lo[i]
        if sign[i] < 0:
            h, low = negate128(h, low)
        if direction[i] > 0:
            out.in_count[m] += sign[i]
            out.in_hi[m], out.in_lo[m] = add128(out.in_hi[m], out.in_lo[m], h, low)
        else:
            out.out_count[m] += sign[i]
            out.out_hi[m], out.out_lo[m] = add128(out.out_hi[m], out.out_lo[m], h, low)
    m = m + 1 if m >= 0 and not _is_zero(out, m) else max(m, 0)
    return out if m == runs else _trim(out, m)


@njit(cache=True)
def _union_size(a, b):  # type: ignore[no-untyped-def]
    i, j, n = 0, 0, 0
    while i < a.size and j < b.size:
        x, y = a[i], b[j]
        i += x <= y
        j += y <= x
        n += 1
    return n + (a.size - i) + (b.size - j)


@njit(cache=True)
def _merge(a, b):  # type: ignore[no-untyped-def]
    out = _allocate(_union_size(a.keys, b.keys))
    i, j, m = 0, 0, 0
    while i < a.keys.size or j < b.keys.size:
        if j == b.keys.size or (i < a.keys.size and a.keys[i] < b.keys[j]):
            _put(out, m, a, i)
            i += 1
            m += 1
        elif i == a.keys.size or b.keys[j] < a.keys[i]:
            _put(out, m, b, j)
            j += 1
            m += 1
        else:
            out.keys[m] = a.keys[i]
            out.in_count[m] = a.in_count[i] + b.in_count[j]
            out.out_count[m] = a.out_count[i] + b.out_count[j]
            out.in_hi[m], out.in_lo[m] = add128(a.in_hi[i], a.in_lo[i], b.in_hi[j], b.in_lo[j])
            out.out_hi[m], out.out_lo[m] = add128(a.out_hi[i], a.out_lo[i], b.out_hi[j], b.out_lo[j])
            i += 1
            j += 1
            m += not _is_zero(out, m)
    return out if m == out.keys.size else _trim(out, m)


@njit(cache=True)
def _sort_run(to, weight, start, end):  # type: ignore[no-untyped-def]
    """Sort rows start..end by ``to``: insertion for the short runs, which nearly all are."""
    if end - start > 24:
        order = np.argsort(to[start:end])
        to[start:end] = to[start:end][order]
        weight[start:end] = weight[start:end][order]
        return
    for i in range(start + 1, end):
        t, w, j = to[i], weight[i], i
        while j > start and to[j - 1] > t:
            to[j], weight[j] = to[j - 1], weight[j - 1]
            j -= 1
        to[j], weight[j] = t, w


@njit(cache=True)
def _reduce_edges(order, key, counterparty, direction, sign):  # type: ignore[no-untyped-def]
    n = 0
    for i in order:
        n += direction[i] < 0 and counterparty[i] != np.uint64(0)
    source, target, weight = np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.int32)
    n = 0
    for i in order:
        if direction[i] < 0 and counterparty[i] != np.uint64(0):
            source[n], target[n], weight[n] = key[i], counterparty[i], sign[i]
            n += 1
    start, m = 0, 0
    while start < n:
        end = start + 1
        while end < n and source[end] == source[start]:
            end += 1
        _sort_run(target, weight, start, end)
        k = start
        while k < end:
            f, t, w = source[k], target[k], np.int32(0)
            while k < end and target[k] == t:
                w += weight[k]
                k += 1
            if w != 0:
                source[m], target[m], weight[m] = f, t, w
                m += 1
        start = end
    return EdgeList(source[:m].copy(), target[:m].copy(), weight[:m].copy())


@njit(cache=True)
def _merge_edges(a, b):  # type: ignore[no-untyped-def]
    size = a.counts.size + b.counts.size
    source, target, weight = np.empty(size, np.uint64), np.empty(size, np.uint64), np.empty(size, np.int32)
    i, j, m = 0, 0, 0
    while i < a.counts.size or j < b.counts.size:
        if j == b.counts.size:
            order = -1
        elif i == a.counts.size:
            order = 1
        elif a.from_keys[i] != b.from_keys[j]:
            order = -1 if a.from_keys[i] < b.from_keys[j] else 1
        elif a.to_keys[i] != b.to_keys[j]:
            order = -1 if a.to_keys[i] < b.to_keys[j] else 1
        else:
            order = 0
        if order <= 0:
            source[m], target[m], weight[m] = a.from_keys[i], a.to_keys[i], a.counts[i]
            i += 1
        else:
            source[m], target[m], weight[m] = b.from_keys[j], b.to_keys[j], b.counts[j]
        if order == 0:
            weight[m] += b.counts[j]
        j += order >= 0
        m += weight[m] != 0
    return EdgeList(source[:m].copy(), target[:m].copy(), weight[:m].copy())


def reduce_rows(order: Int64, key: UInt64, direction: Int8, sign: Int8, hi: Int64, lo: UInt64) -> Segment:
    """Sum half-edges per key.

    Parameters
    ----------
    order : int64 [m]
        The rows to take, in ascending order of key.
    key, direction, sign, hi, lo : [n]
        Columns of the half-edges (see :class:`models.panes.HalfEdges`).

    Returns
    -------
    Segment
        One row per key whose sums are not all zero.
    """
    segment: Segment = _reduce(order, key, direction, sign, hi, lo)
    return segment


def reduce_edges(order: Int64, key: UInt64, counterparty: UInt64, direction: Int8, sign: Int8) -> EdgeList:
    """Count the transfers along each directed edge of the out halves that have a counterparty; as `reduce_rows`."""
    edges: EdgeList = _reduce_edges(order, key, counterparty, direction, sign)
    return edges


def merge(segments: list[Segment]) -> Segment:
    """Merge segments by pairs, smallest depth first; exact sums make the order immaterial."""
    if not segments:
        return empty_segment()
    while len(segments) > 1:
        pairs = [_merge(segments[k], segments[k + 1]) for k in range(0, len(segments) - 1, 2)]
        segments = pairs + ([segments[-1]] if len(segments) % 2 else [])
    return segments[0]


def merge_edges(lists: list[EdgeList]) -> EdgeList:
    """Merge edge lists by pairs."""
    if not lists:
        return empty_edges()
    while len(lists) > 1:
        pairs = [_merge_edges(lists[k], lists[k + 1]) for k in range(0, len(lists) - 1, 2)]
        lists = pairs + ([lists[-1]] if len(lists) % 2 else [])
    return lists[0]
