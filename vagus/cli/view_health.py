"""Verdicts for people: all subjects as a table, or one with its contexts and the reports behind it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from vagus.cli.output import age, cell, quantity, status_cell, table
from vagus.model import Status

if TYPE_CHECKING:
    from rich.console import Console

MOST_NAMES = 4


def severity(status: str) -> int:
    """The rank of a status by name; unknown ones rank lowest."""
    found = Status.__members__.get(status)
    return -1 if found is None else int(found)


def render_health(inferences: list[dict[str, Any]], console: Console, now_ns: int | None = None) -> None:
    """A line for each subject, the worst first."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    rows = [
        (
            cell(i["subject"], "bold"),
            status_cell(i["status"]),
            age(i["t_ns"], now_ns),
            len(i["observers"]),
            contexts_text(i["contexts"]),
            names_text(sorted({a for v in i["contexts"].values() for a in v["accusers"]})),
        )
        for i in sorted(inferences, key=lambda i: (-severity(i["status"]), i["subject"]))
    ]
    columns = ("subject", "status", "age", "observers", "contexts", "accusers")
    wide = {"contexts": 16, "subject": 28, "accusers": 24}
    table(console, columns, rows, right=("age", "observers"), wide=wide, spare=("observers",))


def render_subject(inference: dict[str, Any], console: Console, now_ns: int | None = None) -> None:
    """One subject: its verdict, each context with its accusers, each report, newest first."""
    from rich.text import Text

    now_ns = time.time_ns() if now_ns is None else now_ns
    head = Text.assemble(cell(inference["subject"], "bold"), "  ", status_cell(inference["status"]))
    head.append_text(cell(f"  {age(inference['t_ns'], now_ns)} ago, strategy {inference['strategy']}", "dim"))
    console.print(head, soft_wrap=True)
    console.print(cell(f"observed by {names_text(inference['observers'], 20) or 'nobody'}"), soft_wrap=True)
    console.print()
    verdicts = sorted(inference["contexts"].items(), key=lambda item: (-severity(item[1]["status"]), item[0]))
    rows = [(n, status_cell(v["status"]), quantity(v["score"]), names_text(v["accusers"], 20)) for n, v in verdicts]
    table(
        console,
        ("context", "status", "score", "accused by"),
        rows,
        right=("score",),
        wide={"accused by": 24, "context": 24},
    )
    reports = sorted(inference.get("reports") or (), key=lambda r: -r["t_ns"])
    if reports:
        console.print()
        lines = [
            (age(r["t_ns"], now_ns), r["observer"], name, status_cell(m["status"]), quantity(m["score"]))
            for r in reports
            for name, m in r["contexts"].items()
        ]
        columns = ("age", "report by", "context", "status", "score")
        table(console, columns, lines, right=("age", "score"), wide={"context": 24, "report by": 24})


def contexts_text(contexts: dict[str, dict[str, Any]]) -> str:
    """`read UNHEALTHY, write` : the status is named where it is not HEALTHY; the worst first."""
    ordered = sorted(contexts.items(), key=lambda item: (-severity(item[1]["status"]), item[0]))
    names = [name + ("" if v["status"] == "HEALTHY" else f" {v['status']}") for name, v in ordered]
    return names_text(names)


def names_text(names: list[str], most: int = MOST_NAMES) -> str:
    """At most `most` names, and how many more."""
    more = len(names) - most
    return ", ".join(map(str, names[:most])) + (f" and {more} more" if more > 0 else "")
