"""What Ray is told of an actor: a gauge for each figure, with its text, and whether it is healthy."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vagus.actors.base import Seat
from vagus.config import Config
from vagus.model import ActorStatus
from vagus.runtime import metrics


class Gauge:
    """Stands in for Ray's, which needs a running Ray to be seen."""

    made: list[Gauge]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.description, self.tag_keys = name, description, tag_keys
        self.tags: dict[str, str] = {}
        self.values: list[float] = []
        Gauge.made.append(self)

    def set_default_tags(self, tags: dict[str, str]) -> None:
        self.tags = tags

    def set(self, value: float) -> None:
        self.values.append(value)


def test_figures_and_health_are_gauges_with_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    Gauge.made = []
    monkeypatch.setattr(metrics, "Gauge", Gauge)
    figures = metrics.Figures(Seat("controller", "a", "", Config(), "web"))

    def said(state: str, **more: Any) -> ActorStatus:
        return ActorStatus("vagus:controller:web@a", "controller", "a", state, errors=2, restarts=1, figures=more)

    figures.publish(said("HEALTHY", limits=3.0, step_s=math.nan))
    figures.publish(said("UNHEALTHY", limits=4.0))
    made = {gauge.name: gauge for gauge in Gauge.made}
    assert {name: gauge.values for name, gauge in made.items()} == {
        "vagus_limits": [3.0, 4.0],
        "vagus_healthy": [1.0, 0.0],
        "vagus_errors": [2.0, 2.0],
        "vagus_restarts": [1.0, 1.0],
    }
    assert made["vagus_limits"].description == "Limits of this controller in force, now."
    assert made["vagus_healthy"].tags == {"actor": "vagus:controller:web@a", "role": "controller", "node": "a"}
    assert set(made["vagus_healthy"].tag_keys) == {"actor", "role", "node"}
