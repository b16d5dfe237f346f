"""The events that label the data: `inject.begin` once it is in force, `inject.end` when it is not any more.

The begin carries duration_s: where no end comes (the machine lost power), the label ends by itself then.
"""

from __future__ import annotations

import msgspec

from vagus.clock import NS
from vagus.injector import RESOURCES
from vagus.injector.session import Outcome
from vagus.model import Event, Level, Scalar

BEGIN = "inject.begin"
END = "inject.end"
SOURCE = "inject"
_MOST_TEXT = 1000


class Injected(msgspec.Struct, frozen=True):
    """What an injection is, for those who learn from it. id: the same in begin and end."""

    id: str
    type: str
    intensity: str
    target: str
    duration_s: float
    component: str = ""
    campaign: str = ""

    def fields(self) -> dict[str, Scalar]:
        return {
            "id": self.id,
            "type": self.type,
            "resource": RESOURCES.get(self.type, self.type),
            "intensity": self.intensity,
            "target": self.target[:_MOST_TEXT],
            "component": self.component,
            "duration_s": self.duration_s,
            "campaign": self.campaign,
        }


def begin_event(injected: Injected, t_ns: int, node: str) -> Event:
    """It is in force."""
    return Event(t_ns, BEGIN, node, Level.INFO, SOURCE, injected.fields())


def end_event(injected: Injected, outcome: Outcome, node: str) -> Event:
    """It was in force until now: why it ended, what it did, and what could not be undone."""
    fields = injected.fields() | {
        "in_force_s": outcome.in_force_s,
        "why": outcome.why[:_MOST_TEXT],
        "failures": "; ".join(outcome.failures)[:_MOST_TEXT],
    }
    level = Level.ERROR if outcome.failures else Level.INFO if outcome.why in ("done", "interrupted") else Level.WARNING
    return Event(outcome.end_ns, END, node, level, SOURCE, {**fields, **outcome.figures})


def killed_event(begun: Event, t_ns: int) -> Event:
    """The end of an injection whose process was killed: told later, of the time at which the watchdog undid it."""
    duration_s = begun.fields.get("duration_s", 0.0)
    last_ns = begun.t_ns + round(float(duration_s) * NS)
    end_ns = min(max(t_ns, begun.t_ns), last_ns)
    fields = {**begun.fields, "in_force_s": (end_ns - begun.t_ns) / NS, "why": "killed"}
    return Event(end_ns, END, begun.node, Level.WARNING, SOURCE, fields)
