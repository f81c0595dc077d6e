"""``shoal report`` and ``shoal map``: the whole study of a span of prices in a folder, and one market map in a file."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from connectors.errors import InputError, StateError
from dashboards.study import style
from dashboards.study.page import figure_block, page
from flows.config import Config, digest
from flows.study_fit import Extras, Study, fit_study
from flows.study_input import Coins, read_coins, read_daily, read_series
from flows.study_page import document, summary
from flows.study_pictures import pictures
from flows.study_replication import Replication, replicate
from flows.study_tables import tables, write

MANIFEST = "study.json"
TOP = 50
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """What a study reads beside its prices, and which part of them."""

    first: dt.date | None = None
    last: dt.date | None = None
    compare: Path | None = None
    index: Path | None = None
    coins: Path | None = None
    risk_free: Path | None = None
    top: int = TOP
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What a study wrote."""

    folder: Path
    figures: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return the line that a finished study prints."""
        found = self.figures
        return (
            f"{self.folder / 'index.html'}: {found['coins']:,} coins, {found['intersections']} of "
            f"{found['possible_intersections']} intersections, {found['share_of_six_largest']:.1%} in the six largest"
        )


def report(source: Path, out: Path, config: Config, options: StudyOptions, say: Say) -> Written:
    """Write the study of a span into a folder.

    Raises
    ------
    ShoalError
        With a line that says which input, setting or folder cannot be used, and why.
    """
    _refuse(out, overwrite=options.overwrite)
    extras = Extras(
        index=None if options.index is None else read_series(options.index, "close"),
        risk_free=None if options.risk_free is None else read_series(options.risk_free, "daily_rate"),
        coins=Coins({}, {}) if options.coins is None else read_coins(options.coins),
    )
    say(f"reading {source.name}")
    prices = read_daily(source).between(options.first, options.last)
    try:
        study = fit_study(prices, config, extras, say)
        replication = _replication(study, config, extras, options, say)
    except ValueError as error:
        raise InputError(str(source), f"cannot be studied: {error}") from None
    say("tables")
    _claim(out)
    found = tables(study)
    if replication is not None:
        found |= replication.tables()
    write(found, out / "tables")
    blocks = _draw(study, config, options.top, out / "pictures", say)
    say("page")
    text = page(document(study, config, blocks, found, replication))
    (out / "index.html").write_text(text, encoding="utf-8")
    figures = summary(study, config) | ({} if replication is None else {"replication": replication.figures()})
    manifest = {
        "shoal": version("shoal"),
        "configuration": digest(config),
        "input": prices.digest,
        "first": str(prices.days[0].astype("M8[D]")),
        "last": str(prices.days[-1].astype("M8[D]")),
        "quarantined": dict(prices.quarantined),
        "tables": {name: table.num_rows for name, table in sorted(found.items())},
        "figures": figures,
    }
    (out / MANIFEST).write_text(
        json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
    )
    return Written(out, figures)


def _refuse(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds a finished study, or anything else; what an interrupted study left is no harm."""
    if out.exists() and not out.is_dir():
        raise StateError(str(out), "is not a folder", "choose another --out")
    if out.is_dir() and any(out.iterdir()):
        finished = (out / MANIFEST).exists()
        if not finished and {path.name for path in out.iterdir()} - {"tables", "pictures", "index.html"}:
            raise StateError(str(out), "is neither empty nor the folder of a study", "choose another --out")
        if finished and not overwrite:
            raise StateError(str(out), "holds a study", "add --overwrite, or choose another --out")


def _claim(out: Path) -> None:
    """Make the folder ready, and remove what an earlier study wrote; its manifest first."""
    try:
        (out / MANIFEST).unlink(missing_ok=True)
        for path in (*(out / "tables").glob("*.*"), *(out / "pictures").glob("*.svg")):
            path.unlink()
        (out / "pictures").mkdir(parents=True, exist_ok=True)
        (out / "tables").mkdir(exist_ok=True)
    except OSError as error:
        raise StateError(str(out), f"cannot be used as a folder: {error.strerror}", "choose another --out") from None


def _replication(study: Study, config: Config, extras: Extras, options: StudyOptions, say: Say) -> Replication | None:
    if options.compare is None:
        return None
    say(f"reading {options.compare.name}")
    return replicate(study, read_daily(options.compare), config, extras, say)


def _draw(study: Study, config: Config, top: int, folder: Path, say: Say) -> dict[str, list[str]]:
    """Draw every picture to a file; return them as blocks of the page, by section."""
    blocks: dict[str, list[str]] = {}
    for number, picture in enumerate(pictures(study, config, top)):
        say(f"picture: {picture.title}")
        text = style.svg(picture.draw())
        (folder / f"{picture.name}.svg").write_text(text, encoding="utf-8")
        blocks.setdefault(picture.section, []).append(figure_block(text, number, picture.title, picture.caption))
    return blocks
