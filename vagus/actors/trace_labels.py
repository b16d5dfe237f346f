"""Injections as labels: which component was hit in which resource, from when to when. Pure.

Source: events `inject.begin` and `inject.end` (fields id, type, resource, target, component, duration_s).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vagus.clock import NS
from vagus.model import Event

MAX_OPEN = 1000
MAX_DURATION_S = 86_400.0


class Label(NamedTuple):
    """A component was hit in a resource during this time."""

    component: str
    resource: str
    begin_ns: int
    end_ns: int


class Labels:
    """Joins begins to ends. places: service or component → target: an injection that names no component but hits what
    one runs in is that component's."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._named = {target: name for name, target in places.items()}
        self._begun: dict[str, int] = {}

    def hear(self, event: Event) -> Label | None:
        """The label that an end completes. An injection that hits no known component labels nothing."""
        fields = event.fields
        key = str(fields.get("id", ""))
        if event.event == "inject.begin":
            self._begun[key] = event.t_ns
            if len(self._begun) > MAX_OPEN:
                del self._begun[next(iter(self._begun))]
            return None
        if event.event != "inject.end":
            return None
        begin_ns = self._begun.pop(key, 0) or event.t_ns - round(_seconds(fields.get("duration_s")) * NS)
        component = str(fields.get("component", "")) or self._named.get(str(fields.get("target", "")), "")
        resource = str(fields.get("resource", ""))
        if not component or not resource or begin_ns >= event.t_ns:
            return None
        return Label(component, resource, begin_ns, event.t_ns)


def _seconds(value: object) -> float:
    if isinstance(value, (int, float)) and 0 < value <= MAX_DURATION_S:
        return float(value)
    return 0.0
