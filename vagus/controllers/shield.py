"""The shield: a policy that learns acts as it likes within what the calibrated rule holds safe.

Each target has a captain (throttle targets, `policies/throttle`) that follows along. Where the kernel throttles the
target more than the captain stands, its raise is done in place of a smaller wish; and no wish takes away what the target
uses at this moment. Everything else of the policy passes as it is. After AWARE (Qiu et al., ATC'23): a learned
autoscaler explores safely inside a rule. Cores alone: nothing else tells at once that there is too little of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from vagus.errors import PolicyError
from vagus.policies import Wish
from vagus.policies.throttle import ThrottleTarget

CORES = "cpu_cores"
LEAST_OVER_USE = 1.05


class Shielded(NamedTuple):
    """What is to be wished instead of `was`; the same where the policy has its way."""

    wish: Wish
    was: float

    @property
    def own(self) -> bool:
        return self.wish.value == self.was


class Shield:
    """Follows all targets: `see` at each step, then `pass_` each wish."""

    def __init__(self) -> None:
        self._captains: dict[str, ThrottleTarget] = {}
        self._raises: dict[str, float] = {}
        self._uses: dict[str, float] = {}

    def see(self, signals: Mapping[str, Mapping[str, float]]) -> None:
        """The signals of a step."""
        self._raises.clear()
        self._uses.clear()
        for target in self._captains.keys() - signals.keys():
            del self._captains[target]
        for target, seen in signals.items():
            limit, use = seen.get("limit_cores", math.nan), seen.get("usage_cores", math.nan)
            try:
                wanted = self._captains.setdefault(target, ThrottleTarget()).step(seen)
            except PolicyError:
                continue  # nothing is known of it at this step
            if math.isfinite(use):
                self._uses[target] = use
            if wanted is not None and wanted > limit:
                self._raises[target] = wanted

    def raises(self) -> dict[str, float]:
        """What the captains would raise now, by target: also where the policy wishes nothing."""
        return dict(self._raises)

    def judge(self, wish: Wish) -> Shielded:
        """The wish, or the captain's raise in its place."""
        if wish.resource != CORES:
            return Shielded(wish, wish.value)
        least = self._uses.get(wish.target, 0.0) * LEAST_OVER_USE
        if (raised := self._raises.get(wish.target, 0.0)) > max(wish.value, least):
            why = f"shield: throttled (the policy wished {wish.value:.3g})"
            return Shielded(wish._replace(value=raised, reason=why, confidence=1.0), wish.value)
        if least > wish.value:
            why = f"shield: uses {self._uses[wish.target]:.3g} cores (the policy wished {wish.value:.3g})"
            return Shielded(wish._replace(value=least, reason=why, confidence=1.0), wish.value)
        return Shielded(wish, wish.value)
