"""Members on a simulated network that loses, delays and parts, some of them slow: no sleeps, seeded."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

from vagus.health.swim import Changed, Directive, Probed, Send, Swim
from vagus.health.swim_messages import State
from vagus.model import MAX_DOUBT


class Seen(NamedTuple):
    """A change of state, or a probe, at a member."""

    at_s: float
    observer: str
    what: Changed | Probed


class Node:
    """A process: it runs, or does not. Blocked, it does nothing for `blocked_s` of every `cycle_s`; then what was due
    comes before what was sent to it meanwhile, which is the worse order."""

    def __init__(self, swim: Swim) -> None:
        self.swim = swim
        self.tick_s = float("inf")
        self.blocked_s = self.cycle_s = self.offset_s = 0.0
        self.lag_s = 0.0  # what it hears and says takes so much longer
        self.stopped_s = 0.0  # stopped until then

    def runs_at(self, now_s: float) -> float:
        """When it next runs, at `now_s` or later."""
        now_s = max(now_s, self.stopped_s)
        if self.cycle_s:
            phase_s = (now_s + self.offset_s) % self.cycle_s
            if phase_s < self.blocked_s:
                return now_s + self.blocked_s - phase_s + 1e-6
        return now_s


class Network:
    """Nodes by name, and datagrams on their way. `cut` holds directed pairs."""

    def __init__(self, count: int, seed: int, *, loss: float = 0.0, awareness: int = MAX_DOUBT) -> None:
        self.rng = Random(seed)
        self.seed = seed
        self.loss = loss
        self.awareness = awareness
        self.now_s = 1000.0
        self.names = [f"n{number}" for number in range(count)]
        self.nodes: dict[str, Node] = {}
        self.cut: set[tuple[str, str]] = set()
        self.seen: list[Seen] = []
        self.sent = self.sent_bytes = self._count = 0
        self._events: list[tuple[float, bool, int, Node, str, bytes]] = []
        for name in self.names:
            self.boot(name)

    def boot(self, name: str, incarnation: int = 0) -> Node:
        """A process starts, and is told who else there is."""
        swim = Swim(
            name,
            Random(f"{name} {self.now_s} {self.seed}"),
            self.now_s,
            incarnation=incarnation,
            awareness=self.awareness,
        )
        node = self.nodes[name] = Node(swim)
        self._perform(node, swim.peers(self.names, self.now_s))
        return node

    def kill(self, name: str) -> None:
        """It is gone, without a word."""
        del self.nodes[name]

    def part(self, one: set[str], other: set[str]) -> None:
        """Nothing passes from the one to the other, nor back."""
        self.cut |= {(a, b) for a in one for b in other} | {(b, a) for a in one for b in other}

    def run(self, for_s: float) -> None:
        """Lets so much time pass."""
        end_s = self.now_s + for_s
        while self._events and self._events[0][0] <= end_s:
            self.now_s, _, _, node, sender, payload = heappop(self._events)
            if self.nodes.get(node.swim.node) is not node:
                continue
            runs_s = node.runs_at(self.now_s)
            if runs_s > self.now_s:
                self._push(runs_s, node, sender, payload)
            elif sender:
                self._perform(node, node.swim.on_message(sender, payload, self.now_s))
            elif self.now_s >= node.tick_s:
                node.tick_s = float("inf")
                self._perform(node, node.swim.tick(self.now_s))
        self.now_s = end_s

    def until(self, holds: object, at_most_s: float) -> float:
        """Seconds until `holds()`, in steps of a tenth; fails after `at_most_s`."""
        assert callable(holds)
        began_s = self.now_s
        while not holds():
            assert self.now_s - began_s < at_most_s, f"not after {at_most_s} s"
            self.run(0.1)
        return self.now_s - began_s

    def state(self, observer: str, member: str) -> State:
        return self.nodes[observer].swim.members[member].state

    def states(self, member: str) -> set[State]:
        """What all others think of it."""
        return {self.state(name, member) for name in self.nodes if name != member}

    def accusations(self, state: State = State.SUSPECT, but: set[str] | frozenset[str] = frozenset()) -> int:
        """How often anybody came to hold a member in this state, except those in `but`."""
        changes = (one.what for one in self.seen if isinstance(one.what, Changed))
        return sum(change.state is state and change.member not in but for change in changes)

    def _perform(self, node: Node, directives: list[Directive]) -> None:
        for directive in directives:
            if isinstance(directive, Send):
                for to in directive.to:
                    self._send(node.swim.node, to, directive.payload)
            else:
                self.seen.append(Seen(self.now_s, node.swim.node, directive))
        if node.swim.due_s < node.tick_s:
            node.tick_s = node.swim.due_s
            self._push(node.tick_s, node, "", b"")

    def _send(self, sender: str, to: str, payload: bytes) -> None:
        self.sent += 1
        self.sent_bytes += len(payload)
        receiver = self.nodes.get(to)
        if receiver is not None and (sender, to) not in self.cut and self.rng.random() >= self.loss:
            lag_s = self.nodes[sender].lag_s + receiver.lag_s if sender in self.nodes else 0.0
            self._push(self.now_s + lag_s + self.rng.uniform(0.0002, 0.005), receiver, sender, payload)

    def _push(self, at_s: float, node: Node, sender: str, payload: bytes) -> None:
        self._count += 1
        heappush(self._events, (at_s, bool(sender), self._count, node, sender, payload))
