"""Progress shows on a terminal and nowhere else."""

from __future__ import annotations

import io
import threading

import pytest

from flows.progress import progress_bars
from flows.readers import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_silence_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stderr", pipe)
    with progress_bars([Progress("prices", 10, 3)], resumed=False):
        pass
    assert pipe.getvalue() == ""


@pytest.mark.parametrize("resumed", [False, True])
def test_rows_read_of_each_input_on_a_terminal(monkeypatch: pytest.MonkeyPatch, resumed: bool) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    inputs = [Progress("prices.csv", 10, 3), Progress("blocks")]
    with progress_bars(inputs, resumed=resumed):
        inputs[0].done = 10
    shown = terminal.getvalue()
    assert "10/10" in shown, "the last state is shown, however short it was"
    assert ("resuming prices.csv" in shown) == resumed
    assert "blocks" in shown
    assert not any(thread.name == "progress" for thread in threading.enumerate())


def test_a_failure_ends_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    with pytest.raises(ZeroDivisionError), progress_bars([Progress("p")], resumed=False):
        raise ZeroDivisionError
    assert not any(thread.name == "progress" for thread in threading.enumerate())
