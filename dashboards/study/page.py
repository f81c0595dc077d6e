"""The page of a study: one file, to be read from top to bottom, in light and dark, on a wide screen and a phone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from dashboards.study.style import inline, stylesheet

_STYLE: Final = """
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);
  font:15px/1.55 Inter,system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}
header.top{display:flex;gap:16px;align-items:flex-start;justify-content:space-between}
h1{font-size:27px;line-height:1.2;letter-spacing:-.02em;margin:0 0 4px}
h2{font-size:20px;letter-spacing:-.012em;margin:0 0 6px}
h3{font-size:14.5px;margin:22px 0 2px}
p{margin:4px 0 10px;max-width:74ch}
.soft,figcaption{color:var(--soft)}
nav{display:flex;flex-wrap:wrap;gap:6px;margin:18px 0}
nav a{color:var(--soft);text-decoration:none;border:1px solid var(--line);background:var(--card);border-radius:99px;
  padding:3px 11px;font-size:13px}
nav a:hover,nav a:focus-visible{color:var(--ink);border-color:var(--accent)}
a{color:var(--accent)}
button{font:inherit;font-size:13px;color:var(--soft);background:var(--card);border:1px solid var(--line);
  border-radius:9px;padding:5px 11px;cursor:pointer;white-space:nowrap}
dl.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(148px,1fr));gap:10px;margin:0 0 20px}
dl.tiles div{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:10px 14px}
dl.tiles dt{color:var(--faint);font-size:12.5px}
dl.tiles dd{margin:0;font-size:21px;font-weight:640;letter-spacing:-.02em}
section{background:var(--card);border:1px solid var(--line);border-radius:16px;padding:20px 22px;margin:0 0 16px;
  box-shadow:var(--shadow)}
figure{margin:18px 0 4px}
figcaption{font-size:13.5px;max-width:84ch}
figcaption b{color:var(--ink);font-size:14.5px;display:block}
.picture{overflow-x:auto;margin-top:8px}
.picture svg{display:block;height:auto}
.picture svg *{stroke-linejoin:round;stroke-linecap:butt}
.picture g[id^=halo] text{paint-order:stroke;stroke:var(--card);stroke-width:2.6px;stroke-linejoin:round}
.scroll{overflow-x:auto;margin:8px 0}
table{border-collapse:collapse;font-size:13.5px;min-width:100%}
th{text-align:left;color:var(--faint);font-weight:560;font-size:12.5px;border-bottom:1px solid var(--line);
  white-space:nowrap}
td,th{padding:5px 12px 5px 0;vertical-align:top}
td{border-bottom:1px solid var(--grid)}
td.w{min-width:240px}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
footer{color:var(--faint);font-size:13px}
@media (max-width:640px){main{padding:18px 10px 40px}section{padding:16px 14px;border-radius:12px}h1{font-size:22px}}
@media print{nav,button{display:none}section{break-inside:avoid-page;box-shadow:none}}
"""

_SCRIPT: Final = """
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const show = (on) => { root.dataset.theme = on ? "dark" : "light"; };
show(dark.matches);
dark.addEventListener("change", (e) => show(e.matches));
document.querySelector("#theme").addEventListener("click", () => show(root.dataset.theme !== "dark"));
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; ``blocks`` are HTML."""

    name: str
    title: str
    intro: str
    blocks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Document:
    """Everything that the page says."""

    title: str
    subtitle: str
    tiles: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: str


def page(document: Document) -> str:
    """Return the page as HTML that needs nothing else."""
    tiles = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in document.tiles)
    links = "".join(f'<a href="#{escape(one.name)}">{escape(one.title)}</a>' for one in document.sections)
    sections = "\n".join(
        f'<section id="{escape(one.name)}"><h2>{escape(one.title)}</h2><p class="soft">{escape(one.intro)}</p>\n'
        + "\n".join(one.blocks)
        + "</section>"
        for one in document.sections
    )
    return (
        '<!doctype html>\n<html lang="en" data-theme="light"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(document.title)}</title><style>{stylesheet()}{_STYLE}</style></head>\n<body><main>"
        f'<header class="top"><div><h1>{escape(document.title)}</h1>'
        f'<p class="soft">{escape(document.subtitle)}</p></div>'
        '<button id="theme" type="button">Light or dark</button></header>\n'
        f'<dl class="tiles">{tiles}</dl>\n<nav aria-label="Sections">{links}</nav>\n{sections}\n'
        f"<footer><p>{escape(document.footer)}</p></footer></main><script>{_SCRIPT}</script></body></html>\n"
    )


def figure_block(svg: str, number: int, title: str, caption: str) -> str:
    """Return a picture with its title and caption."""
    return (
        f"<figure><figcaption><b>{escape(title)}</b>{escape(caption)}</figcaption>"
        f'<div class="picture" tabindex="0" role="group" aria-label="{escape(title)}">{inline(svg, number)}</div>'
        "</figure>"
    )


def table_block(heads: Sequence[str], rows: Sequence[Sequence[str | float | int | None]], title: str = "") -> str:
    """Return a table; numbers are set to the right, missing values are a dash."""
    numeric = [all(isinstance(row[i], int | float) or row[i] is None for row in rows) for i in range(len(heads))]
    wide = [any(isinstance(row[i], str) and len(row[i]) > 40 for row in rows) for i in range(len(heads))]  # type: ignore[arg-type]
    kind = [' class="n"' if one else ' class="w"' if long else "" for one, long in zip(numeric, wide, strict=True)]
    head = "".join(f"<th{kind[i]}>{escape(name)}</th>" for i, name in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{kind[i]}>{escape(shown(value))}</td>" for i, value in enumerate(row)) + "</tr>"
        for row in rows
    )
    above = f"<h3>{escape(title)}</h3>" if title else ""
    return f'{above}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def shown(value: str | float | int | None) -> str:
    """Return a value as a reader wants it: four digits that count, thousands apart."""
    if value is None or value != value:  # noqa: PLR0124 NaN
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (abs(value) >= 1_000 and float(value).is_integer()):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
