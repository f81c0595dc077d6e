"""Market maps: the fit of the largest coins alone, as the tutorial draws it, in a study or in a file of its own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from connectors.errors import ConfigError, InputError, StateError
from dashboards.study import maps, style
from dashboards.study.page import Document, Section, figure_block, page
from flows.config import Config
from flows.study_input import DailyPrices, Float64, read_daily
from flows.views import comovement_config
from models import comovement
from models.comovement import ComovementFit
from models.covariance import graphical_lasso, ledoit_wolf_shrinkage, shrunk_precision
from models.partial import partial_correlations
from models.prepare import FitInput
from models.returns import by_size, screen_prices

Say = Callable[[str], None]


def map_of(given: FitInput, config: Config, count: int) -> ComovementFit:
    """Fit the comovement of the ``count`` largest coins of a window alone, as the tutorial does."""
    sized = msgspec.structs.replace(config, universe=msgspec.structs.replace(config.universe, size=count))
    return comovement.fit(given, comovement_config(sized, config.windows[0]))


def partials(found: ComovementFit, covariance: str) -> Float64:
    """Return the partial correlations of all pairs, float64[n (n - 1) / 2], by the covariance of the fit."""
    n = len(found.coin_ids)
    if n < 2:
        return np.empty(0)
    return np.asarray(partial_correlations(_precision(found, covariance))[np.triu_indices(n, 1)], dtype=np.float64)


def node_sizes(found: ComovementFit, covariance: str) -> Float64:
    """Return 1 / sqrt of the precision's diagonal, float64[n], by which the tutorial draws its nodes."""
    return np.asarray(1.0 / np.sqrt(np.diagonal(_precision(found, covariance))), dtype=np.float64)


def _precision(found: ComovementFit, covariance: str) -> Float64:
    """Return the precision of a fit; where its covariance has no inverse, that of the Ledoit-Wolf estimate."""
    Z = found.Z / np.sqrt(np.maximum((found.Z**2).mean(axis=0), 1e-300))
    if covariance in ("graphical_lasso", "as_published"):
        return graphical_lasso(Z, found.shrinkage).precision
    try:
        return shrunk_precision(Z, found.shrinkage)
    except ValueError:
        return shrunk_precision(Z, ledoit_wolf_shrinkage(Z))


def caps(coin_ids: Sequence[str], market_cap: np.ndarray) -> dict[str, float]:
    """Return the market capitalisation by coin."""
    return dict(zip(coin_ids, np.nan_to_num(market_cap).tolist(), strict=True))


def market_map(found: ComovementFit, covariance: str, market_cap: dict[str, float]) -> maps.MarketMap:
    """Return the map of a fit, its coins by market capitalisation, largest first."""
    order = by_size(found.coin_ids, np.array([market_cap[coin] for coin in found.coin_ids]))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    a, b, strength = found.edges
    return maps.MarketMap(
        coin_ids=[found.coin_ids[i] for i in order.tolist()],
        positions=found.embedding[order],
        labels=found.labels[order],
        sizes=node_sizes(found, covariance)[order],
        ends=(rank[a], rank[b]),
        strength=strength,
    )


def write_map(source: Path, at: dt.date, out: Path, config: Config, top: int, say: Say) -> str:
    """Write the market map of the first window that ends at a day; return a line about it.

    Raises
    ------
    ShoalError
        With a line that says which input, time or file name cannot be used, and why.
    """
    kind = out.suffix.lower()
    if kind not in (".svg", ".png", ".html"):
        raise ConfigError("--out", "", f"{out.name!r} does not end in .svg, .png or .html", "the ending is the format")
    say(f"reading {source.name}")
    window = config.windows[0]
    given = _window_at(read_daily(source), at, window.length_bars, window.minimum_presence, source)
    say("map")
    try:
        found = map_of(given, config, top)
    except ValueError as error:
        raise InputError(str(source), f"has no market map at {at}: {error}") from None
    if not found.coin_ids:
        raise InputError(
            str(source), f"has no coin for a market map at {at}", "choose another --at, or lower minimum_presence"
        )
    shown = market_map(found, window.comovement.covariance, caps(given.coin_ids, given.market_cap))
    drawn = maps.flat(shown)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".png":
            out.write_bytes(style.png(drawn))
        elif kind == ".svg":
            out.write_text(style.svg(drawn), encoding="utf-8")
        else:
            out.write_text(_map_page(shown, at, window.length_bars), encoding="utf-8")
    except OSError as error:
        raise StateError(str(out), f"cannot be written: {error.strerror}", "choose another --out") from None
    return f"{out}: {len(found.coin_ids)} coins in {len(found.exemplars)} shoals, {window.length_bars} days to {at}"


def _window_at(prices: DailyPrices, at: dt.date, length: int, presence: float, source: Path) -> FitInput:
    """Return the window of ``length`` returns that ends at a day."""
    rows = np.flatnonzero(prices.days <= np.datetime64(at, "us"))
    if len(rows) < 4 or prices.days[rows[-1]] < np.datetime64(at, "us"):
        span = f"{prices.days[0].astype('M8[D]')} to {prices.days[-1].astype('M8[D]')}"
        raise InputError(str(source), f"has no window that ends at {at}: its days are {span}", "choose another --at")
    rows = rows[-(length + 1) :]
    closes = prices.closes[rows]
    kept = np.flatnonzero(screen_prices(closes).mean(axis=0) + 1e-9 >= presence)
    caps_then = prices.market_cap[rows[-1]][kept]
    return FitInput(tuple(prices.coin_ids[i] for i in kept.tolist()), closes[:, kept], np.nan_to_num(caps_then))


def _map_page(shown: maps.MarketMap, at: dt.date, length: int) -> str:
    note = "Colour is the shoal; the strongest edges are red, those between shoals grey and dashed."
    blocks = [
        figure_block(style.svg(maps.flat(shown)), 0, "In the plane", note),
        figure_block(style.svg(maps.solid(shown)), 1, "In space", note),
    ]
    section = Section("map", "Market map", f"The {len(shown.coin_ids)} largest coins by market capitalisation.", blocks)
    shoals = len(np.unique(shown.labels[shown.labels >= 0]))
    tiles = (("Coins", f"{len(shown.coin_ids):,}"), ("Shoals", f"{shoals:,}"), ("Days", f"{length:,}"))
    return page(Document(f"Market map at {at}", f"{length} days to {at}", tiles, (section,), "Made by shoal map."))
