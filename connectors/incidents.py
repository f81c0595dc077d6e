"""What a core could not take or did not get: rows of the tables ``quarantine`` and ``gaps``."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from connectors.schema import GAPS, QUARANTINE, Batch

UNREADABLE: Final = (ValueError, RecursionError)
"""What decoding a peer's message may raise: it is no such message, or it is nested to exhaust the stack."""

_DETAIL: Final = 200


class Incidents:
    """Collects quarantined messages and gaps of one feed until they are emitted."""

    def __init__(self, feed: str) -> None:
        self._feed = feed
        self._bad: list[dict[str, object]] = []
        self._gaps: list[dict[str, object]] = []

    def quarantine(self, position: int, column: str, reason: str, detail: bytes | str) -> None:
        """Note that something of journal record ``position`` was passed over."""
        text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else detail
        self._bad.append({
            "source": self._feed, "position": position, "column": column, "reason": reason, "detail": text[:_DETAIL],
        })  # fmt: skip

    def gap(
        self, symbol: str, seq: tuple[int, int] | None, span_us: tuple[int, int], reason: str, missing: int, filled: int
    ) -> None:
        """Note that ``missing`` events were not received, of which ``filled`` were fetched afterwards."""
        from_seq, to_seq = seq if seq is not None else (None, None)
        self._gaps.append({
            "feed": self._feed, "symbol": symbol, "from_seq": from_seq, "to_seq": to_seq,
            "ts_from": span_us[0], "ts_to": span_us[1], "reason": reason, "missing": missing, "filled": filled,
        })  # fmt: skip

    def batches(self, watermark_us: int) -> list[Batch]:
        """Return, once, what was noted since the last call."""
        out = []
        if self._bad:
            out.append(Batch("quarantine", pa.RecordBatch.from_pylist(self._bad, schema=QUARANTINE), watermark_us))
            self._bad = []
        if self._gaps:
            out.append(Batch("gaps", pa.RecordBatch.from_pylist(self._gaps, schema=GAPS), watermark_us))
            self._gaps = []
        return out
