"""The signals of a controller's targets, one by one: who is gone does not take the others along."""

from __future__ import annotations

import math
from typing import Any

from vagus.actors.targets import Targets
from vagus.actuators import Usage
from vagus.errors import ActuateError, Unsupported
from vagus.model import Target

A, B, SCALE = Target("cgroup", "a"), Target("cgroup", "b"), Target("replicas", "a")


class Groups:
    """An actuator: each group uses half a core; those that are gone cannot be read."""

    name, dry, kinds, resources = "groups", False, ("cgroup", "replicas"), ("cpu_cores", "memory_bytes", "replicas")

    def __init__(self) -> None:
        self.gone: set[Target] = set()
        self.reads = 0
        self.asked = 0
        self.unsure = False

    def supports(self, target: Target) -> tuple[str, ...]:
        self.asked += 1
        if self.unsure:
            raise Unsupported("not now")
        return ("replicas",) if target.kind == "replicas" else ("cpu_cores", "memory_bytes")

    def usage(self, target: Target) -> Usage:
        if target in self.gone:
            raise ActuateError(f"{target} is gone")
        self.reads += 1
        return Usage(cpu_s=0.0, memory_bytes=3e6, throttled_periods=0.0, period_s=0.1)

    def read(self, target: Target, resource: str) -> float | None:
        return {"cpu_cores": 0.5, "memory_bytes": None, "replicas": 2.0}[resource]


def targets(actuator: Any) -> Targets:
    links: Any = None
    return Targets((A, B), (SCALE,), ("cpu_cores", "memory_bytes", "replicas"), actuator, 1, links)


def test_uses_and_limits_of_each_resource_by_target() -> None:
    read = targets(Groups())
    first, wrong = read.read(())
    assert (first[A], wrong) == ({}, {}), "one reading is no rate"
    signals, _ = read.read(())
    found = signals[A]
    assert found["usage_cores"] == found["use_cpu_cores"] == 0.0
    assert (found["limit_cores"], found["limit_cpu_cores"]) == (0.5, 0.5)
    assert (found["memory_bytes"], found["use_memory_bytes"]) == (3e6, 3e6)
    assert math.isnan(found["limit_memory_bytes"])
    assert "limit_replicas" not in found
    assert signals[SCALE] == {"limit_replicas": 2.0}


def test_who_is_gone_is_told_and_comes_back() -> None:
    groups = Groups()
    read = targets(groups)
    read.read(())
    groups.gone = {B}
    signals, wrong = read.read(())
    assert signals[A]
    assert (B in signals, "b is gone" in wrong[B]) == (False, True)
    groups.gone = set()
    signals, wrong = read.read(())
    assert (bool(signals[B]), wrong) == (True, {})


def test_what_is_supported_is_asked_rarely_and_again_after_trouble() -> None:
    groups = Groups()
    read = targets(groups)
    for _ in range(3):
        read.read(())
    assert groups.asked == 3, "once for each of three targets"
    groups.gone = {B}
    read.read(())
    groups.gone = set()
    groups.asked = 0
    read.read(())
    assert groups.asked > 0


def test_no_support_for_now_is_not_remembered() -> None:
    groups = Groups()
    groups.unsure = True
    read = targets(groups)
    read.read(())
    assert "limit_memory_bytes" not in read.read(())[0][A]
    groups.unsure = False
    assert "limit_memory_bytes" in read.read(())[0][A]
