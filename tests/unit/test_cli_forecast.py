"""`vagus forecast` on good and broken files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from vagus.cli import cli
from vagus.cli import forecast as module
from vagus.cli.forecast import read_column
from vagus.errors import VagusError

VALUES = [10.0 + Random(at).gauss(0, 1) for at in range(120)]


def write(folder: Path, text: str | bytes, name: str = "series.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def csv_of(values: list[float]) -> str:
    return "timestamp,value\n" + "".join(f"2014-04-10 00:{at % 60:02}:00,{v!r}\n" for at, v in enumerate(values))


def ask(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["forecast", *map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_what_is_counted_is_what_the_help_says(tmp_path: Path) -> None:
    answer = ask(write(tmp_path, csv_of(VALUES)))
    lasts = [abs(VALUES[at] - VALUES[at - 1]) for at in range(50, 120)]
    assert answer["mae_last"] == pytest.approx(math.fsum(lasts) / 70)
    assert answer["ratio"] == pytest.approx(answer["mae_bank"] / answer["mae_last"])
    assert answer["ratio"] < 0.95
    assert (answer["counted"], answer["warm_up"], answer["missing"], answer["column"]) == (70, 50, 0, "value")
    by_name = {each["name"]: each for each in answer["forecasters"]}
    assert by_name["last"]["mae"] == pytest.approx(answer["mae_last"])
    assert sum(each["spoke"] for each in answer["forecasters"]) == pytest.approx(1.0)
    assert answer["chosen"] in by_name
    assert 8.0 < answer["next"] < 12.0
    assert ask(tmp_path / "series.csv", "--warm-up", 25)["counted"] == 95


def test_missing_cells_neither_count_nor_warm_up(tmp_path: Path) -> None:
    holes = csv_of(VALUES[:60]) + "2014-04-10,\n2014-04-10,NaN\n" + csv_of(VALUES[60:]).partition("\n")[2]
    answer = ask(write(tmp_path, holes))
    whole = ask(write(tmp_path, csv_of(VALUES), "whole.csv"))
    assert answer["missing"] == 2
    assert {**answer, "file": "", "missing": 0} == {**whole, "file": ""}


def test_constants_and_only_some_forecasters(tmp_path: Path) -> None:
    answer = ask(write(tmp_path, csv_of([3.0] * 60)), "--forecaster", "last", "--forecaster", "mean")
    assert (answer["mae_bank"], answer["mae_last"], answer["ratio"]) == (0.0, 0.0, 1.0)
    assert [each["name"] for each in answer["forecasters"]] == ["last", "mean"]
    assert answer["forecasters"][0]["ratio"] is None


def test_the_table_is_for_people(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["forecast", str(write(tmp_path, csv_of(VALUES)))])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["forecaster", "MAE", "to", "last", "chosen"]
    assert lines[1].startswith("bank")
    assert lines[-1].startswith("next value of value:")
    assert "70 values counted, after 50 to warm up" in done.stderr


@pytest.mark.parametrize(
    ("text", "column", "name", "values"),
    [
        ("0.0\t4.5\n1.2\t5\n", "", "column 2", [4.5, 5.0]),
        ("0 4.5\n1   5\n", "1", "column 1", [0.0, 1.0]),
        ("1,2\n3,4\n", "2", "column 2", [2.0, 4.0]),
        ("7\n8\n", "", "column 1", [7.0, 8.0]),
        ("\n8\n", "", "column 1", [8.0]),
        ("nan\n8\n", "", "column 1", [math.nan, 8.0]),
        ("cpu\n7\n8\n", "", "cpu", [7.0, 8.0]),
        ("a,value\r\n1,2\r\n", "", "value", [2.0]),
        ("\ufeffvalue,b\n1,2\n", "", "value", [1.0]),
        ('# made by hand\n"a;b";rate\n1;"2"\n', "rate", "rate", [2.0]),
        ("a,b\n1,2\n", "2", "b", [2.0]),
        ("value\n", "", "value", []),
        ("value\n-1e-3\n", "value", "value", [-0.001]),
    ],
)
def test_many_shapes_of_files_are_read(tmp_path: Path, text: str, column: str, name: str, values: list[float]) -> None:
    found = read_column(write(tmp_path, text), column)
    assert found[0] == name
    assert found[1] == pytest.approx(values, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        (b"", "", "empty"),
        (b"\n\n", "", "empty"),
        (b"a,b\n1,2\n", "", r"no column 'value': the columns are a, b"),
        (b"a,b\n1,2\n", "c", r"no column 'c'"),
        (b"a,b\n1,2\n", "3", r"no column '3'"),
        (b"a,b\n1,2\n", "0", r"no column '0'"),
        (b"1 2\n3 4\n", "5", r"columns 1 to 2, without names"),
        (b"value\n1\ntwo\n", "", r"line 3: 'two' in value is not a number"),
        (b"value\n1\ninf\n", "", r"line 3: 'inf'"),
        (b"value\n1e200\n", "", r"within ±1e100"),
        (b"a,value\n1,2\n3\n", "", r"line 3: has 1 columns"),
        (b"\xff\xfe\x00", "", r"not UTF-8 text"),
        (b'value,b\n"1\n",2\n', "", r"several lines"),
        (b"value\n1\n2\n", "", r"2 values in value, of which the first 50 only warm"),
    ],
)
def test_broken_files_are_explained(tmp_path: Path, text: bytes, column: str, words: str) -> None:
    path = write(tmp_path, text)
    done = CliRunner().invoke(
        cli, ["forecast", str(path), *(["--column", column] if column else [])], standalone_mode=False
    )
    assert isinstance(done.exception, VagusError)
    with pytest.raises(VagusError, match=words):
        raise done.exception
    assert str(path) in str(done.exception)


def test_absent_and_too_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VagusError, match="No such file"):
        read_column(tmp_path / "none.csv", "")
    with pytest.raises(VagusError, match="directory"):
        read_column(tmp_path, "")
    path = write(tmp_path, "value\n" + "1\n" * 2000)
    monkeypatch.setattr(module, "MOST_VALUES", 1000)
    with pytest.raises(VagusError, match="2000 rows; at most 1000"):
        read_column(path, "")
    monkeypatch.setattr(module, "MOST_BYTES", 1 << 10)
    with pytest.raises(VagusError, match="larger than"):
        read_column(path, "")


def test_an_unknown_forecaster_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli, ["forecast", str(write(tmp_path, csv_of(VALUES))), "--forecaster", "oracle"], standalone_mode=False
    )
    assert "oracle" in str(done.exception)
