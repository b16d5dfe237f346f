"""Resource control: a target's usage → signals → a limit policy → an action."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from vagus.actuators import Usage
from vagus.clock import NS
from vagus.controllers import View
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
    """A limit policy as a controller: asks it at each step and wants its answer for one resource of one target."""

    selectors = ("host.load",)  # only to know that the collector lives: the signals come from the actuator

    def __init__(self, policy: LimitPolicy, target: Target, period_s: float, resource: str = "cpu_cores") -> None:
        self.policy = policy
        self.target = target
        self.resource = resource
        self.period_s = period_s

    def step(self, view: View) -> Iterable[Directive]:
        """One action, or none: without signals yet, or when the policy leaves the limit. Raises PolicyError."""
        signals = view.signals
        if not signals:
            return ()
        value = self.policy.step(signals)
        if value is None:
            return ()
        return (
            Action(
                self.target,
                self.resource,
                value,
                _why(getattr(self.policy, "name", type(self.policy).__name__), signals),
            ),
        )

    def state(self) -> dict[str, Any]:
        return self.policy.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.policy.restore(state)


def _why(policy: str, signals: Mapping[str, float]) -> str:
    parts = [f"uses {signals['usage_cores']:.2f} cores"]
    if not math.isnan(signals["throttled_ratio"]):
        parts.append(f"throttled in {signals['throttled_ratio']:.0%} of periods")
    return f"{policy}: {', '.join(parts)}"
