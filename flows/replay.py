"""``shoal replay``: journals and historical files through the same dataflow, into a result folder."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from connectors.archives import Archive, recognise_all
from connectors.errors import InputError
from connectors.journal import find_journals, read_meta
from connectors.tables import Table, tables_of
from flows.config import CHAINS, Chain, Config, Window, digest
from flows.engine import execute, handling
from flows.monitor import Inputs, Running, build
from flows.pool import Pool
from flows.progress import progress_bars
from flows.readers import BATCH_ROWS, Progress, archive_opener, journal_digest, journal_opener
from flows.results import QUARANTINED, TIMINGS, ReplayFolder
from flows.sinks import TableSink
from flows.sources import Opener


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a replay runs; only ``chain`` shows in the results."""

    workers: int = 1
    jobs: int = 1
    chain: str = ""
    overwrite: bool = False
    batch_rows: int = BATCH_ROWS
    epoch_seconds: float = 2.0


@dataclass(slots=True)
class _Plan:
    """What was recognised: openers by branch and partition, and what identifies the inputs."""

    market: dict[str, Opener] = field(default_factory=dict)
    chains: dict[Chain, dict[str, Opener]] = field(default_factory=dict)
    prices: dict[str, Opener] = field(default_factory=dict)
    progress: list[Progress] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def tables(self) -> list[Table]:
        tables = {table.name: table for table in (tables_of("market") if self.market else ())}
        tables |= {table.name: table for table in (tables_of("chain") if self.chains else ())}
        return [tables[name] for name in sorted(tables)]


def replay(inputs: Sequence[Path], out: Path, config: Config, options: ReplayOptions) -> dict[str, int]:
    """Run a replay to its end, or go on with one that was interrupted; return rows per table.

    Raises
    ------
    ShoalError
        With a line that says which input or folder cannot be used, and why.
    Ended
        When SIGINT or SIGTERM came; the same call goes on where it stopped.
    """
    plan = _plan(inputs, config, options)
    identity = {
        "shoal": version("shoal"),
        "configuration": digest(config),
        "inputs": dict(sorted(plan.digests.items())),
        "chain": options.chain,
    }
    folder = ReplayFolder(out, identity, plan.tables, overwrite=options.overwrite)
    pool = Pool(options.jobs)
    names = [table.name for table in (*plan.tables, TIMINGS, QUARANTINED)]
    flow = build(
        config,
        Inputs(plan.market, plan.chains, plan.prices),
        Running(
            pool=pool,
            live=False,
            sink=TableSink(names, folder.work / "frames", None),
            pending_fits=2 * options.jobs,
        ),
    )
    try:
        with (
            handling(dict.fromkeys((signal.SIGINT, signal.SIGTERM), _at_once)),
            progress_bars(plan.progress, resumed=folder.resumed),
        ):
            execute(flow, folder.recovery, options.epoch_seconds, options.workers)
    finally:
        pool.close()
    return folder.finish()


def _at_once() -> bool:
    return True


def _plan(inputs: Sequence[Path], config: Config, options: ReplayOptions) -> _Plan:
    plan = _Plan()
    archives: list[Archive] = []
    for path in inputs:
        journals = find_journals(path)
        for folder in journals:
            _add_journal(plan, folder, options)
        if not journals:
            archives += recognise_all(path)
    transfers = [archive for archive in archives if archive.branch == "chain"]
    prices = [archive for archive in archives if archive.branch == "market"]
    for archive in transfers:
        _add_transfers(plan, archive, options)
    for archive in prices:
        _add_prices(plan, archive, config, options, also_regime=bool(plan.chains) and not plan.prices)
    if not plan.market and not plan.chains:
        raise InputError(
            ", ".join(map(str, inputs)), "holds prices of a price partition alone", "add the chain's or market's input"
        )
    return plan


def _add_journal(plan: _Plan, folder: Path, options: ReplayOptions) -> None:
    meta = read_meta(folder)
    if meta.feed in plan.digests:
        raise InputError(str(folder), f"is a second journal of the feed {meta.feed!r}", "replay them one by one")
    progress = Progress(meta.feed)
    opener = journal_opener(folder, progress, options.batch_rows)
    if meta.kind == "ethereum":
        plan.chains.setdefault("ethereum", {})[meta.feed] = opener
    elif meta.kind == "klines":
        plan.prices[meta.feed] = opener
    else:
        plan.market[meta.feed] = opener
    plan.progress.append(progress)
    plan.digests[meta.feed] = journal_digest(folder)


def _add_transfers(plan: _Plan, archive: Archive, options: ReplayOptions) -> None:
    chains = archive.chains or (options.chain or "ethereum",)
    if options.chain and options.chain not in chains:
        raise InputError(str(archive.path), f"holds {', '.join(chains)} and not {options.chain}", "check --chain")
    for name_of_chain in (options.chain,) if options.chain else chains:
        chain = next((known for known in CHAINS if known == name_of_chain), None)
        if chain is None:
            raise InputError(str(archive.path), f"is of the chain {name_of_chain!r}", "chains are ethereum and bitcoin")
        name, progress = _register(plan, archive, chain)
        opener = archive_opener(archive.open(chain=chain), progress, options.batch_rows)
        plan.chains.setdefault(chain, {})[name] = opener


def _add_prices(plan: _Plan, archive: Archive, config: Config, options: ReplayOptions, *, also_regime: bool) -> None:
    reader = archive.open()
    if archive.kind == "bars":
        for window in config.windows:
            _check_interval(archive, reader.spacing_us, window)
    name, progress = _register(plan, archive, "")
    plan.market[name] = archive_opener(reader, progress, options.batch_rows)
    if also_regime:
        plan.prices[name] = archive_opener(archive.open(), Progress(name), options.batch_rows)


def _check_interval(archive: Archive, spacing_us: int, window: Window) -> None:
    if spacing_us > window.interval_us:
        raise InputError(
            str(archive.path),
            f"has a row every {timedelta(microseconds=spacing_us)}, window {window.name!r} wants bars of "
            f"{window.bar_interval}",
            "bars cannot be finer than their table: choose a longer bar_interval",
        )


def _register(plan: _Plan, archive: Archive, chain: str) -> tuple[str, Progress]:
    """Name an archive by its file and content, so that the name does not depend on where it lies."""
    sha = archive.digest()
    name = f"{archive.path.name}#{sha[:8]}" + (f":{chain}" if chain else "")
    if name in plan.digests:
        raise InputError(str(archive.path), "is given twice", "name each input once")
    plan.digests[name] = sha
    progress = Progress(archive.path.name)
    plan.progress.append(progress)
    return name, progress


def describe(rows: dict[str, int], out: Path) -> str:
    """Return the line that a finished replay prints."""
    filled = {name: count for name, count in rows.items() if count and name != TIMINGS.name}
    return f"{out}: " + ", ".join(f"{count:,} {name}" for name, count in sorted(filled.items()))
