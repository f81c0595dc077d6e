"""What `shoal doctor` finds: a sandbox that answers, nothing that does, and what is in the way on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.sandbox.faults import Faults
from connectors.sandbox.service import SandboxConfig, SandboxProcess, spawn
from flows.doctor import Finding, examine
from flows.results import FolderLock
from tests.shell import shoal

FREE = ("127.0.0.1", 0)


def config_of(folder: Path, exchange_ws: str, exchange_rest: str, node_ws: str) -> Path:
    path = folder / "shoal.toml"
    path.write_text(
        f'[[feeds.exchanges]]\nwebsocket_url = "{exchange_ws}"\nrest_url = "{exchange_rest}"\n'
        f'[[feeds.nodes]]\nwebsocket_url = "{node_ws}"\n'
    )
    return path


def failed(findings: list[Finding]) -> list[str]:
    assert all(len(finding.says.splitlines()) == 1 for finding in findings)
    return [finding.what for finding in findings if not finding.ok]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    process = spawn(SandboxConfig(coins=4, groups=2, agents=100, history_hours=0.1))
    yield process
    process.stop()


def test_a_sandbox_that_runs(sandbox: SandboxProcess, tmp_path: Path) -> None:
    urls = sandbox.urls
    config = config_of(tmp_path, urls.exchange_ws_url, urls.exchange_rest_url, urls.node_ws_url)
    findings = examine(config, tmp_path / "state", FREE)
    assert failed(findings) == []
    said = {finding.what: finding.says for finding in findings}
    assert said["binance"].endswith("/api/v3/time answers")
    assert "against binance" in said["clock"]
    assert [finding.what for finding in findings].count("websocket") == 2
    assert not (tmp_path / "state").exists(), "looking makes nothing"
    done = shoal("doctor", "--config", config, "--state", tmp_path / "state", "--listen", "127.0.0.1:0")
    assert done.returncode == 0, done.stdout
    assert all(line.startswith("ok   ") for line in done.stdout.splitlines())


def test_nothing_that_answers(tmp_path: Path) -> None:
    config = config_of(tmp_path, "ws://127.0.0.1:9", "http://127.0.0.1:9", "ws://127.0.0.1:9")
    findings = examine(config, tmp_path, FREE)
    assert failed(findings) == ["binance", "websocket"]
    assert all("127.0.0.1:9" in finding.says for finding in findings if not finding.ok)
    done = shoal("doctor", "--config", config, "--state", tmp_path / "state", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert sum(line.startswith("FAIL ") for line in done.stdout.splitlines()) == 2
    assert "Traceback" not in done.stdout + done.stderr


def test_a_venue_that_refuses(tmp_path: Path) -> None:
    faults = Faults(refuse=True)
    process = spawn(SandboxConfig(coins=4, groups=2, agents=100, exchange_faults=faults, node_faults=faults))
    try:
        urls = process.urls
        config = config_of(tmp_path, urls.exchange_ws_url, urls.exchange_rest_url, urls.node_ws_url)
        findings = examine(config, tmp_path, FREE)
    finally:
        process.stop()
    assert failed(findings) == ["binance", "websocket"]
    assert any("answers HTTP 503" in finding.says for finding in findings)


def test_a_port_that_is_none(tmp_path: Path) -> None:
    config = config_of(tmp_path, "ws://127.0.0.1:99999", "http://127.0.0.1:99999", "ws://127.0.0.1:99999")
    assert failed(examine(config, tmp_path, FREE)) == ["binance", "websocket"]


def test_what_is_in_the_way_here(tmp_path: Path) -> None:
    (tmp_path / "shoal.toml").write_text("windos = 1\n")
    lock = FolderLock(tmp_path / "state")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        findings = examine(tmp_path / "shoal.toml", tmp_path / "state", listener.getsockname())
    lock.release()
    assert failed(findings) == ["state", "port", "configuration"]
    assert any("did you mean 'windows'?" in finding.says for finding in findings)


def test_a_state_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert failed(examine(None, tmp_path / "file", FREE)) == ["state"]


def test_without_a_configuration_it_is_the_sandbox(tmp_path: Path) -> None:
    findings = examine(None, tmp_path, FREE)
    assert failed(findings) == []
    assert any(finding.says == "none given: the sandbox" for finding in findings)
