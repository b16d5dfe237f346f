"""The newest value of every live series, and the gateway's own figures, in Prometheus' text format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/: all samples of a name stand together, a name and its
labels occur once, names are `[a-zA-Z_:][a-zA-Z0-9_:]*`, counters end in `_total`. Units go into a comment, and into the
text of HELP, which Prometheus keeps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from vagus.gateway.meanings import of_field, of_figure, unit_of
from vagus.gateway.route import Site
from vagus.model import NodeStatus, Sample, labels_text

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_SUBJECTS = 100  # unhealthy ones that are named; `node_unhealthy` counts all
_BAD = re.compile(r"[^a-zA-Z0-9_]")


class Exposition:
    """Collects samples by name; the first type and the first value of a name with its labels win."""

    def __init__(self) -> None:
        self._heads: dict[str, list[str]] = {}
        self._values: dict[str, dict[str, str]] = {}

    def add(self, name: str, labels: str, value: float, counter: bool, unit: str = "", about: str = "") -> None:
        """One sample; `labels` as text in braces. A NaN is a missing value and is left out."""
        if value != value:
            return
        name = "vagus_" + _BAD.sub("_", name)
        if counter and not name.endswith("_total"):
            name += "_total"
        if name not in self._heads:
            kind = "counter" if counter else "gauge"
            self._heads[name] = [
                *([f"# HELP {name} {_help(about)}\n"] if about else []),
                f"# TYPE {name} {kind}\n",
                *([f"# UNIT {name} {_one_line(unit)}\n"] if unit else []),
            ]
            self._values[name] = {}
        self._values[name].setdefault(labels, _number(value))

    def text(self) -> str:
        """The whole exposition."""
        lines: list[str] = []
        for name, head in self._heads.items():
            lines += head
            lines += [f"{name}{labels} {value}\n" for labels, value in self._values[name].items()]
        return "".join(lines)


def _number(value: float) -> str:
    if value in (math.inf, -math.inf):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _help(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\")


def _labels(labels: Mapping[str, str], node: str) -> str:
    """Label names with a leading `__` are Prometheus' own; the model allows them, so they are moved aside."""
    safe = {("x" + name if name.startswith("__") else name): value for name, value in labels.items()}
    return labels_text({**safe, "node": node})


def render(site: Site, samples: Iterable[Sample], status: NodeStatus | None) -> bytes:
    """The exposition: vagus' own figures first, then each stream's newest sample."""
    out = Exposition()
    _own(out, site, status)
    add_samples(out, samples)
    return out.text().encode("utf-8", "replace")


def add_samples(out: Exposition, samples: Iterable[Sample]) -> None:
    """Each field of each sample as a metric of its kind and name."""
    for sample in samples:
        stream = sample.stream
        labels = _labels(stream.labels, stream.node)
        for field, value in zip(stream.fields, sample.values, strict=True):
            about = of_field(stream.kind, field.name, field.unit)
            out.add(f"{stream.kind}_{field.name}", labels, value, field.counter, field.unit, about)


def _own(out: Exposition, site: Site, status: NodeStatus | None) -> None:
    node = site.backend.node
    here = _labels({}, node)
    for (method, path, code), count in sorted(dict(site.requests).items()):  # a copy: the loop goes on counting
        labels = _labels({"method": method, "path": path, "code": str(code)}, node)
        out.add("gateway_requests", labels, count, True, about="Requests that the gateway answered.")
    out.add("gateway_failures", here, site.failures, True, about="Requests that met a defect of vagus.")
    out.add("gateway_tails", here, site.tails, False, about="Live streams that are open, now.")
    out.add("gateway_tail_dropped_chunks", here, site.tail_dropped, True, about="Chunks that slow readers lost.")
    uptime_s = (site.clock.time_ns() - site.started_ns) / 1e9
    out.add("gateway_uptime_s", here, uptime_s, False, "s", "Time since the gateway started [s].")
    if status is not None:
        add_status(out, status, node)


def add_status(out: Exposition, status: NodeStatus, node: str) -> None:
    """What a node's actors say of themselves, and the node of its subjects."""
    here = _labels({}, node)
    for actor in status.actors:
        labels = _labels({"actor": actor.name, "role": actor.role}, actor.node)
        out.add("actor_healthy", labels, int(actor.state == "HEALTHY"), False, about=of_figure("healthy"))
        out.add("actor_restarts", labels, actor.restarts, True, about=of_figure("restarts"))
        out.add("actor_errors", labels, actor.errors, True, about=of_figure("errors"))
        for figure, value in actor.figures.items():
            out.add(f"actor_{figure}", labels, value, False, unit_of(figure), of_figure(figure))
    out.add("node_series", here, status.series, False, about="Live series of this node.")
    out.add("node_inferences", here, status.inferences, False, about="Subjects with a verdict, as this node sees it.")
    out.add("node_unhealthy", here, len(status.unhealthy), False, about="Subjects judged unhealthy, all of them.")
    for subject in status.unhealthy[:MAX_SUBJECTS]:
        labels = _labels({"subject": subject}, node)
        out.add("subject_unhealthy", labels, 1, False, about="1 for each subject judged unhealthy, at most 100.")
    for one in status.missing:
        labels = _labels({"what": one.what, "kind": one.kind, "why": one.why}, node)
        out.add(
            "missing", labels, 1, False, about="1 for each thing expected (vagus.yaml) that is not there or not well."
        )
    out.add(
        "node_missing", here, len(status.missing), False, about="What is expected and not there or not well, counted."
    )
    out.add("node_decisions", here, status.decisions, True, about="Decisions drawn on this node.")
