"""Small inputs for replays: a market whose groups move together, and a chain with the four behaviours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

DAYS, COINS, GROUPS = 150, 30, 3
DAY_US = 86_400_000_000

CONFIG = """
[[windows]]
name = "short"
bar_interval = "1d"
length_bars = 30
refit_every_bars = 1
views = ["comovement"]

[[windows]]
name = "weekly"
bar_interval = "1d"
length_bars = 45
refit_every_bars = 7
market_mode = "keep"
views = ["comovement", "moments", "distribution", "shape"]
moments = { clusters = 3, starts = 5 }
distribution = { clusters = 3, starts = 5 }
descriptors = { every_fits = 5, simulations = 200 }

[behaviour]
window_days = 2
refit_every_hours = 12
minimum_entities = 50

[service]
epoch_seconds = 0.3
"""


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "shoal.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="session")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long table; one coin changes its group half way, some prices are missing, one is not a price."""
    rng = np.random.default_rng(7)
    factor = rng.normal(0, 0.03, (DAYS, GROUPS))
    group = np.tile(np.arange(COINS) % GROUPS, (DAYS, 1))
    group[DAYS // 2 :, 4] = (4 + 1) % GROUPS
    returns = rng.normal(0, 0.02, (DAYS, 1)) + np.take_along_axis(factor, group, 1) + rng.normal(0, 0.02, (DAYS, COINS))
    price = 10 * np.exp(np.cumsum(returns, axis=0))
    price[40, 2], price[41, 3] = -1.0, np.nan
    day, coin = np.divmod(np.arange(DAYS * COINS), COINS)
    keep = rng.random(DAYS * COINS) > 0.002
    names = np.array([f"coin-{i:02d}" for i in range(COINS)])
    table = pa.table(
        {
            "date": pa.array(1_609_459_200_000_000 + day[keep] * DAY_US, pa.timestamp("us", tz="UTC")),
            "coin_id": names[coin[keep]],
            "price_usd": price.ravel()[keep],
            "market_cap_usd": (1e6 * (coin[keep] + 1)).astype(float),
            "volume_usd": np.full(keep.sum(), 1e4),
        }
    )
    path = tmp_path_factory.mktemp("inputs") / "prices.parquet"
    pq.write_table(table.take(pa.array(rng.permutation(keep.sum()))), path)
    return path


@pytest.fixture(scope="session")
def transfers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An edge list of five days: receivers, senders, traders of either balance, and noise."""
    rng = np.random.default_rng(8)
    n = 6_000
    start, length = 1_609_459_200, 5 * 86_400
    sender = np.where(rng.random(n) < 0.4, rng.integers(100, 200, n), rng.integers(200, 400, n))
    receiver = np.where(rng.random(n) < 0.4, rng.integers(0, 100, n), rng.integers(200, 400, n))
    receiver = np.where(rng.random(n) < 0.03, 10_000 + np.arange(n), receiver)
    value = (np.minimum(rng.pareto(1.8, n), 50) * 1e17).astype(np.int64) + 1
    table = pa.table(
        {
            "block_timestamp": np.sort(rng.integers(start, start + length, n)),
            "from_address": [f"0x{a:040x}" for a in sender],
            "to_address": [f"0x{a:040x}" for a in receiver],
            "value": [str(v) for v in value],
        }
    )
    path = tmp_path_factory.mktemp("inputs") / "transfers.parquet"
    pq.write_table(table, path)
    return path
