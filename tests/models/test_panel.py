from __future__ import annotations

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.panel import Panel, PanelConfig, PanelWindow

COINS = [f"coin-{i}" for i in range(12)]

PRICE = st.sampled_from([1.0, 2.5, 1e-9, 3e4, 0.0, -1.0, 1e-16, float("nan"), float("inf")])
CELL = st.tuples(
    st.sampled_from(COINS), PRICE, st.sampled_from([0.0, 5.0, 7e9, float("nan")]), st.sampled_from([0, 3.0])
)
BAR = st.tuples(st.lists(CELL, max_size=8), st.booleans(), st.booleans())
STEP = st.one_of(BAR, BAR, BAR, st.integers(0, 9), st.just("restart"))


class Twin:
    """The panel by brute force: a frame of all bars ever, cut to the window when asked."""

    def __init__(self, config: PanelConfig) -> None:
        self.config, self.close, self.cap, self.volume = config, [], [], []

    def push(self, cells: list[tuple[str, float, float, float]], caps: bool, volumes: bool) -> None:
        close, cap, volume = {}, {}, {}
        for coin, price, market_cap, traded in cells:
            if np.isfinite(price) and price >= 1e-15:
                close[coin] = price
                if caps and market_cap > 0:
                    cap[coin] = market_cap
                if volumes:
                    volume[coin] = traded * price
        self.close.append(close)
        self.cap.append(cap)
        self.volume.append(volume)

    def skip(self, n: int) -> None:
        for _ in range(n):
            self.push([], caps=False, volumes=False)

    def check(self, window: PanelWindow, recent: np.ndarray) -> None:
        rows = self.config.length_bars + 1
        frame, cap, volume = (
            pd.DataFrame(bars[-rows:], columns=COINS, index=range(len(bars[-rows:])), dtype=float)
            for bars in (self.close, self.cap, self.volume)
        )
        count = frame.notna().sum()
        seen = sorted(count.index[count > 0])
        assert window.all_coin_ids == tuple(seen)
        assert window.expected == len(frame)
        assert window.received.tolist() == count[seen].tolist()
        kept = [coin for coin in seen if count[coin] / len(frame) >= self.config.minimum_presence - 1e-12]
        assert window.coin_ids == tuple(kept)
        np.testing.assert_array_equal(window.closes, frame[kept].to_numpy().reshape(len(frame), len(kept)))
        np.testing.assert_allclose(window.presence, count[kept] / max(len(frame), 1))
        np.testing.assert_allclose(window.all_presence, count[seen] / max(len(frame), 1))
        last_cap = cap.ffill().iloc[-1] if len(cap) else cap.sum()
        np.testing.assert_array_equal(window.market_cap, last_cap[kept].to_numpy(dtype=float))
        in_returns = volume.iloc[max(len(volume) - self.config.length_bars, 0) :]
        np.testing.assert_allclose(window.dollar_volume, in_returns[kept].sum().to_numpy(dtype=float))
        share = frame[seen].iloc[-3:].notna().mean() if len(frame) else np.zeros(0)
        np.testing.assert_allclose(window.recent_presence(3), share)
        np.testing.assert_allclose(recent, share)


def push(panel: Panel, cells: list[tuple[str, float, float, float]], caps: bool, volumes: bool) -> None:
    close, cap, volume = (np.array([cell[k] for cell in cells], dtype=float) for k in (1, 2, 3))
    panel.push([cell[0] for cell in cells], close, cap if caps else None, volume if volumes else None)


def same(a: PanelWindow, b: PanelWindow) -> None:
    for name in PanelWindow.__slots__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 6), st.sampled_from([0.0, 0.4, 0.75, 1.0]), st.lists(STEP, max_size=25))
def test_panel_equals_a_frame_of_all_bars(length: int, presence: float, steps: list) -> None:
    config = PanelConfig(length, presence)
    panel, twin = config.build(), Twin(config)
    for step in steps:
        if step == "restart":
            panel = config.build(panel.snapshot())
        elif isinstance(step, int):
            panel.skip(step)
            twin.skip(step)
        else:
            push(panel, *step)
            # of a coin given twice the last real price counts, and its volume with it
            twin.push(*step)
        assert panel.bars == len(twin.close)
        assert panel.full == (panel.bars > length)
    twin.check(panel.window(), panel.recent_presence(3))


@settings(max_examples=60, deadline=None)
@given(st.lists(BAR, max_size=12), st.integers(0, 12))
def test_restored_panel_goes_on_as_if_nothing_had_happened(bars: list, at: int) -> None:
    config = PanelConfig(4, 0.5)
    straight, broken = config.build(), config.build()
    for number, bar in enumerate(bars):
        push(straight, *bar)
        if number == at:
            broken = config.build(broken.snapshot())
        push(broken, *bar)
    same(straight.window(), broken.window())
    assert straight.snapshot() == broken.snapshot()


