"""Reasons to mistrust a controller's means: its node, its collector, the age of what it sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from vagus.clock import NS
from vagus.controllers.ladder import Doubt
from vagus.model import Inference, Sample, Status

# how loaded a node is is what controllers are there to change: input, not doubt
_LOAD = ("_pressure", "disk_free")
# whether a node is there at all: here a suspicion is a doubt
_PRESENCE = ("swim", "ray")

SETTLE_S = 15.0
MAX_SETTLE_S = 300.0


def doubts_of(
    node: str,
    now_ns: int,
    samples: Sequence[Sample],
    inferences: Iterable[Inference],
    max_age_s: float,
    actuator: str = "",
    own: str = "",
) -> list[Doubt]:
    """What speaks against acting on `node` now; empty when nothing does.

    samples: the newest of this node's collector; inferences: this node's, of which only those on the node itself, its
    collector and its actuator count. own: the context of what the controller itself says of its actuator. A verdict on
    the steered service is no doubt.
    """
    found: list[Doubt] = []
    if not samples:
        found.append(Doubt("the collector has no samples", "sight"))
    else:
        # one from the future proves nothing: the clock was set back, or its sender has one of its own
        past = [sample.t_ns for sample in samples if sample.t_ns <= now_ns + max_age_s * NS]
        age_s = (now_ns - max(past, default=now_ns)) / NS
        if not past:
            found.append(Doubt("all samples are from the future: the clock was set back", "sight"))
        elif age_s > max_age_s:
            found.append(Doubt(f"the newest sample is {age_s:.1f} s old", "sight"))
    sight = {f"vagus:collector@{node}", f"collector@{node}"}
    hand = {f"node:{node}", f"actuator:{actuator}@{node}"}
    for inference in inferences:
        if inference.subject in sight or inference.subject in hand:
            for context, verdict in inference.contexts.items():
                if context == own and inference.subject in hand:
                    continue
                least = Status.MAYBE_UNHEALTHY if context in _PRESENCE else Status.UNHEALTHY
                if verdict.status >= least and not any(word in context for word in _LOAD):
                    of: Literal["sight", "hand"] = "sight" if inference.subject in sight else "hand"
                    found.append(Doubt(f"{inference.subject} is {verdict.status.name} in {context}", of))
    return found


def settling(restarts: int, age_s: float) -> list[Doubt]:
    """A controller that crashed watches before it acts again, longer after each crash: limits must not flap with it.

    restarts: how often it was started anew; age_s: since this start.
    """
    wait_s = 0.0 if restarts <= 0 else min(MAX_SETTLE_S, SETTLE_S * 2 ** (min(restarts, 20) - 1))
    if age_s >= wait_s:
        return []
    # no rule either: it is the acting that may have crashed
    return [Doubt(f"restarted {restarts} x, watches {wait_s - age_s:.0f} s more before it acts again", "hand")]
