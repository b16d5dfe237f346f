"""What one principal may see of a section, each node's part by that node's rules; of a node about which nothing is
allowed not even its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vagus.access import Principal
from vagus.feeds.signals import kind_of
from vagus.gateway.door import Keys
from vagus.gateway.fanout import Gathered
from vagus.gateway.overview_signals import SIGNALS
from vagus.gateway.permitted import kept

NAMES: Mapping[str, tuple[Callable[[Any], str], ...]] = {
    "signals": (lambda signal: signal.kind,),
    "nodes": (lambda status: "status",),
    "verdicts": (lambda row: str(row.subject),),
    "feeds": (lambda status: kind_of(status.name),),
    "limits": (lambda receipt: "receipt",),
    "decisions": (lambda logged: "decision", lambda logged: "reward"),
}
"""What the rules are asked for each item of a section: all of these must be allowed."""
KNOWN_BY = ("overview", "status", "receipt", "decision", "reward", *(signal.kind for signal in SIGNALS))
"""Who may read any of these at a node may know of it."""
OTHERS = "other nodes"
"""Stands in `refused` for nodes about which nothing is allowed: what is there has names that tell of them."""


class Rights:
    """Of one principal; asked again and again, so that what is found of a node is kept. key: the same for equal rights."""

    def __init__(self, door: Keys, who: Principal) -> None:
        self.key = "" if door.open else str(who)
        self._door = door
        self._who = who
        self._known: dict[str, bool] = {}

    def may(self, what: str, node: str = "") -> bool:
        """Whether it may be read at a node ("": this one)."""
        return self._door.allows(self._who, "read", what, node)

    def knows(self, node: str) -> bool:
        """Whether it may be told that there is such a node."""
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = any(self.may(what, node) for what in KNOWN_BY)
        return found

    def judged(self, section: str, gathered: Gathered) -> Gathered:
        """What is left of the parts (a list for each node), and of the nodes that are missing; `refused` names the rest."""
        if self._door.open:
            return gathered
        parts = {
            node: items
            for node, items in gathered.parts.items()
            if self.knows(node) or any(self._may_all(section, item, node) for item in items)
        }
        missing = tuple(one for one in gathered.missing if self.knows(one.node))
        hidden = {node for node, items in gathered.parts.items() if items and node not in parts}
        hidden.update(one.node for one in gathered.missing if not self.knows(one.node))
        found, refused = Gathered(parts, missing), dict[str, None]()
        for name_of in NAMES[section]:
            found = kept(self._door, self._who, found, name_of)
            refused.update(dict.fromkeys(found.refused))
        if hidden:
            self._door.refuse(self._who, "read", "overview", min(hidden))  # which tells of it
            refused[OTHERS] = None
        return Gathered(found.parts, missing, tuple(refused))

    def _may_all(self, section: str, item: Any, node: str) -> bool:
        return all(self.may(name_of(item), node) for name_of in NAMES[section])

    def led(self, explained: Mapping[str, Mapping[str, Any]], nodes: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """What leaders said, without the names of those that may not be known. nodes: all that there are."""
        whole = all(self.knows(node) for node in nodes)
        found: dict[str, Mapping[str, Any]] = {}
        for group, told in explained.items():
            found[group] = told
            if not whole and told.get("error"):
                found[group] = {"error": "its leader told nothing"}  # why may name the leader
            elif not whole and not self.knows(str(told.get("leader", ""))):
                found[group] = {**told, "leader": ""}
        return found
