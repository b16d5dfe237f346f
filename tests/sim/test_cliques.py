"""Cliques on a simulated network that loses, delays, repeats and parts: one prober at a time. Seeded, no sleeps."""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from itertools import pairwise
from random import Random

import pytest

from vagus.probes.clique import Clique, Costs, Directive, Probe, Regenerated, Send, State
from vagus.probes.messages import encode
from vagus.probes.schedule import LATENCY

COSTS = Costs(latency_every_s=10.0, bandwidth_every_s=300.0, bandwidth_bytes=1 << 20, probe_s=4.0)


class Fixed:
    """Time-outs that learn nothing."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def observed(self, key: str, duration_s: float) -> None:
        assert duration_s >= 0

    def failed(self, key: str, waited_s: float) -> None:
        assert waited_s >= 0

    def timeout_s(self, key: str) -> float:
        return self._timeout_s


class Network:
    """Nodes whose clocks differ in time and in rate."""

    def __init__(self, names: str, seed: int, *, loss: float = 0.0, repeat: float = 0.0, costs: Costs = COSTS) -> None:
        self.rng = Random(seed)
        self.loss, self.repeat, self.costs = loss, repeat, costs
        self.now_s = 0.0
        self.cut: set[frozenset[str]] = set()
        self.nodes: dict[str, Clique] = {}
        self.skew = {name: (self.rng.uniform(0, 1e6), self.rng.uniform(0.99, 1.01)) for name in "abcdefghijklmnopqrst"}
        self.events: list[tuple[float, int, str, object]] = []
        self.count = 0
        self.bytes: Counter[str] = Counter()
        self.probes: list[tuple[float, float, str, str, str]] = []  # from, to, kind, prober, probed
        self.running: dict[str, tuple[float, Probe]] = {}
        self.regenerated: list[tuple[float, str]] = []
        for name in names:
            self.boot(name, names)

    def local(self, name: str) -> float:
        offset, rate = self.skew[name]
        return offset + self.now_s * rate

    def boot(self, name: str, names: str) -> None:
        self.nodes[name] = Clique("all", name, self.costs, Fixed(0.7), Fixed(0.0))
        self.tell(name, names)

    def tell(self, name: str, names: str) -> None:
        self.perform(name, self.nodes[name].members(names, self.local(name)))

    def part(self, *sides: str) -> None:
        self.cut = {frozenset((a, b)) for one in sides for two in sides if one != two for a in one for b in two}

    def kill(self, name: str) -> None:
        """The process ends in the middle of what it does."""
        del self.nodes[name]
        if name in self.running:
            begin_s, probe = self.running.pop(name)
            self.probes.append((begin_s, self.now_s, probe.kind, name, probe.node))

    def leave(self, name: str) -> None:
        self.perform(name, self.nodes[name].leave(self.local(name)))
        self.kill(name)

    def perform(self, name: str, directives: list[Directive]) -> None:
        for directive in directives:
            if isinstance(directive, Send):
                self.bytes[name] += len(encode(directive.message)) + 70  # sealed, in a datagram
                copies = (self.rng.random() >= self.loss) + (self.rng.random() < self.repeat)
                for _ in range(copies):
                    self.at(self.now_s + self.rng.uniform(0.0001, 0.4), directive.to, (name, directive.message))
            elif isinstance(directive, Probe):
                assert name not in self.running, "one probe at a time of one node"
                assert directive.node != name
                gone = directive.node not in self.nodes or frozenset((name, directive.node)) in self.cut
                took_s = self.rng.uniform(1.0, 3.5) if gone else self.rng.uniform(0.001, 0.1)
                self.running[name] = (self.now_s, directive)
                self.at(self.now_s + took_s, name, (directive, not gone))
            elif isinstance(directive, Regenerated):
                self.regenerated.append((self.now_s, name))
        if name in self.nodes and self.nodes[name].wake_s < float("inf"):
            offset, rate = self.skew[name]
            self.at((self.nodes[name].wake_s - offset) / rate + 1e-6, name, None)

    def at(self, at_s: float, name: str, what: object) -> None:
        self.count += 1
        heappush(self.events, (max(at_s, self.now_s), self.count, name, what))

    def run(self, for_s: float) -> None:
        end_s = self.now_s + for_s
        while self.events and self.events[0][0] <= end_s:
            self.now_s, _, name, what = heappop(self.events)
            node = self.nodes.get(name)
            if node is None:
                continue
            if what is None:
                if node.wake_s <= self.local(name):  # else another timer has taken this one's place
                    self.perform(name, node.tick(self.local(name)))
                continue
            first, second = what  # type: ignore[misc]
            if isinstance(first, Probe):
                if self.running.get(name, (0, None))[1] is not first:
                    continue  # a predecessor's
                begin_s, _ = self.running.pop(name)
                self.probes.append((begin_s, self.now_s, first.kind, name, first.node))
                self.perform(name, node.finished(first, self.local(name), ok=second))
            elif frozenset((first, name)) not in self.cut:
                self.perform(name, node.on_message(first, second, self.local(name)))
        self.now_s = end_s

    def overlaps(self, since_s: float = 0.0) -> list[tuple[object, object]]:
        """Pairs of probes that ran at once."""
        ordered = sorted(p for p in self.probes if p[0] >= since_s)
        return [(a, b) for a, b in pairwise(ordered) if b[0] < a[1] and a[3] != b[3]]

    def pairs(self, kind: str, since_s: float = 0.0) -> Counter[tuple[str, str]]:
        return Counter((p[3], p[4]) for p in self.probes if p[2] == kind and p[0] >= since_s)

    def holders(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node.state in (State.HOLDING, State.PASSING)]


def all_pairs(names: str) -> set[tuple[str, str]]:
    return {(a, b) for a in names for b in names if a != b}


@pytest.mark.parametrize("names", ["ab", "abc", "abcdefgh"])
def test_every_pair_is_probed_in_its_period_by_one_node_at_a_time(names: str) -> None:
    network = Network(names, 1)
    network.run(1200)
    assert network.overlaps() == []
    assert network.regenerated == []
    latency = network.pairs(LATENCY, since_s=200)
    assert latency.keys() == all_pairs(names)
    assert 70 <= min(latency.values()) <= max(latency.values()) <= 110, "every 10 s in 1000 s"
    assert set(network.pairs("bandwidth", since_s=200).values()) <= {3, 4}
    assert network.pairs("bandwidth").keys() == all_pairs(names)


@pytest.mark.parametrize("seed", range(10))
def test_loss_repetition_and_delay_never_make_two_probers(seed: int) -> None:
    network = Network("abcde", seed, loss=0.2, repeat=0.1)
    network.run(3000)
    assert network.overlaps() == []
    latency = network.pairs(LATENCY, since_s=100)
    assert latency.keys() == all_pairs("abcde")
    assert min(latency.values()) >= 145, "half as often at the worst"


@pytest.mark.parametrize("seed", range(10))
def test_the_holder_dies_and_a_new_token_is_made_in_time(seed: int) -> None:
    network = Network("abcd", seed, loss=0.05)
    network.run(100 + network.rng.uniform(0, 10))
    while not network.holders():
        network.run(0.05)
    dead = network.holders()[0]
    network.kill(dead)
    died_s = network.now_s
    network.run(60)
    alive = "abcd".replace(dead, "")
    assert network.overlaps() == []
    after = network.pairs(LATENCY, since_s=died_s)
    assert after.keys() >= all_pairs(alive), "within a minute all who are left are probed again"
    assert len(network.regenerated) <= 1
    network.boot(dead, "abcd")
    network.run(60)
    assert network.overlaps() == []
    assert network.pairs(LATENCY, since_s=died_s + 61).keys() >= {(dead, name) for name in alive}


@pytest.mark.parametrize("seed", range(10))
def test_nodes_die_and_come_back_at_random(seed: int) -> None:
    names = "abcdef"
    network = Network(names, seed, loss=0.1, repeat=0.05)
    for _ in range(12):
        network.run(network.rng.uniform(5, 60))
        name = network.rng.choice(names)
        if name not in network.nodes:
            network.boot(name, names)
        elif len(network.nodes) > 2:
            network.kill(name)
    for name in names:
        if name not in network.nodes:
            network.boot(name, names)
    network.run(120)
    settled_s = network.now_s
    network.run(120)
    assert network.overlaps(since_s=settled_s) == []
    assert len(network.overlaps()) <= 2, "a node that has forgotten what it knew may take an old token once"
    assert network.pairs(LATENCY, since_s=settled_s).keys() == all_pairs(names)


@pytest.mark.parametrize("seed", range(10))
def test_partitions_probe_on_and_become_one_again(seed: int) -> None:
    network = Network("abcde", seed, loss=0.05)
    network.run(60)
    network.part("ab", "cde")
    network.run(200)
    parted = network.pairs(LATENCY, since_s=160)
    assert parted.keys() >= all_pairs("ab") | all_pairs("cde")
    network.part()
    network.run(120)
    whole_s = network.now_s
    network.run(120)
    assert network.overlaps(since_s=whole_s) == []
    assert network.pairs(LATENCY, since_s=whole_s).keys() == all_pairs("abcde")
    assert all(node.ring == set("abcde") for node in network.nodes.values())


def test_two_tokens_become_one() -> None:
    network = Network("abcd", 3)
    network.run(50)
    network.perform("c", network.nodes["c"]._regenerate(network.local("c")))  # as if it had asked nobody
    network.run(60)
    both_s = network.now_s
    network.run(200)
    assert network.overlaps(since_s=both_s) == []
    assert len(network.holders()) <= 1
    assert network.pairs(LATENCY, since_s=both_s).keys() == all_pairs("abcd")


def test_a_node_that_leaves_holds_nobody_up_and_one_that_joins_is_let_in() -> None:
    network = Network("abc", 5)
    network.run(100)
    while network.holders() != ["b"]:
        network.run(0.05)
    network.leave("b")
    left_s = network.now_s
    for name in "ac":
        network.tell(name, "ac")
    network.run(25)
    assert network.regenerated == []
    assert (
        network.pairs(LATENCY, since_s=left_s) == {("a", "c"): 3, ("c", "a"): 3}
        or sum(network.pairs(LATENCY, since_s=left_s).values()) >= 4
    )
    for name in "ac":
        network.tell(name, "acd")
    network.boot("d", "acd")
    joined_s = network.now_s
    network.run(40)
    assert network.pairs(LATENCY, since_s=joined_s).keys() == all_pairs("acd")
    assert network.overlaps() == []


def test_a_node_alone_does_nothing() -> None:
    network = Network("a", 1)
    network.run(10_000)
    assert (network.count, network.probes, network.bytes) == (0, [], {})


def test_probes_that_are_never_wanted_cost_nothing() -> None:
    network = Network("ab", 1, costs=Costs(0.0, 0.0, 1 << 20, 4.0))
    network.run(1000)
    assert network.count == 0


def test_the_cost_is_bounded_however_many_nodes_there_are() -> None:
    latency_per_s, ring_bytes_s = [], []
    for count in (3, 8, 20):
        names = "abcdefghijklmnopqrst"[:count]
        network = Network(names, 2)
        network.run(300)
        assert network.overlaps() == []
        latency_per_s.append(network.pairs(LATENCY).total() / 300)
        ring_bytes_s.append(sum(network.bytes.values()) / 300)
        sent_s = network.pairs("bandwidth").total() * COSTS.bandwidth_bytes / 300
        assert sent_s <= 1.3 * (1 << 20)
    assert latency_per_s == pytest.approx([0.6, 5.6, 19], rel=0.25), "6 and 56 pairs every 10 s; 380 pairs stretch"
    assert max(ring_bytes_s) < 2000
