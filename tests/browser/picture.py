"""Pictures of the page of a real, running service: light and dark, desktop and phone.

``python -m tests.browser.picture OUTDIR`` starts ``shoal run`` on its sandbox, waits until it is ready and a coin has
left its shoal (or, after a while, whatever there is), and takes four pictures. ``make picture`` calls it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.browser.conftest import ARGUMENTS, chromium_path

LISTENING = re.compile(r"listening on (http://\S+)")
PICTURES = {
    "desktop-light": ({"width": 1440, "height": 900}, "light", 1.5),
    "desktop-dark": ({"width": 1440, "height": 900}, "dark", 1.5),
    "phone-light": ({"width": 390, "height": 844}, "light", 2.0),
    "phone-dark": ({"width": 390, "height": 844}, "dark", 2.0),
}
START_SECONDS = 120.0


def start(state: Path) -> tuple[subprocess.Popen[str], str]:
    """Start the service; return it and the page's address."""
    program = shutil.which("shoal", path=str(Path(sys.executable).parent)) or shutil.which("shoal")
    if program is None:
        raise SystemExit("shoal is not installed beside this Python")
    command = [program, "run", "--listen", "127.0.0.1:0", "--state", str(state)]
    service = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    found: list[str] = []
    heard = threading.Event()

    def read() -> None:
        assert service.stdout is not None
        for line in service.stdout:
            sys.stderr.write(f"  {line}")
            if (match := LISTENING.search(line)) and not found:
                found.append(match[1])
                heard.set()
        heard.set()

    threading.Thread(target=read, daemon=True).start()
    heard.wait(START_SECONDS)
    if not found:
        stop(service)
        raise SystemExit("shoal run did not say where it listens")
    return service, found[0].rstrip("/") + "/"


def stop(service: subprocess.Popen[str]) -> None:
    """End the service as Ctrl-C does."""
    service.send_signal(signal.SIGINT)
    try:
        service.wait(30)
    except subprocess.TimeoutExpired:
        service.kill()


def ask(url: str) -> Any:
    """Return the JSON of an address, or None while there is none."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return json.load(answer)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None


def wait(url: str, seconds: float) -> None:
    """Wait until everything is there, a coin has left its shoal, and the charts have something to show."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < end:
        ready = (ask(url + "readyz") or {}).get("ready")
        left = (ask(url + "api/v1/events?kind=left&limit=5") or {}).get("events", [])
        points = (ask(url + "api/v1/composition") or {}).get("points", [])
        if ready and len(left) >= 3 and len(points) >= 12:
            return
        pause.wait(1.0)
    sys.stderr.write(f"  after {seconds:.0f} s: taking what there is\n")


def shoot(url: str, out: Path) -> None:
    """Take the pictures."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        for name, (viewport, scheme, scale) in PICTURES.items():
            context = browser.new_context(
                viewport=viewport, color_scheme=scheme, device_scale_factor=scale, reduced_motion="reduce"
            )
            page = context.new_page()
            page.goto(url)
            page.wait_for_selector("html[data-stream=open]", state="attached")
            page.wait_for_selector("#map [data-coin], #map canvas, #map .empty")
            page.wait_for_timeout(6_000)  # the feeds' little charts need a few seconds of totals
            page.screenshot(path=out / f"page-{name}.png", full_page=name.startswith("desktop"))
            context.close()
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--url", help="take pictures of a service that runs already")
    parser.add_argument("--wait", type=float, default=240.0, help="seconds to wait for events")
    options = parser.parse_args()
    if chromium_path() is None:
        raise SystemExit("no Chromium on the PATH")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.url:
        shoot(options.url.rstrip("/") + "/", options.out)
        return
    with tempfile.TemporaryDirectory(prefix="shoal-picture-") as folder:
        service, url = start(Path(folder) / "state")
        try:
            wait(url, options.wait)
            shoot(url, options.out)
        finally:
            stop(service)


if __name__ == "__main__":
    main()
