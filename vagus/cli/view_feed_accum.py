"""A profile on a terminal: each place's good and bad values, extremes and most frequent values; errors by code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, counted, table

if TYPE_CHECKING:
    from rich.console import Console

MOST_VALUES = 3
MOST_TEXT = 24


def render_report(found: dict[str, Any], to: Console) -> None:
    """What `vagus.feeds.tools.accum_report.report` gives."""
    click.echo(
        f"{counted(found['items'], 'item')}: {found['good']} good, {found['bad']} with errors, "
        f"{found['failed']} failed ({found['percent_bad']:g} % bad); {counted(found['errors'], 'error')}"
    )
    rows = [(error["code"], error["count"], error["message"]) for error in found["net_errors"] + found["data_errors"]]
    if rows:
        table(to, ("code", "items", "meaning"), rows, right=("items",), wide={"meaning": 40})
    if not found["places"]:
        return
    click.echo()
    table(
        to,
        ("place", "kind", "good", "bad", "% bad", "missing", "min", "max", "mean", "distinct", "most frequent"),
        [_row(place) for place in found["places"]],
        right=("good", "bad", "% bad", "missing", "min", "max", "mean", "distinct"),
        wide={"most frequent": 40, "place": 30},
    )


def _row(place: dict[str, Any]) -> tuple[Any, ...]:
    bad = place["bad"]
    numbers = (_number(place[key]) for key in ("min", "max", "mean"))
    more = "" if place["tracked_percent"] == 100 or not place["distinct"] else "+"
    return (
        place["path"] or "$",
        f"{place['kind']} {place['unit']}".strip(),
        place["good"],
        cell(bad, "red" if bad else ""),
        cell(f"{place['percent_bad']:g}", "red" if bad else ""),
        place["missing"] or "",
        *numbers,
        f"{place['distinct']}{more}" if place["distinct"] else "",
        ", ".join(f"{_short(value['value'])} ×{value['count']}" for value in place["most"][:MOST_VALUES]),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _short(value: Any) -> str:
    text = _number(value) if isinstance(value, float) else str(value)
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
