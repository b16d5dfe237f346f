"""vagus' own figures as Ray metrics: `ray_vagus_<figure>{actor,role,node}` on each node's metrics port."""

from __future__ import annotations

import math
import re

from ray.util.metrics import Gauge

from vagus.actors.base import Seat
from vagus.gateway.meanings import of_figure
from vagus.model import ActorStatus

_UNSAFE = re.compile(r"[^a-zA-Z0-9_]")
TAGS = ("actor", "role", "node")


class Figures:
    """One gauge a figure, made when it is first seen."""

    def __init__(self, seat: Seat) -> None:
        self._tags = {"actor": seat.name, "role": seat.role, "node": seat.node}
        self._gauges: dict[str, Gauge] = {}

    def publish(self, status: ActorStatus) -> None:
        """Sets every finite figure, whether it is healthy and the counts of errors and restarts included."""
        own = {"healthy": float(status.state == "HEALTHY")}
        figures = {**status.figures, **own, "errors": float(status.errors), "restarts": float(status.restarts)}
        for name, value in figures.items():
            if not math.isfinite(value):
                continue
            gauge = self._gauges.get(name)
            if gauge is None:
                safe = _UNSAFE.sub("_", name)
                gauge = Gauge(f"vagus_{safe}", description=of_figure(name), tag_keys=TAGS)
                gauge.set_default_tags(self._tags)
                self._gauges[name] = gauge
            gauge.set(value)
