"""What nodes are called. Pure: from Ray's node table to stable names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

NAMESPACE = "vagus"
SUPERVISOR = "vagus:supervisor"
NODE_LABEL = "vagus/node"
HEAD = "node:__internal_head__"  # a resource that Ray gives to the node of its head alone
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def node_names(nodes: Iterable[Mapping[str, Any]], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ray node id → name, for the alive nodes of `ray.nodes()`; those in `known` keep the name that they have there.

    The label `vagus/node` where set, else the host name: the state folder of a machine then survives a restart of
    Ray. Further nodes on one host get the host name with the beginning of their Ray id.
    """
    alive = [n for n in nodes if n.get("Alive")]
    known = known or {}
    names = {str(n["NodeID"]): known[str(n["NodeID"])] for n in alive if str(n["NodeID"]) in known}
    taken = set(names.values())
    for node in sorted(alive, key=lambda n: (not is_head(n), not _label(n), str(n["NodeID"]))):
        if str(node["NodeID"]) in names:
            continue
        wanted = _UNSAFE.sub("-", _label(node) or str(node.get("NodeManagerHostname") or node["NodeName"]))[:80]
        name = wanted if wanted not in taken else f"{wanted}-{node['NodeID'][:6]}"
        taken.add(name)
        names[str(node["NodeID"])] = name
    return names


def is_head(node: Mapping[str, Any]) -> bool:
    """Whether Ray's head runs on this node."""
    return HEAD in (node.get("Resources") or {})


def _label(node: Mapping[str, Any]) -> str:
    return str((node.get("Labels") or {}).get(NODE_LABEL, ""))
