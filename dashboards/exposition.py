"""``/metrics``: the registry's families and the block of single coins, in one text."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from dashboards.board import Board
from dashboards.coins import CoinBlock
from dashboards.families import BoardCollector

_END: Final = "# EOF\n"


class Exposition:
    """What ``/metrics`` answers: the given registry, the board's families and the per-coin block."""

    def __init__(self, board: Board, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry
        self._coins = CoinBlock(board)
        registry.register(BoardCollector(board))

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return body and content type, OpenMetrics if the Accept header names it, else the Prometheus text."""
        if "application/openmetrics-text" in accept:
            head = openmetrics.generate_latest(self._registry).decode().removesuffix(_END)  # type: ignore[no-untyped-call]
            return (head + self._coins.text(open_metrics=True) + _END).encode(), openmetrics.CONTENT_TYPE_LATEST
        head = generate_latest(self._registry).decode()
        return (head + self._coins.text(open_metrics=False)).encode(), CONTENT_TYPE_PLAIN_0_0_4
