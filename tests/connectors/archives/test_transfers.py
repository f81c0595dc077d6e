from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.archives import NEVER_US, Options, recognise
from connectors.errors import InputError

from .conftest import Read, Write, drain

T = 1_600_000_000
HEADER = "chain,block_number,block_timestamp,tx_hash,from_address,to_address,value,log_index\n"
ETL = "hash,nonce,block_number,transaction_index,from_address,to_address,value,gas,block_timestamp\n"


def read(path: Path, limit: int = 1_000, **options: str) -> Read:
    return drain(recognise(path).open(**options), limit)  # type: ignore[arg-type]


def at(second: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(T + second, dt.UTC)


def test_transfers_are_sorted_by_time_block_and_place(write: Write) -> None:
    rows = [
        f"eth,7,{T + 2},b,0xAA,0xBB,3,5",
        f"eth,6,{T},a,0xaa,0xcc,{10**30},9",
        f"eth,5,{T},a2,0xaa,1xCC,2,1",
        f"eth,7,{T + 2},b,0xaa,,4,4",
    ]
    archive = recognise(write(HEADER + "\n".join(rows) + "\n"))
    assert (archive.format, archive.branch, archive.kind, archive.chains) == (
        "transfers",
        "chain",
        "transfers",
        ("eth",),
    )
    got = drain(archive.open(), 2)
    found = [(r["ts_block"], r["height"], r["xfer_index"], r["from_addr"], r["to_addr"], r["amount"]) for r in got.rows]
    assert found == [
        (at(0), 5, 1, "0xaa", "1xCC", 2),
        (at(0), 6, 9, "0xaa", "0xcc", Decimal(10**30)),
        (at(2), 7, 5, "0xaa", "0xbb", 3),
        (at(2), 7, 4, "0xaa", None, 4),
    ]
    assert [r["kind"] for r in got.rows] == ["native", "native", "native", "creation"]
    assert [r["tx_hash"] for r in got.rows] == [b"a2", b"a", b"b", b"b"]
    assert {(r["chain"], r["op"], r["success"]) for r in got.rows} == {("eth", 1, None)}
    assert got.marks == [NEVER_US, T * 10**6, T * 10**6, (T + 2) * 10**6]


def test_ethereum_etl_needs_no_chain_and_its_receipts_tell_success(write: Write, write_parquet: Write) -> None:
    rows = [f"0x{1:064X},0,9,1,0xaa,0xbb,5,21000,{T}", f"0x{2:064x},0,9,0,0xAA,,6,21000,{T}"]
    archive = recognise(write(ETL + "\n".join(rows) + "\n"))
    assert (archive.format, archive.chains) == ("ethereum-etl", ("ethereum",))
    got = drain(archive.open())
    assert [(r["xfer_index"], r["kind"], int.from_bytes(r["tx_hash"], "big")) for r in got.rows] == [
        (0, "creation", 2),
        (1, "native", 1),
    ]
    assert {r["chain"] for r in got.rows} == {"ethereum"}
    assert {r["chain"] for r in read(archive.path, chain="sepolia").rows} == {"sepolia"}
    columns = ETL.strip().split(",")
    table = {name: pa.array([row.split(",")[i] for row in rows]) for i, name in enumerate(columns)}
    for status, expected in (
        (pa.array([1, 0]), [False, True]),
        (pa.array(["0x1", "1"]), [True, None]),
        (pa.array([True, None]), [None, True]),
    ):
        got = read(write_parquet(table | {"receipt_status": status}))
        assert [r["success"] for r in got.rows] == expected


def test_the_chain_is_named_by_the_file_or_by_the_user(write: Write) -> None:
    bare = write(f"from,to,value,time\na,b,1,{T}\n", "bare.csv")
    assert recognise(bare).chains == ()
    with pytest.raises(InputError, match=r"bare.csv: does not say of which chain .*\(give --chain NAME\)"):
        recognise(bare).open()
    assert read(bare, chain="dogecoin").rows[0]["chain"] == "dogecoin"
    assert drain(recognise(bare).open(Options(chain="dogecoin"))).rows[0]["chain"] == "dogecoin"
    rows = f"b,1,{T},h,x,y,1,0\na,1,{T},h,x,y,2,0\n,1,{T},h,x,y,3,0\na,1,{T},k,x,y,x,0\nbroken\n"
    several = recognise(write(HEADER + rows, "several.csv"))
    assert several.chains == ("a", "b")
    with pytest.raises(InputError, match="has transfers of a, b"):
        several.open()
    with pytest.raises(InputError, match="has no transfers of c, but of a, b"):
        several.open(chain="c")
    first, second = drain(several.open(chain="a")), drain(several.open(chain="b"))
    assert [r["amount"] for r in first.rows] == [2]
    assert [r["amount"] for r in second.rows] == [1]
    # what belongs to no chain is counted once, with the first
    assert [r["position"] for r in first.quarantined] == [3, 4, 5]
    assert second.quarantined == []


def test_a_published_edge_list_has_no_blocks_and_no_hashes(write: Write, write_parquet: Write) -> None:
    rows = f"a,b,1,{T + 1}\na,b,1,{T}\na,b,1,{T}\n"
    for header in ("from,to,value,time", "source,target,value,timestamp", "from_addr,to_addr,amount,ts_block"):
        got = read(write(header + "\n" + rows), chain="c")
        assert [(r["height"], r["tx_hash"], r["xfer_index"]) for r in got.rows] == [
            (-1, None, 1),
            (-1, None, 2),
            (-1, None, 0),
        ]
        assert got.quarantined == []  # equal rows may be two transfers: nothing tells them apart
    table = {"source": ["a"], "target": ["b"], "value": pa.array([7], pa.uint64()), "time": pa.array([at(0)])}
    assert read(write_parquet(table), chain="c").rows[0]["amount"] == 7


def test_what_is_no_transfer_is_counted_with_its_reason(write: Write) -> None:
    rows = [
        *(f"c,1,{T},h1,a,b,-1,0", f"c,1,{T},h2,a,b,1.5,0", f"c,1,{T},h3,a,b,1{'0' * 38},0", f"c,1,{T},h4,a,b,,0"),
        *("c,1,never,h5,a,b,1,0", f"c,1,{T},h6,,,1,0", f"c,-3,{T},h7,a,b,1,0", f"c,1,{T},h8,a,b,1,4294967296"),
        *(f"c,1,{T},h9,a,b,1,0", f"c,1,{T},h9,a,b,2,0", f"c,1,{T},h9,a,b,2,1", f"c,,{T},,a,b,2,1", f"c,,{T},,a,b,2,1"),
    ]
    got = read(write(HEADER + "\n".join(rows) + "\n", "t.csv"), 4)
    assert [(r["position"], r["column"], r["reason"]) for r in got.quarantined] == [
        (1, "value", "negative"),
        (2, "value", "not an integer"),
        (3, "value", "more than 38 digits"),
        (4, "value", "no amount"),
        (5, "block_timestamp", "not a time"),
        (6, "from_address", "neither sender nor receiver"),
        (7, "block_number", "not a number of a block or of a place in it"),
        (8, "log_index", "not a number of a block or of a place in it"),
        (10, "", "transaction and index came before"),
    ]
    assert got.quarantined[-1]["detail"] == "first in row 9 of t.csv"
    assert [(r["tx_hash"], r["height"]) for r in got.rows] == [(None, -1), (None, -1), (b"h9", 1), (b"h9", 1)]


def test_without_an_index_only_equal_transfers_are_repeats(write: Write) -> None:
    header = "block_timestamp,tx_hash,from_address,to_address,value\n"
    rows = f"{T},h,a,b,1\n{T},h,a,c,1\n{T},h,a,b,1\n{T},h,a,b,2\n{T},k,a,b,1\n"
    got = read(write(header + rows), chain="c")
    assert [(r["tx_hash"], r["to_addr"], r["amount"], r["xfer_index"]) for r in got.rows] == [
        (b"h", "b", 1, 0),
        (b"h", "c", 1, 1),
        (b"h", "b", 2, 2),
        (b"k", "b", 1, 0),
    ]
    assert [(r["position"], r["reason"]) for r in got.quarantined] == [(3, "the same transfer came before")]


def test_token_transfers_are_refused_since_they_have_no_common_unit(write: Write) -> None:
    path = write(f"token_address,from_address,to_address,value,block_timestamp\nt,a,b,1,{T}\n")
    with pytest.raises(InputError, match="token transfers"):
        recognise(path)


def test_an_amount_in_wei_is_taken_before_one_in_another_unit(write: Write) -> None:
    got = read(write(f"from,to,value,value_wei,time\na,b,0.5,500000000000000000,{T}\n"), chain="c")
    assert got.rows[0]["amount"] == 5 * 10**17


def test_what_is_missing_is_named(write: Write) -> None:
    with pytest.raises(InputError, match=r"looks like transfers but lacks an amount \(value_wei, value, amount\)"):
        recognise(write(f"chain,from,to,time\nc,a,b,{T}\n"))


ROWS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from(["0xA", "b", ""]),
        st.sampled_from(["0xa", "c", ""]),
        st.one_of(st.integers(-2, 10**20).map(str), st.sampled_from(["", "x", "1.5"])),
    ),
    min_size=1,
    max_size=25,
)


@given(ROWS, st.integers(1, 7))
def test_any_table_agrees_with_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int, str, str, str]], limit: int
) -> None:
    path = tmp_path_factory.mktemp("transfers") / "t.csv"
    header = "block_timestamp,block_number,transaction_index,tx_hash,from_address,to_address,value\n"
    path.write_text(header + "".join(f"{T + t},{h},{i},h{h},{a},{b},{v}\n" for t, h, i, a, b, v in rows))
    seen: set[tuple[int, int]] = set()
    expected = []
    for row, (t, h, i, a, b, v) in enumerate(rows):
        if (a or b) and v.isdigit() and (h, i) not in seen:
            seen.add((h, i))
            expected.append((t, h, i, row, a.lower() or None, b.lower() or None, int(v)))
    if not expected:
        with pytest.raises(InputError, match="no usable row"):
            recognise(path).open(chain="c")
        return
    got = read(path, limit, chain="c")
    assert [(r["height"], r["xfer_index"], r["from_addr"], r["to_addr"], int(r["amount"])) for r in got.rows] == [
        (h, i, a, b, v) for _, h, i, _, a, b, v in sorted(expected, key=lambda e: e[:4])
    ]
    assert len(got.rows) + len(got.quarantined) == len(rows)
