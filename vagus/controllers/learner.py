"""The background of the decision service: joins rewards to decisions and computes the table that requests draw from.

After Pytheas (NSDI'17, section 4), with its gaps closed: rewards may be late, repeated or in any order; arms never
seen are explored; arms absent from a batch fade too; which arms are feasible may differ from request to request.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any, cast

import msgspec

from vagus.clock import NS
from vagus.controllers.decide.features import MAX_GROUP
from vagus.controllers.decide.table import MAX_ARMS, ArmSet, TableSnapshot, check_arms
from vagus.errors import ConfigError
from vagus.model import Ack, Decision, Reward
from vagus.policies import GroupBandit as Bandit

MAX_ID = 64
MAX_REWARD = 1e100  # a bandit may square it
MAX_SETS = 8  # sets of feasible arms answered exactly, per group
RECENT = 200  # decisions that `shares` looks back on, per group
SKIPPED_VERSIONS = 10_000  # more than are pushed between two saves: a version never names two tables

_Open = tuple[str, str, int, float | None]  # group, arm, when it came in, its reward once known


class _SavedGroup(msgspec.Struct):
    bandit: dict[str, Any]
    arms: list[str]
    sets: list[tuple[str, ...]]


class _Saved(msgspec.Struct):
    version: int
    policy: str
    group_by: tuple[str, ...]
    groups: dict[str, _SavedGroup]
    open: list[tuple[str, str, str, int, float | None]]


class _Group:
    """What one group knows: its bandit, the arms and sets of arms met lately (latest last), its present weights."""

    def __init__(self, bandit: Bandit) -> None:
        self.bandit = bandit
        self.arms: dict[str, None] = {}
        self.sets: dict[tuple[str, ...], None] = {}
        self.recent: deque[str] = deque(maxlen=RECENT)
        self.weights: dict[str, float] = {}
        self.set_weights: tuple[ArmSet, ...] = ()
        self._met: tuple[str, ...] = ()

    def meet(self, arms: tuple[str, ...]) -> None:
        if arms == self._met:  # the usual case; all of this is latest already
            return
        self._met = arms
        _touch(self.sets, tuple(sorted(arms)), MAX_SETS)
        for arm in arms:
            _touch(self.arms, arm, MAX_ARMS)


class DecisionService:
    """Learns from rewards and gives a table at each tick. Pure: no clock, no store.

    make_bandit: called with `rng` for each new group; policy: its name, kept with the state. max_open decisions wait
    for their reward for at most max_age_s; max_groups groups are known. Beyond those the oldest are dropped.
    """

    def __init__(
        self,
        make_bandit: Callable[[Random], Bandit],
        rng: Random,
        *,
        policy: str = "",
        group_by: Sequence[str] = (),
        max_open: int = 100_000,
        max_age_s: float = 3600.0,
        max_groups: int = 10_000,
    ) -> None:
        self._make: Callable[[], Bandit] = lambda: make_bandit(rng)
        self._policy = policy
        self._max_open = max_open
        self._max_age_ns = round(max_age_s * NS)
        self._max_groups = max_groups
        self._groups: dict[str, _Group] = {}  # latest active last
        self._active: set[str] = set()
        self._open: dict[str, _Open] = {}  # in order of arrival
        self._snapshot = TableSnapshot(0, tuple(group_by))
        self.decisions = 0
        self.rewards = 0
        self.unjoined = 0  # rewards refused: decision unknown or aged out
        self.unrewarded = 0  # decisions that aged out without a reward
        self.policy_errors = 0
        self.last_policy_error = ""

    @property
    def snapshot(self) -> TableSnapshot:
        """The table of the last tick."""
        return self._snapshot

    @property
    def open(self) -> int:
        """Decisions remembered, rewarded ones included (so that a repeated reward is recognised)."""
        return len(self._open)

    def decided(self, decisions: Iterable[Decision], now_ns: int) -> list[Decision]:
        """Takes decisions made elsewhere; returns those that are new. Raises ConfigError, with nothing taken."""
        checked: set[tuple[str, ...]] = set()  # batches repeat their arms
        fresh = {
            decision.decision_id: _check_decision(decision, checked)
            for decision in decisions
            if decision.decision_id not in self._open
        }
        for decision in fresh.values():
            group = self._group(decision.group)
            group.meet(decision.arms or (decision.arm,))
            group.recent.append(decision.arm)
            self._open[decision.decision_id] = (decision.group, decision.arm, now_ns, None)
            if len(self._open) > self._max_open:
                self._forget(next(iter(self._open)))
        self.decisions += len(fresh)
        return list(fresh.values())

    def rewarded(self, rewards: Sequence[Reward], now_ns: int) -> list[Ack]:
        """Joins rewards by decision id; returns an answer to each.

        ACCEPTED: counted, now or before (the same reward again changes nothing); IGNORED: that decision already has
        another reward, which stays; FAILED: no such decision, or aged out. Raises ConfigError, with nothing counted,
        when a reward is not a finite number within ±1e100.
        """
        for reward in rewards:
            check_reward(reward)
        return [self._reward(reward, now_ns) for reward in rewards]

    def _reward(self, reward: Reward, now_ns: int) -> Ack:
        found = self._open.get(reward.decision_id)
        if found is None or now_ns - found[2] > self._max_age_ns:
            self.unjoined += 1
            return Ack.FAILED
        name, arm, since_ns, before = found
        if before is not None:
            return Ack.ACCEPTED if before == reward.reward else Ack.IGNORED
        self._open[reward.decision_id] = (name, arm, since_ns, reward.reward)
        self.rewards += 1
        group = self._group(name)
        if arm not in group.arms:  # the group had been dropped and is back
            group.meet((arm,))
        try:
            group.bandit.learn([(arm, reward.reward)])
        except Exception as error:  # policies may be anybody's
            self._policy_failed(name, error)
        return Ack.ACCEPTED

    def tick(self, now_ns: int) -> TableSnapshot:
        """Fades all groups by one step and computes those with news; a new version if there were any.

        A group without traffic keeps its weights (nobody draws from them) while its evidence fades.
        """
        for decision_id in self._aged(now_ns):
            self._forget(decision_id)
        for name, group in self._groups.items():
            try:
                group.bandit.tick()
            except Exception as error:
                self._policy_failed(name, error)
        return self._compute() if self._active else self._snapshot

    def _compute(self) -> TableSnapshot:
        for name in self._active:
            self._weigh(name, self._groups[name])
        self._active.clear()
        self._snapshot = TableSnapshot(
            self._snapshot.version + 1,
            self._snapshot.group_by,
            {name: group.weights for name, group in self._groups.items() if group.weights},
            {name: group.set_weights for name, group in self._groups.items() if group.set_weights},
        )
        return self._snapshot

    def _weigh(self, name: str, group: _Group) -> None:
        arms = tuple(group.arms)
        if not arms:
            return
        try:
            weights = dict(zip(arms, _checked(group.bandit.weights(arms), len(arms)), strict=True))
            sets = tuple(
                ArmSet(subset, _checked(group.bandit.weights(subset), len(subset)))
                for subset in group.sets
                if len(subset) < len(arms)
            )
        except Exception as error:  # the last weights hold; none yet: the table draws evenly
            self._policy_failed(name, error)
            return
        group.weights, group.set_weights = weights, sets

    def shares(self, limit: int) -> list[tuple[str, str, float, int]]:
        """Of the groups active last, latest first: (group, arm chosen most, its share, of how many recent decisions)."""
        shares = []
        for name, group in list(self._groups.items())[: -limit - 1 : -1]:
            if group.recent:
                arm, count = Counter(group.recent).most_common(1)[0]
                shares.append((name, arm, count / len(group.recent), len(group.recent)))
        return shares

    @property
    def groups(self) -> int:
        """Groups known."""
        return len(self._groups)

    def state(self) -> dict[str, Any]:
        """All that is learned and the open decisions, as JSON-ready builtins."""
        groups = {
            name: _SavedGroup(group.bandit.state(), list(group.arms), list(group.sets))
            for name, group in self._groups.items()
        }
        opened = [(decision_id, *entry) for decision_id, entry in self._open.items()]
        saved = _Saved(self._snapshot.version, self._policy, self._snapshot.group_by, groups, opened)
        return cast("dict[str, Any]", msgspec.to_builtins(saved))

    def restore(self, state: Mapping[str, Any]) -> None:
        """What `state` gave, with a table ready at once under a version never used before.

        What was learned under another policy or other `group_by` is dropped. Raises ConfigError, with nothing changed,
        when it is something else.
        """
        try:
            saved = msgspec.convert(state, _Saved)
        except msgspec.ValidationError as error:
            raise ConfigError(f"not a saved state of the decision service: {error}") from error
        groups: dict[str, _Group] = {}
        opened: dict[str, _Open] = {}
        if saved.policy == self._policy and saved.group_by == self._snapshot.group_by:
            for name, kept in saved.groups.items():
                group = groups[name] = _Group(self._make())
                group.bandit.restore(kept.bandit)
                group.arms = dict.fromkeys(kept.arms)
                group.sets = dict.fromkeys(kept.sets)
            opened = {entry[0]: entry[1:] for entry in saved.open}
        self._groups, self._open, self._active = groups, opened, set(groups)
        self._snapshot = TableSnapshot(saved.version + SKIPPED_VERSIONS, self._snapshot.group_by)
        self._compute()

    def _group(self, name: str) -> _Group:
        group = self._groups.pop(name, None) or _Group(self._make())
        self._groups[name] = group
        self._active.add(name)
        if len(self._groups) > self._max_groups:
            oldest = next(iter(self._groups))
            del self._groups[oldest]
            self._active.discard(oldest)
        return group

    def _aged(self, now_ns: int) -> list[str]:
        aged = []
        for decision_id, entry in self._open.items():
            if now_ns - entry[2] <= self._max_age_ns:
                break
            aged.append(decision_id)
        return aged

    def _forget(self, decision_id: str) -> None:
        self.unrewarded += self._open.pop(decision_id)[3] is None

    def _policy_failed(self, group: str, error: Exception) -> None:
        self.policy_errors += 1
        self.last_policy_error = f"policy {self._policy or '?'}, group {group[:80]!r}: {type(error).__name__}: {error}"


def check_reward(reward: Reward) -> Reward:
    """A finite reward within ±1e100 with an id of at most 64 characters, else ConfigError."""
    if not -MAX_REWARD <= reward.reward <= MAX_REWARD:
        raise ConfigError(
            f"reward {reward.reward} of decision {reward.decision_id[:MAX_ID]!r} must be a finite number within "
            f"±{MAX_REWARD:g}"
        )
    if not 0 < len(reward.decision_id) <= MAX_ID:
        raise ConfigError(f"decision_id must be 1 to {MAX_ID} characters, got {len(reward.decision_id)}")
    return reward


def _check_decision(decision: Decision, checked: set[tuple[str, ...]]) -> Decision:
    if not 0 < len(decision.decision_id) <= MAX_ID:
        raise ConfigError(f"decision_id must be 1 to {MAX_ID} characters, got {len(decision.decision_id)}")
    if len(decision.group) > MAX_GROUP:
        raise ConfigError(f"decision {decision.decision_id}: a group has at most {MAX_GROUP} characters")
    arms = decision.arms or (decision.arm,)
    if arms not in checked:
        check_arms(arms)
        checked.add(arms)
    if decision.arms and decision.arm not in decision.arms:
        raise ConfigError(f"decision {decision.decision_id}: {decision.arm!r} is not one of its arms")
    return decision


def _checked(weights: Sequence[float], count: int) -> tuple[float, ...]:
    if len(weights) != count or min(weights) < 0.0 or not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-6):
        raise ValueError(f"weights must be {count} numbers of 0 or more that sum to 1, got {list(weights)[:10]}")
    return tuple(weights)


def _touch(kept: dict[Any, None], item: Any, limit: int) -> None:
    kept.pop(item, None)
    kept[item] = None
    if len(kept) > limit:
        del kept[next(iter(kept))]
