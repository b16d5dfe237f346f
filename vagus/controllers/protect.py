"""Protects subjects from a noisy neighbour: multiplicative decrease of its limit while they suffer, additive increase
when they have been well for a while (AIMD; Chiu and Jain 1989)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from vagus.controllers import View
from vagus.errors import ConfigError
from vagus.model import Action, Directive, Status, Target


class Protect:
    """Limits `target` while any of `subjects` is inferred to be unhealthy.

    low, high: bounds of the limit in cores; factor: decrease per step; increase: cores per step, after all subjects
    have been healthy for `patience` steps. A subject of whom nothing is known (NA) asks for nothing. Raises ConfigError.
    """

    selectors = ("host.load",)  # it looks at verdicts; samples only show that the collector lives

    def __init__(
        self,
        subjects: Sequence[str],
        target: str,
        *,
        resource: str = "cpu_cores",
        low: float = 0.1,
        high: float = 1.0,
        factor: float = 0.5,
        increase: float = 0.05,
        patience: int = 20,
        period_s: float = 1.0,
    ) -> None:
        if isinstance(subjects, str) or not subjects or not all(isinstance(s, str) and s for s in subjects):
            raise ConfigError(f"protect: subjects must be a list of names, such as [db, api], not {subjects!r}")
        if not 0 < low <= high < math.inf:
            raise ConfigError(f"protect: 0 < low <= high must hold, not low={low!r}, high={high!r}")
        if not 0 < factor < 1 or not increase > 0:
            raise ConfigError(f"protect: factor={factor!r} must be between 0 and 1, increase={increase!r} above 0")
        self.period_s = period_s
        self._subjects = tuple(subjects)
        self._target = Target.parse(target)
        self._resource = resource
        self._low, self._high = low, high
        self._factor, self._increase, self._patience = factor, increase, patience
        self._limit = math.inf
        self._calm = 0

    def step(self, view: View) -> Iterable[Directive]:
        for receipt in view.receipts():  # what the guard and the kernel made of the last wish is where we are
            if receipt.target != self._target or receipt.resource != self._resource or receipt.error:
                continue
            if not (receipt.dry and receipt.note.startswith("held")):  # a dry wish was never written: read back as none
                self._limit = math.inf if receipt.after is None else receipt.after
        statuses = {s: view.status(s) for s in self._subjects}
        suffering = [s for s, status in statuses.items() if status > Status.PENDING]
        if suffering:
            self._calm = 0
            lower = max(self._low, min(self._limit, self._high) * self._factor)
            return self._ask(lower, f"{', '.join(suffering)} {statuses[suffering[0]].name}: the neighbour gives way")
        if all(status == Status.HEALTHY for status in statuses.values()) and self._limit < self._high:
            self._calm += 1
            if self._calm > self._patience:
                higher = min(self._high, self._limit + self._increase)
                return self._ask(higher, "all healthy for a while: a little more for the neighbour")
        return []

    def _ask(self, limit: float, reason: str) -> list[Directive]:
        return [Action(self._target, self._resource, limit, reason)]
