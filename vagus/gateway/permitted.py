"""What of a cluster's answer its reader may see: each node's part is judged by that node's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from vagus.access import Principal
from vagus.errors import Refused
from vagus.gateway.access import who_asks
from vagus.gateway.door import Keys
from vagus.gateway.fanout import Gathered
from vagus.gateway.route import Site

MAX_NAMED = 30


def permitted(site: Site, request: web.BaseRequest, gathered: Gathered, name_of: Callable[[Any], str]) -> Gathered:
    """The parts (a list for each node) without the items that the rules refuse; `name_of` names an item for them.

    `refused` of the answer lists up to 30 names that were left out. Raises Refused when nothing is left of something.
    """
    who = who_asks(request)
    found, error = _judged(site.door, who, gathered, name_of)
    if error is not None and not any(found.parts.values()):
        raise error
    return found


def kept(door: Keys, who: Principal, gathered: Gathered, name_of: Callable[[Any], str]) -> Gathered:
    """The same for who is shown many things at once: nothing left is an answer too."""
    return _judged(door, who, gathered, name_of)[0]


def _judged(
    door: Keys, who: Principal, gathered: Gathered, name_of: Callable[[Any], str]
) -> tuple[Gathered, Refused | None]:
    """What may be seen, and the refusal of the rest, of which one event is told for the whole answer."""
    if door.open:
        return gathered, None
    parts: dict[str, list[Any]] = {}
    refused: dict[str, str] = {}
    for node, items in gathered.parts.items():
        parts[node] = left = []
        for item in items:
            name = name_of(item)
            if door.allows(who, "read", name, node):
                left.append(item)
            else:
                refused.setdefault(name, node)
    if not refused:
        return Gathered(parts, gathered.missing), None
    shown = Gathered(parts, gathered.missing, tuple(sorted(refused)[:MAX_NAMED]))
    if any(parts.values()):
        return shown, door.refuse(who, "read", ", ".join(sorted(refused)), next(iter(refused.values())))
    name, node = next(iter(refused.items()))
    return shown, door.refuse(who, "read", name, node)


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
