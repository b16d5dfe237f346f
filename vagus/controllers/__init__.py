"""Loops around policies: the decision service, resource control, the guard. Pure: time and signals are arguments.

A controller of your own is one class: see docs/controller.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from vagus.model import Directive, Event, Inference, Outlook, Receipt, Status, Target


class View(Protocol):
    """What a controller sees at a step: time, latest samples, health, and what became of its last actions."""

    node: str
    now_ns: int
    signals: Mapping[str, float]
    """The target's own: usage_cores, limit_cores, throttled_ratio, elapsed_s, memory_bytes; empty at the first step,
    NaN where unknown."""

    objective: Mapping[str, float]
    """What the service owes, from `objective` of the settings: latency_s, slo_s, rate_hz, mix_0 …; NaN where unknown."""

    def signals_of(self, target: Target) -> Mapping[str, float]:
        """The signals of one of `targets`; empty at the first step, and while it cannot be read."""

    def last(self, selector: str) -> float:
        """The newest value of the first series that matches; NaN when there is none."""

    def all(self, selector: str) -> dict[str, float]:
        """The newest value of every series that matches, by series name."""

    def outlook(self, selector: str) -> Outlook | None:
        """Value, forecast of the next, its mean squared error and trend of the first series that matches, counters as
        rates; None when the controller does not name it in `foresees`, or nothing is known of it."""

    def status(self, subject: str) -> Status:
        """The inferred status of a subject; NA when nobody reported on it."""

    def inferences(self) -> Sequence[Inference]:
        """All inferences of this node's observer."""

    def receipts(self) -> Sequence[Receipt]:
        """What became of the actions of the previous step."""

    def events(self) -> Sequence[Event]:
        """Events since the previous step."""


class Controller(Protocol):
    """A loop of one's own: `step` is called every `period_s` and returns what to do: actions, reports, events.

    Actions go through the guard and the actuator like those of any controller: dry until armed. An exception in
    `step` is counted and shown in `vagus status`; the last safe limits hold. A class may also have `selectors`, the
    series that it wants to see in its view; all of its node without; and `foresees`, those whose outlook it wants.
    """

    period_s: float

    def step(self, view: View) -> Iterable[Directive]: ...


class Stateful(Protocol):
    """A controller that also keeps state over restarts: JSON-ready builtins."""

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...
