"""Observers as they idle, simulated: the real cores of gossip, local store and membership, with the reports that the
defaults make. Counts datagrams, bytes and the cores' CPU; time is simulated, and everything is drawn from a seed.

What each node reports: every 10 s on its collectors' sensors and on itself, every 10 s on its actors (what the
supervisor told of them), every 20 s on its controller, and on its peers what membership saw (`Vouching`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Any

from vagus.actors.controller import SELF_REPORT_S as CONTROLLER_S
from vagus.actors.observer import GOSSIP_PERIOD_S, TICK_PERIOD_S
from vagus.actors.sensing import SELF_REPORT_S as SENSORS_S
from vagus.clock import NS
from vagus.config import Config
from vagus.health.gossip import Gossip
from vagus.health.gossip import Send as GossipSend
from vagus.health.local import LocalStore
from vagus.health.members import DEAD
from vagus.health.strategy_paper import Paper
from vagus.health.swim import Changed, Send, Swim
from vagus.health.vouching import Vouching
from vagus.model import Ack, Metric, Report, Status
from vagus.runtime.news import ROSTER_PERIOD_S

START_NS = 1_700_000_000 * NS
SENSORS = tuple(Config().collect.collectors)
ROLES = ("collector", "observer", "decide", "controller:throttle")
SUBJECTS = len(SENSORS) + 1 + len(ROLES)
"""On which a node's own programs report while all is well."""
DELAY_S = (0.0002, 0.005)


def reports_per_s() -> float:
    """What a node reports, all in all, while all is well."""
    from vagus.health.swim import VOUCH_S

    return (len(SENSORS) + 1) / SENSORS_S + len(ROLES) / ROSTER_PERIOD_S + 1 / CONTROLLER_S + 1 / VOUCH_S


def batches_per_s() -> float:
    """In how many goes it does so: those of one go share datagrams."""
    from vagus.health.swim import VOUCH_S

    return 1 / SENSORS_S + 1 / ROSTER_PERIOD_S + 1 / CONTROLLER_S + 1 / VOUCH_S


def sensed(node: str, t_ns: int) -> list[Report]:
    """A collector's word on its sensors and its node."""
    made = [
        Report(f"collector@{node}", f"sensor:{name}@{node}", t_ns, {"collect": Metric(Status.HEALTHY)})
        for name in SENSORS
    ]
    about = {name: Metric(Status.HEALTHY, 0.1) for name in ("cpu", "memory", "disk", "swap")}
    return [*made, Report(f"collector@{node}", f"node:{node}", t_ns, about)]


def rostered(node: str, t_ns: int) -> list[Report]:
    """What a collector passes on of the supervisor's roster."""
    return [
        Report("vagus:supervisor", f"vagus:{role}@{node}", t_ns, {"alive": Metric(Status.HEALTHY)}) for role in ROLES
    ]


def steered(node: str, t_ns: int) -> list[Report]:
    """A controller's word on itself."""
    name = f"vagus:controller:throttle@{node}"
    return [Report(name, name, t_ns, {"loop": Metric(Status.HEALTHY)})]


class Node:
    """One observer's cores."""

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        seed: int,
        now_s: float,
        interest: str,
        watch: Sequence[str],
        gossips: bool,
    ) -> None:
        self.name = name
        self.local = LocalStore(name, Paper(), interest=interest, watch=watch)
        self.gossip = Gossip(name, Random(f"g{name}{seed}"), local=self.local)
        self.swim = Swim(name, Random(f"s{name}{seed}"), now_s)
        self.vouching = Vouching(name, 1.0)
        self.tick_s = float("inf")
        if gossips:
            self.gossip.peers(names)


