"""`ray:NAME` and `ray:ACTOR_ID`: which process a Ray actor is. Ray itself is asked by others: this room knows none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from vagus.actuators.process import read_stat
from vagus.errors import ActuateError, Unsupported
from vagus.model import Target

ACTOR_ID = re.compile(r"[0-9a-f]{32}\Z")


class RayActor(NamedTuple):
    """One actor as Ray's state API lists it. node: as vagus calls it; pid: 0 while it has no process."""

    actor_id: str
    name: str
    namespace: str
    node: str
    pid: int
    alive: bool


def process_of(target: Target, actors: Iterable[RayActor], node: str, root: Path = Path("/")) -> Target:
    """The target `pid:PID:START` of `ray:NAME`, `ray:NAMESPACE/NAME` or `ray:ACTOR_ID` on this node; others unchanged.

    Raises Unsupported for an actor of another node, ActuateError where there is none, several, or none that runs.
    """
    if target.kind != "ray":
        return target
    found = [actor for actor in actors if _is(actor, target.name)]
    living = [actor for actor in found if actor.alive and actor.pid > 0]
    if not living:
        what = "has no process now" if found else "is not known to Ray"
        raise ActuateError(f"the actor {target.name} {what}; name one that runs, by name, NAMESPACE/NAME or id")
    if len(living) > 1:
        there = ", ".join(sorted(f"{actor.namespace}/{actor.name} ({actor.actor_id})" for actor in living)[:5])
        raise ActuateError(f"{target} means several actors ({there}): name it by NAMESPACE/NAME or id")
    actor = living[0]
    if actor.node != node:
        raise Unsupported(f"{target} runs on node {actor.node}, not here on {node}: let the controller run there")
    stat = read_stat(root, actor.pid)
    if stat is None:
        raise ActuateError(f"process {actor.pid} of {target} does not exist any more")
    return Target("pid", f"{actor.pid}:{stat.start_ticks}")


def _is(actor: RayActor, name: str) -> bool:
    if ACTOR_ID.match(name):
        return actor.actor_id == name
    namespace, slash, rest = name.rpartition("/")
    return actor.name == (rest if slash else name) and (not slash or actor.namespace == namespace)
