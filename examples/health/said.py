"""What the examples here share: with --dry-run they print what they would report, and need no running vagus."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vagus.client.reporter import REPORTER
from vagus.model import Report

SAID: list[str] = []


def keep(reports: Sequence[Report]) -> None:
    """Called by the reporter's thread, whose words would come in the middle of ours."""
    for report in reports:
        for context, metric in report.contexts.items():
            SAID.append(f"{report.observer} on {report.subject}: {context} {metric.status.name}\n")


def begin() -> None:
    if "--dry-run" in sys.argv:
        REPORTER.divert(keep)


def end() -> None:
    REPORTER.flush(2.0)
    print("".join(SAID), end="", flush=True)
    SAID.clear()
    if REPORTER.failed:
        print(f"not reported: {REPORTER.last_error}; python {sys.argv[0]} --dry-run prints it instead")