class World:
    """So many observers on a network that loses nothing, or `loss`. gossips: False: membership alone.

    `counts`: datagrams and bytes (bodies) of swim and gossip, reports that were merged; `cpu_s` of the cores by what
    they did; `deaths`: when each node came to hold another one dead.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        *,
        interest: str = "all",
        watch: Sequence[str] = (),
        loss: float = 0.0,
        gossips: bool = True,
    ) -> None:
        self.rng = Random(seed)
        self.loss = loss
        self.gossips = gossips
        self.now_s = 1000.0
        self.names = [f"node-{number:05}" for number in range(count)]
        self.counts: Counter[str] = Counter()
        self.cpu_s: Counter[str] = Counter()
        self.deaths: dict[tuple[str, str], float] = {}
        self._events: list[tuple[float, int, str, str, Any]] = []
        self._number = 0
        self.nodes = {n: Node(n, self.names, seed, self.now_s, interest, watch, gossips) for n in self.names}
        for node in self.nodes.values():
            self._swim(node, node.swim.peers(self.names, self.now_s))
            if gossips:
                self._begin(node.name)

    def _begin(self, name: str) -> None:
        for what, period_s in (
            ("gossip", GOSSIP_PERIOD_S),
            ("judge", TICK_PERIOD_S),
            ("sensed", SENSORS_S),
            ("rostered", ROSTER_PERIOD_S),
            ("steered", CONTROLLER_S),
        ):
            self._push(self.now_s + self.rng.random() * period_s, name, what, period_s)

    def kill(self, name: str) -> None:
        """It is gone, without a word."""
        del self.nodes[name]

    def forget(self) -> None:
        """Counts anew from here."""
        self.counts.clear()
        self.cpu_s.clear()

    def run(self, for_s: float) -> None:
        """Lets so much time pass."""
        end_s = self.now_s + for_s
        while self._events and self._events[0][0] <= end_s:
            self.now_s, _, name, what, given = heappop(self._events)
            node = self.nodes.get(name)
            if node is not None:
                getattr(self, f"_on_{what}")(node, given)
        self.now_s = end_s

    def all_know(self, dead: str) -> bool:
        """Whether each that lives holds it dead."""
        return all((name, dead) in self.deaths for name in self.nodes)

    # --- events ------------------------------------------------------------------------------------------------------

    def _on_swim(self, node: Node, given: tuple[str, bytes]) -> None:
        sender, payload = given
        self._swim(node, self._timed("swim", node.swim.on_message, sender, payload, self.now_s))

    def _on_tick(self, node: Node, _: None) -> None:
        if self.now_s >= node.tick_s:
            node.tick_s = float("inf")
            self._swim(node, self._timed("swim", node.swim.tick, self.now_s))

    def _on_push(self, node: Node, given: tuple[str, bytes]) -> None:
        sender, payload = given
        reports, answers = self._timed("gossip", node.gossip.on_message, sender, payload, self._now_ns)
        if reports:
            self._timed("merge", self._merge, node, reports)
        self._gossip(node, answers)

    def _merge(self, node: Node, reports: Sequence[Report]) -> None:
        last = {report.subject: at for at, report in enumerate(reports)}  # as Exchange does
        for at, report in enumerate(reports):
            ack, _ = node.local.merge(report, self._now_ns, judge=last[report.subject] == at)
            self.counts["merged"] += ack is Ack.ACCEPTED

    def _on_gossip(self, node: Node, period_s: float) -> None:
        self._gossip(node, self._timed("gossip", node.gossip.tick, self._now_ns))
        self._push(self.now_s + period_s, node.name, "gossip", period_s)

    def _on_judge(self, node: Node, period_s: float) -> None:
        self._timed("judge", node.local.tick, self._now_ns)
        self._push(self.now_s + period_s, node.name, "judge", period_s)

    def _on_sensed(self, node: Node, period_s: float) -> None:
        self.report(node, sensed(node.name, self._now_ns))
        self._push(self.now_s + period_s, node.name, "sensed", period_s)

    def _on_rostered(self, node: Node, period_s: float) -> None:
        self.report(node, rostered(node.name, self._now_ns))
        self._push(self.now_s + period_s, node.name, "rostered", period_s)

    def _on_steered(self, node: Node, period_s: float) -> None:
        self.report(node, steered(node.name, self._now_ns))
        self._push(self.now_s + period_s, node.name, "steered", period_s)

    def report(self, node: Node, reports: Iterable[Report]) -> None:
        """Programs of a node report to it."""
        if self.gossips:
            self._gossip(node, self._timed("local", self._submit, node, reports))

    def _submit(self, node: Node, reports: Iterable[Report]) -> list[GossipSend]:
        taken = [node.local.submit(report, self._now_ns)[1] for report in reports]
        self.counts["reported"] += len(taken)
        return node.gossip.on_local(taken, self._now_ns)

    # --- inside ------------------------------------------------------------------------------------------------------

    @property
    def _now_ns(self) -> int:
        return START_NS + round(self.now_s * NS)

    def _timed(self, what: str, work: Callable[..., Any], *args: Any) -> Any:
        began_s = time.thread_time()
        found = work(*args)
        self.cpu_s[what] += time.thread_time() - began_s
        return found

    def _swim(self, node: Node, directives: Iterable[Any]) -> None:
        said = []
        for directive in directives:
            if isinstance(directive, Send):
                self._send("swim", node.name, directive.to, directive.payload)
                continue
            if isinstance(directive, Changed) and directive.state is DEAD:
                self.deaths.setdefault((node.name, directive.member), self.now_s)
            report = node.vouching.report(directive, self.now_s, self._now_ns)
            if report is not None:
                said.append(report)
        if node.swim.due_s < node.tick_s:
            node.tick_s = node.swim.due_s
            self._push(node.tick_s, node.name, "tick", None)
        if said:
            self.report(node, said)

    def _gossip(self, node: Node, sends: Iterable[GossipSend]) -> None:
        for send in sends:
            self._send("push", node.name, send.to, send.payload)

    def _send(self, what: str, sender: str, to: Sequence[str], payload: bytes) -> None:
        self.counts[f"{what}_sealed"] += 1
        for name in to:
            self.counts[f"{what}_datagrams"] += 1
            self.counts[f"{what}_bytes"] += len(payload)
            if name in self.nodes and (not self.loss or self.rng.random() >= self.loss):
                self._push(self.now_s + self.rng.uniform(*DELAY_S), name, what, (sender, payload))

    def _push(self, at_s: float, name: str, what: str, given: Any) -> None:
        self._number += 1
        heappush(self._events, (at_s, self._number, name, what, given))


def death(count: int, seed: int, at_most_s: float = 120.0) -> float:
    """Seconds from a node's end until all others hold it dead, by membership alone."""
    world = World(count, seed, gossips=False)
    world.run(3.0)
    killed = world.rng.choice(world.names)
    world.kill(killed)
    began_s = world.now_s
    while not world.all_know(killed):
        if world.now_s - began_s > at_most_s:
            raise RuntimeError(f"{count} nodes: not all knew after {at_most_s:g} s")
        world.run(0.1)
    return world.now_s - began_s
