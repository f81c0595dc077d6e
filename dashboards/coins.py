"""The per-coin block of ``/metrics``: tens of thousands of series at 2,500 coins and three views.

It is rendered here as text, each piece once per fit, and kept: a scrape joins the pieces, so that it does not hold up
the dataflow, whose interpreter lock it shares.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from dashboards.board import Board
from dashboards.metrics import COIN_SERIES_BUDGET, COINS_ON_MAP, METRICS, Metric, label
from dashboards.state import Snapshot

LOG = logging.getLogger(__name__)

_COIN_LENGTH: Final = 256


def withheld(board: Snapshot, budget: int = COIN_SERIES_BUDGET) -> dict[str, int]:
    """Return, by window, how many coins get no series: all of a window that does not fit into what is left."""
    left, result = budget, {}
    for window in dict.fromkeys(window for window, _ in board.views):
        if not board.exposes(window):
            continue
        members = [fit.members.num_rows for (w, _), fit in sorted(board.fits.items()) if w == window]
        series = 4 * sum(members) + 3 * max(members, default=0)
        result[window] = 0 if series <= left else max(members)
        left -= series if series <= left else 0
    return result


class CoinBlock:
    """The per-coin series as text, each piece rendered once per fit and kept."""

    def __init__(self, board: Board, budget: int = COIN_SERIES_BUDGET) -> None:
        self._board = board
        self._budget = budget
        self._pieces: dict[tuple[str, ...], tuple[tuple[object, ...], str]] = {}

    def text(self, open_metrics: bool) -> str:
        """Return the block in one of the two formats."""
        board = self._board.snapshot()
        hidden = withheld(board, self._budget)
        shown = [view for view in board.views if view in board.fits and hidden.get(view[0]) == 0]
        used: set[tuple[str, ...]] = set()
        lines: dict[str, list[str]] = {name: [] for name, metric in METRICS.items() if metric.per_coin}
        for name, of_view in _PER_VIEW.items():
            for view in shown:
                sources = (board.fits[view], board.departures.get(view))
                lines[name].append(self._piece((name, *view), sources, partial(of_view, board, view)))
                used.add((name, *view))
        for window in dict.fromkeys(window for window, _ in shown):
            first = next(view for view in shown if view[0] == window)
            key = ("shoal_coin_coverage_ratio", window)
            lines[key[0]].append(self._piece(key, (board.fits[first],), partial(_coverage, board, first)))
            used.add(key)
            place = board.of_window.get(("embedding", window))
            if place is None or place.num_rows > COINS_ON_MAP:
                continue
            for axis in ("x", "y"):
                key = (f"shoal_coin_map_{axis}", window)
                lines[key[0]].append(self._piece(key, (place,), partial(_map, board, key[0], window, axis)))
                used.add(key)
        self._pieces = {key: piece for key, piece in self._pieces.items() if key in used}
        return "".join(
            _header(METRICS[name], open_metrics) + "".join(text) for name, text in lines.items() if any(text)
        )

    def _piece(self, key: tuple[str, ...], sources: tuple[object, ...], make: Callable[[], str]) -> str:
        kept = self._pieces.get(key)
        if kept is None or any(a is not b for a, b in zip(kept[0], sources, strict=True)):
            kept = (sources, make())
            self._pieces[key] = kept
        return kept[1]


def _header(metric: Metric, open_metrics: bool) -> str:
    name = metric.family if open_metrics else metric.name
    return f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n"


def _text(name: str, labels: str, coins: Iterable[str], values: Iterable[float | None]) -> str:
    """Return the lines of one metric: ``labels`` is what stands before the coin's own label."""
    lines = []
    for coin, value in zip(coins, values, strict=True):
        if value is not None and not math.isnan(value):
            try:
                lines.append(f'{name}{{{labels},coin="{escape(label(coin, _COIN_LENGTH))}"}} {float(value)!r}\n')
            except ValueError:
                LOG.warning("a coin without series of its own: its name is an address")
    return "".join(lines)


def escape(text: str) -> str:
    """Return a label value as both text formats want it."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _labels(view: tuple[str, str]) -> str:
    return f'window="{escape(view[0])}",view="{escape(view[1])}"'


def _column(board: Snapshot, view: tuple[str, str], column: str) -> list[Any]:
    return board.fits[view].members[column].to_pylist()  # type: ignore[no-any-return]


def _shoal(board: Snapshot, view: tuple[str, str]) -> str:
    return _text("shoal_coin_shoal", _labels(view), _column(board, view, "coin_id"), _column(board, view, "shoal"))


def _in_home(board: Snapshot, view: tuple[str, str]) -> str:
    shoals, homes = _column(board, view, "shoal"), _column(board, view, "home")
    inside = [float(home is not None and shoal == home) for shoal, home in zip(shoals, homes, strict=True)]
    return _text("shoal_coin_in_home", _labels(view), _column(board, view, "coin_id"), inside)


def _margin(board: Snapshot, view: tuple[str, str]) -> str:
    return _text("shoal_coin_margin", _labels(view), _column(board, view, "coin_id"), _column(board, view, "margin"))


def _departures(board: Snapshot, view: tuple[str, str]) -> str:
    counts = board.departures.get(view, {})
    coins = _column(board, view, "coin_id")
    return _text("shoal_coin_departures_total", _labels(view), coins, [counts.get(coin, 0) for coin in coins])


def _coverage(board: Snapshot, view: tuple[str, str]) -> str:
    coins, values = _column(board, view, "coin_id"), _column(board, view, "coverage")
    return _text("shoal_coin_coverage_ratio", f'window="{escape(view[0])}"', coins, values)


def _map(board: Snapshot, name: str, window: str, axis: str) -> str:
    rows = board.of_window[("embedding", window)]
    return _text(name, f'window="{escape(window)}"', rows["coin_id"].to_pylist(), rows[axis].to_pylist())


_PER_VIEW: Final[dict[str, Callable[[Snapshot, tuple[str, str]], str]]] = {
    "shoal_coin_shoal": _shoal,
    "shoal_coin_in_home": _in_home,
    "shoal_coin_margin": _margin,
    "shoal_coin_departures_total": _departures,
}
