"""The study of a small market: what it writes, and that it is what the models say."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from connectors.errors import ConfigError, InputError, StateError
from flows.cli import app
from flows.config import Config, parse
from flows.study import StudyOptions, report
from flows.study_fit import Extras, agreement, fit_study
from flows.study_input import DailyPrices, read_coins, read_daily, read_series
from flows.study_map import write_map
from flows.study_pictures import quarters
from flows.study_replication import replicate
from flows.study_screen import Conditions, lines, screened
from flows.views import PROTOTYPE_VIEWS
from models.partitions import adjusted_rand

DAYS, COINS, GROUPS = 220, 48, 3
DAY_US = 86_400_000_000
START_US = 1_609_459_200_000_000

CONFIG = parse(
    {
        "windows": [
            {
                "length_bars": 60,
                "moments": {"starts": 5},
                "distribution": {"starts": 5},
                "descriptors": {"simulations": 200},
            }
        ]
    },
    "test",
)
TABLES = {
    "fits", "memberships", "prototypes", "intersections", "agreement", "descriptors", "associations", "p_values",
    "edges", "embedding", "alluvial", "top_shares", "excluded", "coins", "screen_universe",
    "screen_universe_associations", "best_sharpe",
}  # fmt: skip
PICTURES = {
    "prices", "map", "map-3d", "partial-correlations", "plane-comovement", "plane-moments", "plane-distribution",
    "plane-shape", "prototypes", "medoids", "alluvial", "intersections", "associations",
}  # fmt: skip


def silent(_: str) -> None:
    pass


def market(seed: int = 3) -> pa.Table:
    """Coins of three groups that differ in volatility, a few holes, one price that is none, ids that need care."""
    rng = np.random.default_rng(seed)
    group = np.arange(COINS) % GROUPS
    factor = rng.normal(0, 0.02, (DAYS, GROUPS))
    scale = np.array([0.01, 0.04, 0.09])[group]
    returns = rng.normal(0, 0.02, (DAYS, 1)) + factor[:, group] + rng.standard_t(4, (DAYS, COINS)) * scale
    price = 10 * np.exp(np.cumsum(returns, axis=0))
    price[40, 2] = -1.0
    keep = rng.random((DAYS, COINS)) > 0.01
    keep[: DAYS // 2, 7] = False  # below the presence floor
    day, coin = np.nonzero(keep)
    names = np.array([f"coin-{i:02d}" for i in range(COINS)], dtype=object)
    names[5] = '<b>,"5'
    return pa.table(
        {
            "date": pa.array(START_US + day * DAY_US, pa.timestamp("us", tz="UTC")),
            "coin_id": names[coin],
            "price_usd": price[day, coin],
            "market_cap_usd": (1e6 * (coin + 1)).astype(float),
            "volume_usd": rng.uniform(1e4, 1e6, len(day)),
        }
    )


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "prices.parquet"
    pq.write_table(market(), path)
    return path


@pytest.fixture(scope="module")
def folder(prices: Path) -> Path:
    out = prices.parent / "written"
    report(prices, out, CONFIG, StudyOptions(top=12), silent)
    return out


def table(folder: Path, name: str) -> pa.Table:
    return pq.read_table(folder / "tables" / f"{name}.parquet")


def test_every_table_and_picture_is_written(folder: Path) -> None:
    assert {path.stem for path in (folder / "tables").glob("*.csv")} >= TABLES
    assert {path.stem for path in (folder / "tables").glob("*.parquet")} >= TABLES
    assert {path.stem for path in (folder / "pictures").glob("*.svg")} == PICTURES
    manifest = json.loads((folder / "study.json").read_text())
    assert manifest["first"] == "2021-01-01"
    assert manifest["quarantined"] == {"not a price": 1}
    assert manifest["tables"] == {
        path.stem: pq.read_metadata(path).num_rows for path in (folder / "tables").glob("*.parquet")
    }


def test_csv_and_parquet_say_the_same(folder: Path) -> None:
    for name in ("memberships", "intersections", "agreement", "best_sharpe"):
        both = pc.read_csv(folder / "tables" / f"{name}.csv"), table(folder, name)
        assert both[0].num_rows == both[1].num_rows
        first = both[1].column_names[0]
        assert both[0].column(first).cast(pa.utf8()).to_pylist() == both[1].column(first).cast(pa.utf8()).to_pylist()


def test_the_page_stands_alone(folder: Path) -> None:
    text = (folder / "index.html").read_text()
    assert "http" not in text.replace("http://www.w3.org", "")
    assert 'src="' not in text
    assert "<b>,&quot;5" not in text
    assert "&lt;b&gt;,&quot;5" in text
    for name in ("Beside the paper", "24 of 45", "75%", "Combination", "Screening"):
        assert name in text


def test_the_order_of_rows_changes_no_byte(folder: Path, prices: Path, tmp_path: Path) -> None:
    whole = pq.read_table(prices)
    shuffled = whole.take(pa.array(np.random.default_rng(1).permutation(whole.num_rows)))
    pq.write_table(shuffled, tmp_path / "prices.parquet")
    report(tmp_path / "prices.parquet", tmp_path / "out", CONFIG, StudyOptions(top=12), silent)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.*") if path.name != "study.json")
    assert names == sorted(
        p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*.*") if p.name != "study.json"
    )
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


def test_tables_agree_with_each_other(folder: Path) -> None:
    members = table(folder, "memberships")
    cells = ["-".join(str(row[view]) for view in PROTOTYPE_VIEWS) for row in members.to_pylist()]
    assert members.column("cell").to_pylist() == cells
    sizes = {row["cell"]: row["coins"] for row in table(folder, "intersections").to_pylist()}
    assert sizes == {cell: cells.count(cell) for cell in set(cells)}
    assert table(folder, "intersections").column("running_share").to_pylist()[-1] == pytest.approx(1.0)
    for row in table(folder, "agreement").to_pylist():
        a, b = (members.column(row[name]).to_numpy() for name in ("view_a", "view_b"))
        known = np.isfinite(a.astype(float)) & np.isfinite(b.astype(float))
        assert row["ari"] == pytest.approx(adjusted_rand(a[known].astype(int), b[known].astype(int)))
    flows = [row for row in table(folder, "alluvial").to_pylist() if (row["a"], row["b"]) == ("moments", "shape")]
    assert sum(row["coins"] for row in flows) == len(cells)


def test_the_square_of_p_values_is_symmetric_and_that_of_the_tests(folder: Path) -> None:
    square = table(folder, "p_values")
    names = square.column("variable").to_pylist()
    matrix = np.column_stack([square.column(name).to_numpy() for name in names])
    np.testing.assert_array_equal(matrix, matrix.T)
    for row in table(folder, "associations").to_pylist():
        assert matrix[names.index(row["a"]), names.index(row["b"])] == row["p_fisher"]
    assert np.isnan(matrix[names.index("HeavyTail"), names.index("Beta")])


def test_coins_below_the_presence_floor_take_no_part(folder: Path) -> None:
    assert "coin-07" not in table(folder, "memberships").column("coin_id").to_pylist()


def test_screening_is_a_filter(folder: Path) -> None:
    rows = table(folder, "coins").to_pylist()
    cell = max({row["cell"] for row in rows}, key=lambda name: (sum(row["cell"] == name for row in rows), name))
    found = screened(folder, Conditions(cells=cell, sharpe="-10", cap="2e7", where=("HeavyTail=light",)))
    wanted = [
        row["coin_id"]
        for row in rows
        if row["cell"] == cell and row["Sharpe.value"] >= -10 and row["MkCap.value"] >= 2e7
        and row["HeavyTail"] == "light"
    ]  # fmt: skip
    assert found["coin_id"].tolist() == wanted
    assert lines(found)[-1] == f"{len(wanted)} coins"


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Conditions(cells="9-9-9"), "no coin is in 9-9-9"),
        (Conditions(cap="Q"), "no class 'Q'"),
        (Conditions(beta="Calm"), "no class Calm"),
        (Conditions(where=("moments",)), "is not COLUMN=LEVEL"),
        (Conditions(where=("moon=1",)), "no column 'moon'"),
    ],
)
def test_a_condition_that_cannot_be_is_named(folder: Path, wanted: Conditions, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        screened(folder, wanted)


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no study"):
        screened(tmp_path, Conditions())


def test_a_finished_study_is_kept_unless_told(folder: Path, prices: Path, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="holds a study"):
        report(prices, folder, CONFIG, StudyOptions(), silent)
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(StateError, match="neither empty nor"):
        report(prices, tmp_path, CONFIG, StudyOptions(overwrite=True), silent)
    assert (tmp_path / "diary.txt").read_text() == "mine"
    with pytest.raises(StateError, match="is not a folder"):
        report(prices, prices, CONFIG, StudyOptions(), silent)


def test_a_fault_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("date,coin_id,price\n2021-01-01,a,1\n2021-01-02,a,2\n2021-01-03,a,2\n")
    with pytest.raises(InputError, match="cannot be studied: 1 coins"):
        report(tmp_path / "prices.csv", tmp_path / "out", CONFIG, StudyOptions(), silent)
    assert not (tmp_path / "out").exists()


def test_prices_alone_are_enough(tmp_path: Path) -> None:
    """A wide table without capitalisation and volume: no index, no beta, and nothing invented."""
    rng = np.random.default_rng(5)
    price = 5 * np.exp(np.cumsum(rng.normal(0, 0.03, (80, 9)), axis=0))
    days = [str(np.datetime64("2021-01-01") + i) for i in range(80)]
    rows = [",".join([day, *(f"{value:.6f}" for value in row)]) for day, row in zip(days, price, strict=True)]
    (tmp_path / "wide.csv").write_text("date," + ",".join(f"c{i}" for i in range(9)) + "\n" + "\n".join(rows))
    report(tmp_path / "wide.csv", tmp_path / "out", CONFIG, StudyOptions(), silent)
    names = set(table(tmp_path / "out", "descriptors").column("name").to_pylist())
    assert names == {"Sharpe", "HeavyTail"}
    assert "screen_liquid" not in {path.stem for path in (tmp_path / "out" / "tables").glob("*.csv")}
    text = (tmp_path / "out" / "index.html").read_text()
    assert "nan%" not in text
    assert ">nan<" not in text


def test_a_replication_on_the_same_span_agrees_with_itself(prices: Path) -> None:
    given = read_daily(prices)
    study = fit_study(given, CONFIG, Extras(), silent)
    found = replicate(study, given, CONFIG, Extras(), silent)
    assert found.ari == dict.fromkeys(PROTOTYPE_VIEWS, 1.0)
    assert found.changed == ()
    assert found.common == len(study.coin_ids)


def test_a_replication_keeps_the_number_of_clusters(prices: Path, tmp_path: Path) -> None:
    chosen = parse({"windows": [{"moments": {"clusters": 0, "starts": 3}, "descriptors": {"simulations": 50}}]}, "test")
    given = read_daily(prices)
    study = fit_study(given.between(None, dt.date(2021, 4, 30)), chosen, Extras(), silent)
    found = replicate(study, given, chosen, Extras(), silent)
    for view in PROTOTYPE_VIEWS:
        assert len(found.second.views[view].exemplars) == len(study.views[view].exemplars)
    assert set(found.second.coin_ids) <= set(study.coin_ids)
    pq.write_table(found.tables()["replication"], tmp_path / "x.parquet")


def test_extras_are_used(prices: Path, tmp_path: Path) -> None:
    given = read_daily(prices)
    days = [str(day.astype("M8[D]")) for day in given.days]
    one = given.coin_ids.index("coin-10")
    own = given.closes[:, one]
    (tmp_path / "index.csv").write_text(
        "date,close\n" + "\n".join(f"{d},{v}" for d, v in zip(days, own, strict=True) if np.isfinite(v))
    )
    (tmp_path / "rates.csv").write_text("date,daily_rate\n2020-12-01,0.001\n2021-03-01,0.002\n")
    (tmp_path / "coins.csv").write_text(
        "coin_id,listed_on,algorithm\n"
        + "\n".join(f"coin-{i:02d},2019-01-{i % 28 + 1:02d},{'AB'[i % 2]}" for i in range(40))
    )
    extras = Extras(
        index=read_series(tmp_path / "index.csv", "close"),
        risk_free=read_series(tmp_path / "rates.csv", "daily_rate"),
        coins=read_coins(tmp_path / "coins.csv"),
    )
    study = fit_study(given, CONFIG, extras, silent)
    at = study.coin_ids.index("coin-10")
    assert study.own_index is None
    assert study.descriptors.values["Beta"][at] == pytest.approx(1.0)
    assert {"Age", "Algorithm"} <= set(study.descriptors.values)
    plain = fit_study(given, CONFIG, Extras(), silent)
    returns = np.diff(np.log(own))
    rate = np.where(given.days[1:] >= np.datetime64("2021-03-01"), 0.002, 0.001)
    excess = (returns - rate)[np.isfinite(returns)]
    assert study.descriptors.values["Sharpe"][at] == pytest.approx(excess.mean() / excess.std(ddof=1) * np.sqrt(365))
    assert study.descriptors.values["Sharpe"][at] < plain.descriptors.values["Sharpe"][at]
    assert ("Algorithm", "moments") in {(one.counts.a, one.counts.b) for one in study.associations.tests}
    assert [pair[:2] for pair in agreement(plain)] == list(itertools.combinations(plain.views, 2))


@settings(max_examples=20)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 6 * 24), st.sampled_from("abc"), st.sampled_from([1.5, 2.0, 7.0]),
            st.sampled_from([None, 5.0, 9.0]),
        ), min_size=1, unique_by=lambda row: row[:2],
    )
)  # fmt: skip
def test_daily_closes_are_the_last_prices_of_each_day(
    rows: list[tuple[int, str, float, float | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = (
        [*rows, (0, "a", 3.0, None), (6 * 24, "c", 4.0, None)]
        if not {(0, "a"), (144, "c")} & {r[:2] for r in rows}
        else rows
    )
    path = tmp_path_factory.mktemp("daily") / "p.parquet"
    pq.write_table(
        pa.table(
            {
                "time": pa.array([START_US + 3_600_000_000 * row[0] for row in rows], pa.timestamp("us", tz="UTC")),
                "coin_id": [row[1] for row in rows],
                "price": [row[2] for row in rows],
                "market_cap": pa.array([row[3] for row in rows], pa.float64()),
            }
        ),
        path,
    )
    ends = sorted({-(-row[0] // 24) for row in rows})
    if ends[-1] - ends[0] < 2:
        with pytest.raises(InputError, match="spans"):
            read_daily(path)
        return
    found = read_daily(path)
    price: dict[tuple[int, str], float] = {}
    cap: dict[tuple[int, str], float] = {}
    for hour, coin, value, own in sorted(rows):
        price[-(-hour // 24) - ends[0], coin] = value
        if own is not None:
            cap[-(-hour // 24) - ends[0], coin] = own
    assert found.coin_ids == tuple(sorted({row[1] for row in rows}))
    for (day, i), (values, twin) in itertools.product(
        np.ndindex(found.closes.shape), ((found.closes, price), (found.market_cap, cap))
    ):
        expected = twin.get((day, found.coin_ids[i]), np.nan)
        np.testing.assert_equal(values[day, i], expected)


def test_days_between(prices: Path) -> None:
    given = read_daily(prices)
    cut = given.between(dt.date(2021, 2, 1), dt.date(2021, 2, 3))
    assert [str(day.astype("M8[D]")) for day in cut.days] == ["2021-02-01", "2021-02-02", "2021-02-03"]
    assert isinstance(cut, DailyPrices)
    with pytest.raises(InputError, match="2 days are left of 2021-01-01"):
        given.between(dt.date(2021, 2, 1), dt.date(2021, 2, 2))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("day,close\n2021-01-01,1\n", "has no column 'date'; it has day, close"),
        ("date,close\n2021-01-01,much\n", "is not numbers"),
        ("date,close\nsoon,1\n", "has a date that is none"),
    ],
)
def test_a_bad_index_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        read_series(tmp_path / "index.csv", "close")


def test_an_index_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_coins(tmp_path / "coins.csv")


def test_quarters_are_cut_by_the_calendar() -> None:
    days = np.arange("2020-11-30", "2021-12-31", dtype="datetime64[D]").astype("datetime64[us]")
    found = quarters(days)
    assert [name for name, _ in found] == ["2021 Q1", "2021 Q2", "2021 Q3", "2021 Q4"]
    assert str(days[found[1][1]][0].astype("M8[D]")) == "2021-04-01"
    assert str(days[found[1][1]][-1].astype("M8[D]")) == "2021-06-30"


@pytest.mark.parametrize("ending", ["svg", "png", "html"])
def test_a_map_is_written_and_written_alike(ending: str, prices: Path, tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.{ending}"
        line = write_map(prices, dt.date(2021, 6, 30), path, CONFIG, 20, silent)
        assert "20 coins in " in line
        assert line.endswith("60 days to 2021-06-30")
        texts.append(path.read_bytes())
    assert texts[0] == texts[1]
    assert {"svg": b"<svg", "png": b"\x89PNG", "html": b"<!doctype html>"}[ending] in texts[0][:20]


def test_a_map_that_cannot_be_is_named(prices: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not end in \.svg"):
        write_map(prices, dt.date(2021, 6, 30), tmp_path / "map.pdf", CONFIG, 20, silent)
    with pytest.raises(InputError, match="no window that ends at 2031"):
        write_map(prices, dt.date(2031, 6, 30), tmp_path / "map.svg", CONFIG, 20, silent)


def test_commands(prices: Path, folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    for command in ("report", "map", "screen"):
        assert "Example" in runner.invoke(app, [command, "--help"]).output
    done = runner.invoke(
        app, ["map", "--at", "2021-05-01", str(prices), "--out", str(tmp_path / "m.svg"), "--top", "10"]
    )
    assert done.exit_code == 0, done.output
    assert "10 coins" in done.output
    found = runner.invoke(app, ["screen", str(folder), "--cap", "P99", "--csv", str(tmp_path / "found.csv")])
    assert found.exit_code == 0
    assert pc.read_csv(tmp_path / "found.csv").num_rows == int(found.output.strip().split("\n")[-1].split()[0])
    # what an interrupted study left behind is no harm
    out = tmp_path / "out"
    (out / "tables").mkdir(parents=True)
    (out / "tables" / "old.csv").write_text("a")
    written = runner.invoke(app, ["report", str(prices), "--to", "2021-03-01", "--out", str(out), "--top", "5"])
    assert written.exit_code == 0, written.output
    assert "intersections" in written.output
    assert not (out / "tables" / "old.csv").exists()
    assert json.loads((out / "study.json").read_text())["last"] == "2021-03-01"
    assert runner.invoke(app, ["report", str(prices), "--to", "soon", "--out", str(out)]).exit_code == 2


def test_the_default_configuration_studies_too(prices: Path) -> None:
    study = fit_study(read_daily(prices).between(None, dt.date(2021, 2, 28)), Config(), Extras(), silent)
    assert study.cells.possible == 45
