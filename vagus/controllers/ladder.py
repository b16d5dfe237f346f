"""What a controller does while its means are in doubt: hold the last safe action, then the calibrated rule, then restore.

Doubt is about means, never about the service that is steered: a verdict on that is what the controller works with.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Literal

from vagus.model import Target

SETTLE_S = 5.0  # without doubt for so long, a doubt is over
PROOF = 3  # trusted steps that a limit stood through before it counts as safe


class Doubt(str):
    """A reason to mistrust, as text, and of what.

    of: `sight` (the collector, the age of the data), `policy` (it fails, or is not sure of itself), `hand` (the node, the
    actuator, the watchdog, a recent crash of its own). Only with a sound hand may a rule act instead of the policy.
    """

    of: Literal["sight", "policy", "hand"]

    def __new__(cls, text: str, of: Literal["sight", "policy", "hand"]) -> Doubt:
        made = super().__new__(cls, text)
        made.of = of
        return made


class Rung(str, enum.Enum):
    """How far down: the policy acts; what is in force stays; the rule acts; what was there before vagus."""

    TRUST = "trust"
    HOLD = "hold"
    RULE = "rule"
    RESTORE = "restore"


class Ladder:
    """The rung at each step: down with the time that doubt lasts, up when it is gone.

    hold_s: how long the last safe action is held; rule_s: how long the rule acts then (0: there is none). Doubt that
    comes and goes counts as one until it was gone for SETTLE_S.
    """

    def __init__(self, hold_s: float, rule_s: float) -> None:
        self._hold_s = hold_s
        self._rule_s = rule_s
        self._since_s: float | None = None  # when this doubt began
        self._last_s = 0.0  # when it was last seen
        self.rung = Rung.TRUST

    def step(self, doubts: Sequence[Doubt], now_s: float) -> Rung:
        """The rung now; now_s: a clock that does not go back."""
        if not doubts:
            if self._since_s is not None and now_s - self._last_s >= SETTLE_S:
                self._since_s = None
            restored = self.rung is Rung.RESTORE and self._since_s is not None
            self.rung = Rung.RESTORE if restored else Rung.TRUST
            return self.rung
        self._last_s = now_s
        if self._since_s is None:
            self._since_s = now_s
        lasted_s = now_s - self._since_s
        if self.rung is Rung.RESTORE:
            pass
        elif lasted_s < self._hold_s:
            self.rung = Rung.HOLD
        elif lasted_s < self._hold_s + self._rule_s and all(doubt.of != "hand" for doubt in doubts):
            self.rung = Rung.RULE
        else:
            self.rung = Rung.RESTORE
        return self.rung


class LastSafe:
    """The last value of each limit that stood through PROOF trusted steps.

    A limit that was tightened just before doubt began has proven nothing: then the one before is the safe one.
    """

    def __init__(self) -> None:
        self._standing: dict[tuple[Target, str], tuple[float | None, int]] = {}
        self._safe: dict[tuple[Target, str], float | None] = {}

    def trusted(self, in_force: Mapping[tuple[Target, str], float | None]) -> None:
        """A step that was trusted, with the limits in force after it."""
        for key, value in in_force.items():
            before, steps = self._standing.get(key, (value, 0))
            steps = steps + 1 if before == value else 1
            self._standing[key] = (value, steps)
            if steps >= PROOF:
                self._safe[key] = value
        for gone in self._standing.keys() - in_force.keys():
            del self._standing[gone]
            self._safe.pop(gone, None)

    def looser(self, in_force: Mapping[tuple[Target, str], float | None]) -> dict[tuple[Target, str], float]:
        """Limits in force that are tighter than the safe ones, with the safe values."""
        found = {}
        for key, value in in_force.items():
            safe = self._safe.get(key)
            if safe is not None and value is not None and value < safe:
                found[key] = safe
        return found
