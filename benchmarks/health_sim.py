"""A simulated network of observers that loses, delays, reorders, repeats and parts: rounds until all stores agree.

    python -m benchmarks.health_sim [--json]

Time is simulated, so that the figures do not depend on the machine; a round is a gossip tick of every node.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Any

from vagus.clock import NS
from vagus.health import Strategy
from vagus.health.gossip import Gossip, Send
from vagus.health.local import LocalStore
from vagus.model import Ack, Inference, Metric, Report, Status

START = 1_700_000_000 * NS
TICK_NS = NS
SEEDS = 5


class NoVerdict:
    """A strategy that infers nothing: what stores hold decides what they infer."""

    name = "none"

    def infer(self, subject: str, views: Mapping[str, Sequence[Report]], now_ns: int) -> Inference:
        return Inference(subject, now_ns, Status.NA, {}, (), self.name)


class Network:
    """Nodes by name, and datagrams on their way for up to `delay_ns`."""

    def __init__(
        self,
        names: Iterable[str],
        seed: int,
        *,
        loss: float = 0.0,
        delay_ns: int = NS // 2,
        strategy: Strategy | None = None,
        **options: Any,
    ) -> None:
        self.rng = Random(seed)
        self.names = list(names)
        self.loss = loss
        self.delay_ns = delay_ns
        self.strategy = strategy or NoVerdict()
        self.options = options
        self.now_ns = START
        self.sides: dict[str, int] = {}
        self.deaf: set[str] = set()
        self.disks: dict[str, list[Report]] = {name: [] for name in self.names}
        self.gossips: dict[str, Gossip] = {}
        self.stores: dict[str, LocalStore] = {}
        self.travelling: list[tuple[int, int, str, str, bytes]] = []
        self.sent = 0
        for name in self.names:
            self.boot(name)

    def boot(self, name: str, **options: Any) -> None:
        """A process starts with what is on its disk; options go to its store."""
        self.stores[name] = LocalStore(name, self.strategy, **{**self.options, **options})
        self.gossips[name] = Gossip(name, Random(f"{name}{self.now_ns}"), local=self.stores[name])
        self.gossips[name].peers(self.names)
        self.gossips[name].restore(self.disks[name], self.now_ns)
        self.stores[name].restore(self.disks[name], self.now_ns)

    def part(self, *sides: Iterable[str]) -> None:
        """Cuts the network between the given sides; who is in none hears all. Without sides it is whole."""
        self.sides = {name: number for number, side in enumerate(sides) for name in side}

    def send(self, sender: str, sends: Iterable[Send]) -> None:
        for send in sends:
            for to in send.to:
                copies = 0 if self.rng.random() < self.loss else 1 + (self.rng.random() < self.loss / 4)
                for _ in range(copies):
                    self.sent += 1
                    arrives = self.now_ns + self.rng.randrange(1, self.delay_ns)
                    heappush(self.travelling, (arrives, self.sent, sender, to, send.payload))

    def report(self, name: str, subject: str, status: Status, observer: str = "", **extra: int) -> Report:
        """An observer on a node reports; its node tells the others."""
        metric = Metric(status, self.rng.randrange(100))
        report = Report(observer or f"o@{name}", subject, self.now_ns, {"read": metric}, **extra)
        ack, report, _ = self.stores[name].submit(report, self.now_ns)
        assert ack is Ack.ACCEPTED
        self.disks[name].append(report)
        self.send(name, self.gossips[name].on_local([report], self.now_ns))
        return report

    def run(self, ticks: int = 1) -> None:
        """Delivers what arrives within some rounds."""
        for _ in range(ticks):
            end = self.now_ns + TICK_NS
            while self.travelling and self.travelling[0][0] <= end:
                self.now_ns, _, sender, to, payload = heappop(self.travelling)
                cut = sender in self.sides and to in self.sides and self.sides[sender] != self.sides[to]
                if to not in self.deaf and not cut:
                    self._deliver(sender, to, payload)
            self.now_ns = end
            for name in self.names:
                if name not in self.deaf:
                    self.stores[name].tick(self.now_ns)
                    self.send(name, self.gossips[name].tick(self.now_ns))

    def _deliver(self, sender: str, to: str, payload: bytes) -> None:
        new, answers = self.gossips[to].on_message(sender, payload, self.now_ns)
        for report in new:
            if self.stores[to].merge(report, self.now_ns)[0] is Ack.ACCEPTED:
                self.disks[to].append(report)
        self.send(to, answers)

    def agree(self) -> bool:
        """All stores that want a subject hold the same reports on it."""
        subjects = {subject for store in self.stores.values() for subject in store.subjects()}
        for subject in subjects:
            first = None
            for store in self.stores.values():
                if store.wants(subject):
                    held = {(r.origin, r.seq) for view in store.panorama(subject).values() for r in view}
                    if first is not None and held != first:
                        return False
                    first = held
        return True

    def until_agreed(self, ticks: int) -> int:
        """Rounds until all agree; AssertionError after `ticks`."""
        for tick in range(ticks):
            if self.agree():
                return tick
            self.run()
        assert self.agree(), f"no agreement after {ticks} rounds"
        return ticks


def chatter(network: Network, ticks: int, *, subjects: int = 5, share: float = 1.0) -> None:
    """Nodes, about this share of them in a round, report on random subjects for a while."""
    for _ in range(ticks):
        for name in network.names:
            if network.rng.random() < share:
                subject = f"s{network.rng.randrange(subjects)}"
                network.report(name, subject, network.rng.choice([Status.HEALTHY, Status.UNHEALTHY]))
        network.run()


def healed_partition(
    seed: int,
    *,
    nodes: int = 100,
    loss: float = 0.2,
    interest: str = "all",
    share: float = 0.3,
    before: int = 2,
    during: int = 3,
) -> tuple[int, Network]:
    """Rounds from the end of a partition into two halves until all stores that are interested agree.

    before, during: rounds of reports by about this share of the nodes. watched: each wants half of the subjects, and
    those on which it reports.
    """
    names = [f"n{number:03}" for number in range(nodes)]
    network = Network(names, seed, loss=loss, delay_ns=NS // 5, interest=interest)
    if interest == "watched":
        for name, store in network.stores.items():
            for subject in network.rng.sample(range(20), 10):
                store.watch(f"s{subject}")
            network.send(name, network.gossips[name].news(network.now_ns))
    chatter(network, before, subjects=20, share=share)
    halves: defaultdict[int, list[str]] = defaultdict(list)
    for name in names:
        halves[network.rng.randrange(2)].append(name)
    network.part(*halves.values())
    chatter(network, during, subjects=20, share=share)
    network.part()
    return network.until_agreed(60), network


def hung_peer(reports: int = 50_000, seconds: int = 60) -> dict[str, float]:
    """One of three nodes hangs while `reports` flow from another: what that one retains, and rounds until all agree.

    At first every view is filled, so that growth by what the hung node misses is all that could be seen.
    """
    network = Network("abc", 1, delay_ns=NS // 50)
    for n in range(1000 * 11):
        network.report("a", f"s{n % 100}", Status.UNHEALTHY, f"o{n // 100 % 10}")
    network.run(2)
    network.deaf = {"c"}
    before = len(network.gossips["a"])
    for _ in range(seconds):
        for n in range(reports // seconds):
            network.report("a", f"s{n % 100}", Status.UNHEALTHY, f"o{n // 100 % 10}")
        network.run()
    growth = len(network.gossips["a"]) / before
    network.deaf = set()
    sent = network.sent
    rounds = network.until_agreed(20)
    assert len(network.stores["c"]) == len(network.stores["a"])
    return {"hung_retained_ratio": growth, "hung_rounds": float(rounds), "hung_datagrams": float(network.sent - sent)}


def measure(seeds: int = SEEDS, nodes: int = 100) -> dict[str, float]:
    """Rounds to convergence: the worst and the median over seeds, with everybody interested in all and in half."""
    found: dict[str, float] = hung_peer()
    for interest in ("all", "watched"):
        rounds = [healed_partition(seed, nodes=nodes, interest=interest)[0] for seed in range(seeds)]
        found[f"rounds_{interest}_worst"] = float(max(rounds))
        found[f"rounds_{interest}_median"] = float(statistics.median(rounds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    found = measure()
    if as_json:
        print(json.dumps(found))
        return
    bars = {"hung_retained_ratio": "1: flat", "hung_rounds": "5", "hung_datagrams": ""}
    for name, value in found.items():
        print(f"{name:24} {value:8.1f}  {bars.get(name, '10')}")


if __name__ == "__main__":
    main()
