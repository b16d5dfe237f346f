"""What services of this machine let be steered, as entries of the directory: their tunables, while their leases run."""

from __future__ import annotations

import time
from pathlib import Path

from vagus.actuators.announced import Announced, announced
from vagus.clock import NS
from vagus.config import run_folder
from vagus.model import DirectoryEntry

MAX_ENTRIES = 2000


def steerable(home: Path, node: str, online: str, now_s: float | None = None) -> list[DirectoryEntry]:
    """Entries of type `actuator`, named by the target that a controller names; reads a few small files."""
    now_s = time.time() if now_s is None else now_s
    found = announced(run_folder(home) / "tunables", now_s)[:MAX_ENTRIES]
    return [_entry(one, node, online) for one in found]


def _entry(one: Announced, node: str, online: str) -> DirectoryEntry:
    labels = {"service": one.service, "instance": one.instance, "name": one.name, "unit": one.unit}
    labels |= {"low": f"{one.low:.15g}", "high": f"{one.high:.15g}"}
    if one.whole:
        labels["whole"] = "yes"
    return DirectoryEntry(
        "actuator",
        one.target,
        node,
        {key: text for key, text in labels.items() if text},
        True,
        "HEALTHY",
        last_ns=round(one.renewed_s * NS),
        expires_ns=round(one.expires_s * NS),
        online=online,
    )
