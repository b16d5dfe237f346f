"""Protects subjects from a noisy neighbour: multiplicative decrease of its limit while they suffer, additive increase
when they have been well for a while (AIMD; Chiu and Jain 1989)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from vagus.controllers import View
from vagus.model import Action, Directive, Status, Target


class Protect:
    """Limits `target` while any of `subjects` is inferred to be unhealthy.

    low, high: bounds of the limit in cores; factor: decrease per step; increase: cores per step, after all subjects
    have been healthy for `patience` steps. A subject of whom nothing is known (NA) asks for nothing.
    """

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
            if receipt.target == self._target and receipt.after is not None and not receipt.error:
                self._limit = receipt.after
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
