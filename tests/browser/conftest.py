"""Chromium from the system, and a service over a board that the tests fill."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from prometheus_client import CollectorRegistry

from dashboards.board import Board
from dashboards.server import Server
from tests.dashboards.feeder import Feeder

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def chromium_path() -> str | None:
    """Where the system's Chromium is, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")  # playwright keeps a loop running, in which no other test could run one of its own
def browser() -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        reason = f"no Chromium: none of {', '.join(NAMES)} is on the PATH"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; nothing may be skipped in CI")
        pytest.skip(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield started
        started.close()


@dataclass
class Site:
    """A running service, what feeds it, and its address."""

    feeder: Feeder
    server: Server
    url: str


@pytest.fixture
def site() -> Iterator[Site]:
    board = Board()
    server = Server(board, CollectorRegistry(), "127.0.0.1", 0)
    host, port = server.start()
    yield Site(Feeder(board), server, f"http://{host}:{port}/")
    server.stop()


class Watched:
    """A page, and what its console and its network complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda r: self.complaints.append(f"foreign: {r.url}") if "127.0.0.1" not in r.url else None)
        page.on("response", lambda r: self.complaints.append(f"{r.status} {r.url}") if r.status >= 400 else None)

    def open(self, url: str) -> Page:
        """Open the page and wait until it follows the stream."""
        self.page.goto(url)
        self.page.wait_for_selector("html[data-stream=open]", state="attached")
        return self.page


@pytest.fixture
def desktop(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, color_scheme="light", reduced_motion="reduce"
    )
    yield Watched(context.new_page())
    context.close()


@pytest.fixture
def phone(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True, reduced_motion="reduce"
    )
    yield Watched(context.new_page())
    context.close()
