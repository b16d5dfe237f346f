"""Nodes that decide, in simulated time: their disks, a network that loses, delays and repeats, and what must hold."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from itertools import count
from random import Random
from typing import Any

import msgspec

from vagus.controllers.decide import saving
from vagus.controllers.decide.leading import Leading
from vagus.controllers.decide.mail import Letter, Parcel, Place, Receipt
from vagus.controllers.decide.parcels import Parcels
from vagus.controllers.decide.records import Grouping, GroupState, Outcome, Plan, Row, TableUpdate
from vagus.controllers.decide.saving import Changes, Head, Out

STEP_S = 0.05
TIMEOUT_S = 2.0


class Memory:
    """A learner that remembers what it learned: rewards are numbers of outcomes."""

    def __init__(self) -> None:
        self.known: dict[str, Counter[int]] = {}

    def learn(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.known.setdefault(outcome.group, Counter())[int(outcome.reward)] += 1

    def met(self, group: str, arms: Iterable[str]) -> None:
        self.known.setdefault(group, Counter())

    def group(self, name: str) -> GroupState:
        return GroupState(name, 0, "memory", ("a", "b"), {"seen": sorted(self.known[name].elements())})

    def put(self, state: GroupState) -> None:
        self.known[state.group] = Counter(state.state["seen"])

    def absorb(self, state: GroupState, share: float) -> None:
        assert share == 1.0
        self.known.setdefault(state.group, Counter()).update(state.state["seen"])

    def drop(self, name: str) -> None:
        del self.known[name]

    def changed(self) -> list[str]:
        return []

    def __contains__(self, name: object) -> bool:
        return name in self.known

    def total(self) -> Counter[int]:
        return sum(self.known.values(), Counter())


class Disk:
    """What a node has committed."""

    def __init__(self) -> None:
        self.birth = 0
        self.head: Head | None = None
        self.out = Out(0, {})
        self.plan: Plan | None = None
        self.states: dict[str, GroupState] = {}
        self.letters: dict[Place, Letter] = {}
        self.log: list[tuple[int, Outcome]] = []

    def write(self, changes: Changes) -> None:
        changes = msgspec.msgpack.decode(msgspec.msgpack.encode(changes), type=Changes, strict=False)
        self.out = changes.out
        self.plan = changes.plan or self.plan
        if changes.head is not None:
            self.head = changes.head
            self.states.update((state.group, state) for state in changes.states)
            for group in changes.gone:
                self.states.pop(group, None)
        self.letters.update(changes.letters)
        for place in changes.done:
            self.letters.pop(place, None)


class Member:
    def __init__(self, name: str) -> None:
        self.name = name
        self.disk = Disk()
        self.memory = Memory()
        self.leading: Leading | None = None
        self.parcels: Parcels
        self.busy: dict[str, int] = {}  # peer: number of the call under way
        self.saved_s = 0.0
        self.version = 0
        self.epochs: dict[str, int] = {}


class World:
    """`run` goes on for so many seconds. Faults: `cut`, `crash`, `kill` (for good), `loss`; `sessions` make outcomes."""

    def __init__(self, nodes: int, seed: int, groups: int = 6, loss: float = 0.0) -> None:
        self.random = Random(seed)
        self.now_s = 100.0
        self.names = [f"n{at}" for at in range(nodes)]
        self.members = {name: Member(name) for name in self.names}
        self.dead: set[str] = set()
        self.cut: set[frozenset[str]] = set()
        self.loss = loss
        self.groups = [f"g{at}" for at in range(groups)]
        self.accepted: dict[int, str] = {}  # outcome: the node that acknowledged it
        self._outcome = count(1)
        self._call = count(1)
        self._stamp = count(1000, 1000)  # as nanoseconds, they leave room
        self._events: list[tuple[float, int, Any]] = []
        self._order = count()
        self.plan = Plan(0, Grouping())
        for name in self.names:
            self.start(name)

    # --- nodes -----------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        member, disk = self.members[name], self.members[name].disk
        member.memory, member.epochs = Memory(), {}
        disk.birth = disk.birth or next(self._stamp)
        leading = member.leading = Leading(
            name,
            member.memory,
            Plan(0, Grouping()),
            birth=disk.birth,
            incarnation=next(self._stamp),
            now_s=self.now_s,
        )
        member.parcels = Parcels(leading)
        if disk.head is not None:
            logged = [entry for entry in disk.log if entry[0] > disk.head.position]
            saving.restore(leading, disk.head, disk.out, disk.plan, disk.states.values(), disk.letters.items(), logged)
        else:
            assert not disk.letters
            leading.outcomes(disk.log)
        member.busy.clear()
        leading.view.set_nodes([n for n in self.names if n not in self.dead], self.now_s)

    def crash(self, name: str, back_after_s: float) -> None:
        self.members[name].leading = None
        self._at(back_after_s, lambda: name in self.dead or self.start(name))

    def kill(self, name: str) -> None:
        self.members[name].leading = None
        self.dead.add(name)

    def isolate(self, name: str) -> None:
        self.cut |= {frozenset((name, other)) for other in self.names if other != name}

    def heal(self) -> None:
        self.cut.clear()

    def live(self) -> list[Member]:
        return [m for m in self.members.values() if m.leading is not None]

    # --- what happens ----------------------------------------------------------------------------------------------

    def sessions(self, each: int = 1) -> None:
        """Outcomes at every node, acknowledged: they are in its log."""
        for member in self.live():
            assert member.leading is not None
            made = []
            for _ in range(each):
                number = next(self._outcome)
                group = self.random.choice(self.groups)
                member.leading.meet(group, ("a", "b"), "a", self.now_s)
                made.append((next(self._stamp), Outcome(group, "a", float(number))))
                self.accepted[number] = member.name
            member.disk.log += made
            member.leading.outcomes(made)

    def lead(self, leaders: dict[str, str], moves: tuple[Any, ...] = (), grouping: int | None = None) -> None:
        version = self.plan.grouping.version if grouping is None else grouping
        self.plan = Plan(self.plan.version + 1, Grouping(version), leaders, moves)
        giver = self.live()[0].leading
        assert giver is not None
        giver.follow(self.plan)

    def run(self, seconds: float, sessions: int = 0) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += STEP_S
            while self._events and self._events[0][0] <= self.now_s:
                heapq.heappop(self._events)[2]()
            if sessions:
                self.sessions(sessions)
            for member in self.live():
                self._turn(member)

    def _turn(self, member: Member) -> None:
        leading = member.leading
        assert leading is not None
        if self.random.random() < 0.1:
            leading.view.set_nodes([n for n in self.names if n not in self.dead], self.now_s)
            leading.tick(self.now_s)
            rows = {g: Row(("a", "b"), (0.5, 0.5 + len(seen))) for g, seen in member.memory.known.items()}
            member.version += 1
            leading.ticked(TableUpdate(member.version, member.version - 1, None, rows), self.now_s)
            for group in member.memory.known:
                epoch = leading.evidence.epoch(group)
                assert epoch >= member.epochs.get(group, 0), "epochs grow"
                member.epochs[group] = epoch
        whole = self.now_s - member.saved_s > 1.0
        if whole or saving.has_letters(leading):
            if leading.wanted is not None:
                (behind, until), leading.wanted = leading.wanted, None
                leading.outcomes(e for e in member.disk.log if behind < e[0] <= until and e[0] not in leading.lettered)
            changes = saving.changes(leading, whole)
            if self.random.random() < 0.02:
                saving.unsaved(leading, changes)
            else:
                member.disk.write(changes)
                saving.saved(leading, changes)
                member.saved_s = self.now_s if changes.head is not None else member.saved_s
        for peer in leading.view.peers:
            if peer not in member.busy:
                parcel = member.parcels.parcel(peer, self.now_s)
                if parcel is not None:
                    self._send(member, leading, peer, parcel)

    def _send(self, member: Member, leading: Leading, peer: str, parcel: Parcel) -> None:
        number = member.busy[peer] = next(self._call)
        packed = msgspec.msgpack.encode(parcel)

        def give_up() -> None:
            if member.busy.get(peer) == number and member.leading is leading:
                del member.busy[peer]
                member.parcels.failed(parcel, peer)

        def answer(receipt: Receipt) -> None:
            if member.busy.get(peer) == number and member.leading is leading:
                del member.busy[peer]
                member.parcels.answered(parcel, receipt, self.now_s)

        def arrive() -> None:
            other = self.members[peer]
            if other.leading is None or self._is_lost(member.name, peer):
                return
            receipt = other.parcels.receive(msgspec.msgpack.decode(packed, type=Parcel), self.now_s)
            if not self._is_lost(member.name, peer):
                self._at(self.random.uniform(0.0, 0.1), lambda: answer(receipt))

        self._at(TIMEOUT_S, give_up)
        for _ in range(2 if self.random.random() < self.loss else 1):  # a call that timed out is still executed later
            late = TIMEOUT_S + 1.0 if self.random.random() < self.loss / 2 else 0.0
            self._at(self.random.uniform(0.0, 0.1) + late, arrive)

    def _is_lost(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self.cut or self.random.random() < self.loss

    def _at(self, after_s: float, event: Any) -> None:
        heapq.heappush(self._events, (self.now_s + after_s, next(self._order), event))

    # --- what must hold --------------------------------------------------------------------------------------------

    def settle(self, seconds: float = 25.0) -> None:
        self.heal()
        self.loss = 0.0
        self.run(seconds)

    def learned(self) -> Counter[int]:
        return sum((m.memory.total() for m in self.live()), Counter())

    def twice(self) -> list[int]:
        return [number for number, times in self.learned().items() if times > 1]

    def missing(self) -> list[int]:
        """Acknowledged by nodes that live, and learned nowhere."""
        learned = self.learned()
        return [n for n, node in self.accepted.items() if node not in self.dead and not learned[n]]

    def check(self) -> None:
        """Everything is reachable and settled: one leader per group, everything learned exactly once."""
        assert self.twice() == []
        assert self.missing() == []
        for group in self.plan.leaders:
            believed = {m.leading.leader_of(group) for m in self.live() if m.leading is not None}
            assert len(believed) == 1, f"{group} is led by {believed}"
            (leader,) = believed
            holders = {m.name for m in self.live() if m.memory.known.get(group)}
            assert holders <= {leader}, f"{group}, which {leader} leads, is known at {holders}"
