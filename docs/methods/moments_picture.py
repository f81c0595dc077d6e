"""Draws moments.svg: the volatility-return plane of one market, with returns clipped and with nothing clipped.

``python docs/methods/moments_picture.py PRICES.parquet`` (columns date, coin_id, price_usd, market_cap_usd), coins with
a price on 95% of the days.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import ConvexHull, QhullError

from models.moments import MomentsConfig, moments, prepared_returns
from models.prepare import FitInput
from models.returns import screen_prices
from models.view import ViewFit

INK, QUIET = "#30343b", "#8b919b"
COLOURS = ("#0072b2", "#e69f00", "#d55e00", "#009e73", "#7b3294")
PANEL, HEIGHT, TOP, BOTTOM = 430, 420, 66, 360
X_LIMITS, Y_LIMITS = (0.003, 3.0), (-0.042, 0.042)

Float64 = npt.NDArray[np.float64]


def window(prices: Path) -> FitInput:
    """Return the whole span, coins that are present on 95% of the days."""
    table = pd.read_parquet(prices)
    closes = table.pivot(index="date", columns="coin_id", values="price_usd")
    caps = table.pivot(index="date", columns="coin_id", values="market_cap_usd").iloc[-1]
    kept = np.flatnonzero(screen_prices(closes.to_numpy()).mean(axis=0) >= 0.95)
    return FitInput(tuple(closes.columns[kept]), closes.to_numpy()[:, kept], caps.to_numpy()[kept])


def text(x: float, y: float, words: str, colour: str = INK, size: int = 12, anchor: str = "start") -> str:
    """Return words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" text-anchor="{anchor}">{words}</text>'


def panel(left: float, title: str, given: FitInput, settings: MomentsConfig) -> list[str]:
    """Return one plane: coins, each cluster's hull, its size and the name of its largest coin."""
    found: ViewFit = settings.build().fit(given)
    features = moments(prepared_returns(given, settings).returns)
    width = PANEL - 70
    low, high = np.log10(X_LIMITS)
    x = left + 50 + (np.log10(np.maximum(features[:, 1], X_LIMITS[0])) - low) / (high - low) * width
    y = BOTTOM - (features[:, 0] - Y_LIMITS[0]) / (Y_LIMITS[1] - Y_LIMITS[0]) * (BOTTOM - TOP)
    points = np.column_stack([x, y])
    parts = [text(left + 50, 30, title, size=15)]
    for value in (0.01, 0.1, 1.0):
        at = left + 50 + (np.log10(value) - low) / (high - low) * width
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{BOTTOM}" stroke="{QUIET}" stroke-width="0.4"/>'
        )
        parts.append(text(at, BOTTOM + 18, f"{value:g}", QUIET, anchor="middle"))
    for value in (-0.04, -0.02, 0.0, 0.02, 0.04):
        at = BOTTOM - (value - Y_LIMITS[0]) / (Y_LIMITS[1] - Y_LIMITS[0]) * (BOTTOM - TOP)
        parts.append(
            f'<line x1="{left + 50}" x2="{left + 50 + width}" y1="{at:.1f}" y2="{at:.1f}" stroke="{QUIET}"'
            ' stroke-width="0.4"/>'
        )
        parts.append(text(left + 44, at + 4, f"{value:+.2f}", QUIET, anchor="end"))
    parts.append(text(left + 50 + width / 2, BOTTOM + 38, "deviation of daily log returns", QUIET, anchor="middle"))
    cap = dict(zip(given.coin_ids, np.nan_to_num(given.market_cap), strict=True))
    rank = {int(label): at for at, label in enumerate(np.argsort(-np.bincount(found.labels), kind="stable"))}
    for label, at in rank.items():
        members = np.flatnonzero(found.labels == label)
        colour = COLOURS[at % len(COLOURS)]
        dots = "".join(f"M{px:.1f} {py:.1f}h0" for px, py in points[members])
        parts.append(f'<path d="{dots}" stroke="{colour}" stroke-width="2.6" stroke-linecap="round" opacity="0.75"/>')
        parts.append(hull(points[members], colour))
        largest = max((found.coin_ids[i] for i in members), key=lambda coin: cap[coin])
        parts.append(text(left + 62, BOTTOM - 42 + 17 * at, f"{len(members)} coins, largest {largest}", colour))
    return parts


def hull(points: Float64, colour: str) -> str:
    """Return the outline of points; nothing where they have none."""
    try:
        corners = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return ""
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in corners)
    return f'<polygon points="{line}" fill="{colour}" fill-opacity="0.06" stroke="{colour}"/>'


def drawn(given: FitInput) -> str:
    """Return the picture as SVG."""
    parts = panel(0, "Default: returns clipped", given, MomentsConfig())
    parts += panel(PANEL, "Nothing clipped", given, MomentsConfig(winsorise_quantile=0.0))
    parts.append(text(6, TOP - 12, "mean daily log return", QUIET))
    body = "\n".join(part for part in parts if part)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * PANEL} {HEIGHT}" font-family="sans-serif">\n'
        f'<rect width="{2 * PANEL}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    Path(__file__).with_name("moments.svg").write_text(drawn(window(Path(sys.argv[1]))), encoding="utf-8")
