"""Shows injections: while they run, what they would do, what became of them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, console, counted, emit_json, quantity, span, status_cell, table
from vagus.injector import Prepared

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.actors.injecting import Item, Running
    from vagus.injector.session import Outcome


class Progress:
    """A line on a terminal; elsewhere a line when something begins."""

    def __init__(self, to: Console, length_s: float, planned: int) -> None:
        self._to = to
        self._length_s = length_s
        self._planned = planned
        self._begun: set[str] = set()
        self._status: Any = to.status("starting") if to.is_terminal else contextlib.nullcontext()

    def __enter__(self) -> Progress:
        self._status.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._status.__exit__(*error)

    def look(self, running: Sequence[Running], age_s: float) -> None:
        for one in running:
            injected = one.item.injected
            if one.session.begin_ns and injected.id not in self._begun:
                self._begun.add(injected.id)
                self._to.print(cell(f"{injected.type}: {one.session.prepared.says}", "dim"), soft_wrap=True)
        if self._to.is_terminal:
            now = ", ".join(f"{r.item.injected.type} {_figures(r.session.figures())}" for r in running) or "waiting"
            self._status.update(
                f"{span(max(0.0, age_s))} of {span(self._length_s)}, {len(self._begun)} of {self._planned} begun: {now}"
            )


def show_dry(items: Sequence[Item], prepared: Mapping[int, Prepared], as_json: bool) -> None:
    """The timetable, and what would be done."""
    rows: list[dict[str, Any]] = [
        {
            "begin_s": item.begin_s,
            "end_s": item.end_s,
            "type": item.injected.type,
            "intensity": item.injected.intensity,
            "target": item.injected.target,
            "component": item.injected.component,
            "says": prepared[item.number].says,
            "processes": len(prepared[item.number].commands),
            "steps": prepared[item.number].steps,
            "undo": prepared[item.number].undo,
        }
        for item in items
    ]
    if as_json:
        emit_json({"dry": True, "injections": rows})
        return
    lines = [(_time(r["begin_s"]), _time(r["end_s"]), r["type"], r["component"], r["says"]) for r in rows]
    table(console(), ("begins s", "ends s", "type", "component", "what"), lines, right=("begins s", "ends s"))
    click.echo(f"{counted(len(rows), 'injection')}; nothing was done", err=True)


def _time(seconds: float) -> str:
    return f"{seconds:.1f}"


def row(item: Item, outcome: Outcome) -> dict[str, Any]:
    """JSON-ready: what it was, and what became of it."""
    return {
        **item.injected.fields(),
        "begin_ns": outcome.begin_ns,
        "end_ns": outcome.end_ns,
        "in_force_s": outcome.in_force_s,
        "why": outcome.why,
        "figures": outcome.figures,
        "undone": not outcome.failures,
        "failures": outcome.failures,
    }


def show(outcomes: Sequence[tuple[Item, Outcome]], to: Console) -> None:
    """A line for each: how long, why it ended, whether all is undone, what it did."""
    rows = [
        (
            item.injected.type,
            item.injected.component,
            f"{outcome.in_force_s:.1f}",
            cell(outcome.why, "green" if outcome.why == "done" else "yellow"),
            status_cell("no" if outcome.failures else "yes"),
            _figures(outcome.figures),
        )
        for item, outcome in outcomes
    ]
    if rows:
        table(to, ("type", "component", "in force s", "ended", "undone", "did"), rows, right=("in force s",))


def _figures(figures: Mapping[str, float]) -> str:
    """`cpu_cores 1.6`, `bytes_s 3.2 GiB/s`."""
    return ", ".join(
        f"{name} {quantity(value, 'bytes/s' if name.endswith('bytes_s') else '')}" for name, value in figures.items()
    )
