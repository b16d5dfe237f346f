"""Decide actors of several nodes linked in one process, each with a small gateway; nodes can be cut off and killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from vagus.actors.base import Seat
from vagus.actors.decide import DecideActor
from vagus.config import Config, DecideSettings
from vagus.controllers.decide.grouping import grouping_of
from vagus.controllers.decide.plan import prefix_of
from vagus.controllers.decide.table import DecisionTable
from vagus.errors import PeerUnreachable
from vagus.model import Ack, Decision, Reward

ARMS = ("a", "b")
QUIET = {"tick": "1h", "policy": "ucb"}


class Gate:
    """A gateway's part: a table, and decisions that its decide actor does not know yet."""

    def __init__(self, node: str, settings: DecideSettings, seed: int = 1) -> None:
        self.table = DecisionTable(Random(seed), grouping_of(settings), prefix=prefix_of(node), labels=settings.labels)
        self.kept: list[Decision] = []
        self.pushed = asyncio.Event()
        self.pushes = 0


class Cluster:
    """`links(node)` is what an actor of that node is given."""

    def __init__(self, home: Path, nodes: tuple[str, ...], **decide: Any) -> None:
        self.home = home
        self.names = nodes
        self.settings = DecideSettings(**{**QUIET, **decide})
        self.gates = {node: Gate(node, self.settings) for node in nodes}
        self.actors: dict[str, DecideActor] = {}
        self.down: set[str] = set()  # names of actors, or of nodes
        self.calls: list[tuple[str, str]] = []

    def seat(self, node: str) -> Seat:
        return Seat("decide", node, str(self.home), Config(decide=self.settings), options={"head": self.names[0]})

    async def start(self, node: str) -> DecideActor:
        actor = self.actors[node] = DecideActor(self.seat(node), _Links(self, node))
        await actor.begin()
        return actor

    async def kill(self, node: str) -> None:
        """As kill -9: what was not committed is gone."""
        actor = self.actors.pop(node)
        for task in list(actor._tasks):
            task.cancel()
        await asyncio.gather(*actor._tasks, return_exceptions=True)
        await actor._opened.close()

    async def play(self, node: str, count: int, worth: dict[str, float], features: Any = None) -> list[Decision]:
        """Decisions at a node, and their rewards."""
        drawn = [self.gates[node].table.decide(features or {}, ARMS, at) for at in range(count)]
        await self.actors[node].decided(drawn)
        acks = await self.actors[node].rewarded([Reward(d.decision_id, d.t_ns, worth[d.arm]) for d in drawn])
        assert acks == [Ack.ACCEPTED] * count
        return drawn

    async def tick(self) -> None:
        for actor in list(self.actors.values()):
            await actor.tick()

    async def until(self, check: Callable[[], object], within_s: float = 20.0) -> None:
        """Waits, with ticks, until `check` holds."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not check():
            assert asyncio.get_running_loop().time() < deadline, check
            await self.tick()
            await asyncio.sleep(0.02)


class _Links:
    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster = cluster
        self._node = node

    def nodes(self) -> tuple[str, ...]:
        return self._cluster.names

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        cluster = self._cluster
        cluster.calls.append((actor, method))
        role, node = actor.removeprefix("vagus:").split("@")
        await asyncio.sleep(0)
        if actor in cluster.down or node in cluster.down or (self._node in cluster.down and node != self._node):
            raise PeerUnreachable(f"{actor} does not answer")
        if role == "decide":
            if node not in cluster.actors:
                raise PeerUnreachable(f"{actor} is not there")
            return await getattr(cluster.actors[node], method)(*args)
        gate = cluster.gates[node]
        if method == "flush_decisions":
            kept, gate.kept = gate.kept, []
            await cluster.actors[node].decided(kept)
            return None
        assert method == "set_table"
        gate.pushes += 1
        gate.table.apply(args[0])
        gate.pushed.set()
        return None


@asynccontextmanager
async def running(home: Path, *nodes: str, errors: int = 0, **decide: Any) -> AsyncIterator[Cluster]:
    """errors: of the actors' loops, so many must have been told; below 0: any number."""
    cluster = Cluster(home, nodes or ("n1",), **decide)
    for node in cluster.names:
        await cluster.start(node)
    try:
        yield cluster
    finally:
        await asyncio.sleep(0)  # what was spawned has begun: a coroutine that never ran would warn
        for actor in cluster.actors.values():
            await actor.end()
    assert errors < 0 or sum(actor.errors for actor in cluster.actors.values()) == errors, [
        actor.last_error for actor in cluster.actors.values()
    ]
