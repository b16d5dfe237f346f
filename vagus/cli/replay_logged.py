"""`vagus replay` on a log: what policies would have earned, estimated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import console, emit_json
from vagus.cli.session import write_file
from vagus.cli.view_estimates import draw_estimates, estimates_document, print_estimates
from vagus.config import seconds

if TYPE_CHECKING:
    from vagus.controllers.decide.trace import LoggedTrace

CONFIDENCE = 0.95
BESIDE = ("logged", "uniform", "static")  # what a policy is measured by
MOST_BESIDE = 10  # arms that are judged beside it, unasked


def run_logged(trace: LoggedTrace, given: dict[str, Any], output: Path | None, as_json: bool) -> None:
    """Judges, prints, draws."""
    from vagus.controllers.decide.logged import check_policies, judge, rows_of

    check_policies(given["policies"])
    rows = rows_of(trace)
    beside = BESIDE if len(trace.arms) <= MOST_BESIDE else BESIDE[:2]
    judged = judge(
        rows,
        (*given["policies"], *beside),
        options=given["options"],
        delay_s=seconds(given["delay"]),
        tick_s=seconds(given["tick"]),
        confidence=CONFIDENCE,
        seed=given["seed"],
    )
    if as_json:
        emit_json({"trace": trace.name, **estimates_document(rows, judged, CONFIDENCE)})
    else:
        print_estimates(rows, judged, CONFIDENCE, console())
    if output is not None:
        write_file(output, draw_estimates(judged, f"what policies would have earned on {trace.name}", CONFIDENCE))
        click.echo(str(output), err=True)
