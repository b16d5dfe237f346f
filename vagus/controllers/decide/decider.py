"""The whole decision service in one process: groups, table, outcomes that come late, learning; it ticks by the clock.

decider = vagus.Decider(group_by=("city",))
made = decider.decide({"city": "Bern"}, ["cdn-a", "cdn-b"])
decider.update(made.decision_id, 0.9)
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vagus.clock import NS, Clock
from vagus.controllers.decide.banked import Group
from vagus.controllers.decide.banks import Banks
from vagus.controllers.decide.batch import Batch, Columns
from vagus.controllers.decide.features import check_features
from vagus.controllers.decide.grouping import rules_of
from vagus.controllers.decide.learner import Learner
from vagus.controllers.decide.load import LoadBalance
from vagus.controllers.decide.outstanding import MAX_REWARD, Outstanding
from vagus.controllers.decide.records import Grouping, GroupState, Rule
from vagus.controllers.decide.ring import ACKS, ELSEWHERE, Ring
from vagus.controllers.decide.table import DecisionTable
from vagus.errors import ConfigError
from vagus.model import Ack, Decision, Scalar

MAX_MISSED = 1000  # ticks made up for after a pause
MAX_SAVED_BYTES = 4 << 30
_ACKS = np.array(ACKS, dtype=object)


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
        if isinstance(group_by, str):
            raise ConfigError(f"group_by={group_by!r} must be a list of features, such as [{group_by!r}]")
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
            balance=self._balance,
        )
        minds = self._learner.minds
        self._groups: dict[str, Group] = {}
        self._open: Ring | Outstanding
        self._waiting: Outstanding | None = None
        if isinstance(minds, Banks):
            self._minds = minds
            self._open = self._ring = Ring(max_open, max_age_s)
            self._table = DecisionTable(Random(entropy), grouping, ids=self._ring)
            self._table.follow(minds.groups, 0)
            self._groups = minds.groups
            self._columns = Columns(minds, self._table, self._ring, np.random.default_rng([entropy, 1]))
        else:
            self._open = self._waiting = Outstanding(max_open, max_age_s, tuple(features) or None)
            self._table = DecisionTable(Random(entropy), grouping)
        self._random = self._table.random
        self._group_of = self._table.group_of
        self._time_ns = time.time_ns if clock is None else clock.time_ns
        self._tick_ns = max(1, round(tick_s * NS))
        self._due_ns = self._time_ns() + self._tick_ns
        self._lock = threading.Lock()

    # --- one at a time -----------------------------------------------------------------------------------------------

    def decide(self, features: Mapping[str, Scalar], arms: Sequence[str]) -> Decision:
        """One of `arms` (1 to 1000 names), with the exact probability of the draw. Raises ConfigError."""
        with self._lock:
            now_ns = self._time_ns()
            if now_ns >= self._due_ns:
                self._catch_up(now_ns)
            kept = check_features(features)
            name = self._group_of(kept)
            group = self._groups.get(name)
            feasible: Any = tuple(arms) if type(arms) is list else arms
            # What follows is DecisionTable.decide for the usual case, with what the learner has at hand.
            if group is None or not (feasible is group.arms or feasible == group.arms) or group.arms is not group.names:
                return self._decide(kept, arms, now_ns)
            at, lists, ring = group.at, group.lists, self._ring
            cell = bisect_right(lists.cumulated, self._random(), at, at + lists.width)
            arm = feasible[cell - at]
            ready = ring.ready
            decision_id = ready.pop() if ready else ring.more()
            ring.add(group, cell - at, now_ns)
            lists.flags[at // lists.width] = 1
            if self._balance is not None:
                self._balance.met(name, feasible)
                self._balance.decided(name, arm)
            return Decision(
                decision_id, now_ns, name, arm, lists.probabilities[cell], self._table.version, feasible, kept
            )

    def _decide(self, kept: dict[str, Scalar], arms: Sequence[str], now_ns: int) -> Decision:
        made = self._table.decide(kept, arms, now_ns, kept)
        self._learner.met(made.group, made.arms)
        if self._waiting is not None:
            self._waiting.add(made, now_ns)
            return made
        group = self._groups.get(made.group)
        if group is not None and made.arm in group.places:
            self._ring.add(group, group.places[made.arm], now_ns)
        else:
            number = self._ring.add(None, ELSEWHERE, now_ns)
            self._ring.strays[number] = (made.group, made.arm, made.arms)
        if self._balance is not None:
            self._balance.decided(made.group, made.arm)
        return made

    def update(self, decision_id: str, reward: float) -> Ack:
        """The outcome of a decision, larger is better.

        ACCEPTED: counted, now or before (sending it again changes nothing); IGNORED: that decision already has another
        reward, which stays; FAILED: no such decision, or forgotten. Raises ConfigError unless it is finite.
        """
        if not -MAX_REWARD <= reward <= MAX_REWARD:
            raise ConfigError(f"reward {reward} must be a finite number within ±{MAX_REWARD:g}")
        with self._lock:
            now_ns = self._time_ns()
            if now_ns >= self._due_ns:
                self._catch_up(now_ns)
            if self._waiting is not None:
                ack, outcome = self._waiting.join(decision_id, reward, now_ns)
                if outcome is not None:
                    self._learner.learn((outcome,))
                return ack
            ring = self._ring
            at = ring.join(decision_id, reward, now_ns)
            if at < 0:
                return ACKS[at]
            place, group = ring.places[at], ring.groups[at]
            if group is None or group.cell < 0:
                self._learner.learn(self._columns.late(at, reward))
                return Ack.ACCEPTED
            banked = group.banked
            banked.cells.append(group.cell + place)
            banked.values.append(reward)
            return Ack.ACCEPTED

    # --- many at a time ----------------------------------------------------------------------------------------------

    def decide_many(self, requests: Iterable[tuple[Mapping[str, Scalar], Sequence[str]]]) -> list[Decision]:
        """A decision for each (features, arms). Raises ConfigError at the first that is wrong."""
        decide = self.decide
        return [decide(features, arms) for features, arms in requests]

    def update_many(self, rewards: Iterable[tuple[str, float]]) -> list[Ack]:
        """An answer to each (decision_id, reward). Raises ConfigError at the first that is wrong."""
        update = self.update
        return [update(decision_id, reward) for decision_id, reward in rewards]

    def decide_columns(self, features: Mapping[str, Any], arms: Sequence[str]) -> Batch:
        """A decision for each line of the columns `features` (lists, or arrays of numpy), all among the same arms.

        Many times faster than one by one where groups are known with these arms. Raises ConfigError.
        """
        with self._lock:
            now_ns = self._time_ns()
            if now_ns >= self._due_ns:
                self._catch_up(now_ns)
            columns = self._for_bandits()
            batch = columns.decide(features, arms, now_ns)
            if self._balance is not None:
                feasible = tuple(arms)
                for group, arm in zip(columns.groups(features), batch.names, strict=True):
                    self._balance.met(group, feasible)
                    self._balance.decided(group, arm)
            return batch

    def update_columns(self, keys: Any, rewards: ArrayLike) -> NDArray[np.object_]:
        """Outcomes by the `keys` of batches, or by ids; `Ack`s as of `update`, an array of objects (n,).

        Raises ConfigError, with nothing counted.
        """
        with self._lock:
            now_ns = self._time_ns()
            if now_ns >= self._due_ns:
                self._catch_up(now_ns)
            codes, outcomes = self._for_bandits().update(keys, rewards, now_ns)
            self._learner.learn(outcomes)
            acks: NDArray[np.object_] = _ACKS[codes]
            return acks

    def _for_bandits(self) -> Columns:
        if self._waiting is not None:
            raise ConfigError(
                f"policy {self._learner.policy!r} looks at each request's features: use decide_many, update_many"
            )
        return self._columns

    # --- time --------------------------------------------------------------------------------------------------------

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
        if self._waiting is not None:
            self._table.apply(self._learner.tick(now_ns))
        elif self._learner.advance(now_ns):
            self._table.follow(self._groups, self._learner.version)

    # --- what it knows -----------------------------------------------------------------------------------------------

    def explain(self, group: str) -> list[dict[str, Any]]:
        """Per arm of a group: arm, probability, and what the policy says (mean, evidence …). Raises NoData."""
        with self._lock:
            return self._learner.explain(group)

    @property
    def figures(self) -> dict[str, float]:
        """Counts since the start, and how many are open."""
        with self._lock:
            return {
                **self._open.figures,
                "groups": float(len(self._learner)),
                "version": float(self._learner.version),
                "policy_errors": float(self._learner.policy_errors + self._table.policy_errors),
            }

    def save(self) -> bytes:
        """All that was learned (not the decisions that wait), for `restore` in another life."""
        with self._lock:
            return msgspec.msgpack.encode([self._learner.group(name) for name in self._learner])

    def restore(self, saved: bytes) -> None:
        """Groups from `save`, in place of those of the same names; they take effect at once. Raises ConfigError."""
        try:
            states = msgspec.msgpack.decode(saved, type=list[GroupState])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"not saved groups: {error}") from error
        with self._lock:
            for state in states:
                self._learner.put(state)
            self._tick(self._time_ns())
