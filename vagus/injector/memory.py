"""Strains memory bandwidth: processes that copy large arrays."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

from vagus.errors import ConfigError, Unsupported
from vagus.injector import Prepared
from vagus.injector.caches import available_bytes, last_level
from vagus.injector.cpu import DEFAULT, MAX_WORKERS, nice_level
from vagus.injector.groups import group_of
from vagus.injector.reading import BYTES_S, PERCENT, amount, share
from vagus.injector.strain import command

LEAST_BYTES = 32 << 20
UNKNOWN_BYTES = 256 << 20  # where the kernel does not tell how large its caches are
MOST_SHARE = 0.5  # of the memory that is free


def enough(what: str, bytes_: float, root: Path, room_bytes: float) -> None:
    """Raises Unsupported when that would need too much of the machine's or the group's memory."""
    free = min(available_bytes(root), room_bytes)
    if bytes_ > MOST_SHARE * free:
        raise Unsupported(
            f"{what}: its arrays need {bytes_ / 2**20:.0f} MiB, and only {free / 2**20:.0f} MiB are free there, half of "
            "which may be used: ask for less, or on fewer cores"
        )


class Memory:
    """Memory bandwidth: 80% of what all CPUs reach (read and written), `2 cores` without rest, or `4 GB/s`."""

    name = "memory"
    default = DEFAULT
    options: ClassVar[dict[str, str]] = {"nice": "Nice level of the processes that copy, -20 to 19."}

    def __init__(self, root: Path = Path("/"), *, nice: int = 0) -> None:
        self.root = root
        self.nice = nice_level("memory", nice)

    def prepare(self, intensity: str, target: str, duration_s: float) -> Prepared:
        """Raises ConfigError, Unsupported."""
        value, unit = amount(
            "memory",
            intensity or DEFAULT,
            {**PERCENT, "cores": 1.0, "core": 1.0, **BYTES_S},
            "a share such as 80%, `1 core` or 4 GB/s",
        )
        group = group_of(self.root, target)
        workers = max(1, math.ceil(group.cpus))
        if unit == "%":
            how, what = {"share": share("memory", value)}, f"{value:.0%} of what they reach"
        elif unit in BYTES_S:
            how, what = {"bytes_s": value / workers}, f"{value / 1e9:.3g} GB/s in all"
        else:
            if value > max(1, len(group.allowed)) or value > MAX_WORKERS:
                raise ConfigError(f"memory: {value:g} cores, and {group.name} has {group.cpus:g}")
            workers = math.ceil(value)
            how, what = {"share": value / workers}, f"{value:g} cores without rest"
        array = self._array_bytes()
        enough("memory", 2 * array * workers, self.root, group.room_bytes)
        one = command("memory", duration_s, array_bytes=array, nice=self.nice, **how)
        says = f"{workers} × copies between two arrays of {array / 2**20:.0f} MiB, {what}, on {group.name}"
        return Prepared(commands=(one,) * workers, enter=group.enter, says=says)

    def _array_bytes(self) -> int:
        """Larger than any cache; two of them make it sure."""
        try:
            return max(LEAST_BYTES, *(cache.size_bytes for cache in last_level(self.root)))
        except Unsupported:
            return UNKNOWN_BYTES
