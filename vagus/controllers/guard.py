"""The guard: what of a controller's wishes may reach the system, whatever its policy says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from vagus.config import LimitSettings, seconds
from vagus.errors import ConfigError
from vagus.model import Action, Target

DEFAULT_MIN: Mapping[str, float] = {"cpu_cores": 0.1, "memory_bytes": 64 * 1024.0**2}
_MAX_REMEMBERED = 10_000
UNCHANGED_RATIO = 0.005  # a change smaller than this is none


class Judged(NamedTuple):
    """The action that may be performed (None: hold the last safe one), and what was changed or why it is held."""

    action: Action | None
    note: str


class Guard:
    """Bounds, largest step, cool-down and capacity for each limit; holds while there is doubt about the *means*.

    limits: by resource; a resource without is bounded by a small minimum and the machine's capacity.
    capacity: what the machine has, by resource, in the resource's unit; a limit above it limits nothing.
    Raises ConfigError when the limits contradict each other.
    """

    def __init__(self, limits: Mapping[str, LimitSettings], capacity: Mapping[str, float]) -> None:
        self._rules: dict[str, tuple[float, float, float, int]] = {}
        for resource in {*limits, *(capacity.keys() & DEFAULT_MIN.keys())}:
            has = capacity.get(resource, math.inf)
            rule = limits.get(resource) or LimitSettings(min=min(DEFAULT_MIN[resource], has), max=has)
            if not (math.isfinite(rule.min) and rule.min <= rule.max and rule.min <= has):
                raise ConfigError(
                    f"limits.{resource}: min {rule.min:g} must not be above max {rule.max:g} or the machine's {has:g}"
                )
            cooldown_ns = round(seconds(rule.cooldown) * 1e9)
            self._rules[resource] = (rule.min, min(rule.max, has), rule.step_ratio, cooldown_ns)
        self._passed_ns: dict[tuple[Target, str], int] = {}

    def judge(self, action: Action, current: float | None, now_ns: int, doubts: Sequence[str] = ()) -> Judged:
        """What may become of `action` while the limit is `current` (None: no limit). Pure but for the cool-down.

        now_ns: a clock that does not go back. doubts: reasons to mistrust the node, the collector, the actuator or
        the data; a verdict on the steered service is none.
        """
        if doubts:
            return Judged(None, "held: " + "; ".join(doubts))
        rule = self._rules.get(action.resource)
        if rule is None:
            return Judged(None, f"held: no bounds for {action.resource}; set limits.{action.resource}.min and .max")
        low, high, step_ratio, cooldown_ns = rule
        if action.value is not None and not (math.isfinite(action.value) and action.value > 0):
            return Judged(None, f"held: {action.value} is not a limit")
        notes = []
        wanted = high if action.value is None else min(max(action.value, low), high)
        if wanted != action.value:
            notes.append(f"bounds are {low:g} to {high:g}")
        # from outside the bounds the nearest bound is where steps begin, else both could not hold
        start = high if current is None or not math.isfinite(current) else min(max(current, low), high)
        value = min(max(wanted, start * (1 - step_ratio)), start * (1 + step_ratio))
        value = min(max(value, low), high)
        if value != wanted:
            notes.append(f"at most {step_ratio:.0%} at once, towards {wanted:.4g}")
        if not math.isfinite(value):
            return Judged(
                None, f"held: no upper bound for {action.resource} is known; set limits.{action.resource}.max"
            )
        if current is not None and abs(value - current) <= UNCHANGED_RATIO * value:
            return Judged(None, "")
        key = (action.target, action.resource)
        since_ns = now_ns - self._passed_ns.get(key, now_ns - cooldown_ns)
        if since_ns < cooldown_ns:
            return Judged(None, f"held: cool-down, {max(cooldown_ns - since_ns, 0) / 1e9:.3g} s left")
        if len(self._passed_ns) > _MAX_REMEMBERED:
            self._passed_ns.clear()  # targets without end (process ids): forgetting costs a cool-down at most
        self._passed_ns[key] = now_ns
        return Judged(msgspec.structs.replace(action, value=value), "; ".join(notes))
