"""What of a cluster's answer its reader may see: each node's part is judged by that node's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from vagus.gateway.access import who_asks
from vagus.gateway.fanout import Gathered
from vagus.gateway.route import Site

MAX_NAMED = 30


def permitted(site: Site, request: web.BaseRequest, gathered: Gathered, name_of: Callable[[Any], str]) -> Gathered:
    """The parts (a list for each node) without the items that the rules refuse; `name_of` names an item for them.

    `refused` of the answer lists up to 30 names that were left out. Raises Refused when nothing is left of something.
    """
    door = site.door
    if door.open:
        return gathered
    who = who_asks(request)
    parts: dict[str, list[Any]] = {}
    refused: dict[str, str] = {}
    for node, items in gathered.parts.items():
        parts[node] = kept = []
        for item in items:
            name = name_of(item)
            if door.allows(who, "read", name, node):
                kept.append(item)
            else:
                refused.setdefault(name, node)
    if refused and not any(parts.values()):
        name, node = next(iter(refused.items()))
        raise door.refuse(who, "read", name, node)
    if refused:  # one event for the answer, not one for each name
        door.refuse(who, "read", ", ".join(sorted(refused)), next(iter(refused.values())))
    return Gathered(parts, gathered.missing, tuple(sorted(refused)[:MAX_NAMED]))


def permitted_nodes(site: Site, request: web.BaseRequest, gathered: Gathered, what: str) -> Gathered:
    """The parts of the nodes at which `what` may be read. Raises Refused when there are none."""
    whole = Gathered({node: [part] for node, part in gathered.parts.items()}, gathered.missing)
    kept = permitted(site, request, whole, lambda _: what)
    return Gathered({node: part[0] for node, part in kept.parts.items() if part}, kept.missing, kept.refused)


def record_name(kind: str) -> Callable[[Any], str]:
    """Names records for the rules: an event by its own name, a report by its subject, others by their kind."""
    if kind == "event":
        return lambda record: str(record.event)
    if kind == "report":
        return lambda record: str(record.subject)
    return lambda record: kind


def stream_name(item: Any) -> str:
    """Names what has a stream (a batch, an entry of the directory) by its kind."""
    return str(item.stream.kind)
