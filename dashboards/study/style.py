"""One look for all pictures: the page's own colours, drawn by Matplotlib without any state of its own.

Pictures are drawn in the light colours of ``page/tokens.css``. In a page each of these becomes its variable, so that a
picture follows the theme; as a file it is what it is. Nothing in a picture tells when or where it was drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import cache, wraps
from importlib.resources import files
from typing import Any, Final, ParamSpec

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

P = ParamSpec("P")
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

INK, SOFT, FAINT, EDGE = "#0e1b2c", "#4a5b70", "#66778c", "#8fa1b5"
LINE, GRID, CARD, SUNK = "#dfe6ee", "#e8edf3", "#ffffff", "#f5f8fb"
GOOD, BAD, ACCENT = "#0c8061", "#c4391d", "#0b7a83"
COLOURS: Final = (
    "#1f78c8", "#e08a00", "#0d9276", "#c9427f", "#7a5ad6", "#b5a300",
    "#d4501c", "#2aa6d6", "#64870f", "#8c3b2a", "#4a5aa8", "#6d7b8a",
)  # fmt: skip
"""The colours of clusters, largest first where there are more clusters than colours."""

HALO: Final = "halo"
"""Text in a group of this name stands on an outline in the colour of the card."""

_RC: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "shoal",
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "text.color": INK,
    "figure.facecolor": CARD,
    "savefig.facecolor": CARD,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
}

_HALO_STYLE: Final = (
    f'g[id^="{HALO}"] text{{paint-order:stroke;stroke:#ffffff;stroke-width:2.6px;stroke-linejoin:round}}'
)
_PAGE_SCALE: Final = 1.33
"""Pixels of the page per point of a picture."""

_FONT: Final = re.compile(r"'DejaVu Sans'[^;\"]*")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the look of the study, whatever the process has set."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(_RC):
            return draw(*args, **kwargs)

    return drawn


def figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches, that lays out its parts itself."""
    return Figure(figsize=(width, height), layout="constrained")


def colour(rank: int) -> str:
    """Return the colour of a cluster by its place; beyond the last all are alike."""
    return COLOURS[rank] if 0 <= rank < len(COLOURS) else COLOURS[-1]


def svg(drawn: Figure) -> str:
    """Return a figure as SVG text: the same figure, the same bytes."""
    out = io.BytesIO()
    with mpl.rc_context(_RC):
        canvas: Any = FigureCanvasSVG(drawn)
        canvas.print_svg(out, metadata={"Date": None, "Creator": None})
    text = out.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = _FONT.sub("system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif", text)
    return text.replace("</style>", f"{_HALO_STYLE}</style>", 1)


def png(drawn: Figure, dots_per_inch: int = 160) -> bytes:
    """Return a figure as PNG."""
    out = io.BytesIO()
    with mpl.rc_context(_RC):
        canvas: Any = FigureCanvasAgg(drawn)
        drawn.set_dpi(dots_per_inch)
        canvas.print_png(out, metadata={"Software": None})
    return out.getvalue()


def inline(text: str, number: int) -> str:
    """Return SVG for a page: its colours are the page's, its ids its own, its width the column's.

    Parameters
    ----------
    text
        What :func:`svg` returned.
    number
        Of the picture in its page; two pictures must not share ids.
    """
    text = re.sub(r'\bid="([^"]*)"', lambda m: f'id="{m[1]}-p{number}"', text)
    text = re.sub(r"url\(#([^)]*)\)", lambda m: f"url(#{m[1]}-p{number})", text)
    text = re.sub(r'href="#([^"]*)"', lambda m: f'href="#{m[1]}-p{number}"', text)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    variables = tokens()
    text = re.sub(r"#[0-9a-f]{6}\b", lambda m: f"var({variables[m[0]]})" if m[0] in variables else m[0], text)
    return re.sub(r'width="([\d.]+)pt"', _column_width, text, count=1).replace("<svg ", '<svg role="img" ', 1)


def _column_width(found: re.Match[str]) -> str:
    """Return the width of a picture in a page: that of the column, but letters stay legible and of one size."""
    widest = round(float(found[1]) * _PAGE_SCALE)
    return f'width="100%" style="max-width:{widest}px;min-width:{min(widest, 680)}px"'


def stylesheet() -> str:
    """Return the colours of the page, light and dark, without its fonts."""
    text = (files("dashboards") / "page" / "tokens.css").read_text(encoding="utf-8")
    return re.sub(r"@font-face\s*\{.*?\}\s*", "", text, flags=re.DOTALL)


@cache
def tokens() -> dict[str, str]:
    """Return the variable of each light colour of the page."""
    light = re.search(r":root \{(.*?)\}", stylesheet(), flags=re.DOTALL)
    if light is None:
        raise ValueError("page/tokens.css has no light colours")
    found: dict[str, str] = {}
    for name, value in re.findall(r"(--[a-z0-9_-]+): (#[0-9a-f]{6});", light[1]):
        found.setdefault(value, name)
    return found
