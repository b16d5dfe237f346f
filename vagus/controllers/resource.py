"""Resource control: a target's usage → signals → a limit policy → an action."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from vagus.actuators import Usage
from vagus.clock import NS
from vagus.controllers import View
from vagus.errors import PolicyError
from vagus.model import Action, Directive, Target
from vagus.policies import LimitPolicy


class Meter:
    """Turns cumulative usage into signals: differences between two readings.

    Signals: usage_cores, limit_cores (NaN: no limit), throttled_ratio (throttled periods ÷ periods that passed; NaN
    where nothing is counted), elapsed_s, memory_bytes. Empty at the first reading and when the clock did not move.
    """

    def __init__(self) -> None:
        self._last: tuple[int, Usage] | None = None

    def read(self, usage: Usage, limit_cores: float | None, t_ns: int) -> dict[str, float]:
        """The signals of the time since the last reading; t_ns from a clock that does not go back."""
        last, self._last = self._last, (t_ns, usage)
        if last is None or t_ns <= last[0]:
            return {}
        elapsed_s = (t_ns - last[0]) / NS
        throttled = usage.throttled_periods - last[1].throttled_periods
        # the kernel counts periods only while there is work: what passed is told by the clock
        ratio = min(max(throttled, 0.0) / max(elapsed_s / usage.period_s, 1.0), 1.0)
        return {
            "usage_cores": max(usage.cpu_s - last[1].cpu_s, 0.0) / elapsed_s,  # ended processes may take theirs along
            "limit_cores": math.nan if limit_cores is None else limit_cores,
            "throttled_ratio": math.nan if math.isnan(throttled) else ratio,
            "elapsed_s": elapsed_s,
            "memory_bytes": usage.memory_bytes,
        }


class ResourceController:
    """A limit policy as a controller: asks it at each step and wants its answer for one resource of its target; with
    several targets, each has a policy of its own."""

    selectors = ("host.load",)  # only to know that the collector lives: the signals come from the actuator

    def __init__(self, policies: Mapping[Target, LimitPolicy], period_s: float, resource: str = "cpu_cores") -> None:
        self.policies = dict(policies)
        self.resource = resource
        self.period_s = period_s

    def step(self, view: View) -> Iterable[Directive]:
        """At most an action a target: none without signals yet, or where the policy leaves the limit. Raises PolicyError,
        when no target could be decided on."""
        actions, failures, seen = [], [], 0
        for target, policy in self.policies.items():
            signals = view.signals_of(target)
            if not signals:
                continue
            seen += 1
            try:
                value = policy.step(signals)
            except PolicyError as error:
                failures.append(f"{target}: {error}" if len(self.policies) > 1 else str(error))
                continue
            if value is not None:
                actions.append(Action(target, self.resource, value, _why(_name(policy), signals)))
        if failures and len(failures) == seen:
            raise PolicyError("; ".join(failures[:3]))
        return actions

    def state(self) -> dict[str, Any]:
        if len(self.policies) == 1:
            return next(iter(self.policies.values())).state()
        return {"targets": {str(target): policy.state() for target, policy in self.policies.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Of those targets that there still are. Raises PolicyError."""
        if len(self.policies) == 1:
            next(iter(self.policies.values())).restore(state)
            return
        saved = state.get("targets")
        if not isinstance(saved, Mapping):
            raise PolicyError("the saved state is not one of several targets; starting afresh")
        for target, policy in self.policies.items():
            if str(target) in saved:
                policy.restore(saved[str(target)])


def _name(policy: LimitPolicy) -> str:
    return getattr(policy, "name", type(policy).__name__)


def _why(policy: str, signals: Mapping[str, float]) -> str:
    parts = [f"uses {signals['usage_cores']:.2f} cores"]
    if not math.isnan(signals["throttled_ratio"]):
        parts.append(f"throttled in {signals['throttled_ratio']:.0%} of periods")
    return f"{policy}: {', '.join(parts)}"
