"""The command line: ``shoal``.

Errors are one clear line and exit code 2; a stack trace only with ``--debug``. Heavy packages are imported by the
command that needs them, so that ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.errors import ConfigError, ShoalError
from flows.pool import one_thread_each

app = typer.Typer(
    name="shoal",
    help="Watches the structure of the crypto market as it changes: clusters of coins, behaviours of addresses.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StateFolder = Annotated[Path, typer.Option(metavar="DIR", help="Journal, snapshots and results.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration (TOML).")]
DAY = ["%Y-%m-%d"]
_SETTINGS = {"debug": False}


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"shoal {version('shoal')} (bytewax {version('bytewax')}, Python {sys.version.split()[0]})")
        raise typer.Exit


@app.callback()
def _main(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="A stack trace with an error, more log lines.")] = False,
) -> None:
    _SETTINGS["debug"] = debug
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


@app.command(
    epilog="Examples: [bold]shoal run[/] watches the built-in sandbox; [bold]shoal run --config examples/sandbox.toml "
    "--listen 0.0.0.0:8787 --state /var/lib/shoal[/] keeps its state there."
)
def run(
    config: ConfigFile = None,
    branch: Annotated[str, typer.Option(metavar="market|chain|all", help="Which branch of the dataflow runs.")] = "all",
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where page, metrics and API are served.")] = (
        "127.0.0.1:8787"
    ),
    state: StateFolder = Path("shoal-state"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Set the old state aside and begin anew.")] = False,
) -> None:
    """Run the live service; with no configuration it starts the sandbox and watches it."""
    if branch not in ("market", "chain", "all"):
        raise ConfigError("--branch", "", f"{branch!r} is no branch", "market, chain or all")
    host, port = _address(listen)
    from flows.service import RunOptions  # noqa: PLC0415
    from flows.service import run as serve  # noqa: PLC0415

    options = RunOptions(branch=branch, host=host, port=port, state=state, fresh=fresh, jobs=_cores())
    serve(config, options, typer.echo)


@app.command(
    epilog="Examples: [bold]shoal replay prices.parquet --out results[/]; "
    "[bold]shoal replay shoal-state/journal --out again --workers 2[/]. "
    "The same command goes on with a replay that was interrupted."
)
def replay(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Journals, files or folders of files.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The result folder.")],
    config: ConfigFile = None,
    workers: Annotated[int, typer.Option(min=1, help="Workers of the dataflow.")] = 1,
    jobs: Annotated[int, typer.Option(min=0, help="Processes for fits; 0 = one per core.")] = 0,
    chain: Annotated[str, typer.Option(metavar="NAME", help="The chain of transfers that do not name theirs.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in DIR.")] = False,
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows per batch; the results do not depend on it.")] = 8192,
) -> None:
    """Send journals or historical files through the same dataflow, into a result folder."""
    from flows.config import Config, load  # noqa: PLC0415
    from flows.engine import Ended  # noqa: PLC0415
    from flows.replay import ReplayOptions, describe  # noqa: PLC0415
    from flows.replay import replay as through  # noqa: PLC0415

    settings = load(config) if config is not None else Config()
    options = ReplayOptions(
        workers=workers,
        jobs=jobs or _cores(),
        chain=chain,
        overwrite=overwrite,
        batch_rows=batch_rows,
        epoch_seconds=settings.service.epoch_seconds,
    )
    try:
        rows = through(inputs, out, settings, options)
    except Ended:
        typer.echo(f"interrupted; the same command goes on in {out}", err=True)
        raise typer.Exit(130) from None
    typer.echo(describe(rows, out))


@app.command(
    epilog="Examples: [bold]shoal report prices.parquet --out study[/]; "
    "[bold]shoal report prices.csv --from 2021-01-01 --to 2021-06-30 --compare prices.csv --out half[/]."
)
def report(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A table of prices, a file or a folder of files.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the study is written.")],
    config: ConfigFile = None,
    first: Annotated[dt.datetime | None, typer.Option("--from", formats=DAY, help="The first day.")] = None,
    last: Annotated[dt.datetime | None, typer.Option("--to", formats=DAY, help="The last day.")] = None,
    compare: Annotated[Path | None, typer.Option(metavar="INPUT", help="A longer span to repeat it on.")] = None,
    index: Annotated[Path | None, typer.Option(metavar="FILE", help="An index: date, close.")] = None,
    coins: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Coins: coin_id, listed_on, algorithm, proof_type, category.")
    ] = None,
    risk_free: Annotated[Path | None, typer.Option(metavar="FILE", help="Rates: date, daily_rate.")] = None,
    top: Annotated[int, typer.Option(min=2, help="Coins on the market map and in the chart grid.")] = 50,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the study in DIR.")] = False,
) -> None:
    """Write the whole study of a span of daily prices: tables, pictures and a page (DIR/index.html)."""
    from flows.config import Config, load  # noqa: PLC0415
    from flows.progress import steps  # noqa: PLC0415
    from flows.study import StudyOptions  # noqa: PLC0415
    from flows.study import report as study  # noqa: PLC0415

    options = StudyOptions(
        first=first.date() if first else None,
        last=last.date() if last else None,
        compare=compare,
        index=index,
        coins=coins,
        risk_free=risk_free,
        top=top,
        overwrite=overwrite,
    )
    with steps() as say:
        written = study(source, out, load(config) if config is not None else Config(), options, say)
    typer.echo(written.line())


@app.command(
    epilog="Examples: [bold]shoal screen study --cells 2-0-0 --beta IndexLike --sharpe ERP --cap P99[/]; "
    "[bold]shoal screen study --cap 1e9 --where moments=1,2 --csv found.csv[/]."
)
def screen(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a study.")],
    cells: Annotated[str, typer.Option(metavar="CELL,...", help="Intersections.")] = "",
    beta: Annotated[str, typer.Option(metavar="CLASS,...", help="NegBeta, LowVol, IndexLike, HighVol, Extreme.")] = "",
    sharpe: Annotated[
        str, typer.Option(metavar="LEAST", help="A class (SRF, ERP, ACC, GOOD) or an annual ratio.")
    ] = "",
    cap: Annotated[str, typer.Option(metavar="LEAST", help="A class (P70 ... P100) or US dollars.")] = "",
    volume: Annotated[str, typer.Option(metavar="LEAST", help="A class (P70 ... P100) or units of the coin.")] = "",
    where: Annotated[list[str] | None, typer.Option(metavar="COLUMN=LEVEL,...", help="Any other column.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all columns there as well.")] = None,
) -> None:
    """List the coins of a study that meet all of these conditions."""
    from flows.study_screen import Conditions, lines, screened, write_csv  # noqa: PLC0415

    wanted = Conditions(cells=cells, beta=beta, sharpe=sharpe, cap=cap, volume=volume, where=tuple(where or ()))
    found = screened(folder, wanted)
    for line in lines(found):
        typer.echo(line)
    if csv is not None:
        write_csv(found, csv)


@app.command("map", epilog="Example: [bold]shoal map --at 2021-05-19 prices.parquet --out map.svg[/]")
def market_map(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A table of prices, a file or a folder of files.")],
    at: Annotated[dt.datetime, typer.Option(metavar="DAY", formats=DAY, help="The day at which the window ends.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Ends in .svg, .png or .html.")],
    config: ConfigFile = None,
    top: Annotated[int, typer.Option(min=2, help="Coins on the map, the largest ones.")] = 50,
) -> None:
    """Write the market map of the window that ends at a day."""
    from flows.config import Config, load  # noqa: PLC0415
    from flows.progress import steps  # noqa: PLC0415
    from flows.study_map import write_map  # noqa: PLC0415

    with steps() as say:
        line = write_map(source, at.date(), out, load(config) if config is not None else Config(), top, say)
    typer.echo(line)


@app.command(epilog="Example: [bold]shoal sandbox --exchange-port 9001 --node-port 9002 --truth truth.json[/]")
def sandbox(
    seed: Annotated[int, typer.Option(help="The world: the same seed is the same world.")] = 20210101,
    exchange_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    node_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    speed: Annotated[float, typer.Option(help="Event seconds per second.")] = 1.0,
    coins: Annotated[int, typer.Option(min=2, help="Coins beside the two stablecoins.")] = 40,
    groups: Annotated[int, typer.Option(min=2, help="Groups of coins that move together.")] = 5,
    truth: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write what is true.")] = None,
) -> None:
    """Run the local exchange and node alone, until Ctrl-C."""
    import asyncio  # noqa: PLC0415

    from connectors.sandbox.service import SandboxConfig, start  # noqa: PLC0415

    async def serve() -> None:
        running = await start(
            SandboxConfig(
                seed=seed,
                exchange_port=exchange_port,
                node_port=node_port,
                speed=speed,
                coins=coins,
                groups=groups,
                truth=truth,
            )
        )
        urls = running.urls
        typer.echo(
            f"exchange {urls.exchange_ws_url} {urls.exchange_rest_url}\nnode {urls.node_ws_url} {urls.node_http_url}"
        )
        try:
            await asyncio.Event().wait()
        finally:
            await running.stop()

    asyncio.run(serve())


@app.command(epilog="Example: [bold]shoal doctor --config examples/sandbox.toml[/]")
def doctor(
    config: ConfigFile = None,
    state: StateFolder = Path("shoal-state"),
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the service would listen.")
    ] = "127.0.0.1:8787",
) -> None:
    """Check configuration, packages, disk, port and clocks, and say for each endpoint what could be reached."""
    from flows.doctor import examine  # noqa: PLC0415

    findings = examine(config, state, _address(listen))
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.ok else 'FAIL'} {finding.what}: {finding.says}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError("--listen", "", f"{text!r} is not HOST:PORT", "write for example 127.0.0.1:8787")
    return host.strip("[]"), int(port)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors of the tree become one line and exit code 2."""
    one_thread_each()
    sys.stderr = os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)  # apart from what native code prints
    return _reported(lambda: app(args=arguments, standalone_mode=True))


def _reported(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except ShoalError as error:
        if _SETTINGS["debug"]:
            raise
        sys.stderr.write(f"shoal: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
