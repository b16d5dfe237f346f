"""False verdicts: an hour in which nothing is ill, but much goes wrong; and real failures, which must still be found.

Simulated, seeded: nodes with an observer each (the real store, gossip and strategy), programs that call services once
a second, as the client library reports it. What goes wrong: 5 % of all messages are lost (a call's request, its
answer, gossip; nothing is retransmitted, which is harsher than TCP), services pause up to 2.5 s (GC), programs pause
up to 8 s, and every ten minutes half of the nodes are overloaded for a minute, so that the programs there hear
answers seconds late. A second run has the same troubles and, every ten minutes, a service that fails for 30 s: for
it the time to a conviction counts. A conviction is a verdict of UNHEALTHY or worse at any node.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from statistics import median

from benchmarks.shown import parser, show
from vagus.client.lateness import Lateness
from vagus.clock import NS
from vagus.health import STRATEGIES
from vagus.health.gossip import Gossip, Send
from vagus.health.local import LocalStore
from vagus.model import Ack, Inference, Metric, Report, Status

BEGAN_S = 1_700_000_000.0
LOSS = 0.05
PENDING_S = 3.0
HEALTHY_EVERY_S = 20.0
WAKE_S = 0.25
"""How often the client library's thread wakes, from which it learns how late its program is."""


class World:
    """Events by time; everything random comes from one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now_s = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def now_ns(self) -> int:
        return round((BEGAN_S + self.now_s) * NS)

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now_s + delay_s, self._count, what))

    def run(self, until_s: float) -> None:
        while self._heap and self._heap[0][0] <= until_s:
            self.now_s, _, what = heapq.heappop(self._heap)
            what()


class Node:
    """An observer: store and gossip, and what it convicted."""

    def __init__(self, world: World, name: str, strategy: str, told: Callable[[str, Inference], None]) -> None:
        self.world = world
        self.name = name
        self.slow_s = 0.0
        """Mean delay of everything that programs on this node do."""
        self.peers: dict[str, Node] = {}
        self._told = told
        self._local = LocalStore(name, STRATEGIES.make(strategy))
        self._gossip = Gossip(name, Random(world.rng.random()), local=self._local)

    def start(self) -> None:
        self._gossip.peers(self.peers)
        self.world.after(self.world.rng.random(), self._tick)

    def submit(self, report: Report) -> None:
        ack, numbered, change = self._local.submit(report, self.world.now_ns)
        assert ack is Ack.ACCEPTED, self._local.last_refused
        self._changed(change)
        self._send(self._gossip.on_local([numbered], self.world.now_ns))

    def _changed(self, change: Inference | None) -> None:
        if change is not None:
            self._told(self.name, change)

    def _tick(self) -> None:
        for change in self._local.tick(self.world.now_ns):
            self._changed(change)
        self._send(self._gossip.tick(self.world.now_ns))
        self.world.after(1.0, self._tick)

    def _send(self, sends: list[Send]) -> None:
        for send in sends:
            for name in send.to:
                if self.world.rng.random() >= LOSS:
                    peer, payload = self.peers[name], send.payload
                    self.world.after(0.001, lambda peer=peer, payload=payload: peer._hear(self.name, payload))  # type: ignore[misc]

    def _hear(self, sender: str, payload: bytes) -> None:
        now_ns = self.world.now_ns
        reports, answers = self._gossip.on_message(sender, payload, now_ns)
        for report in reports:
            self._changed(self._local.merge(report, now_ns)[1])
        self._send(answers)


class Service:
    """Answers in a few ms; not while it pauses, and not while it is ill."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.paused_until_s = 0.0
        self.ill_until_s = -1.0
        self._pause_later()

    def answers_in_s(self) -> float | None:
        """None: never."""
        if self.world.now_s < self.ill_until_s:
            return None
        return max(0.0, self.paused_until_s - self.world.now_s) + self.world.rng.uniform(0.001, 0.02)

    def _pause_later(self) -> None:
        self.world.after(self.world.rng.expovariate(1 / 60), self._pause)

    def _pause(self) -> None:
        self.paused_until_s = self.world.now_s + self.world.rng.uniform(0.05, 2.5)
        self._pause_later()


