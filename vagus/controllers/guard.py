"""The guard: what of a controller's wishes may reach the system, whatever its policy says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from vagus.config import GuardSettings, LimitSettings, seconds
from vagus.controllers.claims import Grant, unbounded
from vagus.controllers.swings import Swings
from vagus.errors import ConfigError
from vagus.model import Action, Target

DEFAULT_MIN: Mapping[str, float] = {"cpu_cores": 0.1, "memory_bytes": 64 * 1024.0**2}
_MAX_REMEMBERED = 10_000
UNSURE = "held: its policy is sure to"
UNCHANGED_RATIO = 0.005  # a change smaller than this is none


class Judged(NamedTuple):
    """The action that may be performed (None: hold the last safe one), and what was changed or why it is held."""

    action: Action | None
    note: str
    full: bool = False  # the node has no more to give than what is given now: scale out


class Guard:
    """Bounds, largest step, cool-down, oscillation and capacity for each limit; holds while there is doubt about the
    *means*, or the policy trusts its own action too little.

    limits: by resource; a resource without is bounded by a small minimum and the machine's capacity.
    capacity: what the machine has, by resource, in the resource's unit; a limit above it limits nothing.
    Raises ConfigError when the limits contradict each other.
    """

    def __init__(
        self,
        limits: Mapping[str, LimitSettings],
        capacity: Mapping[str, float],
        settings: GuardSettings | None = None,
    ) -> None:
        settings = settings or GuardSettings()
        self._confidence = settings.confidence
        self.swings = Swings(settings.swings, seconds(settings.swing_hold))
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

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """The lowest and highest limit that may pass, by resource."""
        return {resource: (rule[0], rule[1]) for resource, rule in self._rules.items()}

    def judge(
        self,
        action: Action,
        current: float | None,
        now_ns: int,
        doubts: Sequence[str] = (),
        grant: Grant = unbounded,
        whole: bool = False,
    ) -> Judged:
        """What may become of `action` while the limit is `current` (None: no limit). Pure but for what passed before.

        now_ns: a clock that does not go back. doubts: reasons to mistrust the node, the collector, the actuator or
        the data; a verdict on the steered service is none. grant: how much of it fits on the node beside others.
        whole: only whole numbers are limits of this resource, which its name does not tell.
        """
        if not action.confidence >= self._confidence:
            return Judged(None, f"{UNSURE} {action.confidence:.2f} only, guard.confidence is {self._confidence:g}")
        if doubts:
            return Judged(None, "held: " + "; ".join(doubts))
        whole = whole or _whole(action.resource)
        if current is not None and not math.isfinite(current):
            current = None  # nothing that can be compared with
        rule = self._rules.get(action.resource) or self._rules.get(action.resource.partition("@")[0])
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
        start = high if current is None else min(max(current, low), high)
        step = start * step_ratio
        if whole and math.isfinite(wanted) and math.isfinite(start):
            step, wanted = float(max(math.floor(step), 1)), _counted(wanted, start)
        value = min(max(wanted, start - step), start + step)
        value = min(max(value, low), high)
        if value != wanted:
            notes.append(f"at most {step_ratio:.0%} at once, towards {wanted:.4g}")
        if not math.isfinite(value):
            return Judged(
                None, f"held: no upper bound for {action.resource} is known; set limits.{action.resource}.max"
            )
        if _unchanged(value, current):
            return Judged(None, "")
        key = (action.target, action.resource)
        since_ns = now_ns - self._passed_ns.get(key, now_ns - cooldown_ns)
        if since_ns < cooldown_ns:
            return Judged(None, f"held: cool-down, {max(cooldown_ns - since_ns, 0) / 1e9:.3g} s left")
        most = self.swings.most(key, now_ns)
        if most is not None and current is not None and value < most:
            # where it swings, towards the most that it gave, by steps as ever, and no further down
            value = min(max(current, min(most, high)), start + step, high)
            notes = [f"oscillates: not below {value:.4g} for {self.swings.left_s(key, now_ns):.3g} s"]
            if _unchanged(value, current):
                return Judged(None, f"held: {notes[0]}")
        granted = grant(action.target, action.resource, value, current, low)
        if granted.value is None:
            return Judged(None, f"held: {granted.note}")
        full = granted.value < value
        if full:
            value = float(math.floor(granted.value)) if whole else granted.value
            notes.append(granted.note)
            if value < low or _unchanged(value, current):
                return Judged(None, f"held: {granted.note}", full)
        if len(self._passed_ns) > _MAX_REMEMBERED:
            self._passed_ns.clear()  # targets without end (process ids): forgetting costs a cool-down at most
            self.swings.forget()
        self._passed_ns[key] = now_ns
        self.swings.passed(key, current, value, now_ns)
        return Judged(msgspec.structs.replace(action, value=value), "; ".join(notes), full)


def _whole(resource: str) -> bool:
    """Whether it is counted: ways of a cache (`llc_ways@0`), processors, replicas."""
    name = resource.partition("@")[0]
    return name.endswith("_ways") or name in ("replicas", "cpuset_cpus")


def _counted(value: float, start: float) -> float:
    """The whole number towards `start`: never more of a change than was asked for."""
    return float(math.floor(value) if value > start else math.ceil(value))


def _unchanged(value: float, current: float | None) -> bool:
    return current is not None and abs(value - current) <= UNCHANGED_RATIO * value
