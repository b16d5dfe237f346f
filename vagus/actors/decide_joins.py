"""Rewards joined to their decisions: those in memory, those of a former life in the log, those still at the gateway."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from vagus.actors.base import Links
from vagus.actors.decide_log import DecideLog
from vagus.controllers.decide.outstanding import Outstanding, check_reward
from vagus.controllers.decide.plan import SEPARATOR, prefix_of
from vagus.controllers.decide.records import Outcome
from vagus.errors import ConfigError, StoreError, VagusError
from vagus.model import Ack, Reward

MAX_RECALLED = 5_000  # decisions looked up in the log for one batch of rewards

Stamped = list[tuple[int, Outcome]]
"""Outcomes with their places in the log."""


class Joins:
    """`recalled` counts decisions found in the log.

    learn: is given outcomes in the order of the log, before anything else can happen: what is saved says up to which
    place in the log it was learned. everything: decisions of all nodes are logged here.
    """

    def __init__(
        self,
        node: str,
        links: Links,
        log: DecideLog,
        waiting: Outstanding,
        learn: Callable[[Stamped], None],
        everything: bool,
    ) -> None:
        self.recalled = 0
        self._links = links
        self._log = log
        self._waiting = waiting
        self._learn = learn
        self._collector = f"vagus:collector@{node}"
        self._prefix = "" if everything else prefix_of(node)

    async def join(self, rewards: Sequence[Reward], from_elsewhere: bool) -> list[Ack]:
        """An answer to each; nothing is committed yet. Raises StoreError.

        from_elsewhere: another node's gateway was told: this one's may not have handed over the decision yet.
        """
        acks = [Ack.FAILED] * len(rewards)
        missing = self._join_all(range(len(rewards)), rewards, acks, MAX_RECALLED)
        if missing and from_elsewhere:
            try:
                await self._links.call(self._collector, "flush_decisions")
            except VagusError:
                return acks  # who drew them is gone with them
            self._join_all(missing, rewards, acks, 0)
        return acks

    def _join_all(self, places: Iterable[int], rewards: Sequence[Reward], acks: list[Ack], recalls: int) -> list[int]:
        """Joins those at `places`; which of them have no decision. recalls: so many are looked up in the log."""
        stamped: Stamped = []
        missing: list[int] = []
        try:
            for at in places:
                reward = rewards[at]
                try:
                    check_reward(reward)
                    acks[at], outcome = self._waiting.join(reward.decision_id, reward.reward, time.time_ns())
                    if acks[at] is Ack.FAILED and len(missing) < recalls and self._recall(reward.decision_id):
                        acks[at], outcome = self._waiting.join(reward.decision_id, reward.reward, time.time_ns())
                except ConfigError:  # no reward
                    continue
                if outcome is not None:
                    try:
                        stamped.append((self._log.put_reward(reward), outcome))
                    except StoreError:  # no room, in memory or on disk: it may come again
                        self._waiting.withdraw(reward.decision_id)
                        raise
                elif acks[at] is Ack.FAILED:
                    missing.append(at)
        finally:
            self._learn(stamped)
        return missing

    def _recall(self, decision_id: str) -> bool:
        """Whether a decision of a former life, or one that had to make room, is known again."""
        if SEPARATOR in decision_id and not decision_id.startswith(self._prefix):
            return False
        found = self._log.find(decision_id)
        if found is None:
            return False
        t_ns, decision, reward = found
        if not self._waiting.add(decision, t_ns):
            return False  # it is there, and too old
        self.recalled += 1
        if reward is not None:
            self._waiting.join(decision_id, reward, t_ns)
        return True
