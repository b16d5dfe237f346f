"""Panels and alerts held against what is exported. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from vagus.cli.dashboard.alerts import ALERTS
from vagus.cli.dashboard.catalogue import Catalogue
from vagus.cli.dashboard.panel import chosen
from vagus.cli.dashboard.promql import named
from vagus.cli.dashboard.rows import ROWS

PROMETHEUS_OWN = frozenset({"up"})


def expressions() -> Iterator[tuple[str, str, str]]:
    """(where, expression, template of what is shown) of each panel's queries and each alert."""
    for row in ROWS:
        for panel in row.panels:
            for query, legend in panel.queries.items():
                yield f"{row.title}: {panel.title}", chosen(query), legend
    for alert in ALERTS:
        yield alert.name, alert.expr, f"{alert.summary} {alert.todo}"


def held(catalogue: Catalogue) -> list[tuple[str, str]]:
    """(where, metric) of each metric that is named there and is not in the catalogue."""
    return [
        (where, name)
        for where, expression, _ in expressions()
        for name in named(expression).metrics
        if name not in catalogue and name not in PROMETHEUS_OWN
    ]
