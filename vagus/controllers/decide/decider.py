"""The whole decision service in one process: groups, table, outcomes that come late, learning; it ticks by the clock.

decider = vagus.Decider(group_by=("city",))
made = decider.decide({"city": "Bern"}, ["cdn-a", "cdn-b"])
decider.update(made.decision_id, 0.9)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from vagus.clock import NS, Clock, SystemClock
from vagus.controllers.decide.grouping import rules_of
from vagus.controllers.decide.learner import Learner
from vagus.controllers.decide.load import LoadBalance
from vagus.controllers.decide.outstanding import Outstanding
from vagus.controllers.decide.records import Grouping, Rule
from vagus.controllers.decide.table import DecisionTable
from vagus.errors import ConfigError
from vagus.model import Ack, Decision, Scalar

MAX_MISSED = 1000  # ticks made up for after a pause


class Decider:
    """Decides among feasible arms by what it learned of the features' group; rewards come by the decision's id.

    policy: a name of `vagus.policies.BANDITS` or CONTEXTUAL, built with `options`. Groups: by the values of `group_by`,
    or by `rules` (a `Rule`, or parsed JSON in our form or the published one) with `fallback` where none matches.
    capacity: sessions per second that an arm can take up to its knee; decisions then keep below it. features: names
    of those that a contextual policy learns from (none: all). seed: makes draws repeatable (ids never are). tick_s:
    how often what was learned takes effect; ticks happen within calls, by `clock`. Beyond max_groups and max_open
    (decisions that wait, at most max_age_s) the oldest go. Safe to call from several threads. Raises ConfigError.
    """

    def __init__(
        self,
        policy: str = "auto",
        *,
        options: Mapping[str, Any] | None = None,
        group_by: Sequence[str] = (),
        rules: Rule | Mapping[str, Any] | None = None,
        fallback: str = "",
        capacity: Mapping[str, float] | None = None,
        features: Sequence[str] = (),
        seed: int | None = None,
        tick_s: float = 0.5,
        max_groups: int = 200_000,
        max_open: int = 1_000_000,
        max_age_s: float = 3600.0,
        clock: Clock | None = None,
    ) -> None:
        if not tick_s > 0.0:
            raise ConfigError(f"tick_s={tick_s} must be above 0")
        if rules is not None and group_by:
            raise ConfigError("groups are named by group_by or by rules; leave one of them out")
        tree = rules if rules is None or isinstance(rules, Rule) else rules_of(rules)
        grouping = Grouping(0, tuple(group_by), tree, fallback)
        entropy = int.from_bytes(os.urandom(16), "big") if seed is None else seed
        self._balance = LoadBalance(capacity) if capacity else None
        self._learner = Learner(
            policy,
            options,
            np.random.default_rng(entropy),
            grouping=grouping,
            max_groups=max_groups,
            reweigh=None if self._balance is None else self._balance.reweigh,
        )
        self._table = DecisionTable(Random(entropy), grouping)
        known = self._learner.known
        if known is not None:
            self._table.follow(known, 0)
            kept: Sequence[str] | None = ()
        else:
            kept = tuple(features) or None
        self._open = Outstanding(max_open, max_age_s, kept)
        self._time_ns = (clock or SystemClock()).time_ns
        self._tick_ns = max(1, round(tick_s * NS))
        self._due_ns = self._time_ns() + self._tick_ns
        self._lock = threading.Lock()

    def decide(self, features: Mapping[str, Scalar], arms: Sequence[str]) -> Decision:
        """One of `arms` (1 to 1000 names), with the exact probability of the draw. Raises ConfigError."""
        with self._lock:
            now_ns = self._time_ns()
            if now_ns >= self._due_ns:
                self._catch_up(now_ns)
            made = self._table.decide(features, arms, now_ns)
            self._open.add(made, now_ns)
            self._learner.met(made.group, made.arms)
            if self._balance is not None:
                self._balance.decided(made.group, made.arm)
            return made

    def update(self, decision_id: str, reward: float) -> Ack:
        """The outcome of a decision, larger is better; sending it again changes nothing. See `Outstanding.join`."""
        with self._lock:
            now_ns = self._time_ns()
            if now_ns >= self._due_ns:
                self._catch_up(now_ns)
            ack, outcome = self._open.join(decision_id, reward, now_ns)
            if outcome is not None:
                self._learner.learn((outcome,))
            return ack

    def decide_many(self, requests: Iterable[tuple[Mapping[str, Scalar], Sequence[str]]]) -> list[Decision]:
        """A decision for each (features, arms). Raises ConfigError at the first that is wrong."""
        return [self.decide(features, arms) for features, arms in requests]

    def update_many(self, rewards: Iterable[tuple[str, float]]) -> list[Ack]:
        """An answer to each (decision_id, reward). Raises ConfigError at the first that is wrong."""
        return [self.update(decision_id, reward) for decision_id, reward in rewards]

    def tick(self) -> None:
        """What was learned takes effect now, and evidence fades by one step."""
        with self._lock:
            now_ns = self._time_ns()
            self._due_ns = now_ns + self._tick_ns
            self._tick(now_ns)

    def _catch_up(self, now_ns: int) -> None:
        missed = (now_ns - self._due_ns) // self._tick_ns
        self._due_ns += (missed + 1) * self._tick_ns
        for _ in range(min(missed, MAX_MISSED) + 1):
            self._tick(now_ns)

    def _tick(self, now_ns: int) -> None:
        self._open.expire(now_ns)
        if self._balance is not None:
            self._balance.tick(now_ns)
        known = self._learner.known
        if known is None:
            self._table.apply(self._learner.tick(now_ns))
        elif self._learner.advance(now_ns):
            self._table.follow(known, self._learner.version)
