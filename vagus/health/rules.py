"""What a node's own samples say of the node: thresholds on pressure, memory and file systems. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from vagus.model import Metric, Sample, Status

PRESSURE = {"cpu": (50.0, 90.0), "memory": (10.0, 40.0), "io": (40.0, 80.0)}
"""Share of time, in per cent, in which something waited (PSI some_avg10): from here MAYBE_UNHEALTHY, UNHEALTHY."""
FREE_RATIO = (0.05, 0.01)
SELECTORS = ("pressure.*.some_avg10", "host.filesystem")


def judge_node(samples: Iterable[Sample]) -> dict[str, Metric]:
    """Contexts of a report on a node from its newest samples (those of SELECTORS); score is the measured value."""
    contexts: dict[str, Metric] = {}
    for sample in samples:
        values = dict(zip((f.name for f in sample.stream.fields), sample.values, strict=True))
        if sample.stream.kind.startswith("pressure."):
            resource = sample.stream.kind.partition(".")[2]
            if resource in PRESSURE and "some_avg10" in values:
                contexts[f"{resource}_pressure"] = _above(float(values["some_avg10"]), *PRESSURE[resource])
        elif "size_bytes" in values and "avail_bytes" in values and values["size_bytes"] > 0:
            free = values["avail_bytes"] / values["size_bytes"]
            context = f"disk_free {sample.stream.labels.get('mount', '?')}"[:200]
            context = "".join(c if c.isprintable() else "?" for c in context)  # whoever mounts may name it so
            contexts[context] = _above(-free, -FREE_RATIO[0], -FREE_RATIO[1], score=free)
    return dict(list(contexts.items())[:100])


def judge_service(sample: Sample) -> dict[str, Metric]:
    """The context of a report on a service from its newest heartbeat; score is the round trip in seconds, or the
    number of failures."""
    values = dict(zip((f.name for f in sample.stream.fields), sample.values, strict=True))
    if values["up"]:
        return {"heartbeat": Metric(Status.HEALTHY, float(values["rtt_s"]))}
    return {"heartbeat": Metric(Status.UNHEALTHY, float(values["failures"]))}


def judge_device(sample: Sample) -> dict[str, Metric]:
    """The context of a report on a network device from its newest `snmp.system`; score is the response time in
    seconds, or the polls without an answer."""
    values = dict(zip((f.name for f in sample.stream.fields), sample.values, strict=True))
    if values.get("up"):
        return {"snmp": Metric(Status.HEALTHY, float(values["response_s"]))}
    return {"snmp": Metric(Status.UNHEALTHY, float(values.get("failures", 0)))}


def _above(value: float, worrying: float, bad: float, score: float | None = None) -> Metric:
    if not math.isfinite(value):
        return Metric(Status.NA)
    shown = value if score is None else score
    if value >= bad:
        return Metric(Status.UNHEALTHY, shown)
    return Metric(Status.MAYBE_UNHEALTHY if value >= worrying else Status.HEALTHY, shown)
