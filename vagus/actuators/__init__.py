"""Act: read, plan, apply, verify and restore limits on a real system.

An actuator *plans* writes and says how to undo them; `actuators.apply` performs a plan. The undo list goes to the
watchdog's journal before the first write. Contract (tested over everything registered): apply, then undo, is the
identity; a rejected write changes nothing and quotes the kernel.

To add one: a file with a class like `Actuator`, and a line in `ACTUATORS`. What it does that is no write to a file is
a kind of step of its own (`vagus.undo`), since the watchdog must be able to undo it without this room.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import msgspec

from vagus.config import ActSettings
from vagus.model import Action, Target
from vagus.registry import Registry
from vagus.undo import Step

__all__ = ["ACTUATORS", "Actuator", "Plan", "Step", "Usage", "acting", "base", "configure"]


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """Steps in order, and the undo steps in the order in which they are to be performed.

    expected: what `read` must then show, within `tolerance_ratio` (None: no limit; NaN: the steps verify themselves).
    """

    steps: tuple[Step, ...]
    undo: tuple[Step, ...]
    expected: float | None = math.nan
    tolerance_ratio: float = 0.01

    def shown(self, after: float | None) -> bool:
        """Whether `after`, what `read` shows now, is what the plan is to bring about."""
        if self.expected is None:
            return after is None
        if math.isnan(self.expected):
            return True
        return after is not None and abs(after - self.expected) <= self.tolerance_ratio * abs(self.expected)


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Figures of a target: CPU time, periods and throttled periods are cumulative; NaN where unknown.

    period_s: length of one of these periods, the kernel's default until someone sets another.
    """

    cpu_s: float
    periods: float = float("nan")
    throttled_periods: float = float("nan")
    throttled_s: float = float("nan")
    memory_bytes: float = float("nan")
    period_s: float = 0.1


class Actuator(Protocol):
    """Limits resources of targets. Built as `Actuator(root)`; `root` holds proc/ and sys/.

    `supports` raises Unsupported, saying what is missing and what to do, or returns the resources it can limit.
    `usage` and `read` (the present limit; None: unlimited) raise ActuateError. `plan` validates against the machine
    and touches nothing; raises Rejected or Unsupported. Its undo steps are performed in order by whoever restores,
    perhaps hours later and after other plans: they name no process id.

    kinds and resources say what it may know at all (resources without `@`; `*`: any name), so that `auto` asks only
    those. One whose kinds another has too may have `holds(target, resource) -> bool`: cheap, raises nothing, whether
    it is the one on this machine.
    """

    name: str
    dry: bool  # True: plans are empty, nothing is ever written
    kinds: tuple[str, ...]  # of targets
    resources: tuple[str, ...]

    def __init__(self, root: Path) -> None: ...

    def supports(self, target: Target) -> tuple[str, ...]: ...

    def usage(self, target: Target) -> Usage: ...

    def read(self, target: Target, resource: str) -> float | None: ...

    def plan(self, action: Action) -> Plan: ...


def base(resource: str) -> str:
    """The resource without the part that it is limited in: `io_read_bytes_s` of `io_read_bytes_s@8:0`."""
    return resource.partition("@")[0]


def acting(actuator: Actuator, target: Target, resource: str) -> str:
    """The name of the actuator that would act, for receipts: `auto` hands it to another."""
    who = getattr(actuator, "who", None)
    return actuator.name if who is None else str(who(target, resource))


def configure(actuator: Actuator, settings: ActSettings, folder: Path) -> None:
    """Tells an actuator with a method `configure` its settings and the machine's run folder; others need neither."""
    told = getattr(actuator, "configure", None)
    if told is not None:
        told(settings, folder)


ACTUATORS: Registry[Actuator] = Registry(
    "vagus.actuators",
    {
        "auto": "vagus.actuators.auto:Auto",
        "cgroup1": "vagus.actuators.cgroup1:Cgroup1",
        "cgroup2": "vagus.actuators.cgroup2:Cgroup2",
        "dry": "vagus.actuators.dry:Dry",
        "systemd": "vagus.actuators.systemd:Systemd",
        "resctrl": "vagus.actuators.resctrl:Resctrl",
        "pod": "vagus.actuators.pod:Pod",
        "replicas": "vagus.actuators.replicas:Replicas",
        "traffic": "vagus.actuators.traffic:Traffic",
        "tunable": "vagus.actuators.tunable:TunableActuator",
    },
)
