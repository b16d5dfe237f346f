"""Strains CPUs: processes that spin for a share of the time."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import ClassVar

from vagus.errors import ConfigError, Unsupported
from vagus.injector import Prepared
from vagus.injector.groups import group_of
from vagus.injector.reading import PERCENT, amount, share
from vagus.injector.strain import command

DEFAULT = "80%"
MAX_WORKERS = 1024


def nice_level(what: str, nice: int) -> int:
    """A nice level that this user may set. Raises ConfigError, Unsupported."""
    if not -20 <= nice <= 19:
        raise ConfigError(f"{what}: the nice level {nice} is not between -20 and 19")
    if nice < 0 and os.geteuid():
        raise Unsupported(f"{what}: user {os.geteuid()} may not set the nice level {nice}; run vagus as root")
    return nice


class Cpu:
    """CPU time: 80% of the target's CPUs, or `2 cores`, in the target's control group or on the whole machine."""

    name = "cpu"
    default = DEFAULT
    options: ClassVar[dict[str, str]] = {"nice": "Nice level of the processes that spin, -20 to 19."}

    def __init__(self, root: Path = Path("/"), *, nice: int = 0) -> None:
        self.root = root
        self.nice = nice_level("cpu", nice)

    def prepare(self, intensity: str, target: str, duration_s: float) -> Prepared:
        """Raises ConfigError, Unsupported."""
        value, unit = amount(
            "cpu", intensity or DEFAULT, {**PERCENT, "cores": 1.0, "core": 1.0}, "a share such as 80% or `2 cores`"
        )
        group = group_of(self.root, target)
        if unit == "%":
            workers = max(1, math.ceil(group.cpus))
            cores = share("cpu", value) * group.cpus
        else:
            workers, cores = math.ceil(value), value
        if workers > min(MAX_WORKERS, 4 * max(1, len(group.allowed))):
            raise ConfigError(f"cpu: {workers} cores; {group.name} has {group.cpus:g}: at most 4 times as many")
        duty = min(1.0, cores / workers)
        one = command("cpu", duration_s, duty=duty, nice=self.nice)
        says = f"{workers} × {duty:.0%} of a CPU, {cores:.3g} cores in all, on {group.name} (which has {group.cpus:g})"
        return Prepared(commands=(one,) * workers, enter=group.enter, says=says)