def test_snapshot_is_a_copy(rng: np.random.Generator) -> None:
    panel = PanelConfig(3).build()
    panel.push(["a", "b"], np.array([1.0, 2.0]))
    saved = panel.snapshot()
    window = panel.window()
    panel.push(["a", "b"], np.array([9.0, 9.0]))
    assert PanelConfig(3).build(saved).window().closes.tolist() == [[1.0, 2.0]]
    assert window.closes.tolist() == [[1.0, 2.0]]


def test_coins_that_come_and_go_leave_no_memory_behind(rng: np.random.Generator) -> None:
    panel = PanelConfig(5, 0.0).build()
    for bar in range(400):
        coins = [f"{bar}-{i}" for i in range(40)] + ["steady"]
        panel.push(coins, rng.uniform(1, 2, 41), np.full(41, 1e6), np.ones(41))
    window = panel.window()
    assert len(window.coin_ids) == 6 * 40 + 1
    assert window.received[window.all_coin_ids.index("steady")] == 6
    assert panel._closes.shape[1] < 1200  # 16,001 coins were seen
    assert len(panel.snapshot()) < 60_000


def test_a_returning_coin_keeps_its_prices_when_room_is_made_in_the_same_bar() -> None:
    panel = PanelConfig(2, 0.0).build()
    panel.push(["returning"], np.array([1.0]))
    panel.skip(3)
    crowd = [f"c{i:03}" for i in range(200)]
    panel.push([*crowd, "returning"], np.arange(1.0, 202.0))
    window = panel.window()
    assert window.all_coin_ids == (*crowd, "returning")
    assert window.closes[-1].tolist() == np.arange(1.0, 202.0).tolist()


def test_codes_hold_for_the_life_of_the_panel() -> None:
    panel = PanelConfig(1, 0.0).build()
    codes = panel.codes(["b", "a", "b"])
    assert codes.tolist() == [0, 1, 0]
    panel.skip(5)
    panel.push_codes(panel.codes(np.array(["a", "c"], dtype=object)), np.array([1.0, 3.0]))
    panel.push_codes(codes[:2], np.array([20.0, 10.0]))
    assert panel.window().coin_ids == ("a", "b", "c")
    np.testing.assert_array_equal(panel.window().closes, [[1.0, np.nan, 3.0], [10.0, 20.0, np.nan]])


def test_a_market_cap_older_than_the_window_is_unknown() -> None:
    panel = PanelConfig(2, 0.0).build()
    panel.push(["a"], np.array([1.0]), np.array([5.0]))
    for _ in range(2):
        panel.push(["a"], np.array([1.0]))
        assert panel.window().market_cap.tolist() == [5.0]
    panel.push(["a"], np.array([1.0]))
    assert np.isnan(panel.window().market_cap).all()


def test_presence_of_nineteen_in_twenty_is_enough_at_095() -> None:
    panel = PanelConfig(19, 0.95).build()
    panel.push(["a"], np.ones(1))
    for _ in range(19):
        panel.push(["a", "b"], np.ones(2))
    assert panel.window().coin_ids == ("a", "b")
    panel.skip(1)
    assert panel.window().coin_ids == ("a", "b")
    panel.skip(1)
    assert panel.window().coin_ids == ()


def test_an_empty_panel_has_an_empty_window() -> None:
    panel = PanelConfig(3).build()
    window = panel.window()
    assert window.coin_ids == window.all_coin_ids == ()
    assert window.closes.shape == (0, 0)
    assert panel.config.build(panel.snapshot()).window().closes.shape == (0, 0)


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        (b"", "not a snapshot"),
        (b"\xff\x00", "not a snapshot"),
        (msgspec.msgpack.encode({"version": 1}), "not a snapshot"),
        (PanelConfig(3).build().snapshot().replace(b"\xa7version\x01", b"\xa7version\x63"), "version 99"),
        (PanelConfig(4).build().snapshot(), "4 bars long, not 3"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused(saved: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PanelConfig(3).build(saved)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_snapshots_raise_value_errors_only(data: st.DataObject) -> None:
    panel = PanelConfig(2).build()
    panel.push(["a", "b"], np.array([1.0, 2.0]), np.ones(2), np.ones(2))
    saved = bytearray(panel.snapshot())
    del saved[data.draw(st.integers(0, len(saved) - 1)) :]
    with pytest.raises(ValueError):
        PanelConfig(2).build(bytes(saved))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one return"):
        PanelConfig(0)
    with pytest.raises(ValueError, match="share"):
        PanelConfig(3, 1.5)
    panel = PanelConfig(3).build()
    with pytest.raises(ValueError, match="2 values for 1 coins"):
        panel.push(["a"], np.ones(2))
    with pytest.raises(ValueError, match="taken back"):
        panel.skip(-1)
    with pytest.raises(ValueError, match="at least one bar"):
        panel.recent_presence(0)
    with pytest.raises(ValueError, match="at least one bar"):
        panel.window().recent_presence(0)
