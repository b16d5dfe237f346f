"""Strains last-level caches: a process for each that reads an array of its size in random order."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from vagus.errors import ConfigError
from vagus.injector import Prepared
from vagus.injector.caches import Cache, last_level
from vagus.injector.cpu import nice_level
from vagus.injector.groups import group_of
from vagus.injector.memory import enough
from vagus.injector.reading import BYTES, PERCENT, amount
from vagus.injector.strain import command

DEFAULT = "100%"
MOST = 16.0
LEAST_BYTES = 1 << 20


class Llc:
    """Last-level cache: an array of 100% of its size (up to 1600%) or of `8 MiB`, read in random order, in each cache."""

    name = "llc"
    default = DEFAULT
    options: ClassVar[dict[str, str]] = {
        "nice": "Nice level of the processes that read, -20 to 19.",
        "workers": "Processes in each cache.",
    }

    def __init__(self, root: Path = Path("/"), *, nice: int = 0, workers: int = 1) -> None:
        self.root = root
        self.nice = nice_level("llc", nice)
        if not 1 <= workers <= 64:
            raise ConfigError(f"llc: {workers} workers in each cache; 1 to 64 can be asked for")
        self.workers = workers

    def prepare(self, intensity: str, target: str, duration_s: float) -> Prepared:
        """Raises ConfigError, Unsupported."""
        value, unit = amount("llc", intensity or DEFAULT, {**PERCENT, **BYTES}, "a share such as 100%, or 8 MiB")
        group = group_of(self.root, target)
        if unit == "%":
            if value > MOST:
                raise ConfigError(f"llc: {value:.0%} of the cache; at most {MOST:.0%} can be asked for")
            caches = last_level(self.root)
            sizes = [round(cache.size_bytes * value) for cache in caches]
        else:
            caches = (Cache(0, tuple(sorted(group.allowed))),)
            sizes = [round(value)]
        commands = []
        for cache, size in zip(caches, sizes, strict=True):
            cpus = sorted(set(cache.cpus) & group.allowed)
            if cpus:
                one = command("llc", duration_s, array_bytes=max(LEAST_BYTES, size), cpus=cpus, nice=self.nice)
                commands += [one] * self.workers
        enough("llc", 1.2 * sum(sizes) * self.workers, self.root, group.room_bytes)
        where = f"in each of {len(commands) // self.workers} last-level caches" if unit == "%" else "beside each other"
        says = f"{self.workers} × random reads of {max(sizes) / 2**20:.3g} MiB {where}, on {group.name}"
        return Prepared(commands=tuple(commands), enter=group.enter, says=says)
