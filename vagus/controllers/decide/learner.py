"""What is known of each group, and the table made of it at each tick: the background of the decision service.

After Pytheas (NSDI'17, section 4), with its gaps closed: rewards may be late and in any order; arms never seen are
explored; arms absent from a batch fade too; which arms are feasible may differ from request to request. All groups
fade, and those with news are computed, at once, in banks of numpy columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vagus.controllers.decide.banks import Banks
from vagus.controllers.decide.grouping import check_grouping
from vagus.controllers.decide.load import LoadBalance
from vagus.controllers.decide.models import Models
from vagus.controllers.decide.records import Grouping, GroupState, Outcome, TableUpdate
from vagus.errors import ConfigError, NoData
from vagus.policies import BANDITS, CONTEXTUAL

SKIPPED_VERSIONS = 10_000  # more than are made between two saves: a version never names two tables
MAX_PENDING = 1_000_000  # rewards between two ticks; beyond, they are learned at once


class Learner:
    """Learns from outcomes and gives an update of the table at each tick. Pure: no clock, no store.

    policy: a name of BANDITS or CONTEXTUAL, built with `options` (a wrong one raises ConfigError here). max_groups
    groups are known; beyond those the one that was active least lately goes. version: the last that a former life is
    known to have given; this one begins 10,000 above. balance: knows arms' capacities and sessions, and makes
    fractions that fit of what the policy wishes.
    """

    def __init__(
        self,
        policy: str,
        options: Mapping[str, Any] | None = None,
        rng: np.random.Generator | None = None,
        *,
        grouping: Grouping = Grouping(),  # noqa: B008  immutable
        max_groups: int = 200_000,
        version: int = 0,
        balance: LoadBalance | None = None,
    ) -> None:
        options = dict(options or {})
        rng = np.random.default_rng() if rng is None else rng
        self.policy = policy
        self.policy_errors = 0
        self.last_policy_error = ""
        self.minds: Banks | Models
        if policy in CONTEXTUAL:
            if balance is not None:
                raise ConfigError(f"capacity of arms: policy {policy!r} decides by request; take one of BANDITS")
            self.minds = Models(lambda: CONTEXTUAL.make(policy, **options), policy, options, max_groups, self._failed)
        else:
            self.minds = Banks(lambda: BANDITS.make(policy, rng, **options), policy, max_groups, self._failed)
        self.met: Callable[[str, tuple[str, ...]], None] = self.minds.met
        self._balance = balance
        if balance is not None:
            self.met = self._met
        self._grouping = check_grouping(grouping)
        self._regrouped = True
        self._told: Grouping | None = None
        self._gone: tuple[str, ...] = ()
        self._pending: list[Outcome] = []
        self.version = version + SKIPPED_VERSIONS if version else 0
        self.rewards = 0

    @property
    def grouping(self) -> Grouping:
        """The grouping that goes with the table."""
        return self._grouping

    def regroup(self, grouping: Grouping) -> None:
        """Another grouping, from the next tick on. What is known of groups is not touched: see put, absorb, drop."""
        self._grouping, self._regrouped = check_grouping(grouping), True

    def __len__(self) -> int:
        return len(self.minds.groups)

    def __contains__(self, name: object) -> bool:
        self._fold()
        return name in self.minds.groups

    def __iter__(self) -> Iterator[str]:
        self._fold()
        return iter(list(self.minds.groups))

    # --- learning ----------------------------------------------------------------------------------------------------

    # met(group, arms): a request of this group had these feasible arms. Fast where they are those of the last one.

    def _met(self, group: str, arms: tuple[str, ...]) -> None:
        assert self._balance is not None
        self._balance.met(group, arms)
        self.minds.met(group, arms)

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Takes outcomes, joined once each; they are learned at the next tick."""
        self._pending.extend(outcomes)
        if len(self._pending) > MAX_PENDING:
            self._fold()

    def _fold(self) -> None:
        """What was met and learned since, into the banks: for new groups old ones go, so before anybody names one."""
        outcomes, self._pending = self._pending, []
        self.rewards += len(outcomes)
        self.minds.fold(outcomes)

    def advance(self, now_ns: int) -> bool:
        """A tick: learns, lets all fade by one step, and computes groups with news; whether the table changed."""
        self._fold()
        changed = self.minds.step(None if self._balance is None else self._balance.reweigh) or self._regrouped
        self.version += changed
        self._gone = self.minds.gone()
        self._told, self._regrouped = self._grouping if self._regrouped else None, False
        return changed

    def tick(self, now_ns: int) -> TableUpdate:
        """A tick, and what it changed: an update from the version before. Without news: to the same version.

        A group without traffic keeps its weights (nobody draws from them) while its evidence fades. Where the policy
        fails, the error is counted and the last weights hold.
        """
        before = self.version
        if not self.advance(now_ns):
            return TableUpdate(before, before)
        rows = self.minds.rows()
        gone = tuple(name for name in self._gone if name not in rows)
        return TableUpdate(self.version, before, self._told, rows, gone)

    def full(self) -> TableUpdate:
        """The whole table as of the last tick."""
        return TableUpdate(self.version, 0, self._grouping, self.minds.all_rows())

    # --- groups that come and go -------------------------------------------------------------------------------------

    def group(self, name: str) -> GroupState:
        """All that is known of a group. Raises NoData."""
        self._fold()
        return self.minds.state(self._named(name))

    def put(self, state: GroupState) -> None:
        """Takes a group over, in place of what is known of it. Raises ConfigError, with nothing changed."""
        self._fold()
        self.minds.put(state)

    def absorb(self, state: GroupState, share: float) -> None:
        """Adds a share (0 to 1) of what is known of another group to the one that `state` names. Raises ConfigError."""
        self._fold()
        self.minds.absorb(state, share)

    def drop(self, name: str) -> None:
        """Forgets a group; none of that name: nothing to do."""
        self._fold()
        self.minds.drop(name)

    def changed(self) -> list[str]:
        """Groups that learned something, or were put or absorbed, since this was last asked: to be saved, replicated."""
        self._fold()
        return self.minds.changed()

    # --- for people --------------------------------------------------------------------------------------------------

    def explain(self, name: str) -> list[dict[str, Any]]:
        """Per arm of a group: arm, probability (None: not computed yet), and what the policy says. Raises NoData."""
        self._fold()
        return self.minds.explain(self._named(name))

    def favourites(self, limit: int) -> list[tuple[str, str, float, int]]:
        """Of the groups active last, latest first: (group, likeliest arm, its probability, rewards so far)."""
        return self.minds.favourites(limit)

    @property
    def figures(self) -> dict[str, float]:
        """Counts since the start."""
        return {
            "groups": float(len(self)),
            "version": float(self.version),
            "learned": float(self.rewards),
            "policy_errors": float(self.policy_errors),
        }

    # --- inside ------------------------------------------------------------------------------------------------------

    def _named(self, name: str) -> str:
        if name not in self.minds.groups:
            some = ", ".join(repr(one[:80]) for one in list(self.minds.groups)[:5])
            raise NoData(f"no group {name[:80]!r} is known here; there are {len(self)}{': ' if some else ''}{some}")
        return name

    def _failed(self, group: str, error: Exception) -> None:
        self.policy_errors += 1
        where = f", group {group[:80]!r}" if group else ""
        self.last_policy_error = f"policy {self.policy}{where}: {type(error).__name__}: {error}"
