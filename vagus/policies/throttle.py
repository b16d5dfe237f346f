"""Throttle targets: Autothrottle's captain (Wang et al., NSDI'24, section 4, algorithms 1 and 2).

Every window of ten CFS periods, with throttle = the mean of throttled periods per period: margin += throttle − target,
never below 0; above `alpha` targets the limit grows by 1 + throttle − alpha·target; otherwise, when
max(last 50 uses) + std·margin ≤ 0.9·limit, the limit shrinks to that, to half at most. If throttling follows a shrink
within the next window, the limit goes back to what it was.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import pstdev
from typing import Any

from vagus.errors import ConfigError, PolicyError


class ThrottleTarget:
    """Keeps the share of throttled periods near `target` with the smallest CPU limit.

    Options: target (0 to 1), window_s (ten periods of 0.1 s), alpha, shrink_below and shrink_floor (ratios of the
    limit), history (number of uses) and history_s (0: only that counts; the time that they may cover), headroom (standard deviations above the highest use that an unlimited target is
    proposed, as nothing was learned of its throttling), early (grow as soon as a window is sure to exceed, not at its
    end).
    Signals: usage_cores, limit_cores and throttled_ratio (NaN: unlimited or unknown), elapsed_s.
    """

    name = "throttle"

    def __init__(
        self,
        target: float = 0.1,
        window_s: float = 1.0,
        alpha: float = 3.0,
        shrink_below: float = 0.9,
        shrink_floor: float = 0.5,
        history: int = 50,
        history_s: float = 0.0,
        headroom: float = 3.0,
        early: bool = False,
    ) -> None:
        for name, value, low, high in (
            ("target", target, 0, 1),
            ("window_s", window_s, 0.01, 3600),
            ("alpha", alpha, 1, 100),
            ("shrink_below", shrink_below, 0.01, 1),
            ("shrink_floor", shrink_floor, 0.01, 1),
            ("history", history, 1, 100_000),
            ("history_s", history_s, 0, 86400),
            ("headroom", headroom, 0, 100),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ConfigError(f"throttle: option {name}={value!r} must be a number from {low} to {high}")
        self.target = target
        self.window_s = window_s
        self.alpha = alpha
        self.shrink_below = shrink_below
        self.shrink_floor = shrink_floor
        self.headroom = headroom
        if not isinstance(early, bool):
            raise ConfigError(f"throttle: option early={early!r} must be true or false")
        self.early = early
        self.margin = 0.0
        self.history_s = history_s
        self._uses: deque[float] = deque(maxlen=int(history))
        self._spans_s: deque[float] = deque(maxlen=int(history))  # how long each use was seen
        self._elapsed_s = 0.0
        self._throttled_s = 0.0  # of the window: throttled_ratio weighted with time
        self._before_shrink: float | None = None

    def step(self, signals: Mapping[str, float]) -> float | None:
        """The wanted limit in cores; None to leave it. Raises PolicyError without a finite use."""
        usage = signals.get("usage_cores", math.nan)
        limit = signals.get("limit_cores", math.nan)
        throttled = signals.get("throttled_ratio", math.nan)
        elapsed_s = signals.get("elapsed_s", math.nan)
        elapsed_s = elapsed_s if math.isfinite(elapsed_s) and elapsed_s > 0 else self.window_s
        if not (math.isfinite(usage) and usage >= 0):
            raise PolicyError(f"throttle: usage_cores is {usage}; the target's CPU time cannot be read")
        self._note(usage, elapsed_s)
        if not (math.isfinite(limit) and limit > 0) or not math.isfinite(throttled):
            self._new_window()
            return self._highest(self.headroom) or None
        self._elapsed_s += elapsed_s
        self._throttled_s += throttled * elapsed_s
        # of a whole window, also while it is incomplete: one throttled period alone reverts nothing
        ratio = self._throttled_s / max(self._elapsed_s, self.window_s)
        if self._before_shrink is not None and ratio > self.alpha * self.target and limit < self._before_shrink:
            return self._revert(self._before_shrink, ratio)
        if self.early and ratio > self.alpha * self.target:
            ratio = self._throttled_s / self._elapsed_s  # whatever comes, this window exceeds: so it goes till now
        elif self._elapsed_s < self.window_s * 0.95:  # timers are a little early at times
            return None
        share = min(self._elapsed_s / self.window_s, 1.0) if self.early else 1.0  # a window is judged once, in parts
        self._new_window()
        return self._decide(limit, ratio, share)

    def _note(self, usage: float, elapsed_s: float) -> None:
        self._uses.append(usage)
        self._spans_s.append(elapsed_s)
        while self.history_s and len(self._spans_s) > 1 and sum(self._spans_s) - self._spans_s[0] >= self.history_s:
            self._uses.popleft()
            self._spans_s.popleft()

    def _decide(self, limit: float, ratio: float, share: float) -> float | None:
        self._before_shrink = None
        self.margin = max(0.0, self.margin + (ratio - self.target) * share)
        excess = ratio - self.alpha * self.target
        if excess > 0:
            return limit * (1 + excess)
        wanted = self._highest(self.margin)
        if wanted > self.shrink_below * limit:
            return None
        self._before_shrink = limit
        return max(wanted, self.shrink_floor * limit)

    def _revert(self, before: float, ratio: float) -> float:
        self.margin += ratio - self.target
        self._before_shrink = None
        self._new_window()
        return before

    def _new_window(self) -> None:
        self._elapsed_s = self._throttled_s = 0.0

    def _highest(self, margin: float) -> float:
        return max(self._uses) + pstdev(self._uses) * margin

    def state(self) -> dict[str, Any]:
        """What was learned: the margin and the last uses."""
        return {"margin": self.margin, "uses": list(self._uses)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises PolicyError when the state is not one of ours."""
        try:
            margin, uses = float(state["margin"]), [float(use) for use in state["uses"]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PolicyError(f"throttle: stored state is damaged ({error}); starting afresh") from error
        if not all(math.isfinite(x) and x >= 0 for x in (margin, *uses)):
            raise PolicyError("throttle: stored state holds numbers that are not finite; starting afresh")
        self.margin = margin
        self._uses.clear()
        self._uses.extend(uses)
        self._spans_s.clear()
        self._spans_s.extend([self.window_s / 10] * len(self._uses))
