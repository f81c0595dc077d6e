"""What is passed over, and why: each row of a file ends in the data or, with its first reason, in quarantine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from connectors.archives.values import text_of
from connectors.schema import QUARANTINE, Int64

Bools = npt.NDArray[np.bool_]

_PIECE = pa.schema(
    [
        ("file", pa.int64()),
        ("position", pa.int64()),
        ("column", pa.large_string()),
        ("reason", pa.large_string()),
        ("detail", pa.large_string()),
    ]
)
_DETAIL_CHARACTERS = 120


class Sieve:
    """The rows of one or several files that are still good.

    Parameters
    ----------
    file_of, row_of
        Number of the file and of the row in it, of shape (rows,).
    """

    def __init__(self, file_of: Int64, row_of: Int64) -> None:
        self.file_of, self.row_of = file_of, row_of
        self.keep: Bools = np.ones(len(row_of), dtype=bool)
        self.pieces: list[pa.Table] = []

    def reject(self, mask: Bools, column: str | pa.Array, reason: str, values: pa.Array | None = None) -> None:
        """Pass over the rows of ``mask`` (bool, shape (rows,)) that are still good; ``values`` are shown as detail."""
        hits = np.flatnonzero(mask & self.keep)
        if len(hits):
            names = column if isinstance(column, str) else column.take(pa.array(hits))
            detail = pa.nulls(len(hits), pa.large_string()) if values is None else text_of(values.take(pa.array(hits)))
            self.reject_at(hits, names, reason, detail)

    def reject_at(self, hits: Int64, column: str | pa.Array, reason: str, detail: pa.Array) -> None:
        """Pass over the rows at ``hits``; ``column`` (if an array) and ``detail`` have one value for each hit."""
        self.keep[hits] = False
        names = pa.array([column] * len(hits), pa.large_string()) if isinstance(column, str) else column
        self.pieces.append(
            pa.table(
                [
                    pa.array(self.file_of[hits]),
                    pa.array(self.row_of[hits]),
                    names.cast(pa.large_string()),
                    pa.array([reason] * len(hits), pa.large_string()),
                    pc.utf8_slice_codeunits(detail.fill_null(""), 0, _DETAIL_CHARACTERS),
                ],
                schema=_PIECE,
            )
        )

    def reject_malformed(self, file: int, malformed: Iterable[tuple[int, str, str]]) -> None:
        """Count rows that could not even be split into cells: (row, reason, text)."""
        rows = [
            {"file": file, "position": row, "column": "", "reason": reason, "detail": text[:_DETAIL_CHARACTERS]}
            for row, reason, text in malformed
        ]
        if rows:
            self.pieces.append(pa.Table.from_pylist(rows, schema=_PIECE))


def quarantine(files: Sequence[str], pieces: Sequence[pa.Table]) -> pa.RecordBatch:
    """Return all that was passed over, in the order of files and rows."""
    table = pa.concat_tables([_PIECE.empty_table(), *pieces])
    columns = [table.column(name).to_numpy() for name in ("position", "file")]
    table = table.take(pa.array(np.lexsort(columns))).combine_chunks()
    names = pa.array(list(files), pa.utf8()).take(table.column("file").combine_chunks())
    rest = [
        table.column(name).cast(field.type).combine_chunks()
        for name, field in zip(("position", "column", "reason", "detail"), list(QUARANTINE)[1:], strict=True)
    ]
    return pa.RecordBatch.from_arrays([names, *rest], schema=QUARANTINE)


def codes(column: pa.Array) -> Int64:
    """Return a number for each distinct value of a column; null is a value of its own."""
    encoded = column.dictionary_encode()
    return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def paired(left: Int64, right: Int64) -> Int64:
    """Return a number for each distinct pair."""
    first = np.unique(left, return_inverse=True)[1]
    second = np.unique(right, return_inverse=True)[1]
    width = int(second.max()) + 1 if len(second) else 1
    return np.asarray(np.unique(first * width + second, return_inverse=True)[1], dtype=np.int64)


def repeated(keys: Int64) -> tuple[Int64, Int64]:
    """Return the rows whose key came before, and for each of them the row where it came first."""
    order = np.argsort(keys, kind="stable")
    same = np.zeros(len(keys), dtype=bool)
    same[1:] = keys[order][1:] == keys[order][:-1]
    start = np.maximum.accumulate(np.where(same, 0, np.arange(len(keys)))) if len(keys) else np.zeros(0, np.int64)
    return order[same], order[start[same]]


def occurrence(keys: Int64) -> Int64:
    """Return for each row how often its key came before."""
    order = np.argsort(keys, kind="stable")
    new = np.ones(len(keys), dtype=bool)
    new[1:] = keys[order][1:] != keys[order][:-1]
    start = np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0)) if len(keys) else np.zeros(0, np.int64)
    result = np.empty(len(keys), dtype=np.int64)
    result[order] = np.arange(len(keys)) - start
    return result
