"""Which resource a component lacks, by its signals: each a ratio to its usual value. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

RESOURCES = ("cpu", "memory", "llc", "memory_bandwidth", "disk", "network")
UNUSUAL = 1.5  # times the usual value
GAPS = 0.7  # of the excess between caller and callee: the network's, where no signal says otherwise


def resource_of(signals: Mapping[str, float], gap_share: float) -> tuple[str, float]:
    """The resource whose signal rose most, and how many times; `network` (1.0) where the time is lost on the way and
    its processor is known to be as usual, since who waits for that is late to begin, too; empty: not known."""
    known = {name: ratio for name, ratio in signals.items() if name in RESOURCES and math.isfinite(ratio)}
    name = max(sorted(known), key=known.__getitem__, default="")
    if name and known[name] >= UNUSUAL:
        return name, known[name]
    return ("network" if gap_share >= GAPS and "cpu" in known else ""), 1.0
