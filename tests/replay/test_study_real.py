"""The study of the real market of 2021, with the figures that the documentation gives."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.config import Config, parse
from flows.study import StudyOptions, report
from flows.study_fit import Extras, agreement, fit_study
from flows.study_input import read_daily

pytestmark = pytest.mark.data

NEAREST = """
[universe]
exclude = []
duplicates_above_correlation = 1.0

[[windows]]
minimum_presence = 1.0
[windows.shape]
dc = 1.0
order = "dtwclust"
"""
"""The settings nearest to the run that the reference figures (26 of 45 cells, six largest 67.5%) come from."""


@pytest.fixture(scope="module")
def prices(shared_data: Path) -> Path:
    return shared_data / "prices_daily_2021_coingecko.parquet"


def test_the_whole_study_is_written(prices: Path, tmp_path: Path) -> None:
    written = report(prices, tmp_path / "study", Config(), StudyOptions(), lambda _: None)
    figures = json.loads((tmp_path / "study" / "study.json").read_text())["figures"]
    assert figures == written.figures
    assert figures["coins"] == 1_167
    assert figures["possible_intersections"] == 45
    assert figures["intersections"] == 20
    assert figures["share_of_six_largest"] == pytest.approx(0.805, abs=0.005)
    assert figures["sizes"] == {
        "moments": [633, 437, 97],
        "distribution": [453, 427, 206, 66, 15],
        "shape": [1034, 131, 2],
    }
    assert figures["ari"]["moments, distribution"] == pytest.approx(0.115, abs=0.001)
    assert figures["clusters"]["comovement"] == 129
    shares = pq.read_table(tmp_path / "study" / "tables" / "top_shares.parquet").to_pylist()
    assert 0.6 < shares[0]["share_of_market_cap"] < shares[1]["share_of_market_cap"] < shares[2]["share_of_market_cap"]
    liquid = pq.read_table(tmp_path / "study" / "tables" / "screen_liquid.parquet")
    assert "litecoin" in liquid.column("coin_id").to_pylist()
    assert (tmp_path / "study" / "index.html").stat().st_size < 8_000_000


def test_the_reference_run_is_met(prices: Path) -> None:
    """26 of 45 cells and two thirds in the reference; a coin with absurd prices is screened here, and cells move."""
    config = parse(tomllib.loads(NEAREST), "test")
    study = fit_study(read_daily(prices), config, Extras(), lambda _: None)
    sizes = sorted(int((study.labels["shape"] == label).sum()) for label in range(3))
    assert sizes == pytest.approx([161, 322, 570], abs=2)
    assert abs(study.cells.populated - 26) <= 1
    assert study.cells.share_of_top(6) == pytest.approx(0.675, abs=0.01)
    ari = {(a, b): value for a, b, value in agreement(study)}
    assert ari["moments", "distribution"] == pytest.approx(0.114, abs=0.002)
    assert ari["moments", "shape"] == pytest.approx(0.002, abs=0.005)
    assert ari["distribution", "shape"] == pytest.approx(0.057, abs=0.01)
