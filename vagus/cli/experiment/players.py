"""Simulated sessions: each asks for an arm, plays, and says how it was. Open loop: nobody waits for anybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from time import monotonic

from vagus.cli.experiment.timeline import Timeline
from vagus.cli.experiment.world import World
from vagus.client.decisions_aio import AioDecisions
from vagus.client.local_arm import is_local

REWARD_S = 0.3
"""From a decision until its outcome is known."""


class Players:
    """rate: sessions that begin each second, from `clients` in turn. lost: what raised, which nothing should."""

    def __init__(
        self, world: World, clients: Sequence[AioDecisions], timeline: Timeline, rate: float, seed: int
    ) -> None:
        self._world = world
        self._clients = clients
        self._timeline = timeline
        self._rate = rate
        self._rng = Random(seed)
        self._begun = monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self.infeasible = 0

    def now(self) -> float:
        """Seconds since the first session."""
        return monotonic() - self._begun

    async def play(self, over: Callable[[], bool]) -> None:
        """Lets sessions begin until it is over, and waits for the last ones. Raises what a session raised."""
        number = 0
        while not over():
            due_s = number / self._rate
            await asyncio.sleep(max(0.0, due_s - self.now()))
            task = asyncio.create_task(self._session(number, due_s))
            self._tasks.add(task)
            task.add_done_callback(self._done)
            number += 1
        await asyncio.gather(*self._tasks)

    def _done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)  # others stay: `gather` raises them

    async def _session(self, number: int, due_s: float) -> None:
        world, rng = self._world, self._rng
        client = self._clients[number % len(self._clients)]
        group = rng.randrange(len(world.groups))
        made = await client.decide({"city": world.groups[group]}, world.arms)
        took_s = self.now() - due_s
        if made.arm not in world.arms:
            self.infeasible += 1
            return
        arm = world.arms.index(made.arm)
        self._timeline.note(due_s, not is_local(made), world.score(group, arm, due_s), took_s)
        await asyncio.sleep(REWARD_S)
        await client.update(made, world.quality(group, arm, due_s, rng))
