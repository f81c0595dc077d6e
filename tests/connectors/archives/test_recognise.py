from __future__ import annotations

import gzip
import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from connectors.archives import recognise, recognise_all
from connectors.errors import InputError

from .conftest import Write, drain

PRICES = "date,coin_id,price\n2021-01-01,a,1\n2021-01-02,a,2\n"
EDGES = "from,to,value,time\na,b,1,1600000000\n"


def refusal(path: Path) -> InputError:
    """Return the error of recognising or of opening."""
    with pytest.raises(InputError) as caught:
        recognise(path).open()
    assert caught.value.path == str(path)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv").problem == "does not exist"


def test_empty_and_blank_files(write: Write) -> None:
    assert refusal(write(b"")).problem == "is empty"
    assert refusal(write(b"\n \n\r\n")).problem == "holds nothing but blank lines"
    assert refusal(write(b"", "empty.csv.gz")).problem == "holds nothing but blank lines"


def test_what_is_neither_a_file_nor_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe").problem == "is not a file"


def test_binary_garbage(write: Write, rng: np.random.Generator) -> None:
    assert "neither Parquet nor text" in refusal(write(b"\x7fELF\0\0\0" + rng.bytes(5_000))).problem
    assert "UTF-8" in refusal(write(b"\xff\xfe\x80abc,def\n1,2\n")).problem
    assert "neither" in refusal(write(PRICES.encode("utf-16"))).problem


def test_a_damaged_parquet_says_so(write_parquet: Write, write: Write) -> None:
    table = {"date": pa.array(["2021-01-01"] * 500), "coin_id": [f"c{i}" for i in range(500)], "price": [1.0] * 500}
    raw = write_parquet(table).read_bytes()
    for cut in (4, 40, len(raw) // 2, len(raw) - 1):
        assert "damaged, cut off" in refusal(write(raw[:cut], "cut.parquet")).problem
    broken = bytearray(raw)
    broken[8:600] = b"\xa5" * 592  # pages destroyed, the footer whole
    assert "damaged, cut off" in refusal(write(bytes(broken), "broken.parquet")).problem


def test_a_parquet_without_the_columns_names_them(write_parquet: Write) -> None:
    error = refusal(write_parquet({"date": ["2021-01-01"], "coin_id": ["a"], "cap": [1.0]}))
    assert "lacks a price (price, close, price_usd, close_usd); its columns are date, coin_id, cap" in error.problem


def test_an_error_is_one_line_whatever_the_file_holds(write_parquet: Write) -> None:
    refusal(write_parquet({"date": ["2021\n01"], "coin_id": ["a"], "price": [1.0]}))
    assert "its columns are a b" in refusal(write_parquet({"a\nb": ["x"]})).problem


def test_a_parquet_without_rows(write_parquet: Write) -> None:
    table = pa.table(
        {"date": pa.array([], pa.date32()), "coin_id": pa.array([], pa.utf8()), "price": pa.array([1.0])[:0]}
    )
    assert refusal(write_parquet(table)).problem == "has no rows"


def test_a_cut_gzip_and_a_damaged_zip(write: Write, tmp_path: Path) -> None:
    body = "date,coin_id,price\n" + "".join(f"2021-01-01,c{i * 7919 % 100_003},{i}\n" for i in range(50_000))
    raw = gzip.compress(body.encode())
    assert "damaged, cut off" in refusal(write_raw(tmp_path / "cut.csv.gz", raw[: len(raw) // 2])).problem
    assert "damaged, cut off" in refusal(write_raw(tmp_path / "head.csv.gz", raw[:12])).problem
    packed = write(body, "whole.zip").read_bytes()
    assert "damaged, cut off" in refusal(write_raw(tmp_path / "cut.zip", packed[:-50])).problem
    broken = bytearray(packed)
    broken[5_000:5_100] = b"\0" * 100
    assert "damaged, cut off" in refusal(write_raw(tmp_path / "broken.zip", bytes(broken))).problem


def write_raw(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


def test_a_zip_of_several_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", PRICES)
        archive.writestr("b.csv", PRICES)
    error = refusal(tmp_path / "two.zip")
    assert (error.problem, error.remedy) == ("is a zip of 2 files where one is needed", "unpack it")


def test_names_do_not_matter(write: Write, write_parquet: Write) -> None:
    assert recognise(write(gzip.compress(PRICES.encode()), "prices.parquet")).format == "prices-long"
    path = write_parquet({"date": ["2021-01-01"], "coin_id": ["a"], "price": [1.0]}, "prices.csv")
    assert recognise(path).format == "prices-long"


def test_folders_without_anything_to_read(write: Write, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").problem == "is an empty folder"
    write("hello, world\n", "odd/notes.txt")
    (tmp_path / "odd" / "below").mkdir()
    problem = refusal(tmp_path / "odd").problem
    assert problem.startswith("holds no file that can be read: below: is not a file; notes.txt: has no format")


def test_a_folder_of_several_formats_is_several_archives(write: Write, tmp_path: Path) -> None:
    write(PRICES, "in/b.csv")
    write(EDGES, "in/a.csv")
    assert "holds files of 2 formats (transfers: a.csv; prices-long: b.csv)" in refusal(tmp_path / "in").problem
    archives = recognise_all(tmp_path / "in")
    assert [(archive.format, archive.branch) for archive in archives] == [
        ("transfers", "chain"),
        ("prices-long", "market"),
    ]
    assert len(drain(archives[1].open()).rows) == 2
    assert [archive.format for archive in recognise_all(tmp_path / "in" / "a.csv")] == ["transfers"]


def test_the_digest_of_a_file_is_that_of_its_bytes_and_of_a_folder_that_of_its_files(
    write: Write, tmp_path: Path
) -> None:
    path = write(PRICES, "in/b.csv")
    assert recognise(path).digest() == hashlib.sha256(path.read_bytes()).hexdigest()
    whole = recognise(tmp_path / "in").digest()
    write("notes", "in/readme.txt")
    assert recognise(tmp_path / "in").digest() == whole
    path.rename(path.with_name("c.csv"))
    assert recognise(tmp_path / "in").digest() != whole
    path = path.with_name("c.csv")
    archive = recognise(path)
    path.unlink()
    with pytest.raises(InputError, match="damaged, cut off or not accessible"):
        archive.digest()
    with pytest.raises(InputError, match="damaged, cut off or not accessible"):
        archive.open()


def test_the_estimate_of_rows_is_near(write: Write) -> None:
    body = "date,coin_id,price\n" + "".join(f"2021-01-01,coin{i:05d},1.5\n" for i in range(20_000))
    for name in ("a.csv", "a.csv.gz", "a.zip"):
        assert recognise(write(body, name)).rows_estimate == pytest.approx(20_000, rel=0.05)
