"""How a dataflow is ended from outside: only where the engine itself is at work, and never after it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSink, TestingSource
from typing_extensions import override

from connectors.errors import InputError
from flows.engine import Ended, execute, handling

USR2 = signal.SIGUSR2


class Endless(FixedPartitionedSource[int, int]):
    """Counts for ever, and tells a function at each step."""

    def __init__(self, tell: Any) -> None:
        self._tell = tell

    @override
    def list_parts(self) -> list[str]:
        return ["one"]

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> StatefulSourcePartition[int, int]:
        return _Counting(self._tell, resume_state or 0)


class _Counting(StatefulSourcePartition[int, int]):
    def __init__(self, tell: Any, n: int) -> None:
        self._tell, self._n = tell, n

    @override
    def next_batch(self) -> list[int]:
        self._n += 1
        self._tell(self._n)
        return [self._n]

    @override
    def snapshot(self) -> int:
        return self._n


def endless(tell: Any, out: list[int]) -> Dataflow:
    flow = Dataflow("endless")
    op.output("out", op.input("in", flow, Endless(tell)), TestingSink(out))
    return flow


def test_a_signal_ends_the_engine_and_not_the_method_it_interrupts(tmp_path: Path) -> None:
    """The signal comes inside a source's own method; that method runs to its end."""
    asked, finished = [], []

    def tell(n: int) -> None:
        if n == 3:
            os.kill(os.getpid(), USR2)
            finished.append(n)

    def ask() -> bool:
        asked.append(1)
        return True

    out: list[int] = []
    with pytest.raises(Ended), handling({USR2: ask}):
        execute(endless(tell, out), tmp_path / "recovery", 0.05)
    assert asked == [1], "a signal that has been heard is not asked about again"
    assert finished == [3]
    assert out[:3] == [1, 2, 3]
    assert signal.getsignal(USR2) == signal.SIG_DFL


def test_a_handler_may_put_it_off(tmp_path: Path) -> None:
    answers = iter([False, True])
    sent = []

    def tell(n: int) -> None:
        if n in (2, 50):
            sent.append(n)
            os.kill(os.getpid(), USR2)

    with pytest.raises(Ended), handling({USR2: lambda: next(answers)}):
        execute(endless(tell, []), tmp_path / "recovery", 0.05)
    assert sent == [2, 50]


def test_a_signal_that_came_too_late_ends_nothing() -> None:
    """Outside of the engine it is tried again a little later; after the block nobody is left to be ended."""
    before = signal.signal(USR2, signal.SIG_IGN)
    try:
        with handling({USR2: lambda: True}):
            os.kill(os.getpid(), USR2)
        assert signal.getsignal(USR2) == signal.SIG_IGN
        signal.signal(USR2, lambda *_: pytest.fail("a timer was left behind"))
        deadline = signal.sigtimedwait([signal.SIGALRM], 0.05)
        assert deadline is None
    finally:
        signal.signal(USR2, before)


def test_a_dataflow_that_ends_by_itself_returns(tmp_path: Path) -> None:
    flow, out = Dataflow("short"), []  # type: ignore[var-annotated]
    op.output("out", op.input("in", flow, TestingSource([1, 2])), TestingSink(out))
    execute(flow, tmp_path / "deep" / "recovery", 0.05)
    assert out == [1, 2]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["recovery"]


def test_half_a_recovery_folder_is_no_recovery_folder(tmp_path: Path) -> None:
    """A crash while it was made leaves it under another name; the next start makes it again."""
    leftover = tmp_path / ".recovery.fresh"
    leftover.mkdir()
    (leftover / "part-0.sqlite3").write_bytes(b"half")
    flow, out = Dataflow("short"), []  # type: ignore[var-annotated]
    op.output("out", op.input("in", flow, TestingSource([1])), TestingSink(out))
    execute(flow, tmp_path / "recovery", 0.05)
    assert out == [1]
    assert not leftover.exists()


def test_our_own_errors_come_out_as_themselves(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(n: int) -> None:
        if n == 2:
            raise InputError("prices.csv", "is damaged", line=7)

    with pytest.raises(InputError, match=r"prices\.csv:7: is damaged"):
        execute(endless(fail, []), tmp_path / "recovery", 0.05)
    capfd.readouterr()


def test_other_errors_are_not_hidden(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(n: int) -> None:
        raise ZeroDivisionError(n)

    with pytest.raises(BytewaxRuntimeError):
        execute(endless(fail, []), tmp_path / "recovery", 0.05)
    capfd.readouterr()
