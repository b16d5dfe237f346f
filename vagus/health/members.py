"""The other nodes as one knows them, and in which order they are looked after."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from random import Random

from vagus.health.suspicion import Suspicion
from vagus.health.swim_messages import MAX_NAME, State

ALIVE, SUSPECT, DEAD, LEFT = State
THERE = (ALIVE, SUSPECT)
MAX_MEMBERS = 4096
FORGET_S = 600.0
"""A member that has left is still shown for so long."""


class Member:
    """What is known of another node. Times are own time, in seconds."""

    def __init__(self, name: str, now_s: float) -> None:
        self.name = name
        self.state = ALIVE
        self.incarnation = -1  # unknown: its next word counts
        self.since_s = self.heard_s = now_s
        self.rtt_s = 0.0  # smoothed; 0: not yet measured
        self.direct = True  # it answered the last probe itself, not through others
        self.suspicion: Suspicion | None = None
        self.accused = False  # by this node's own probes
        self.vouched_s = -math.inf  # when this node last vouched for it


class Members:
    """At most MAX_MEMBERS nodes by name."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._all: dict[str, Member] = {}
        self._states: Counter[State] = Counter()
        self._order: list[str] = []  # who is still to be probed in this pass

    def __iter__(self) -> Iterator[Member]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, name: str) -> Member:
        return self._all[name]

    def get(self, name: str) -> Member | None:
        """A member, or None."""
        return self._all.get(name)

    def count(self, *states: State) -> int:
        """How many are in one of these states."""
        return sum(self._states[state] for state in states)

    def add(self, name: str, now_s: float) -> Member | None:
        """A new member, alive for all we know; None for one too many, or a name that is none."""
        if len(self._all) >= MAX_MEMBERS:
            self.forget(now_s, 0.0)
        if len(self._all) >= MAX_MEMBERS or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            return None
        member = self._all[name] = Member(name, now_s)
        self._states[ALIVE] += 1
        self._enqueue(name)
        return member

    def become(self, member: Member, state: State, now_s: float) -> None:
        """Another state; a suspicion ends."""
        self._states[member.state] -= 1
        self._states[state] += 1
        if member.state not in THERE and state in THERE:
            self._enqueue(member.name)
        member.state, member.since_s, member.suspicion = state, now_s, None

    def forget(self, now_s: float, after_s: float = FORGET_S) -> None:
        """Drops those that left so long ago."""
        for member in [m for m in self if m.state is LEFT and now_s - m.since_s >= after_s]:
            del self._all[member.name]
            self._states[LEFT] -= 1

    def some(self, count: int, states: tuple[State, ...], but: str = "") -> tuple[str, ...]:
        """So many members in these states, or as many as there are, at random."""
        found = [m.name for m in self if m.state in states and m.name != but]
        return tuple(self._rng.sample(found, min(count, len(found))))

    def next(self) -> Member | None:
        """The next to probe: all that may be there, in one random order after the other, so that none waits for long.

        Source: SWIM (2002), section 4.3.
        """
        for _ in range(2):
            while self._order:
                member = self._all.get(self._order.pop())
                if member is not None and member.state in THERE:
                    return member
            self._order = [m.name for m in self if m.state in THERE]
            self._rng.shuffle(self._order)
        return None

    def _enqueue(self, name: str) -> None:
        self._order.insert(self._rng.randrange(len(self._order) + 1), name)