class Program:
    """Calls every service once a second, and reports as `vagus.observe` does."""

    def __init__(self, world: World, node: Node, name: str, services: list[Service], timeout_s: float) -> None:
        self.world = world
        self.node = node
        self.name = name
        self.timeout_s = timeout_s
        self.paused_until_s = 0.0
        self._due_s = {service.name: 0.0 for service in services}
        self._lateness = Lateness()  # the client library's own
        for service in services:
            world.after(world.rng.random(), lambda service=service: self._call(service))  # type: ignore[misc]
        world.after(world.rng.random(), self._wake)
        self._pause_later()

    def _pause_later(self) -> None:
        self.world.after(self.world.rng.expovariate(1 / 60), self._pause)

    def _pause(self) -> None:
        self.paused_until_s = self.world.now_s + self.world.rng.uniform(0.2, 8.0)
        self._pause_later()

    def _late_s(self) -> float:
        """How long this program takes to come to what is due now."""
        slow_s = self.world.rng.expovariate(1 / self.node.slow_s) if self.node.slow_s else 0.0
        return max(0.0, self.paused_until_s - self.world.now_s) + slow_s

    def _wake(self) -> None:
        """The library's thread, which also carries the reports."""
        late_s = self._late_s()

        def awake() -> None:
            self._lateness.note(WAKE_S, WAKE_S + late_s)
            self.world.after(WAKE_S, self._wake)

        self.world.after(late_s, awake)

    def _call(self, service: Service) -> None:
        began_s = self.world.now_s
        rng = self.world.rng
        answer_s = service.answers_in_s()
        if rng.random() < LOSS or rng.random() < LOSS:
            answer_s = None
        seen_s = None if answer_s is None else answer_s + self._late_s()
        if seen_s is not None and seen_s <= self.timeout_s:
            self.world.after(seen_s, lambda: self._done(service, began_s, True))
        else:
            if self.timeout_s > PENDING_S:
                self.world.after(PENDING_S + self._late_s(), lambda: self._report(service, Status.PENDING, PENDING_S))
            self.world.after(self.timeout_s + self._late_s(), lambda: self._done(service, began_s, False))

    def _done(self, service: Service, began_s: float, well: bool) -> None:
        now_s = self.world.now_s
        if not well:
            self._due_s[service.name] = 0.0
            self._report(service, Status.UNHEALTHY, now_s - began_s)
        elif now_s >= self._due_s[service.name]:
            self._due_s[service.name] = now_s + HEALTHY_EVERY_S
            self._report(service, Status.HEALTHY, now_s - began_s)
        self.world.after(max(0.0, began_s + 1.0 - now_s), lambda: self._call(service))

    def _report(self, service: Service, status: Status, duration_s: float) -> None:
        said_ns, contexts = self.world.now_ns, {"call": Metric(status, round(duration_s * 1e3, 3))}

        def send() -> None:  # by the thread, which first notices how late it is itself
            self.node.submit(Report(self.name, service.name, said_ns, contexts, doubt=self._lateness.doubt))

        self.world.after(self._late_s() + 0.001, send)


def hour(
    strategy: str,
    seed: int,
    *,
    ill: bool,
    seconds: float = 3600.0,
    nodes: int = 8,
    services: int = 4,
    overload_after_s: float = 300.0,
) -> tuple[int, list[float], int]:
    """False convictions (subject and time, each once), seconds to each true one, failures that were missed."""
    world = World(seed)
    false: set[tuple[str, float]] = set()
    found_s: dict[tuple[str, float], float] = {}
    spans: dict[str, tuple[float, float]] = {}

    def told(node: str, change: Inference) -> None:
        if change.status < Status.UNHEALTHY:
            return
        began_s, ended_s = spans.get(change.subject, (0.0, -9.0))
        if began_s <= world.now_s <= ended_s + 5.0:  # calls that began in it end a little later
            found_s.setdefault((change.subject, began_s), world.now_s - began_s)
        else:
            false.add((change.subject, round(world.now_s)))

    served = [Service(world, f"service@{n}") for n in range(services)]
    known = {f"n{n}": Node(world, f"n{n}", strategy, told) for n in range(nodes)}
    for at, (name, node) in enumerate(known.items()):
        node.peers = {other: peer for other, peer in known.items() if other != name}
        node.start()
        Program(world, node, f"app:1@{name}", served, 1.0 if at % 2 else 5.0)

    def overload() -> None:
        chosen = world.rng.sample(sorted(known), nodes // 2)
        for name in chosen:
            known[name].slow_s = world.rng.uniform(0.5, 3.0)
        world.after(60.0, lambda: [setattr(known[name], "slow_s", 0.0) for name in chosen] and None)
        world.after(600.0, overload)

    def fail() -> None:
        service = world.rng.choice(served)
        service.ill_until_s = world.now_s + 30.0
        spans[service.name] = (world.now_s, service.ill_until_s)
        wanted.append((service.name, world.now_s))
        world.after(600.0, fail)

    wanted: list[tuple[str, float]] = []
    world.after(overload_after_s, overload)
    if ill:
        world.after(120.0, fail)
    world.run(seconds)
    missed = [one for one in wanted if one[1] + 30 < seconds and one not in found_s]
    return len(false), list(found_s.values()), len(missed)


def measure(seeds: int = 1, seconds: float = 3600.0) -> dict[str, float]:
    """False convictions an hour by each strategy; for `weighted` also what it found of real failures."""
    found: dict[str, float] = {}
    for strategy in ("weighted", "paper", "majority"):
        runs = [hour(strategy, seed, ill=False, seconds=seconds) for seed in range(seeds)]
        found[f"false_convictions_{strategy}_per_hour"] = sum(run[0] for run in runs) / seeds
    ill = [hour("weighted", seed, ill=True, seconds=seconds) for seed in range(seeds)]
    times = [time_s for run in ill for time_s in run[1]]
    found["false_convictions_weighted_beside_failures"] = sum(run[0] for run in ill) / seeds
    found["missed_failures_weighted"] = sum(run[2] for run in ill)
    found["found_failures_weighted"] = len(times)
    found["time_to_convict_weighted_p50_s"] = median(times) if times else -1.0
    found["time_to_convict_weighted_max_s"] = max(times, default=-1.0)
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--seconds", type=float, default=3600.0)
    given = options.parse_args()
    show(measure(given.seeds, given.seconds), given.json)


if __name__ == "__main__":
    main()
