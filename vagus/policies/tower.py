"""Autothrottle: a captain for each target, and the tower that picks their throttle targets (Wang et al., NSDI'24).

Captains (`policies/throttle`) keep each target's throttling near a throttle target with little CPU. Every `period_s` the
tower picks two of those from `TARGETS`, one for each of two groups of services (k-means of their CPU use), by a
contextual bandit: the context is the rate of requests, the cost what `policies/throttle_costs` says, exploration goes to
neighbours of the best pair only.

Beside the paper: captains decide as soon as a window is sure to exceed their target instead of at its end (`early`);
a missed objective, which is seen every half second, makes them stand no throttling for `calm_s` and raises at once
those that were throttled; decisions are taken every 10 s instead of 60, upon a regression of latency and cores that has
a prior, so that it acts sensibly from the first second, and goes on from a trained state; and whatever the regression
says, after a missed objective no place may be above half of what missed, and one more with each decision that meets it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vagus.errors import ConfigError, PolicyError
from vagus.policies import Field, Wish
from vagus.policies.options import number, whole
from vagus.policies.throttle import ThrottleTarget
from vagus.policies.throttle_costs import ThrottleCosts

CORES = "cpu_cores"
TARGETS = (0.0, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3)
MAX_STATE_BYTES = 4 << 20
MOST_MISSED = 0.05  # probability up to which a neighbour is tried
TRAINED = 30.0  # decisions that a trained state counts for at most: it was learned elsewhere
USE_S = 60.0  # of the smoothed use that groups services
SAME_RATIO = 0.005


class Judged:
    """What is seen in a decision's last part: of this, its cost."""

    def __init__(self) -> None:
        self.latencies: list[float] = []  # ÷ objective
        self.rates: list[float] = []
        self._requested = self._used = 0.0  # cores, added up over steps

    def note(self, latency_ratio: float, rate_hz: float, requested: float, used: float) -> None:
        if latency_ratio == latency_ratio:
            self.latencies.append(latency_ratio)
        if rate_hz == rate_hz:
            self.rates.append(rate_hz)
        if math.isfinite(requested) and math.isfinite(used):
            self._requested += requested
            self._used += used

    @property
    def cores(self) -> float:
        """Requested ÷ used."""
        return self._requested / self._used if self._used > 0 else math.nan

    @property
    def rate_hz(self) -> float:
        return sum(self.rates) / len(self.rates) if self.rates else math.nan


class Follower:
    """A target: its captain, its smoothed use, how much it was throttled of late."""

    def __init__(self, captain: ThrottleTarget) -> None:
        self.captain = captain
        self.use = math.nan
        self.throttled = 0.0
        self.wished = math.nan
        self.limit = math.nan

    def note(self, signals: Mapping[str, float], recent_s: float) -> None:
        elapsed_s = signals.get("elapsed_s", math.nan)
        elapsed_s = elapsed_s if math.isfinite(elapsed_s) and elapsed_s > 0 else 0.0
        usage, throttled = signals.get("usage_cores", math.nan), signals.get("throttled_ratio", math.nan)
        self.limit = signals.get("limit_cores", math.nan)
        if math.isfinite(usage) and usage >= 0:
            known = self.use if self.use == self.use else usage
            self.use = known + (usage - known) * (1 - math.exp(-elapsed_s / USE_S))
        if math.isfinite(throttled):
            self.throttled += (min(max(throttled, 0.0), 1.0) - self.throttled) * (1 - math.exp(-elapsed_s / recent_s))


