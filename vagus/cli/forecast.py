"""`vagus forecast`: how well the forecaster bank does on a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import console, emit_json, json_option, table
from vagus.errors import ConfigError, NoData, unreadable

if TYPE_CHECKING:
    from vagus.forecast.score import Score

MOST_BYTES = 16 << 20
MOST_VALUES = 200_000  # about two minutes
MOST_SIZE = 1e100  # the bank takes larger ones for missing
MISSING = ("", "nan", "na", "null", "none", "-")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--column", default="", metavar="NAME|N", help="Its name, or its number from 1.  [default: value]")
@click.option("--warm-up", type=click.IntRange(1, 100_000), default=50, show_default=True, metavar="N")
@click.option("--forecaster", "forecasters", multiple=True, metavar="NAME", help="Only these; may be repeated.")
@json_option
def forecast(file: Path, column: str, warm_up: int, forecasters: tuple[str, ...], as_json: bool) -> None:
    """Forecast each value of FILE from those before it, and compare with taking the last value.

    What is counted: the first 50 values (--warm-up) are shown to the bank and not counted. From value 51 on, each
    value counts: what was predicted for it before it was shown, less what it was. The mean of these absolute errors
    is the MAE; the ratio is the bank's over the last value's, below 1 is better. Empty cells are missing: they
    neither count nor warm up. (To count the second half of a warm-up of 50 as well: --warm-up 25.)

    FILE is CSV, or columns separated by spaces or tabs, with or without a line of names. Without --column it is the
    column `value`, or the last one of a file without names.

    \b
    Examples:
      vagus forecast cpu.csv
      vagus forecast requests.csv --column rate --json | jq .ratio
      vagus forecast bandwidth.txt --column 2
      vagus forecast cpu.csv --forecaster ses_20 --forecaster last
    """
    import numpy as np

    from vagus.forecast.score import score

    name, values = read_column(file, column)
    known = sum(not math.isnan(v) for v in values)
    if known <= warm_up:
        raise NoData(
            f"{file}: {known} values in {name}, of which the first {warm_up} only warm the forecasters up; "
            "give a longer file, or a smaller --warm-up"
        )
    found = score(np.array(values)[:, np.newaxis], warm_up=warm_up, forecasters=forecasters)
    answer = _answer(file, name, len(values) - known, warm_up, found)
    if as_json:
        emit_json(answer)
        return
    to = console()
    rows = [
        ("bank", _number(answer["mae_bank"]), _number(answer["ratio"]), ""),
        *(
            (each["name"], _number(each["mae"]), _number(each["ratio"]), f"{each['spoke']:.0%}")
            for each in sorted(answer["forecasters"], key=lambda each: (-each["spoke"], each["mae"]))
        ),
    ]
    table(to, ("forecaster", "MAE", "to last", "chosen"), rows, right=("MAE", "to last", "chosen"), wide={})
    click.echo(
        f"next value of {name}: {_number(answer['next'])} ± {_number(answer['next_error'])} (by {answer['chosen']} most)"
    )
    click.echo(f"{answer['counted']} values counted, after {warm_up} to warm up", err=True)


def _answer(file: Path, name: str, missing: int, warm_up: int, found: Score) -> dict[str, Any]:
    last = float(found.mae_last[0])
    return {
        "file": str(file),
        "column": name,
        "warm_up": warm_up,
        "counted": int(found.counted[0]),
        "missing": missing,
        "mae_bank": float(found.mae[0]),
        "mae_last": last,
        "ratio": float(found.ratio[0]),
        "next": float(found.bank.predict()[0]),
        "next_error": math.sqrt(found.bank.mse()[0]),
        "chosen": found.bank.chosen()[0],
        "forecasters": [
            {
                "name": each,
                "mae": float(found.mae_each[at, 0]),
                "ratio": float(found.mae_each[at, 0]) / last if last else math.nan,
                "spoke": float(found.spoke[at, 0]),
            }
            for at, each in enumerate(found.bank.names)
        ],
    }


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "–"


def read_column(file: Path, column: str) -> tuple[str, list[float]]:
    """A column's name (or `column N`) and its values, NaN where a cell is empty. Raises ConfigError, NoData."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(unreadable(file, error)) from error
    if len(raw) > MOST_BYTES:
        raise ConfigError(f"{file} is larger than {MOST_BYTES >> 20} MiB; give a part of it (head, tail)")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (at byte {error.start}); CSV is needed") from error
    rows = _rows(file, text)
    if not rows:
        raise NoData(f"{file} is empty")
    first = rows[0][1]
    numbers = any(_cell(cell) is not None for cell in first) or all(cell.strip().lower() in MISSING for cell in first)
    header = None if numbers else rows.pop(0)[1]
    at, name = _place(file, column, header, rows[0][1] if rows else [])
    if len(rows) > MOST_VALUES:
        raise ConfigError(f"{file} has {len(rows)} rows; at most {MOST_VALUES} are forecast: give a part of it")
    values = []
    for number, row in rows:
        if at >= len(row):
            raise ConfigError(f"{file}, line {number}: has {len(row)} columns, and {name} would be the {at + 1}th")
        value = math.nan if row[at].strip().lower() in MISSING else _cell(row[at])
        if value is None:
            raise ConfigError(
                f"{file}, line {number}: {row[at][:40]!r} in {name} is not a number within ±1e100; "
                "--column takes another column"
            )
        values.append(value)
    return name, values


def _rows(file: Path, text: str) -> list[tuple[int, list[str]]]:
    """Rows with their line numbers; blank lines and lines that begin with # are left out."""
    import csv

    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        return []
    separator = next((mark for mark in (",", ";", "\t") if mark in lines[0][1]), None)
    if separator is None:
        return [(number, line.split()) for number, line in lines]
    try:
        cells = list(csv.reader((line for _, line in lines), delimiter=separator))
    except csv.Error as error:
        raise ConfigError(f"{file} is not CSV: {error}") from error
    if len(cells) != len(lines):
        raise ConfigError(f"{file}: a quoted cell goes over several lines; each row must be one line")
    return [(number, row) for (number, _), row in zip(lines, cells, strict=True)]


def _cell(text: str) -> float | None:
    """A number within ±1e100, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= MOST_SIZE else None


def _place(file: Path, column: str, header: list[str] | None, first: list[str]) -> tuple[int, str]:
    """Where a column is, from 0, and what to call it."""
    names = [cell.strip() for cell in header or []]
    width = len(names) or len(first)
    if column in names:
        return names.index(column), column
    if column.isascii() and column.isdigit() and 1 <= int(column) <= width:
        at = int(column) - 1
        return at, names[at] if names else f"column {column}"
    if not column and "value" in names:
        return names.index("value"), "value"
    if not column and (not names or width == 1):
        return width - 1, names[-1] if names else f"column {width}"
    there = f"the columns are {', '.join(names[:20])}" if names else f"columns 1 to {width}, without names"
    raise ConfigError(f"{file} has no column {column or 'value'!r}: {there}; choose one by --column")
