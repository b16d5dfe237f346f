"""The answers of the doctor for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vagus.cli.output import cell, console

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.runtime.checkup import Check

_MARKS = {"yes": ("ok", "green"), "degraded": ("less", "yellow"), "no": ("no", "red")}


def render_doctor(checks: Sequence[Check], to: Console | None = None, details: bool = False) -> None:
    """A line for each check, and below each lack what it costs and what it needs. details: the parts as well."""
    from rich.text import Text

    to = to or console()
    shown = [c for c in checks if details or "." not in c.name]
    width = max((len(c.name) for c in shown), default=0)
    for check in shown:
        mark, style = _MARKS[check.ok]
        name = cell(check.name.ljust(width), "" if "." in check.name else "bold")
        to.print(Text.assemble((f"{mark:<6}", style), name, "  ", cell(check.value)), soft_wrap=True)
        if check.ok == "yes" or (details and any(c.name.startswith(check.name + ".") for c in checks)):
            continue
        for label, text in (("costs", check.cost), ("needs", check.needs)):
            if text:
                to.print(Text.assemble(" " * (6 + width + 2), (f"{label}: ", "dim"), cell(text)), soft_wrap=True)
    lacking = sum(c.ok != "yes" for c in checks if "." not in c.name)
    total = sum("." not in c.name for c in checks)
    to.print(cell(f"{total - lacking} of {total} as vagus would have them", "dim"))
