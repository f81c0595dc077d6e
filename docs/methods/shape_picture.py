"""Draws shape.svg: the decision graph of one market and the three medoids beside it.

``python docs/methods/shape_picture.py PRICES.parquet`` (columns date, coin_id, price_usd), coins with a price on every
day.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from models.dtw import dtw_matrix
from models.prepare import FitInput
from models.returns import screen_prices
from models.shape import ShapeConfig, prepared_returns
from models.tadpole import Peaks, density_peaks
from models.view import ViewFit

INK, QUIET = "#30343b", "#8b919b"
COLOURS = ("#0072b2", "#d55e00", "#009e73")
WIDTH, HEIGHT = 820, 400
LEFT, TOP, RIGHT, BOTTOM = 60, 60, 350, 340


def fitted(prices: Path) -> tuple[ViewFit, Peaks]:
    """Return the view's fit on the coins that were listed all through, and its peaks."""
    table = pd.read_parquet(prices).pivot(index="date", columns="coin_id", values="price_usd")
    kept = table.iloc[:, np.flatnonzero(screen_prices(table.to_numpy()).all(axis=0))]
    window = FitInput(tuple(kept.columns), kept.to_numpy(), np.zeros(kept.shape[1]))
    config = ShapeConfig()
    found = config.build().fit(window)
    D = dtw_matrix(prepared_returns(window, config).returns.T, config.window)
    return found, density_peaks(D, found.diagnostics["dc"])


def text(x: float, y: float, words: str, colour: str = INK, size: int = 13, anchor: str = "start") -> str:
    """Return words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" text-anchor="{anchor}">{words}</text>'


def decision_graph(found: ViewFit, peaks: Peaks) -> list[str]:
    """Return density against delta, a dot per coin, the medoids in colour."""
    x = LEFT + peaks.rho * (RIGHT - LEFT)
    y = BOTTOM - peaks.delta * (BOTTOM - TOP)
    parts = [
        text(LEFT, 30, "Decision graph", size=16),
        text((LEFT + RIGHT) / 2, BOTTOM + 34, "density (coins within dc, scaled)", QUIET, anchor="middle"),
        text(LEFT - 40, TOP - 10, "delta (distance to the nearest denser coin, scaled)", QUIET),
        f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="{QUIET}" stroke-width="0.8"/>',
    ]
    parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="1.8" fill="{QUIET}"/>' for a, b in zip(x, y, strict=True)]
    parts += [
        f'<circle cx="{x[i]:.1f}" cy="{y[i]:.1f}" r="5" fill="{COLOURS[c]}"/>' for c, i in enumerate(found.exemplars)
    ]
    return parts


def medoids(found: ViewFit) -> list[str]:
    """Return the medoids' daily returns, one below the other on one scale, with their clusters' figures."""
    values = {each.statistic: each.value for each in found.prototypes}
    curves = values["medoid_return"].reshape(len(found.exemplars), -1)
    left, right, height = 410, WIDTH - 20, (BOTTOM - TOP) / len(curves)
    highest = float(np.abs(curves).max())
    across = np.linspace(left, right, curves.shape[1])
    parts = [text(left, 30, "Medoids: daily log returns", size=16)]
    for c, series in enumerate(curves):
        middle = TOP + height * (c + 0.55)
        up = middle - series / highest * height * 0.42
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
        figures = (
            f"{found.coin_ids[found.exemplars[c]]}: {values['size'][c]:.0f} coins, distance to it "
            f"{values['distance_mean'][c]:.2f} ± {values['distance_deviation'][c]:.2f}"
        )
        parts.append(
            f'<line x1="{left}" x2="{right}" y1="{middle:.1f}" y2="{middle:.1f}" stroke="{QUIET}" stroke-width="0.5"/>'
        )
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[c]}" stroke-width="1.1"/>')
        parts.append(text(left, TOP + height * c + 8, figures, COLOURS[c], size=12))
    parts.append(text(left, BOTTOM + 34, f"scale: half a panel is {highest / 0.84:.2f}", QUIET))
    return parts


def drawn(found: ViewFit, peaks: Peaks) -> str:
    """Return the picture as SVG."""
    body = "\n".join(decision_graph(found, peaks) + medoids(found))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    Path(__file__).with_name("shape.svg").write_text(drawn(*fitted(Path(sys.argv[1]))), encoding="utf-8")
