"""A leader's statistics at its deputy: rounds of what changed, each as of one moment. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vagus.controllers.decide.mail import Replica, portions
from vagus.controllers.decide.plan import At
from vagus.controllers.decide.records import GroupState

PART = 5_000  # groups in one parcel
ROUND_S = 1.0
SHARE = 10  # a round may take a tenth of the time


class Replication:
    """The leader's side. Names are noted as they change; `part` gives what to send; `confirmed` what the deputy holds."""

    def __init__(self) -> None:
        self.deputy = ""
        self.round = 0
        self.committed = 0  # round that the deputy holds; 0: none yet
        self.through: dict[str, At] = {}  # as of that round
        self.position = 0
        self.told: set[str] = set()  # nodes that know who is deputy
        self._full = True
        self._dirty: set[str] = set()
        self._gone: set[str] = set()
        self._parts: list[Replica] = []
        self._sent: tuple[dict[str, At], int] = ({}, 0)
        self._due_s = 0.0

    def changed(self, groups: Iterable[str]) -> None:
        for group in groups:
            self._dirty.add(group)
            self._gone.discard(group)

    def dropped(self, group: str) -> int:
        """A group that is no longer here; the round from which on the deputy does not have it either."""
        self._dirty.discard(group)
        self._gone.add(group)
        return self.round + 1

    def choose(self, deputy: str) -> None:
        """Another deputy starts with everything."""
        if deputy != self.deputy:
            self.deputy, self.told = deputy, set()
            self.begin()

    def begin(self) -> None:
        """The deputy has nothing, or it began anew."""
        self.committed, self._full, self._due_s = 0, True, 0.0
        self._parts = []

    def part(
        self,
        incarnation: int,
        now_s: float,
        spent_s: Callable[[], float],
        groups: set[str],
        states_of: Callable[[Iterable[str]], tuple[GroupState, ...]],
        through: dict[str, At],
        position: int,
        learned: int,
    ) -> Replica | None:
        """What the deputy should have next; the same again until it is confirmed. To be asked once most nodes were told
        who is deputy: another, who was it before, then cannot claim with what it has.

        groups: all that there are; spent_s: a clock, by which a round that takes long is made more rarely.
        """
        if self._parts or now_s < self._due_s:
            return self._parts[0] if self._parts else None
        if not (self._full or self._dirty or self._gone or through != self.through or position != self.position):
            return None
        began_s = spent_s()
        self.round += 1
        states = states_of(sorted(groups if self._full else self._dirty & groups))
        parts = portions(states, PART) or [()]
        self._sent = (dict(through), position)
        self._parts = [
            Replica(
                incarnation,
                self.round,
                number,
                number == len(parts) - 1,
                self._full,
                part,
                tuple(self._gone) if number == 0 else (),
                *((self._sent[0], position, learned) if number == len(parts) - 1 else ()),
            )
            for number, part in enumerate(parts)
        ]
        self._full, self._dirty, self._gone = False, set(), set()
        self._due_s = now_s + max(ROUND_S, SHARE * (spent_s() - began_s))
        return self._parts[0]

    def confirmed(self, round: int, part: int) -> None:
        """How far the deputy has come; it says round 0 when it has nothing of this life of the leader."""
        if self._parts and (round, part) == (self._parts[0].round, self._parts[0].part):
            if self._parts.pop(0).last:
                self.committed = round
                self.through, self.position = self._sent
        elif round < self.committed or (self._parts and self._parts[0].part > 0):
            self.begin()  # it began anew


class Held:
    """The deputy's side: one leader's replica, whole as of the last complete round."""

    def __init__(self) -> None:
        self.round = 0
        self.part = 0
        self.incarnation = 0
        self.position = 0
        self.learned = 0
        self.complete = False
        self.states: dict[str, GroupState] = {}
        self.through: dict[str, At] = {}
        self._coming: list[Replica] = []

    @property
    def come(self) -> tuple[int, int]:
        """Round and part that came last; (0, 0) when the leader must begin with everything."""
        return (self._coming[-1].round, self._coming[-1].part) if self._coming else (self.round, self.part)

    def take(self, replica: Replica) -> None:
        """A part; one that does not follow is left out, and `come` says so."""
        if replica.part == 0:
            if not replica.full and (replica.incarnation, replica.round) != (self.incarnation, self.round + 1):
                if (replica.incarnation, replica.round) != (self.incarnation, self.round):
                    self.round = self.part = 0  # the leader begins with everything
                return
            self._coming = [replica]
        elif self._coming and (self._coming[-1].round, self._coming[-1].part) == (replica.round, replica.part - 1):
            self._coming.append(replica)
        else:
            return
        if not replica.last:
            return
        if replica.full:
            self.states = {}
        for part in self._coming:
            for group in part.gone:
                self.states.pop(group, None)
            self.states.update((state.group, state) for state in part.states)
        self._coming = []
        self.incarnation, self.round, self.part = replica.incarnation, replica.round, replica.part
        self.through, self.position, self.learned = replica.through, replica.position, replica.learned
        self.complete = True
