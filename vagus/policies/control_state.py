"""What a learned policy of limits sees, does and is paid: state, action and reward. Pure, per target and step.

State, after FIRM (Qiu et al., OSDI'20, section 3.4): SM = SLO / latency, at most 1 and 0 where unknown; WC = ratio of
arrival rates; RC = shares of the request types; RU = use / limit of each resource. Added, since a service is throttled
within tenths of a second and a violation is seen only seconds later: the target's own throttling (now and smoothed),
the trend and the burstiness of its use, its size and share, the worst throttling elsewhere, how long ago the objective
was missed.

An action in [-1, 1] is relative to what the target used of late, so that one model fits services of any size:
limit = level + MOST · ((a + 1) / 2)² · spread. level: the larger of two smoothed means of the use (2 s, 10 s); spread:
its standard deviation plus a tenth of the level, so that a target held at its limit, whose use no longer varies, can
grow by 2.2 times at a step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
FAST_S, SLOW_S, LONG_S = 2.0, 10.0, 40.0  # of smoothing
MOST = 12.0  # spreads above the level, at a = 1
LEAST_SPREAD = 0.1  # of the level
TYPES = 3  # of requests whose shares are in the state
LEAST_USE = 1e-9
MISSED = 0.25  # what a miss costs however small it is, beside 1 - SM; half of it exactly at the objective
ALPHA = 0.95  # what violations weigh against idle cores
SHARED = 6 + TYPES  # numbers of what all targets share
OWN = 6  # of the target, whatever the resources
EACH = 6  # for each resource


def size(resources: int) -> int:
    """Length of a state."""
    return SHARED + OWN + EACH * resources


class Smooth:
    """Exponential smoothing with times in seconds, over steps of any length; NaN leaves it as it is."""

    __slots__ = ("tau_s", "value")

    def __init__(self, tau_s: float) -> None:
        self.tau_s = tau_s
        self.value = math.nan

    def note(self, value: float, elapsed_s: float) -> float:
        if value == value:
            if self.value != self.value:
                self.value = value
            else:
                self.value += (1.0 - math.exp(-elapsed_s / self.tau_s)) * (value - self.value)
        return self.value

    def known(self, otherwise: float = 0.0) -> float:
        """The smoothed value; `otherwise` before the first."""
        return otherwise if self.value != self.value else self.value


class Course:
    """The use of one resource of a target, and what a limit of it is relative to. In the resource's unit."""

    __slots__ = ("_fast", "_slow", "_variance", "limit", "use")

    def __init__(self) -> None:
        self.use = self.limit = math.nan
        self._fast, self._slow, self._variance = Smooth(FAST_S), Smooth(SLOW_S), Smooth(LONG_S)

    def note(self, use: float, limit: float, elapsed_s: float) -> None:
        """use and limit of the step; NaN where unknown or unlimited."""
        self.use, self.limit = use, limit
        if not use >= 0:
            return
        before = self._slow.value
        self._fast.note(use, elapsed_s)
        slow = self._slow.note(use, elapsed_s)
        # against the mean before it: what it could not foresee; as of a second, since means of shorter times vary more
        off = use - (slow if before != before else before)
        self._variance.note(off * off * min(elapsed_s, 1.0), elapsed_s)

    @property
    def known(self) -> bool:
        return self._slow.value == self._slow.value

    @property
    def level(self) -> float:
        return max(self._fast.known(), self._slow.known(), LEAST_USE)

    @property
    def deviation(self) -> float:
        return math.sqrt(max(self._variance.known(), 0.0))

    @property
    def trend(self) -> float:
        """(fast − slow) / level."""
        return (self._fast.known() - self._slow.known()) / self.level

    def limit_of(self, action: float) -> float:
        """The limit that an action in [-1, 1] means now."""
        return self.level + MOST * (0.5 * (action + 1.0)) ** 2 * self._spread

    def action_of(self, limit: float) -> float:
        """The action in [-1, 1] that means this limit now; no limit: 1."""
        if not math.isfinite(limit):
            return 1.0
        above = max(limit - self.level, 0.0) / (MOST * self._spread)
        return min(2.0 * math.sqrt(above) - 1.0, 1.0)

    @property
    def _spread(self) -> float:
        return self.deviation + LEAST_SPREAD * self.level


class Past:
    """What is remembered of a target."""

    def __init__(self, resources: Sequence[str]) -> None:
        self.courses = {resource: Course() for resource in resources}
        self.throttled = 0.0
        self._soon, self._late = Smooth(FAST_S * 2), Smooth(LONG_S)

    def note(self, signals: Mapping[str, float]) -> None:
        """A step's signals: see JointPolicy."""
        elapsed_s = _positive(signals.get("elapsed_s", math.nan), 1.0)
        throttled = signals.get("throttled_ratio", math.nan)
        self.throttled = 0.0 if throttled != throttled else min(max(throttled, 0.0), 1.0)
        self._soon.note(self.throttled, elapsed_s)
        self._late.note(self.throttled, elapsed_s)
        for resource, course in self.courses.items():
            cores = resource == "cpu_cores"
            use = signals.get(f"use_{resource}", signals.get("usage_cores", math.nan) if cores else math.nan)
            limit = signals.get(f"limit_{resource}", signals.get("limit_cores", math.nan) if cores else math.nan)
            course.note(use, limit, elapsed_s)

    @property
    def often(self) -> float:
        """Throttled ratio of the last 40 s."""
        return self._late.known()

    @property
    def lately(self) -> float:
        """Throttled ratio of the last 4 s."""
        return self._soon.known()


