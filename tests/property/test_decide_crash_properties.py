"""A decide actor's log and state, cut off at any point: what was acknowledged is learned exactly once, here or there."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "sim"))
from decide_world import Memory

from vagus.actors.decide_log import DecideLog, outcomes_of
from vagus.controllers.decide import saving
from vagus.controllers.decide.leading import Leading
from vagus.controllers.decide.parcels import Parcels
from vagus.controllers.decide.records import Grouping, Plan
from vagus.model import Decision, Reward

GROUPS = ("here", "there", "moving")
MAP_BYTES = 16 << 20


class Node:
    """n1, with a real log; n2 is a peer that never ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lives = 0
        self.now_s = 1000.0
        self.count = 0
        self.acknowledged: set[int] = set()
        self.pending: list[int] = []
        self.plan = Plan(1, Grouping(), {"here": "n1", "there": "n2", "moving": "n1"})
        self.peer_memory = Memory()
        self.peer = Leading("n2", self.peer_memory, self.plan, birth=1, incarnation=1, now_s=self.now_s)
        self.peer.view.set_nodes(("n1", "n2"), self.now_s)
        self.peer_parcels = Parcels(self.peer)
        self.open()

    def open(self) -> None:
        self.lives += 1
        self.log = DecideLog(self.folder / str(self.lives), MAP_BYTES)
        self.memory = Memory()
        kept = self.log.load()
        incarnation = self.log.stamp()
        birth = incarnation if kept is None else kept.head.birth
        self.leading = Leading("n1", self.memory, self.plan, birth=birth, incarnation=incarnation, now_s=self.now_s)
        self.leading.view.set_nodes(("n1", "n2"), self.now_s)
        self.parcels = Parcels(self.leading)
        if kept is None:
            self.leading.outcomes(outcomes_of(self.log.rewards_after(0), ()))
        else:
            logged = outcomes_of(self.log.rewards_after(kept.head.position), ())
            saving.restore(self.leading, kept.head, kept.out, kept.plan, kept.states, kept.letters.items(), logged)

    def crash(self) -> None:
        """As kill -9: what is committed is there, nothing else."""
        shutil.copytree(self.folder / str(self.lives), self.folder / str(self.lives + 1))
        self.log.store.close()
        self.pending.clear()
        self.open()

    def session(self, group: str) -> None:
        self.count += 1
        decision = Decision(f"d{self.count}", self.count, group, "a", 0.5, 1, ("a", "b"))
        self.log.put_decision(decision)
        stamp = self.log.put_reward(Reward(decision.decision_id, self.count, float(self.count)))
        self.pending.append(self.count)
        logged = ((stamp, Reward(decision.decision_id, 0, float(self.count)), decision),)
        self.leading.outcomes(outcomes_of(logged, ()))

    def flush(self) -> None:
        self.log.store.flush()
        self.acknowledged.update(self.pending)
        self.pending.clear()

    def save(self, whole: bool, commits: bool) -> None:
        changes = saving.changes(self.leading, whole)
        if commits:
            self.log.save(changes)
            self.flush()
            saving.saved(self.leading, changes)
        else:
            saving.unsaved(self.leading, changes)

    def tell(self, is_lost: bool) -> None:
        """A parcel each way."""
        for own, other, name in ((self.parcels, self.peer_parcels, "n2"), (self.peer_parcels, self.parcels, "n1")):
            parcel = own.parcel(name, self.now_s)
            if parcel is None:
                continue
            receipt = other.receive(
                msgspec.msgpack.decode(msgspec.msgpack.encode(parcel), type=type(parcel)), self.now_s
            )
            if is_lost:
                own.failed(parcel, name)
            else:
                own.answered(parcel, receipt, self.now_s)

    def tick(self) -> None:
        self.now_s += 0.6
        for leading in (self.leading, self.peer):
            leading.tick(self.now_s)
        changes = saving.changes(self.peer, True)  # the peer's disk is never lost
        saving.saved(self.peer, changes)

    def move(self) -> None:
        leader = "n2" if self.plan.leaders["moving"] == "n1" else "n1"
        self.plan = Plan(self.plan.version + 1, Grouping(), {**self.plan.leaders, "moving": leader})
        self.peer.follow(self.plan)


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("session"), st.sampled_from(GROUPS)),
        st.tuples(st.just("flush")),
        st.tuples(st.just("save"), st.booleans(), st.booleans()),
        st.tuples(st.just("tell"), st.booleans()),
        st.tuples(st.just("tick")),
        st.tuples(st.just("move")),
        st.tuples(st.just("crash")),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(_steps)
def test_a_crash_at_any_point_neither_forgets_nor_repeats(steps: list[tuple[Any, ...]]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="vagus-test-"))
    try:
        node = Node(folder)
        for name, *arguments in steps:
            getattr(node, name)(*arguments)
        node.flush()
        node.crash()
        for _ in range(12):
            node.tick()
            node.save(True, True)
            node.tell(False)
        learned = node.memory.total() + node.peer_memory.total()
        assert max(learned.values(), default=1) == 1, "nothing is learned twice"
        assert not node.acknowledged - learned.keys(), "nothing acknowledged is forgotten"
        leader, other = (node.memory, node.peer_memory)
        if node.plan.leaders["moving"] == "n2":
            leader, other = other, leader
        assert not other.known.get("moving")
        node.log.store.close()
    finally:
        shutil.rmtree(folder)
