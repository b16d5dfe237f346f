"""`vagus experiment report`: the report of an experiment again, from its folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, console, emit_json, json_option, table

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.cli.experiment.slo_results import Results
    from vagus.cli.experiment.slo_verdict import Verdict


@click.command()
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path, readable=False, file_okay=False))
@click.option(
    "--open/--no-open", "opened", default=True, show_default=True, help="In a browser, where there is a display."
)
@json_option
def report(folder: Path, opened: bool, as_json: bool) -> None:
    """Writes FOLDER/report.html anew from what `vagus experiment slo` left there, shows its table, and opens it.

    The report is one file that loads nothing from elsewhere: it may be mailed.

    \b
    Examples:
      vagus experiment report results
      vagus experiment report results --json | jq '.duels[] | {policy, against, word}'
    """
    from vagus.cli.experiment.slo_report import write_report
    from vagus.cli.experiment.slo_results import load
    from vagus.cli.experiment.slo_verdict import verdict

    results = load(folder)
    path = write_report(folder)
    if as_json:
        emit_json({"report": str(path), **document(results, verdict(results))})
        return
    show(results, console())
    to = console(sys.stderr)
    to.print(cell(f"{path}: the report, to look at in a browser"), soft_wrap=True)
    if opened and (sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        import webbrowser

        webbrowser.open(path.absolute().as_uri())


def show(results: Results, to: Console) -> None:
    """The table of the report, and its verdict."""
    from vagus.cli.experiment.slo_summary import MEASURES, best, rows, shown, spread
    from vagus.cli.experiment.slo_verdict import verdict

    found = rows(results)
    tops = {measure.key: best(found, measure) for measure in MEASURES}
    heads = ["policy", *(f"{m.title} {m.unit}".strip() for m in MEASURES)]
    lines: list[Sequence[Any]] = []
    for row in found:
        line: list[Any] = [cell(row.name, "bold")]
        for m in MEASURES:
            between = spread(row, m) if m.key in ("violations", "requested") else ""
            text = shown(row, m) + (f" ({between})" if between else "")
            line.append(cell(text, "green" if row.name in tops[m.key] else ""))
        lines.append(line)
    spare = [head for m, head in zip(MEASURES, heads[1:], strict=True) if m.key in _SPARE]
    table(to, heads, lines, right=heads[1:], wide={}, spare=sorted(spare, key=lambda h: _SPARE.index(_key(h))))
    said = verdict(results)
    to.print(cell(said.headline, "bold"), soft_wrap=True)
    for words in said.losses:
        to.print(cell(f"behind: {words}", "yellow"), soft_wrap=True)
    for words in said.points:
        to.print(cell(words), soft_wrap=True)
    for words in said.doubts:
        to.print(cell(f"doubt: {words}", "yellow"), soft_wrap=True)


_SPARE = ("p50", "actions", "windows", "interventions", "p999", "used", "own", "mitigation")
"""Columns that go first where a terminal is too narrow."""


def _key(head: str) -> str:
    from vagus.cli.experiment.slo_summary import MEASURES

    return next(m.key for m in MEASURES if head == f"{m.title} {m.unit}".strip())


def document(results: Results, said: Verdict) -> dict[str, Any]:
    """What the report says, for programs."""
    from vagus.cli.experiment.slo_summary import rows, seen

    return {
        "rows": [
            {
                "policy": row.name,
                "seeds": [run.seed for run in row.runs],
                **{key: value._asdict() for key, value in row.values.items()},
                "injections": seen(row.runs)._asdict(),
            }
            for row in rows(results)
        ],
        "duels": [
            {
                "policy": pair.ours.name,
                "against": pair.theirs.name,
                "seeds": pair.seeds,
                "violation_ratio": pair.violations,
                "requested_cores": pair.requested,
                "wins": pair.wins,
                "word": pair.word,
            }
            for pair in said.duels
        ],
        "headline": said.headline,
        "aims": dict(said.aims),
        "losses": said.losses,
        "doubts": said.doubts,
    }
