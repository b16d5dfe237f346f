"""Samples as tables: a block for each stream; where its fields do not fit the width, a line for each field."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, counted, quantity, table, unit_text

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.client.series import Series

MOST_STREAMS = 20


def render_samples(found: Sequence[Series], console: Console, ticks: int) -> None:
    """The newest `ticks` (0: all) of each stream, the newest last."""
    shown = [series for series in found if len(series.t_ns)]
    for number, series in enumerate(shown[:MOST_STREAMS]):
        if number:
            console.print()
        _render(series, console, ticks)
    if len(shown) > MOST_STREAMS:
        more = len(shown) - MOST_STREAMS
        click.echo(f"and {more} more streams: narrow the selector, or use --format csv", err=True)


def _render(series: Series, console: Console, ticks: int) -> None:
    fields = series.stream.fields
    names = [f"{f.name} ({unit_text(f.unit)})" if f.unit else f.name for f in fields]
    columns = [[number(v) for v in series.column(f.name)[-ticks:].tolist()] for f in fields]
    console.print(cell(series.stream.key, "bold cyan"), soft_wrap=True)
    units = ["" if f.counter else f.unit for f in fields]  # a total to the byte: what it grew by would be rounded away
    texts = [[quantity(v, unit) or "–" for v in column] for column, unit in zip(columns, units, strict=True)]
    needed = 14 + sum(2 + max(len(n), *map(len, t)) for n, t in zip(names, texts, strict=True))
    if needed <= console.width:
        times = tick_times(series.t_ns[-ticks:].tolist())
        table(console, ("time", *names), zip(times, *texts, strict=True), right=names)
        return
    rows = []
    for field, column, text in zip(fields, columns, texts, strict=True):
        known = [v for v in column if v is not None]
        spread = (min(known), sum(known) / len(known), max(known)) if known else (None, None, None)
        unit = "" if field.counter else field.unit
        rows.append(
            (field.name, unit_text(field.unit) if field.unit else "", text[-1], *(quantity(v, unit) for v in spread))
        )
    table(console, ("field", "unit", "newest", "min", "mean", "max"), rows, right=("newest", "min", "mean", "max"))
    newest = tick_times([int(series.t_ns[-1])])[0]
    console.print(cell(f"{counted(len(columns[0]), 'tick')}, the newest at {newest}", "dim"), soft_wrap=True)


def number(value: Any) -> float | int | None:
    """The value, or None for what is not a finite number."""
    return value if isinstance(value, int) or (value is not None and math.isfinite(value)) else None


def tick_times(t_ns: Sequence[int]) -> list[str]:
    """Local times of day with milliseconds; with the date as well when not all are of today."""
    if not t_ns:
        return []
    today = time.strftime("%Y-%m-%d")
    form = "%H:%M:%S" if time.strftime("%Y-%m-%d", time.localtime(t_ns[0] // 10**9)) == today else "%Y-%m-%d %H:%M:%S"
    return [time.strftime(form, time.localtime(t // 10**9)) + f".{t // 10**6 % 1000:03d}" for t in t_ns]
