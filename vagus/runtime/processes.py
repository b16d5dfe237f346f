"""Which process a Ray actor is, asked of Ray's state API: for `ray:ACTOR` as a target."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.state import list_actors

from vagus.actuators.ray_actors import ACTOR_ID, RayActor, process_of
from vagus.errors import ActuateError
from vagus.model import Target

TIMEOUT_S = 5
MAX_ACTORS = 100  # of one name, in all namespaces


def find_process(target: Target) -> Target:
    """`pid:PID:START` of `ray:NAME`, `ray:NAMESPACE/NAME` or `ray:ACTOR_ID` on this node. Blocks for the state API.

    Raises ActuateError, Unsupported (on another node).
    """
    name = target.name.rpartition("/")[2]
    found: list[Any] = []
    ours = ray.get_runtime_context().gcs_address  # unasked, it takes the newest cluster of the machine
    try:
        for key in ("name", "actor_id") if ACTOR_ID.match(name) else ("name",):
            asked: Any = [(key, "=", name)]
            found += list_actors(ours, filters=asked, limit=MAX_ACTORS, timeout=TIMEOUT_S, detail=True)
    except Exception as error:  # the state API raises errors of its own, of requests, and of Ray
        raise ActuateError(f"Ray's dashboard does not say which process {target} is: {error}"[:300]) from error
    actors = [
        RayActor(a.actor_id, a.name or "", a.ray_namespace or "", a.node_id or "", a.pid or 0, a.state == "ALIVE")
        for a in found
    ]
    return process_of(target, actors, ray.get_runtime_context().get_node_id())