class Tower:
    """Autothrottle over the cores of all targets; best stepped every 0.1 to 0.25 s.

    Options: period_s of decisions, judged (the last part of each, a ratio, is what is judged), explore (probability),
    violation (cost of a missed objective beside CPU, whose cost is at most 1), fade (of samples, a decision), trained (a
    file: JSON of a `state`, which counts for `TRAINED` decisions at most), captain (options of `throttle`), calm_s and
    raise_ratio (at a missed objective), begin (the place in `TARGETS` of the first decision). Raises ConfigError. Signals: usage_cores, limit_cores, throttled_ratio, elapsed_s; objective: latency_s, slo_s, rate_hz.
    """

    name: ClassVar[str] = "tower"
    learned: ClassVar[bool] = False

    def __init__(
        self,
        field: Field,
        rng: np.random.Generator,
        *,
        period_s: float = 10.0,
        judged: float = 0.7,
        explore: float = 0.1,
        violation: float = 5.0,
        fade: float = 0.99,
        trained: str = "",
        captain: Mapping[str, Any] | None = None,
        calm_s: float = 3.0,
        raise_ratio: float = 0.5,
        begin: int = 1,
    ) -> None:
        self._field, self._rng = field, rng
        self._low, self._high = field.bounds.get(CORES, (0.0, math.inf))
        self._period_s = number(self.name, "period_s", period_s, 0.1, 86400)
        self._judged = number(self.name, "judged", judged, 0.01, 1)
        self._explore = number(self.name, "explore", explore, 0, 1)
        self._calm_s = number(self.name, "calm_s", calm_s, 0, 3600)
        self._raise_ratio = number(self.name, "raise_ratio", raise_ratio, 0, 10)
        begin = whole(self.name, "begin", begin, 0, len(TARGETS) - 1)
        fade = number(self.name, "fade", fade, 0.5, 1)
        self.costs = ThrottleCosts(len(TARGETS), number(self.name, "violation", violation, 0, 1000), fade)
        options = {"early": True, "history_s": 5.0, "history": 200, **(captain or {})}
        try:
            self._followers = {target: Follower(ThrottleTarget(**options)) for target in field.targets}
        except TypeError as error:
            raise ConfigError(f"policy 'tower': option captain: {error}") from error
        self.pair = (begin, begin)
        self.ceiling = begin + 1  # of both places
        self._second: frozenset[str] = frozenset()  # the targets that use more
        self._began_s: float | None = None
        self._judge = Judged()
        self._missed_s = -math.inf
        self._rate_hz = math.nan
        if trained:
            self._load(Path(trained))

    # --- a step ----------------------------------------------------------------------------------------------------

    def step(
        self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], now_s: float
    ) -> Iterable[Wish]:
        """Wishes of cores. Raises PolicyError when the use of no target is known."""
        latency_s, slo_s = objective.get("latency_s", math.nan), objective.get("slo_s", math.nan)
        ratio = latency_s / slo_s if slo_s > 0 else math.nan
        ratio = ratio if ratio >= 0 else math.nan
        seen = {target: signals[target] for target in self._followers if target in signals}
        for target, found in seen.items():
            self._followers[target].note(found, 1.0)
        self._decide(seen, ratio, objective.get("rate_hz", math.nan), now_s)
        missed = ratio > 1
        urgent = missed and now_s - self._missed_s >= 0.4
        if urgent:
            self._missed_s = now_s
        calm = now_s - self._missed_s < self._calm_s
        wishes, failures = [], []
        for target, found in seen.items():
            follower = self._followers[target]
            wanted = TARGETS[self.pair[target in self._second]]
            follower.captain.target = 0.0 if calm else wanted
            try:
                value = follower.captain.step(found)
            except PolicyError as error:
                failures.append(f"{target}: {error}")
                continue
            if urgent:
                value = self._urgent(follower, value)
            if value is None:
                continue
            value = min(max(value, self._low), self._high)
            if value > 0 and math.isfinite(value) and abs(value - follower.limit) > SAME_RATIO * value:
                why = f"throttled {follower.throttled:.0%}, target {follower.captain.target:.0%}"
                wishes.append(Wish(target, CORES, value, why))
            elif value > 0 and math.isfinite(value) and math.isnan(follower.limit):
                wishes.append(Wish(target, CORES, value, "had no limit"))
        if failures and len(failures) == len(seen):
            raise PolicyError("; ".join(failures[:3]))
        return wishes

    def _urgent(self, follower: Follower, value: float | None) -> float | None:
        """A missed objective: more for those that are throttled, in their share."""
        if not (follower.limit > 0 and follower.throttled > 0.02):
            return value
        return max(value or 0.0, follower.limit * (1 + self._raise_ratio * min(1.0, follower.throttled * 3)))

    # --- decisions -------------------------------------------------------------------------------------------------

    def _decide(self, seen: Mapping[str, Mapping[str, float]], ratio: float, rate_hz: float, now_s: float) -> None:
        if self._began_s is None or now_s < self._began_s:
            self._began_s = now_s
            self._group()
            return
        elapsed_s = now_s - self._began_s
        if elapsed_s >= self._period_s * (1 - self._judged):
            known = [s for s in seen.values() if s.get("limit_cores", 0.0) > 0 and s.get("usage_cores", -1.0) >= 0]
            self._judge.note(ratio, rate_hz, sum(s["limit_cores"] for s in known), sum(s["usage_cores"] for s in known))
        if rate_hz == rate_hz:
            self._rate_hz = rate_hz
        if elapsed_s < self._period_s * 0.99:
            return
        judged, self._judge, self._began_s = self._judge, Judged(), now_s
        if not judged.latencies:
            return  # nothing is owed, or it cannot be seen: there is nothing to choose by
        worst = max(judged.latencies)
        self.costs.learn(self.pair, judged.rate_hz, worst, judged.cores)
        self.ceiling = max(self.pair) // 2 if worst > 1 else min(self.ceiling + 1, len(TARGETS) - 1)
        self._group()
        self.pair = self._chosen()

    def _chosen(self) -> tuple[int, int]:
        cost, missed = self.costs.foretell(self._rate_hz)
        allowed = cost[: self.ceiling + 1, : self.ceiling + 1]
        first, second = (int(at) for at in np.unravel_index(int(allowed.argmin()), allowed.shape))
        if self._rng.random() < self._explore:
            near = [(first + d, second) for d in (-1, 1)] + [(first, second + d) for d in (-1, 1)]
            near = [pair for pair in near if all(0 <= at <= self.ceiling for at in pair)]
            near = [pair for pair in near if missed[pair] <= MOST_MISSED] or [(first, second)]
            first, second = near[int(self._rng.integers(len(near)))]
        return first, second

    def _group(self) -> None:
        """k-means with two means, on a line: the split of the sorted uses with the least squares within."""
        uses = sorted((f.use, target) for target, f in self._followers.items() if f.use == f.use)
        values = np.array([use for use, _ in uses])
        if len(values) < 2 or values[0] == values[-1]:
            self._second = frozenset()
            return
        within = [values[:k].var() * k + values[k:].var() * (len(values) - k) for k in range(1, len(values))]
        self._second = frozenset(target for _, target in uses[int(np.argmin(within)) + 1 :])

    # --- what is kept ----------------------------------------------------------------------------------------------

    def in_force(self, wishes: Mapping[tuple[str, str], float]) -> None:
        """Nothing to do: each step's signals tell."""

    def state(self) -> dict[str, Any]:
        """What was learned of costs, the pair, and each captain."""
        return {
            "pair": list(self.pair),
            "ceiling": self.ceiling,
            "costs": self.costs.state(),
            "captains": {target: follower.captain.state() for target, follower in self._followers.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Captains of targets that there still are. Raises PolicyError, with nothing changed but captains."""
        try:
            first, second, ceiling = (_place(at) for at in (*state["pair"], state["ceiling"]))
            captains = {str(target): saved for target, saved in dict(state["captains"]).items()}
            self.costs.restore(state["costs"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PolicyError(f"tower: stored state is damaged ({error}); starting afresh") from error
        self.pair, self.ceiling = (first, second), ceiling
        for target, saved in captains.items():
            if target in self._followers:
                if not isinstance(saved, Mapping):
                    raise PolicyError(f"tower: stored state of {target} is damaged; starting afresh")
                self._followers[target].captain.restore(saved)

    def _load(self, file: Path) -> None:
        before = (self.pair, self.ceiling)  # where it begins all the same
        try:
            if (size := file.stat().st_size) > MAX_STATE_BYTES:
                raise ConfigError(f"policy 'tower': {file} has {size} bytes; a state has at most {MAX_STATE_BYTES}")
            state = json.loads(file.read_bytes())
            if not isinstance(state, Mapping):
                raise ConfigError(f"policy 'tower': {file} holds a {type(state).__name__}, not a state")
            self.restore(state)
            self.costs.weigh(TRAINED)
            self.pair, self.ceiling = before
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"policy 'tower': option trained: {file}: {error}") from error
        except PolicyError as error:
            raise ConfigError(f"policy 'tower': option trained: {file}: {error}") from error


def _place(at: Any) -> int:
    if isinstance(at, bool) or not isinstance(at, int) or not 0 <= at < len(TARGETS):
        raise ValueError(f"{at!r} is no place of a throttle target")
    return at
