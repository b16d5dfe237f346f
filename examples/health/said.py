"""What the examples here share: with --dry-run they print what they would report, and need no running vagus."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vagus.client.reporter import REPORTER
from vagus.model import Report


def show(reports: Sequence[Report]) -> None:
    for report in reports:
        for context, metric in report.contexts.items():
            print(f"{report.observer} on {report.subject}: {context} {metric.status.name}", flush=True)


def begin() -> None:
    if "--dry-run" in sys.argv:
        REPORTER.divert(show)


def end() -> None:
    REPORTER.flush(2.0)
    if REPORTER.failed:
        print(f"not reported: {REPORTER.last_error}; python {sys.argv[0]} --dry-run prints it instead")
