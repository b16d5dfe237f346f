"""The last-level caches of the machine: how large each is, and which CPUs share it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from vagus.errors import Unsupported
from vagus.undo import read_text

_FACTORS = {"K": 1024, "M": 1024**2, "G": 1024**3}


class Cache(NamedTuple):
    """One last-level cache."""

    size_bytes: int
    cpus: tuple[int, ...]


def last_level(root: Path) -> tuple[Cache, ...]:
    """Every last-level cache (the unified one of the highest level), from ROOT/sys/devices/system/cpu. Raises
    Unsupported where the kernel does not tell, as in some virtual machines."""
    found: dict[tuple[int, ...], int] = {}
    for cpu in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cache")):
        best: tuple[int, int, tuple[int, ...]] = (0, 0, ())
        for index in cpu.glob("index[0-9]*"):
            try:
                if read_text(str(index / "type")) not in ("Unified", "Data"):
                    continue
                level, size = int(read_text(str(index / "level"))), read_text(str(index / "size"))
                cpus = _cpus(read_text(str(index / "shared_cpu_list")))
            except (OSError, ValueError):
                continue
            best = max(best, (level, int(size[:-1]) * _FACTORS[size[-1]] if size[-1:] in _FACTORS else int(size), cpus))
        if best[1]:
            found[best[2]] = best[1]
    if not found:
        raise Unsupported(f"{root}/sys/devices/system/cpu/cpu*/cache says nothing of caches: give the intensity in MiB")
    return tuple(Cache(size, cpus) for cpus, size in sorted(found.items()))


def _cpus(text: str) -> tuple[int, ...]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def available_bytes(root: Path) -> float:
    """Memory that can be had without swapping, from ROOT/proc/meminfo; infinite where it is not told."""
    try:
        for line in read_text(str(root / "proc/meminfo")).splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return float("inf")
