"""Additive increase, multiplicative decrease of limits: the rule that FIRM is compared with (Qiu et al., OSDI'20,
section 4.3), after Chiu and Jain (1989).

Every `period_s`: while the objective is missed, limits rise by `step`; once it was met for `patience_s`, they fall to
`factor` of what they are. Without an objective, or where it is not known, a target that is throttled in more than
`throttled` of its periods counts as a miss of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from vagus.errors import ConfigError, PolicyError
from vagus.policies import Field, Wish
from vagus.policies.options import number

if TYPE_CHECKING:
    import numpy as np

CORES = "cpu_cores"
STEP_RATIO = 0.05  # of the highest limit, for resources without a `step`
LOW_HIGH = (1e-9, math.inf)


class Pace:
    """When a rise or a fall is due."""

    def __init__(self) -> None:
        self.met_s: float | None = None  # since when the objective is met
        self.acted_s = -math.inf

    def due(self, missed: bool | None, now_s: float, period_s: float, patience_s: float) -> int:
        """1: rise; -1: fall; 0: neither. missed: the objective, at this step; None: not known."""
        if missed is None:
            return 0
        if missed:
            self.met_s = None
        elif self.met_s is None or self.met_s > now_s:
            self.met_s = now_s
        if 0 <= now_s - self.acted_s < period_s * 0.99:  # timers are a little early at times
            return 0
        if not missed and (self.met_s is None or now_s - self.met_s < patience_s):
            return 0
        self.acted_s = now_s
        return 1 if missed else -1


class Aimd:
    """One rule for all limits of all targets.

    Options: step (cores added at once, or amounts by resource; others 5 % of their highest limit), factor (what is left
    of a limit at a fall), period_s, patience_s, which (`all` rise at a miss, or `throttled`: only those that are throttled
    most, half as much as the worst or more), throttled (share of periods), slack (met: latency within so much of the
    objective). Raises ConfigError.
    Signals: throttled_ratio, elapsed_s, limit_RESOURCE; a target without a limit gets the highest one first.
    """

    name: ClassVar[str] = "aimd"
    learned: ClassVar[bool] = False

    def __init__(
        self,
        field: Field,
        rng: np.random.Generator | None = None,
        *,
        step: float | Mapping[str, float] = 0.1,
        factor: float = 0.9,
        period_s: float = 1.0,
        patience_s: float = 5.0,
        which: str = "all",
        throttled: float = 0.1,
        slack: float = 1.0,
    ) -> None:
        if which not in ("all", "throttled"):
            raise ConfigError(f"policy 'aimd': option which={which!r} is not 'all' or 'throttled'")
        self._targets = field.targets
        self._bounds = {resource: field.bounds[resource] for resource in field.bounds} or {CORES: LOW_HIGH}
        self._steps = _steps(step, self._bounds)
        self._factor = number(self.name, "factor", factor, 0.01, 1)
        self._period_s = number(self.name, "period_s", period_s, 0, 3600)
        self._patience_s = number(self.name, "patience_s", patience_s, 0, 3600)
        self._slack = number(self.name, "slack", slack, 0.01, 10)
        self._throttled = number(self.name, "throttled", throttled, 0, 1)
        self._most = which == "throttled"
        self._joint = Pace()  # by the objective
        self._paces = {target: Pace() for target in field.targets}  # each by its own throttling
        self._in_force: dict[tuple[str, str], float] = {}
        self._shares = {target: _Share() for target in field.targets}

    def step(
        self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], now_s: float
    ) -> Iterable[Wish]:
        """Wishes for all resources of those targets whose limits rise or fall now. Never raises."""
        seen = {target: signals[target] for target in self._targets if target in signals}
        for target, found in seen.items():
            self._shares[target].note(found.get("throttled_ratio", math.nan), found.get("elapsed_s", math.nan))
        latency_s, slo_s = objective.get("latency_s", math.nan), objective.get("slo_s", math.nan)
        if math.isnan(slo_s) or math.isnan(latency_s):
            by_target = {target: self._by_itself(target, now_s) for target in seen}
        else:
            due = self._joint.due(latency_s > self._slack * slo_s, now_s, self._period_s, self._patience_s)
            by_target = dict.fromkeys(seen, due)
            if due > 0 and self._most:
                shares = {target: self._shares[target].mean for target in seen}
                worst = max((share for share in shares.values() if share == share), default=0.0)
                by_target = {target: int(share >= 0.5 * worst) for target, share in shares.items()}
        wishes = [wish for target, due in by_target.items() for wish in self._wishes(target, seen[target], due)]
        for target, due in by_target.items():
            if due:
                self._shares[target].forget()
        return wishes

    def _by_itself(self, target: str, now_s: float) -> int:
        share = self._shares[target].mean
        missed = None if math.isnan(share) else share > self._throttled
        return self._paces[target].due(missed, now_s, self._period_s, self._patience_s)

    def _wishes(self, target: str, seen: Mapping[str, float], due: int) -> Iterable[Wish]:
        for resource, (low, high) in self._bounds.items():
            limit = seen.get(f"limit_{resource}", seen.get("limit_cores", math.nan) if resource == CORES else math.nan)
            if not math.isfinite(limit):
                limit = self._in_force.get((target, resource), math.nan)
            if not math.isfinite(limit):
                if math.isfinite(high):
                    yield Wish(target, resource, high, "had no limit")
                continue
            if due:
                value = limit + self._steps[resource] if due > 0 else limit * self._factor
                value = min(max(value, low), high)
                if value != limit:
                    yield Wish(target, resource, value, "objective missed" if due > 0 else "objective met")

    def in_force(self, wishes: Mapping[tuple[str, str], float]) -> None:
        """Limits that are in force, for targets whose signals do not tell."""
        self._in_force = dict(wishes)

    def state(self) -> dict[str, Any]:
        """Nothing is worth keeping: limits are the kernel's to remember, and patience begins anew."""
        return {"policy": self.name}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises PolicyError when the state is not one of ours."""
        if not isinstance(state, Mapping) or state.get("policy") != self.name:
            raise PolicyError("aimd: stored state is not one of this policy; starting afresh")


class _Share:
    """Throttled periods since the last decision, weighed with time."""

    def __init__(self) -> None:
        self.forget()

    def note(self, ratio: float, elapsed_s: float) -> None:
        if math.isfinite(ratio) and math.isfinite(elapsed_s) and elapsed_s > 0:
            self._throttled_s += ratio * elapsed_s
            self._seen_s += elapsed_s

    @property
    def mean(self) -> float:
        return self._throttled_s / self._seen_s if self._seen_s > 0 else math.nan

    def forget(self) -> None:
        self._throttled_s = self._seen_s = 0.0


def _steps(step: float | Mapping[str, float], bounds: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    given = step if isinstance(step, Mapping) else {CORES: step}
    found = {}
    for resource, (_, high) in bounds.items():
        amount = given.get(resource, STEP_RATIO * high)
        found[resource] = number("aimd", f"step.{resource}", amount, 1e-9, 1e18)
    if isinstance(step, Mapping) and (unknown := step.keys() - bounds.keys()):
        raise ConfigError(f"policy 'aimd': step names {min(unknown)!r}, which has no limits")
    return found
