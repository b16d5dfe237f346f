"""What a collector sends: reports to its observer, decisions to its decide actor, rewards to whose decisions they are."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

from vagus.actors.base import Links
from vagus.actors.batcher import Batcher
from vagus.controllers.decide.plan import nodes_of
from vagus.errors import PeerUnreachable, StoreError
from vagus.model import Ack, Decision, Report, Reward

MAX_REPORTS = 10_000
MAX_DECISIONS = 100_000
MAX_BATCH = 5_000  # of one call: a neighbour refuses more than 10,000


class Outbox:
    """`note` and `decided` queue and never block; `report` and `reward` wait for the neighbour's answers.

    While a neighbour is away the newest are kept, up to MAX_REPORTS and MAX_DECISIONS. decides: the node whose decide
    actor takes this one's decisions: itself, or the head where that alone decides.
    """

    def __init__(self, node: str, decides: str, links: Links) -> None:
        self.observer = f"vagus:observer@{node}"
        self.learner = f"vagus:decide@{decides}"
        self._node = node
        self._everywhere = decides == node
        self._links = links
        self._reports: deque[Report] = deque(maxlen=MAX_REPORTS)
        self._decisions: deque[Decision] = deque(maxlen=MAX_DECISIONS)
        self._telling = asyncio.Lock()
        self._to_observer: Batcher[Report, Ack] = Batcher(self._send_reports, most=MAX_BATCH)
        self._to_learner: Batcher[Reward, Ack] = Batcher(self._send_rewards, most=MAX_BATCH)
        self._elsewhere: dict[str, Batcher[Reward, Ack]] = {}  # by node: one that is gone holds up nobody else

    @property
    def waiting(self) -> int:
        """Reports and decisions that no neighbour has taken yet."""
        return len(self._reports) + len(self._decisions)

    def note(self, reports: Iterable[Report]) -> None:
        """Reports of the collector itself, sent with the next `flush_reports`."""
        self._reports.extend(reports)

    def decided(self, decision: Decision) -> None:
        """A decision to be logged with the next `flush_decisions`."""
        self._decisions.append(decision)

    async def report(self, reports: Sequence[Report]) -> list[Ack]:
        """The observer's answers. Raises PeerUnreachable."""
        return await self._to_observer.put(reports)

    async def reward(self, rewards: Sequence[Reward]) -> list[Ack]:
        """The answers of those who made the decisions: an id names its node. Raises PeerUnreachable, to be tried again."""
        if not self._everywhere:
            return await self._to_learner.put(rewards)
        nodes = self._links.nodes()
        wanted: dict[str, list[int]] = {}
        for at, reward in enumerate(rewards):
            for node in nodes_of(reward.decision_id, nodes) or (self._node,):
                wanted.setdefault(node, []).append(at)
        if len(wanted) == 1 and self._node in wanted:
            return await self._to_learner.put(rewards)
        told = await asyncio.gather(
            *(self._batcher(node).put([rewards[at] for at in places]) for node, places in wanted.items()),
            return_exceptions=True,
        )
        acks = [Ack.FAILED] * len(rewards)
        for (node, places), answers in zip(wanted.items(), told, strict=True):
            if isinstance(answers, PeerUnreachable):
                raise PeerUnreachable(
                    f"{len(places)} of these decisions were made at node {node}, which does not answer; "
                    f"send them again later (what was taken already is not counted twice): {answers}"
                )
            if isinstance(answers, BaseException):
                raise answers
            for at, ack in zip(places, answers, strict=True):
                if acks[at] is Ack.FAILED:  # of nodes with the same prefix one knows it
                    acks[at] = ack
        return acks

    def _batcher(self, node: str) -> Batcher[Reward, Ack]:
        if node == self._node:
            return self._to_learner
        found = self._elsewhere.get(node)
        if found is None:

            async def send(rewards: list[Reward]) -> list[Ack]:
                acks: list[Ack] = await self._links.call(f"vagus:decide@{node}", "rewarded", rewards, True)
                return acks

            found = self._elsewhere[node] = Batcher(send, most=MAX_BATCH)
        return found

    async def flush_reports(self) -> None:
        """Sends what waits; when the observer is away it waits on."""
        batch = [self._reports.popleft() for _ in range(len(self._reports))]
        if batch:
            try:
                await self._to_observer.put(batch)
            except PeerUnreachable:
                self._reports = deque([*batch, *self._reports], maxlen=MAX_REPORTS)

    async def flush_decisions(self) -> None:
        """Sends what waits, in order; when the learner is away, or cannot store it, it waits on. Raises StoreError."""
        async with self._telling:
            while self._decisions:
                batch = [self._decisions.popleft() for _ in range(min(MAX_BATCH, len(self._decisions)))]
                try:
                    await self._links.call(self.learner, "decided", batch)
                except (PeerUnreachable, StoreError) as error:
                    self._decisions = deque([*batch, *self._decisions], maxlen=MAX_DECISIONS)
                    if isinstance(error, StoreError):
                        raise
                    return

    async def _send_reports(self, reports: list[Report]) -> list[Ack]:
        acks: list[Ack] = await self._links.call(self.observer, "report", reports)
        return acks

    async def _send_rewards(self, rewards: list[Reward]) -> list[Ack]:
        await self.flush_decisions()  # the learner must know a decision before its reward
        acks: list[Ack] = await self._links.call(self.learner, "rewarded", rewards)
        return acks
