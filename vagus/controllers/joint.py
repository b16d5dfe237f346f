"""Several targets steered by one policy: signals → wishes → (shield) → actions."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vagus.controllers import View
from vagus.controllers.shield import CORES, Shield
from vagus.errors import PolicyError
from vagus.model import Action, Directive, Target
from vagus.policies import JointPolicy, Wish

SAME_RATIO = 0.01


class JointController:
    """A joint policy as a controller. shielded: what it wishes passes the shield. clock: seconds, never going back.

    `figures` counts by target and step: steered_steps, of these own_steps, in which the limit in force is what the policy
    last wished, and shielded_steps, in which the shield wished something else.
    """

    selectors = ("host.load",)  # only to know that the collector lives: the rest the actor asks for

    def __init__(
        self,
        policy: JointPolicy,
        targets: Sequence[Target],
        period_s: float,
        *,
        shielded: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self.targets = tuple(targets)
        self.period_s = period_s
        self.further = tuple(map(Target.parse, getattr(policy, "acts_on", ())))
        self._known = set(map(str, (*self.targets, *self.further)))
        self._shield = Shield() if shielded else None
        self._clock = clock
        self._wished: dict[tuple[str, str], float] = {}  # what the policy itself wished last
        self._counts: Counter[str] = Counter()

    def step(self, view: View) -> Iterable[Directive]:
        """Actions for what is wished. Raises PolicyError."""
        signals = {str(t): view.signals_of(t) for t in self.targets}
        signals = {target: seen for target, seen in signals.items() if seen}
        if not signals:
            return []
        in_force = _in_force({**signals, **{str(t): view.signals_of(t) for t in self.further}})
        if self._shield is not None:
            self._shield.see(signals)
        self._count(in_force)
        self.policy.in_force(in_force)
        wishes = list(self.policy.step(signals, view.objective, self._clock()))
        foreign = next((wish.target for wish in wishes if wish.target not in self._known), None)
        if foreign is not None:
            raise PolicyError(f"{self.policy.name}: wishes a limit of {foreign[:200]!r}, which is none of its targets")
        self._wished.update({(wish.target, wish.resource): wish.value for wish in wishes})
        wishes = wishes if self._shield is None else self._shielded(wishes)
        return [
            Action(Target.parse(w.target), w.resource, w.value, f"{self.policy.name}: {w.reason}", w.confidence)
            for w in wishes
        ]

    def _shielded(self, wishes: Sequence[Wish]) -> list[Wish]:
        assert self._shield is not None
        judged = [self._shield.judge(wish) for wish in wishes]
        done = [found.wish for found in judged]
        cores = {wish.target for wish in wishes if wish.resource == CORES}
        left = [
            Wish(target, CORES, value, "shield: throttled")
            for target, value in self._shield.raises().items()
            if target not in cores
        ]
        self._counts["shielded_steps"] += len(left) + sum(not found.own for found in judged)
        return done + left

    def _count(self, in_force: Mapping[tuple[str, str], float]) -> None:
        """In how many steps the policy's own last wish was in force: what the kernel shows is what it wished."""
        for key, wished in self._wished.items():
            found = in_force.get(key)
            if found is not None:
                self._counts["steered_steps"] += 1
                self._counts["own_steps"] += abs(found - wished) <= SAME_RATIO * abs(found)

    def figures(self) -> dict[str, float]:
        """Counters since the start."""
        return {name: float(self._counts[name]) for name in ("steered_steps", "own_steps", "shielded_steps")}

    def state(self) -> dict[str, Any]:
        return self.policy.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.policy.restore(state)


def _in_force(signals: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], float]:
    found = {}
    for target, seen in signals.items():
        limits = {name.removeprefix("limit_"): value for name, value in seen.items() if name.startswith("limit_")}
        cores = limits.pop("cores", math.nan)  # the signal's short name: all there is where no bounds are set
        found.update({(target, name): value for name, value in {CORES: cores, **limits}.items() if value == value})
    return found  # NaN: no limit
