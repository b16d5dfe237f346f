"""Which process a Ray actor is: for `ray:ACTOR` as a target."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.state import list_actors

from vagus.errors import ActuateError

TIMEOUT_S = 5


def process_of(actor: str) -> int:
    """The process id on this node of the live actor with this name, `NAMESPACE/NAME`, or id. Blocks for the state API.

    Raises ActuateError: there is none, several, or it is on another node.
    """
    namespace, slash, name = actor.rpartition("/")
    key = "actor_id" if not slash and len(actor) == 32 and not actor.strip("0123456789abcdef") else "name"
    filters: Any = [(key, "=", name if slash else actor), ("state", "=", "ALIVE")]
    if slash:
        filters.append(("ray_namespace", "=", namespace))
    try:
        found: list[Any] = list_actors(filters=filters, limit=100, timeout=TIMEOUT_S, detail=True)
    except Exception as error:  # the state API raises errors of its own, of requests, and of Ray
        raise ActuateError(f"Ray's dashboard does not say which process ray:{actor} is: {error}"[:300]) from error
    if not found:
        raise ActuateError(f"there is no live Ray actor {actor!r}; `ray list actors` shows names and ids")
    if len(found) > 1:
        raise ActuateError(f"{len(found)} Ray actors are called {actor!r}: name one as NAMESPACE/NAME, or by its id")
    (one,) = found
    if one.node_id != ray.get_runtime_context().get_node_id():
        raise ActuateError(f"the Ray actor {actor!r} runs on another node ({one.node_id}): steer it there")
    return int(one.pid)
