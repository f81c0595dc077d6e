"""The command line: help with examples, exit codes, and one line for whatever is in the way."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import cli
from flows.results import FolderLock
from tests.shell import shoal


class Done(NamedTuple):
    """What a call came to."""

    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Call]:
    """Call a command in this process; in a folder of its own, since the state's default is a relative path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    handlers, level = logging.root.handlers[:], logging.root.level

    def run(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as ended:
            cli._reported(lambda: cli.app(args=list(map(str, arguments)), standalone_mode=True))
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    yield run
    cli._SETTINGS["debug"] = False
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def one_line(done: Done) -> str:
    """Hold a failure to its form; return its sentence."""
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("shoal: ")
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.endswith("\n")
    return done.err.removeprefix("shoal: ").strip()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


COMMANDS = sorted(
    command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback
)


def test_there_are_commands() -> None:
    assert {"run", "replay", "sandbox", "doctor"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(call: Call, command: str) -> None:
    done = call(command, "--help")
    assert done.code == 0
    assert f"shoal {command}" in done.out.split("Example", 1)[1], "its epilogue shows how it is called"
    assert call(command, "-h").out == done.out


def test_help_and_version(call: Call) -> None:
    assert all(command in call("--help").out for command in COMMANDS)
    version = call("--version")
    assert version.code == 0
    assert version.out.startswith("shoal 0.")
    assert "bytewax 0.21.1" in version.out


def test_wrong_arguments_are_two(call: Call) -> None:
    assert call("swim").code == 2
    assert call("replay").code == 2
    assert call("run", "--fast").code == 2
    assert call("replay", "x.csv", "--out", "o", "--workers", 0).code == 2


# ------------------------------------------------------------------------------------------------- one line each


def test_a_wrong_key(call: Call, tmp_path: Path) -> None:
    (tmp_path / "shoal.toml").write_text("[[windows]]\nlenght_bars = 60\n")
    line = "shoal.toml: windows[0].lenght_bars: unknown key (did you mean 'length_bars'?)"
    for command in (["run"], ["replay", "prices.csv", "--out", "out"]):
        assert one_line(call(*command, "--config", "shoal.toml")) == line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shoal.toml"], "nothing was begun"


def test_a_missing_file(call: Call) -> None:
    assert "none.toml: cannot be read: No such file" in one_line(call("run", "--config", "none.toml"))
    assert one_line(call("replay", "none.parquet", "--out", "out")).startswith("none.parquet: ")


def test_parquet_without_the_columns_that_are_needed_names_them(call: Call, tmp_path: Path) -> None:
    pq.write_table(pa.table({"date": ["2021-01-01"], "coin_id": ["bitcoin"], "volume": [1.0]}), tmp_path / "p.parquet")
    line = one_line(call("replay", "p.parquet", "--out", "out"))
    assert line.startswith("p.parquet: ")
    assert "price" in line
    assert "date, coin_id, volume" in line, "it says what is there"
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "q.parquet")
    line = one_line(call("replay", "q.parquet", "--out", "out"))
    assert "prices need" in line
    assert "a, b" in line
    assert not (tmp_path / "out").exists()


def test_a_port_in_use(call: Call, taken: int) -> None:
    done = call("run", "--listen", f"127.0.0.1:{taken}")
    assert one_line(done) == f"127.0.0.1:{taken}: port in use (--listen HOST:PORT or stop the other one)"


@pytest.mark.parametrize("listen", ["nonsense", "8787", ":8787", "host:", "host:x", "host:99999", "host:-1", "host:²"])
def test_an_address_that_is_none(call: Call, tmp_path: Path, listen: str) -> None:
    line = one_line(call("run", "--listen", listen))
    assert line == f"--listen: {listen!r} is not HOST:PORT (write for example 127.0.0.1:8787)"
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_not_here(call: Call) -> None:
    assert "--listen" in one_line(call("run", "--listen", "203.0.113.7:0"))


def test_addresses() -> None:
    assert cli._address("127.0.0.1:0") == ("127.0.0.1", 0)
    assert cli._address("[::1]:8787") == ("::1", 8787)


def test_a_branch_that_is_none(call: Call) -> None:
    assert one_line(call("run", "--branch", "both")) == "--branch: 'both' is no branch (market, chain or all)"


@pytest.mark.parametrize(("feeds", "branch"), [("[[feeds.exchanges]]\n", "chain"), ("[[feeds.nodes]]\n", "market")])
def test_a_branch_without_feeds(call: Call, tmp_path: Path, feeds: str, branch: str) -> None:
    (tmp_path / "shoal.toml").write_text(feeds)
    line = one_line(call("run", "--config", "shoal.toml", "--branch", branch))
    assert line.startswith(f"shoal.toml: feeds: holds nothing that the branch '{branch}' listens to")


def test_a_state_folder_that_cannot_be_one(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert one_line(call("run", "--state", "file")).startswith("file: cannot be used as a folder")
    (tmp_path / "p.csv").write_text("date,coin_id,price\n2021-01-01,bitcoin,1\n2021-01-02,bitcoin,2\n")
    assert "cannot be used as a folder" in one_line(call("replay", "p.csv", "--out", "file"))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_state_that_is_in_use(call: Call, tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "shoal-state")
    assert "is in use by another shoal process" in one_line(call("run"))
    lock.release()


def test_a_state_of_another_configuration_is_refused_or_set_aside(call: Call, tmp_path: Path, taken: int) -> None:
    """The port in use ends each of these starts early."""
    run = ("run", "--listen", f"127.0.0.1:{taken}", "--config", "shoal.toml")
    config, state = tmp_path / "shoal.toml", tmp_path / "shoal-state"
    config.write_text("seed = 1\n")
    assert "port in use" in one_line(call(*run))
    (state / "journal").mkdir()
    (state / "journal" / "record").write_text("precious")
    config.write_text("seed = 2\n")
    line = one_line(call(*run))
    assert line.startswith("shoal-state: was made with another configuration, branch or version")
    assert "--fresh" in line
    assert one_line(call(*run, "--branch", "market")) == line
    assert "port in use" in one_line(call(*run, "--fresh"))
    assert (state / "old-1" / "journal" / "record").read_text() == "precious", "nothing is thrown away"
    assert not (state / "journal").exists()
    old, new = (json.loads((folder / "state.json").read_text()) for folder in (state / "old-1", state))
    assert old["configuration"] != new["configuration"]
    assert "port in use" in one_line(call(*run)), "it belongs to the new configuration now"
    config.write_text("seed = 3\n")
    assert "port in use" in one_line(call(*run, "--fresh"))
    assert (state / "old-2" / "state.json").exists()
    assert (state / "old-1" / "journal" / "record").exists()
    (state / "state.json").write_text("{torn")
    assert "another configuration" in one_line(call(*run))


def test_the_same_prices_twice(call: Call, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("date,coin_id,price\n2021-01-01,bitcoin,1\n2021-01-02,bitcoin,2\n")
    assert "is given twice" in one_line(call("replay", "p.csv", "p.csv", "--out", "out"))


def test_a_chain_that_is_none(call: Call, tmp_path: Path) -> None:
    rows = "from_address,to_address,value,block_timestamp\n0x1,0x2,1,1600000000\n"
    (tmp_path / "t.csv").write_text(rows)
    line = one_line(call("replay", "t.csv", "--out", "out", "--chain", "dogecoin"))
    assert "chains are ethereum and bitcoin" in line


def test_a_stack_trace_only_when_asked_for() -> None:
    plain = shoal("run", "--config", "none.toml")
    assert plain.returncode == 2
    assert plain.stderr == "shoal: none.toml: cannot be read: No such file or directory (check --config)\n"
    debug = shoal("--debug", "run", "--config", "none.toml")
    assert debug.returncode != 0
    assert "Traceback" in debug.stderr
    assert "connectors.errors.ConfigError: none.toml" in debug.stderr


def test_a_reader_that_went_away_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise BrokenPipeError

    replaced: list[int] = []
    monkeypatch.setattr(os, "dup2", lambda _, to: replaced.append(to))
    monkeypatch.setattr("sys.stdout", open(os.devnull, "w"))  # noqa: PTH123, SIM115 closed with the test
    with pytest.raises(SystemExit) as ended:
        cli._reported(broken)
    assert ended.value.code == 0
    assert replaced, "what is still in the buffer goes nowhere"


def test_a_sandbox_on_a_port_in_use(call: Call, taken: int) -> None:
    line = one_line(call("sandbox", "--exchange-port", taken))
    assert line.startswith(f"sandbox: 127.0.0.1:{taken} cannot be opened")
    assert "exchange_port" in line
