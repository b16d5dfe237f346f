"""Act: read, plan, apply, verify and restore limits on a real system.

An actuator *plans* writes and says how to undo them; `actuators.apply` performs a plan. The undo list goes to the
watchdog's journal before the first write. Contract (tested over everything registered): apply, then undo, is the
identity; a rejected write changes nothing and quotes the kernel.

To add one: a file with a class like `Actuator`, and a line in `ACTUATORS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from vagus.model import Action, Target
from vagus.registry import Registry


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One change of the system. op: `write` value to the file path, `mkdir` path, `rmdir` path, `move` pid value
    into the group whose procs file is path. The same four undo."""

    op: str
    path: str
    value: str = ""


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """Steps in order, and the undo steps in the order in which they are to be performed."""

    steps: tuple[Step, ...]
    undo: tuple[Step, ...]


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Cumulative figures of a target: CPU time used, periods and throttled periods; NaN where unknown."""

    cpu_s: float
    periods: float = float("nan")
    throttled_periods: float = float("nan")
    throttled_s: float = float("nan")
    memory_bytes: float = float("nan")


class Actuator(Protocol):
    """Limits resources of targets. Built as `Actuator(root)`; `root` holds proc/ and sys/.

    `supports` raises Unsupported, saying what is missing and what to do, or returns the resources it can limit.
    `read` gives the present limit (None: unlimited) and raises ActuateError. `plan` validates against the machine
    and touches nothing; raises Rejected or Unsupported.
    """

    name: str

    def __init__(self, root: Path) -> None: ...

    def supports(self, target: Target) -> tuple[str, ...]: ...

    def usage(self, target: Target) -> Usage: ...

    def read(self, target: Target, resource: str) -> float | None: ...

    def plan(self, action: Action) -> Plan: ...


ACTUATORS: Registry[Actuator] = Registry(
    "vagus.actuators",
    {
        "cgroup1": "vagus.actuators.cgroup1:Cgroup1",
        "cgroup2": "vagus.actuators.cgroup2:Cgroup2",
        "dry": "vagus.actuators.dry:Dry",
    },
)
