"""Draws distribution.svg: the prototypes of one market, as quantile functions and as parts of the explained squares.

``python docs/methods/distribution_picture.py PRICES.parquet`` (columns date, coin_id, price_usd), coins with a price on
every day.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.distribution import POSITIONS, DistributionConfig
from models.prepare import FitInput
from models.returns import screen_prices
from models.view import ViewFit

INK, QUIET = "#30343b", "#8b919b"
COLOURS = ("#0072b2", "#009e73", "#e69f00", "#d55e00", "#7b3294")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 820, 410, 70, 66, 510, 360


def fitted(prices: Path) -> ViewFit:
    """Return the view's fit, number of clusters chosen, on the coins that were listed all through."""
    table = pd.read_parquet(prices).pivot(index="date", columns="coin_id", values="price_usd")
    kept = table.iloc[:, np.flatnonzero(screen_prices(table.to_numpy()).all(axis=0))]
    settings = DistributionConfig(clusters=0, exclude=(), duplicates_above_correlation=1.0)
    return settings.build().fit(FitInput(tuple(kept.columns), kept.to_numpy(), np.zeros(kept.shape[1])))


def text(x: float, y: float, words: str, colour: str = INK, size: int = 13, anchor: str = "start") -> str:
    """Return words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" text-anchor="{anchor}">{words}</text>'


def drawn(found: ViewFit) -> str:
    """Return the picture as SVG."""
    values = {each.statistic: each.value for each in found.prototypes}
    quantile = values["quantile"].reshape(-1, len(POSITIONS))
    highest = float(np.ceil(np.abs(quantile).max() * 2.0) / 2.0)

    def across(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return LEFT + p * (RIGHT - LEFT)

    def up(r: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return (TOP + BOTTOM) / 2 - r / highest * (BOTTOM - TOP) / 2

    parts = [text(LEFT, 24, f"Prototypes of {len(found.coin_ids):,} coins: mean quantile functions", size=16)]
    for r in np.arange(-highest, highest + 0.01, 0.5):
        y = float(up(np.array(r)))
        parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{QUIET}" stroke-width="0.5"/>')
        parts.append(text(LEFT - 8, y + 4, f"{r:+.1f}", QUIET, anchor="end"))
    parts += [
        text(float(across(np.array(p))), BOTTOM + 20, f"{p:g}", QUIET, anchor="middle") for p in (0, 0.25, 0.5, 0.75, 1)
    ]
    parts.append(text((LEFT + RIGHT) / 2, BOTTOM + 40, "probability", QUIET, anchor="middle"))
    parts.append(text(LEFT - 48, TOP - 16, "daily log return", QUIET))
    parts.append(text(RIGHT + 30, TOP + 6, "coins, deviation, Var.Wass", QUIET))
    for rank, label in enumerate(np.argsort(values["deviation"])):
        colour = COLOURS[rank % len(COLOURS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across(POSITIONS), up(quantile[label]), strict=True))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.2"/>')
        figures = [f"{values['size'][label]:.0f}", f"{values['deviation'][label]:.3f}"]
        figures.append(f"{values['wasserstein_variance'][label]:.4f}")
        y = TOP + 34 + 24 * rank
        parts.append(f'<rect x="{RIGHT + 30}" y="{y - 10}" width="14" height="10" fill="{colour}"/>')
        parts += [text(RIGHT + 30 + x, y, word, anchor="end") for x, word in zip((62, 122, 196), figures, strict=True)]
    parts.append(text(RIGHT + 30, TOP + 190, "share of all squares", QUIET))
    for row, name in enumerate(("location", "spread", "shape")):
        between, within = (found.diagnostics[f"{side}_{name}"] for side in ("between", "within"))
        parts.append(text(RIGHT + 30, TOP + 216 + 24 * row, f"{name}: {between:.1%} between, {within:.1%} within"))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    Path(__file__).with_name("distribution.svg").write_text(drawn(fitted(Path(sys.argv[1]))), encoding="utf-8")