class Owed:
    """What the service owes, and how it does: shared by all targets."""

    def __init__(self) -> None:
        self.ratio = math.nan  # latency / SLO
        self._strained, self._missed = Smooth(SLOW_S), Smooth(LONG_S)
        self._rate = math.nan
        self._change = 1.0
        self._fast, self._slow = Smooth(FAST_S), Smooth(SLOW_S * 2)
        self.shares = [0.0] * TYPES

    def note(self, objective: Mapping[str, float], elapsed_s: float) -> None:
        """A step's objective: latency_s, slo_s, rate_hz, mix_0 …; NaN where unknown."""
        latency, slo = objective.get("latency_s", math.nan), objective.get("slo_s", math.nan)
        self.ratio = latency / slo if slo > 0 else math.nan
        self._strained.note(min(self.ratio, 3.0), elapsed_s)
        self._missed.note(float(self.ratio > 1) if self.ratio == self.ratio else math.nan, elapsed_s)
        rate = objective.get("rate_hz", math.nan)
        self._change = rate / self._rate if rate >= 0 and self._rate > 0 else 1.0
        self._rate = rate
        self._fast.note(rate, elapsed_s)
        self._slow.note(rate, elapsed_s)
        mix = [_positive(objective.get(f"mix_{i}", math.nan), 0.0) for i in range(TYPES)]
        total = sum(mix)
        self.shares = [m / total for m in mix] if total > 0 else [0.0] * TYPES

    @property
    def kept(self) -> float:
        """FIRM's SM: 1 without violation, SLO / latency else; 0 where unknown."""
        return 0.0 if self.ratio != self.ratio else 1.0 / max(self.ratio, 1.0)

    def encode(self) -> list[float]:
        """SHARED numbers, each about -1 to 1."""
        ratio, slow = self.ratio, self._slow.known()
        return [
            self.kept,
            0.0 if ratio != ratio else _within(math.log2(max(ratio, 1e-3)) / 2.0),
            self._strained.known() - 0.5,
            self._missed.known(),
            _within(self._change - 1.0),
            _within((self._fast.known() - slow) / slow * 2.0) if slow > 0 else 0.0,
            *self.shares,
        ]


def encode_all(pasts: Sequence[Past], owed: Owed) -> Floats:
    """The states of all targets: float32 of shape (len(pasts), size(resources))."""
    shared = owed.encode()
    throttled = sorted((past.lately for past in pasts), reverse=True)
    # none where replicas alone are steered
    levels = [next((course.level for course in past.courses.values()), 0.0) for past in pasts]
    total = max(sum(levels), LEAST_USE)
    rows = []
    for past, level in zip(pasts, levels, strict=True):
        others = throttled[0] if past.lately < throttled[0] or len(throttled) == 1 else throttled[1]
        row = [
            *shared,
            past.throttled,
            math.sqrt(past.lately),
            math.sqrt(past.often),
            math.sqrt(others),
            level / total,
            _within(level / total * len(pasts) - 1.0),
        ]
        for course in past.courses.values():
            row += _of_course(course)
        rows.append(row)
    return np.array(rows, np.float32)


def _of_course(course: Course) -> list[float]:
    if not course.known:
        return [0.0] * EACH
    use, limit = (0.0 if math.isnan(course.use) else course.use), course.limit
    return [
        _within(use / limit, 0.0, 1.5) if limit > 0 else 0.0,  # RU
        course.action_of(limit),
        _within(course.trend * 2.0),
        _within(course.deviation / course.level),
        _within((use - course.level) / course.level),
        _within((math.log10(course.level) + 1.0) / 2.0),
    ]


def reward(past: Past, owed: Owed, total: float, alpha: float = ALPHA, targets: int = 1) -> float:
    """What a step was worth to one target; larger is better.

    FIRM's α·SM, shared by all, and in place of (1 − α)·mean RU the same thing by its cost: what is held and not used, as
    a share of what all targets use (`total`: level by resource's first), so that a core costs the same wherever it is.
    The target's own throttling is its share of the blame: it costs more the closer the objective is to being missed, or
    the more it is missed, which tells this target's doing from that of others.
    """
    strain = 0.5 if owed.ratio != owed.ratio else _within(owed.ratio, 0.3, 2.0)
    idle = 0.0
    for course in past.courses.values():
        if course.limit > 0 and course.use >= 0:
            idle += max(min(course.limit, 1e12) - course.use, 0.0) / max(total, LEAST_USE)
    idle /= max(len(past.courses), 1)
    # SM alone makes next to nothing of what is just too late, and so invites it
    unmet = 0.0 if owed.ratio != owed.ratio else 1.0 - owed.kept + MISSED * _within((owed.ratio - 0.9) / 0.2, 0.0, 1.0)
    return -alpha * (unmet + strain**2 * past.throttled) - (1.0 - alpha) * min(idle * targets, 5.0)


def _within(value: float, low: float = -1.0, high: float = 1.0) -> float:
    return low if not value >= low else min(value, high)


def _positive(value: float, otherwise: float) -> float:
    return value if value > 0 and math.isfinite(value) else otherwise
