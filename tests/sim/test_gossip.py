"""Nodes on a simulated network that loses, delays, reorders, repeats and parts: they converge. Seeded, no sleeps."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random

import pytest

from vagus.clock import NS
from vagus.health.gossip import Gossip, Send
from vagus.health.local import LocalStore
from vagus.health.strategy_paper import Paper
from vagus.model import Ack, Metric, Report, Status

START = 1_700_000_000 * NS
TICK_NS = NS


class Network:
    """Nodes by name, and datagrams on their way."""

    def __init__(self, names: list[str], seed: int, *, loss: float = 0.0) -> None:
        self.rng = Random(seed)
        self.loss = loss
        self.now_ns = START
        self.cut: set[frozenset[str]] = set()
        self.deaf: set[str] = set()
        self.disks: dict[str, list[Report]] = {name: [] for name in names}
        self.names = names
        self.gossips: dict[str, Gossip] = {}
        self.stores: dict[str, LocalStore] = {}
        self.travelling: list[tuple[int, int, str, str, bytes]] = []
        self.sent = 0
        for name in names:
            self.boot(name)

    def boot(self, name: str) -> None:
        """A process starts with what is on its disk."""
        self.gossips[name] = Gossip(name, Random(f"{name}{self.now_ns}"))
        self.gossips[name].peers(self.names)
        self.stores[name] = LocalStore(name, Paper())
        self.gossips[name].restore(self.disks[name], self.now_ns)
        self.stores[name].restore(self.disks[name], self.now_ns)

    def part(self, *sides: str) -> None:
        """Cuts the network between the given sides, each a string of node names."""
        self.cut = {frozenset((a, b)) for one in sides for two in sides if one != two for a in one for b in two}

    def send(self, sender: str, sends: list[Send]) -> None:
        for send in sends:
            for to in send.to:
                copies = 0 if self.rng.random() < self.loss else 1 + (self.rng.random() < self.loss / 4)
                for _ in range(copies):
                    self.sent += 1
                    arrives = self.now_ns + self.rng.randrange(1, NS // 2)
                    heappush(self.travelling, (arrives, self.sent, sender, to, send.payload))

    def report(self, name: str, subject: str, status: Status) -> Report:
        report = Report(f"o@{name}", subject, self.now_ns, {"read": Metric(status, self.rng.randrange(100))})
        ack, report, _ = self.stores[name].submit(report, self.now_ns)
        assert ack is Ack.ACCEPTED
        self.disks[name].append(report)
        self.send(name, self.gossips[name].on_local([report], self.now_ns))
        return report

    def run(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            end = self.now_ns + TICK_NS
            while self.travelling and self.travelling[0][0] <= end:
                self.now_ns, _, sender, to, payload = heappop(self.travelling)
                if frozenset((sender, to)) not in self.cut and to not in self.deaf:
                    new, answers = self.gossips[to].on_message(sender, payload, self.now_ns)
                    for report in new:
                        if self.stores[to].merge(report, self.now_ns)[0] is Ack.ACCEPTED:
                            self.disks[to].append(report)
                    self.send(to, answers)
            self.now_ns = end
            for name in self.names:
                if name not in self.deaf:
                    self.send(name, self.gossips[name].tick(self.now_ns))

    def agree(self) -> bool:
        """All stores hold the same panoramas and so infer the same."""
        panoramas = [{s: store.panorama(s) for s in store.subjects()} for store in self.stores.values()]
        if any(panorama != panoramas[0] for panorama in panoramas):
            return False
        verdicts = [
            [store.strategy.infer(s, store.panorama(s), self.now_ns) for s in sorted(store.subjects())]
            for store in self.stores.values()
        ]
        return all(verdict == verdicts[0] for verdict in verdicts)

    def until_agreed(self, ticks: int) -> int:
        """Ticks until all agree; fails after `ticks`."""
        for tick in range(ticks):
            if self.agree():
                return tick
            self.run()
        raise AssertionError(f"no agreement after {ticks} ticks")


def chatter(network: Network, ticks: int) -> None:
    """Every node reports on random subjects for a while."""
    for _ in range(ticks):
        for name in network.names:
            network.report(name, f"s{network.rng.randrange(5)}", network.rng.choice([Status.HEALTHY, Status.UNHEALTHY]))
        network.run()


@pytest.mark.parametrize("seed", range(3))
def test_a_peer_that_missed_a_report_converges(seed: int) -> None:
    network = Network(list("abcde"), seed, loss=0.4)
    chatter(network, 20)
    network.loss = 0.2
    network.until_agreed(40)
    assert all(len(store.panorama("s1")) == 5 for store in network.stores.values())


@pytest.mark.parametrize("seed", range(2))
def test_a_partition_heals_on_both_sides(seed: int) -> None:
    network = Network(list("abcd"), seed)
    network.part("ab", "cd")
    chatter(network, 10)
    assert not network.agree()
    assert network.stores["a"].subjects().keys() == network.stores["c"].subjects().keys()
    network.part()
    network.until_agreed(15)


def test_news_travel_through_a_third_node() -> None:
    network = Network(list("abc"), 1)
    network.part("a", "c")
    network.report("a", "db", Status.UNHEALTHY)
    network.until_agreed(15)
    assert network.stores["c"].inferences()[0].contexts["read"].accusers == ("o@a",)


@pytest.mark.parametrize("disk", [True, False])
def test_a_restarted_peer_recovers_its_history_and_catches_up(disk: bool) -> None:
    network = Network(list("abc"), 3, loss=0.1)
    chatter(network, 5)
    network.deaf = {"b"}
    network.report("a", "missed", Status.UNHEALTHY)
    network.run(3)
    if not disk:
        network.disks["b"].clear()
    network.deaf = set()
    used = {(r.origin, r.seq) for r in network.disks["a"] + network.disks["c"]}
    network.boot("b")
    if disk:
        assert network.stores["b"].panorama("s1"), "its own history is there before any message"
    network.until_agreed(30)
    assert "missed" in network.stores["b"].subjects()
    again = network.report("b", "s1", Status.DEAD)
    assert (again.origin, again.seq) not in used
    network.until_agreed(30)
    assert network.stores["a"].view("o@b", "s1")[-1] == again


def test_a_hung_peer_costs_its_peers_no_memory() -> None:
    network = Network(list("ab"), 5)
    network.gossips["a"].max_reports = 100
    network.deaf = {"b"}
    chatter(network, 5)
    for _ in range(500):
        network.report("a", "db", Status.UNHEALTHY)
    network.run()
    gossip = network.gossips["a"]
    assert len(gossip) == 100
    assert gossip.counts["dropped"] >= 400
    assert len(network.stores["a"].panorama("db")["o@a"]) == 10


def test_an_idle_network_is_quiet() -> None:
    network = Network(list("abcd"), 7)
    chatter(network, 5)
    network.until_agreed(10)
    network.run()
    before = network.sent
    network.run(10)
    assert network.sent - before == 40, "one digest a node and tick, and nothing in answer"


def test_the_same_seed_gives_the_same_run() -> None:
    def run() -> tuple[int, list[int]]:
        network = Network(list("abc"), 11, loss=0.3)
        chatter(network, 5)
        network.run(5)
        return network.sent, [len(store) for store in network.stores.values()]

    assert run() == run()
