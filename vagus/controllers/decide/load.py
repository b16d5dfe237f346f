"""Arms with capacity: what the policy wishes becomes fractions of sessions such that no arm passes its knee.

Pytheas (NSDI'17, section 4.4) has a decision's quality fall as its load grows. Here each arm's knee is told (sessions
per second up to which its quality holds), and sessions are filled in like water: all groups go where their policies
want until an arm is full; then the policies are asked again, with that arm not feasible, for the rest; and so on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.policies.bank import Bools, Floats, Ints

FILL = 0.95
WINDOW_S = 5.0  # over which sessions are averaged
MIN_SESSIONS = 20.0  # in the window, before what was seen corrects what was expected
FULL = 1e-9  # of a capacity: less room than that is none


class LoadBalance:
    """Session rates by group, and weights that respect capacities. capacity: arm: sessions per second, above 0.

    fill: share of a capacity that is aimed at: chance gives now more, now less.

    `overflow` counts ticks at which all that was feasible was full for some group: it then goes where its policy wants.
    """

    def __init__(self, capacity: Mapping[str, float], window_s: float = WINDOW_S, fill: float = FILL) -> None:
        for arm, knee in capacity.items():
            if not 0.0 < knee < float("inf"):
                raise ConfigError(f"decide.capacity: {arm!r}: {knee} must be a finite number above 0")
        self._window_s = window_s
        self._index = {arm: at for at, arm in enumerate(capacity)}
        self._capacity: Floats = fill * np.array(list(capacity.values()), dtype=np.float64)
        self._elsewhere: Floats = np.zeros(len(capacity))
        self._groups: Counter[str] = Counter()  # sessions since the last tick
        self._arms: Floats = np.zeros(len(capacity))
        self._rates: dict[str, float] = {}
        self._given: Floats = np.zeros(len(capacity))  # sessions per second as seen, in the window
        self._expected: Floats = np.zeros(len(capacity))  # as the weights foretold
        self._loads: dict[str, Floats] = {}  # of each group, sessions per second by arm, as its weights foretell
        self._total: Floats = np.zeros(len(capacity))
        self._ticked_ns: int | None = None
        self.overflow = 0

    def decided(self, group: str, arm: str, count: int = 1) -> None:
        """So many sessions of `group` were given `arm`."""
        self._groups[group] += count
        at = self._index.get(arm)
        if at is not None:
            self._arms[at] += count

    def tick(self, now_ns: int, elsewhere: Mapping[str, float] = {}) -> None:
        """Rates from what was decided since the last tick; elsewhere: sessions per second of arms led by other nodes."""
        for arm, at in self._index.items():
            self._elsewhere[at] = max(0.0, elsewhere.get(arm, 0.0))
        before_ns, self._ticked_ns = self._ticked_ns, now_ns
        if before_ns is None:
            before_ns = now_ns - NS
        elapsed_s = max((now_ns - before_ns) / NS, 1e-3)
        kept = float(np.exp(-elapsed_s / self._window_s))
        faded = {group: rate * kept for group, rate in self._rates.items() if rate * kept > 1e-3}
        for group, count in self._groups.items():
            faded[group] = faded.get(group, 0.0) + (1.0 - kept) * count / elapsed_s
        for group in self._rates.keys() - faded.keys():
            self._total -= self._loads.pop(group, 0.0)
        self._given = kept * self._given + (1.0 - kept) * self._arms / elapsed_s
        self._expected = kept * self._expected + (1.0 - kept) * self._total
        self._rates, self._groups = faded, Counter()
        self._arms = np.zeros(len(self._capacity))

    def rates(self) -> dict[str, float]:
        """Sessions per second that each arm with a capacity was given here."""
        return {arm: float(self._given[at]) for arm, at in self._index.items()}

    def reweigh(
        self, names: Sequence[str], arms: Sequence[Sequence[str]], weights: Floats, again: Callable[[Bools], Floats]
    ) -> Floats:
        """Weights (m, width) of m groups as fractions of sessions that fit. weights: what their policy wishes.

        arms: of each group, by place; again: the policy's weights for other feasible places, (m, width) of bool, asked
        only with at least one in each row. Groups that are not among these keep what they were last given.
        """
        places = self._places(arms, weights.shape[1])
        limited = np.flatnonzero((places >= 0).any(axis=1))
        if not len(limited):
            return weights
        rates = np.array([self._rates.get(name, 0.0) for name in names])
        for name in names:
            self._total -= self._loads.pop(name, 0.0)
        self._total = np.maximum(self._total, 0.0)
        room = np.maximum(self._capacity - self._elsewhere - self._total, 0.0)
        filled = self._fill(places, rates * self._correction(), weights, room, again)
        loads = _by_arm(places, filled * rates[:, None], len(self._capacity))
        for at in limited:
            self._loads[names[int(at)]] = loads[at]
        self._total = self._total + loads[limited].sum(axis=0)
        return filled

    def _places(self, arms: Sequence[Sequence[str]], width: int) -> Ints:
        """The index of each place's capacity, (m, width): -1 without one, -2 where there is no arm."""
        places = np.full((len(arms), width), -2, dtype=np.int64)
        index = self._index.get
        for row, names in enumerate(arms):
            places[row, : len(names)] = [index(arm, -1) for arm in names]
        return places

    def _correction(self) -> float:
        """How many times more sessions came than the weights foretold: smaller feasible sets go elsewhere, for one."""
        if self._given.sum() * self._window_s < MIN_SESSIONS or not self._expected.any():
            return 1.0
        busy = self._expected > 0.1 * self._capacity
        if not busy.any():
            return 1.0
        return float(np.clip(np.max(self._given[busy] / self._expected[busy]), 1.0, 4.0))

    def _fill(
        self, places: Ints, rates: Floats, weights: Floats, room: Floats, again: Callable[[Bools], Floats]
    ) -> Floats:
        feasible: Bools = places > -2
        filled: Floats = np.zeros_like(weights)
        left, wanted = 1.0, weights
        for _ in range(len(room) + 1):
            demand = _by_arm(places, wanted * rates[:, None], len(room)).sum(axis=0)
            asked = demand > 0.0
            step = min(left, float((room[asked] / demand[asked]).min())) if asked.any() else left
            filled += step * wanted
            room = room - step * demand
            left -= step
            if left <= FULL:
                break
            full = asked & (room <= FULL * self._capacity)
            feasible = feasible & ~np.isin(places, np.flatnonzero(full))
            none: Bools = np.logical_not(feasible.any(axis=1))
            if none.any():
                self.overflow += 1
                if none.all():
                    break
            wanted = again(np.where(none[:, None], places > -2, feasible))
            wanted[none] = 0.0  # what is full for them cannot be filled further
        short = 1.0 - filled.sum(axis=1, keepdims=True)
        fractions: Floats = filled + short * weights
        return fractions


def _by_arm(places: Ints, loads: Floats, arms: int) -> Floats:
    """Loads (m, width) summed by capacity, (m, arms)."""
    found: Floats = np.zeros((len(places), arms))
    rows, columns = np.nonzero(places >= 0)
    np.add.at(found, (rows, places[rows, columns]), loads[rows, columns])
    return found
