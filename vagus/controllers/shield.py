"""The shield: a policy that learns acts as it likes within what the calibrated rule holds safe.

Each target has a captain (throttle targets, `policies/throttle`) that follows along. Where the kernel throttles the
target more than the captain stands, its raise is done in place of a smaller wish, and stands for a while: else a policy
that takes it back at once would have the target throttled at every second step. No wish takes away what the target uses
at this moment. Everything else of the policy passes as it is. After AWARE (Qiu et al., ATC'23): a learned
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
STANDS_S = 10.0  # for so long no wish goes below a raise


class Shielded(NamedTuple):
    """What is to be wished instead of `was`; the same where the policy has its way."""

    wish: Wish
    was: float

    @property
    def own(self) -> bool:
        return self.wish.value == self.was


class Shield:
    """Follows all targets: `see` at each step, then `judge` each wish."""

    def __init__(self) -> None:
        self._captains: dict[str, ThrottleTarget] = {}
        self._raises: dict[str, float] = {}
        self._uses: dict[str, float] = {}
        self._steered: set[str] = set()  # targets whose cores were wished; others are not the policy's to raise
        self._standing: dict[str, tuple[float, float]] = {}  # the largest raise, and for how many seconds it stands

    def see(self, signals: Mapping[str, Mapping[str, float]]) -> None:
        """The signals of a step."""
        self._raises.clear()
        self._uses.clear()
        for target in self._captains.keys() - signals.keys():
            del self._captains[target]
            self._standing.pop(target, None)
        for target, seen in signals.items():
            limit, use = seen.get("limit_cores", math.nan), seen.get("usage_cores", math.nan)
            try:
                wanted = self._captains.setdefault(target, ThrottleTarget()).step(seen)
            except PolicyError:
                continue  # nothing is known of it at this step
            if math.isfinite(use):
                self._uses[target] = use
            elapsed_s = seen.get("elapsed_s", math.nan)
            raised, left_s = self._standing.pop(target, (0.0, 0.0))
            left_s -= elapsed_s if elapsed_s > 0 else 0.0
            if wanted is not None and wanted > limit:
                self._raises[target] = wanted
                if target in self._steered:
                    raised, left_s = max(raised, wanted), STANDS_S
            if left_s > 0:
                self._standing[target] = (raised, left_s)

    def raises(self) -> dict[str, float]:
        """What the captains raise now, by target: also where the policy, which has wished before, wishes nothing."""
        return {target: value for target, value in self._raises.items() if target in self._steered}

    def judge(self, wish: Wish) -> Shielded:
        """The wish, or the captain's raise in its place."""
        if wish.resource != CORES:
            return Shielded(wish, wish.value)
        if wish.target not in self._steered:
            self._steered.add(wish.target)
            if wish.target in self._raises:
                self._standing[wish.target] = (self._raises[wish.target], STANDS_S)
        sound = math.isfinite(wish.value) and wish.value > 0  # else the guard holds it, and says why
        raised = self._standing.get(wish.target, (0.0, 0.0))[0] if sound else self._raises.get(wish.target, 0.0)
        uses = self._uses.get(wish.target, 0.0)
        floor = max(raised, uses * LEAST_OVER_USE) if sound or raised else 0.0
        doubted = wish.confidence < 1.0 and wish.target in self._raises  # may be held: a raise must not
        if floor <= (wish.value if sound else 0.0) and not doubted:
            return Shielded(wish, wish.value)
        why = "throttled" if floor == raised else f"uses {uses:.3g} cores"
        why = f"shield: {why} (the policy wished {wish.value:.3g})"
        return Shielded(wish._replace(value=floor, reason=why, confidence=1.0), wish.value)
