"""Arms with capacity: what the policy wishes becomes fractions of sessions such that no arm passes its knee.

Pytheas (NSDI'17, section 4.4) has a decision's quality fall as its load grows. Here each arm's knee is told (sessions
per second up to which its quality holds), and sessions are filled in like water: all groups go where their policies
want until an arm is full; then the policies are asked again, with that arm not feasible, for the rest; and so on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.policies.bank import Bools, Floats, Ints

FILL = 0.95
WINDOW_S = 5.0  # over which sessions are averaged
MIN_SESSIONS = 20.0  # in the window, before what was seen and not foretold takes room
MAX_SETS = 10_000  # of feasible arms, remembered as sets
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
        self._mixes: dict[str, dict[frozenset[str], float]] = {}  # of each group, sets of feasible arms met lately
        self._sets: dict[tuple[str, ...], frozenset[str]] = {}
        self._given: Floats = np.zeros(len(capacity))  # sessions per second as seen, in the window
        self._expected: Floats = np.zeros(len(capacity))  # as the weights foretold
        self._loads: dict[str, Any] = {}  # of each group, sessions per second by arm, as its weights foretell
        self._total: Floats = np.zeros(len(capacity))
        self._ticked_ns: int | None = None
        self.overflow = 0

    def decided(self, group: str, arm: str, count: int = 1) -> None:
        """So many sessions of `group` were given `arm`."""
        self._groups[group] += count
        at = self._index.get(arm)
        if at is not None:
            self._arms[at] += count

    def met(self, group: str, arms: tuple[str, ...]) -> None:
        """These arms were feasible for a session of `group`: its sessions count for the sets as often as they are met."""
        one = self._sets.get(arms)
        if one is None:
            if len(self._sets) >= MAX_SETS:
                self._sets.clear()
            one = self._sets[arms] = frozenset(arms)
        mix = self._mixes.setdefault(group, {})
        mix[one] = mix.get(one, 0.0) + 1.0

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
        mixes = {
            group: {one: met * kept for one, met in mix.items() if met * kept > 1e-3}
            for group, mix in self._mixes.items()
        }
        self._mixes = {group: mix for group, mix in mixes.items() if mix}
        self._given = kept * self._given + (1.0 - kept) * self._arms / elapsed_s
        self._expected = kept * self._expected + (1.0 - kept) * self._total
        self._rates, self._groups = faded, Counter()
        self._arms = np.zeros(len(self._capacity))

    def rates(self) -> dict[str, float]:
        """Sessions per second that each arm with a capacity was given here."""
        return {arm: float(self._given[at]) for arm, at in self._index.items()}

    def reweigh(
        self,
        names: Sequence[str],
        arms: Sequence[Sequence[str]],
        feasible: Bools,
        weights: Floats,
        again: Callable[[Bools], Floats],
    ) -> Floats:
        """Weights (m, width) of m lines as fractions of sessions that fit. weights: what their policy wishes.

        names: of each line's group; a group's lines are for different feasible arms, (m, width), and are asked together.
        arms: of each line's group, by place. again: the policy's weights for other feasible places, asked only with at
        least one in each line. Groups that are not among these keep what they were last given.
        """
        places = self._places(arms, feasible)
        limited = (places >= 0).any(axis=1)
        if not limited.any():
            return weights
        rates = self._line_rates(names, arms, feasible)
        for name in set(names):
            self._total -= self._loads.pop(name, 0.0)
        self._total = np.maximum(self._total, 0.0)
        room = np.maximum(self._capacity - self._elsewhere - self._unforeseen() - self._total, 0.0)
        filled = self._fill(places, rates, weights, room, again)
        loads = _by_arm(places, filled * rates[:, None], len(self._capacity))
        for at in np.flatnonzero(limited & (rates > 0.0)).tolist():
            self._loads[names[at]] = self._loads.get(names[at], 0.0) + loads[at]
        self._total = self._total + loads.sum(axis=0)
        return filled

    def _line_rates(self, names: Sequence[str], arms: Sequence[Sequence[str]], feasible: Bools) -> Floats:
        """Sessions per second of each line: its group's, by how often its set was met; what none has is shared alike."""
        lines: dict[str, list[int]] = {}
        for at, name in enumerate(names):
            if name in self._rates:
                lines.setdefault(name, []).append(at)
        found = np.zeros(len(names))
        for name, ats in lines.items():
            mix = self._mixes.get(name, {})
            met = [
                mix.get(frozenset(arm for arm, may in zip(arms[at], feasible[at].tolist(), strict=False) if may), 0.0)
                for at in ats
            ]
            total = sum(met)
            found[ats] = [self._rates[name] * (part / total if total else 1.0 / len(ats)) for part in met]
        return found

    def _places(self, arms: Sequence[Sequence[str]], feasible: Bools) -> Ints:
        """The index of each place's capacity, (m, width): -1 without one, -2 where the arm is not feasible."""
        places = np.full(feasible.shape, -2, dtype=np.int64)
        index = self._index.get
        for row, names in enumerate(arms):
            places[row, : len(names)] = [index(arm, -1) for arm in names]
        places[~feasible] = -2
        return places

    def _unforeseen(self) -> Floats:
        """Sessions per second by arm beyond those that the weights foretold: of feasible sets that are no line, say."""
        if self._given.sum() * self._window_s < MIN_SESSIONS:
            return np.zeros(len(self._capacity))
        return np.maximum(self._given - self._expected, 0.0)

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
