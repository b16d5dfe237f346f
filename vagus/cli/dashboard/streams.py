"""The dashboard of all streams: made of what is exported, a row for each kind, fields of one unit together. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vagus.cli.dashboard.catalogue import Catalogue, Metric
from vagus.cli.dashboard.panel import Panel, Row
from vagus.cli.dashboard.units import TIMES, grafana_rate_unit, grafana_unit

_UNDESCRIBED = re.compile(r" of stream ([A-Za-z0-9_.]+?)(?: \[[^\]]*\])?\.\Z")  # as vagus/gateway/meanings.py says it
TOGETHER = 6  # fields in one panel
OWN = ("vagus_actor_", "vagus_node_", "vagus_gateway_", "vagus_missing", "vagus_subject_")
"""What the other dashboard shows."""


def rows(catalogue: Catalogue) -> tuple[Row, ...]:
    """A closed row for each kind of stream, by name."""
    kinds: dict[str, list[Metric]] = {}
    for metric in catalogue.values():
        if metric.name.startswith("vagus_") and not metric.name.startswith(OWN):
            kinds.setdefault(_kind(metric), []).append(metric)
    return tuple(Row(kind, tuple(_panels(kind, kinds[kind])), closed=True) for kind in sorted(kinds))


def _kind(metric: Metric) -> str:
    """Of a stream that nobody describes its text names the kind; of the others it has two words, or is `process`."""
    if told := _UNDESCRIBED.search(metric.about):
        return told[1].replace(".", " ")
    words = metric.name.split("_")
    return words[1] if words[1] == "process" else " ".join(words[1:3])


def _panels(kind: str, metrics: Iterable[Metric]) -> Iterable[Panel]:
    groups: dict[tuple[str, bool], list[Metric]] = {}
    for metric in metrics:
        groups.setdefault((metric.unit, metric.counter), []).append(metric)
    for (unit, counter), some in groups.items():
        for at in range(0, len(some), TOGETHER):
            yield _panel(kind, unit, counter, some[at : at + TOGETHER])


def _panel(kind: str, unit: str, counter: bool, metrics: list[Metric]) -> Panel:
    queries = {}
    for metric in metrics:
        query = f"{metric.name}{{NODE}}"
        if counter:
            query = f"rate({query}[$__rate_interval])"
            query += f" / {TIMES[unit]:g}" if TIMES.get(unit, 1.0) != 1.0 else ""
        words = [f"{{{{{label}}}}}" for label in ("node", *sorted(metric.labels - {"node"}))]
        queries[query] = " ".join((*words, _field(kind, metric.name)))
    fields = [_field(kind, metric.name) for metric in metrics]
    title = fields[0] if len(fields) == 1 else f"{fields[0]} … {fields[-1]}"
    about = "\n".join(f"- `{metric.name}` {metric.about}" for metric in metrics)
    return Panel(title, queries, grafana_rate_unit(unit) if counter else grafana_unit(unit), about)


def _field(kind: str, name: str) -> str:
    bare = name.removeprefix("vagus_").removesuffix("_total")
    return bare.removeprefix(kind.replace(" ", "_") + "_")
