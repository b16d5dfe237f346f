"""Groups of a learner with a contextual policy: a model each, which the table asks at every request."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from vagus.controllers.decide.arms import MAX_ARMS, check_arms
from vagus.controllers.decide.banks import Failed
from vagus.controllers.decide.records import GroupState, Outcome, Row
from vagus.controllers.decide.table import Model
from vagus.errors import ConfigError, PolicyError
from vagus.policies import Contextual

MAX_MODEL_BYTES = 1 << 20


class _Group:
    def __init__(self, policy: Contextual) -> None:
        self.policy = policy
        self.arms: dict[str, None] = {}  # met lately last
        self.met: tuple[str, ...] = ()
        self.row: Row | None = None
        self.epoch = 0
        self.rewards = 0


class Models:
    """What `Banks` is for bandits. make: a new policy; options: those it is made with, which travel in the table."""

    def __init__(
        self,
        make: Callable[[], Contextual],
        policy: str,
        options: Mapping[str, Any],
        max_groups: int,
        failed: Failed,
    ) -> None:
        self._make = make
        self._policy = policy
        self._options = dict(options)
        self._max_groups = max_groups
        self._failed = failed
        self.groups: dict[str, _Group] = {}  # active latest last
        self._active: dict[str, None] = {}
        self._dirty: dict[str, None] = {}
        self._gone: dict[str, None] = {}
        self._computed: list[str] = []
        make()

    def met(self, name: str, arms: tuple[str, ...]) -> None:
        """A request of this group had these feasible arms."""
        self._meet(name, arms)

    def fold(self, outcomes: Sequence[Outcome]) -> None:
        """Rewards into the models, oldest first."""
        for outcome in outcomes:
            group = self._meet(outcome.group, outcome.arms or (outcome.arm,))
            group.rewards += 1
            self._dirty[outcome.group] = None
            try:
                group.policy.learn(outcome.features, outcome.arm, outcome.reward)
            except Exception as error:  # policies may be anybody's
                self._failed(outcome.group, error)

    def step(self, reweigh: object) -> bool:
        """A step of time for all, and new models of groups with news; whether there were any."""
        for name, group in self.groups.items():
            try:
                group.policy.tick()
            except Exception as error:
                self._failed(name, error)
        active, self._active, self._computed = self._active, {}, []
        for name in active:
            group = self.groups[name]
            try:
                model = group.policy.model()
                if len(model) > MAX_MODEL_BYTES:
                    raise PolicyError(f"its model has {len(model)} bytes; at most {MAX_MODEL_BYTES}")
                group.row = Row((), (), (), msgspec.msgpack.encode(Model(self._policy, self._options, model)))
            except Exception as error:  # the last model holds
                self._failed(name, error)
                continue
            self._computed.append(name)
        return bool(self._computed or self._gone)

    def rows(self) -> dict[str, Row]:
        """Rows of the table that the last step changed."""
        return {name: row for name in self._computed if (row := self.groups[name].row) is not None}

    def all_rows(self) -> dict[str, Row]:
        """All rows of the table."""
        return {name: group.row for name, group in self.groups.items() if group.row is not None}

    def gone(self) -> tuple[str, ...]:
        """Groups that were dropped since this was last asked."""
        gone, self._gone = tuple(self._gone), {}
        return gone

    def _meet(self, name: str, arms: tuple[str, ...]) -> _Group:
        group = self.groups.pop(name, None)
        if group is None:
            group = _Group(self._make())
        self.groups[name] = group
        self._active[name] = None
        if arms != group.met:
            group.met = arms
            for arm in arms:
                group.arms.pop(arm, None)
                group.arms[arm] = None
            while len(group.arms) > MAX_ARMS:
                del group.arms[next(iter(group.arms))]
        while len(self.groups) > self._max_groups:
            self.drop(next(iter(self.groups)))
        return group

    # --- states ------------------------------------------------------------------------------------------------------

    def state(self, name: str) -> GroupState:
        """All that is known of a group. Raises KeyError."""
        group = self.groups[name]
        state = {"model": base64.b64encode(group.policy.model()).decode()}
        return GroupState(name, group.epoch, self._policy, tuple(group.arms), state, group.rewards)

    def put(self, state: GroupState) -> None:
        """The group as told, in place of what is known. Raises ConfigError, with nothing changed."""
        model = self._model(state)
        policy = self._make()
        policy.load(model)
        self.groups.pop(state.group, None)
        group = self._meet(state.group, state.arms)
        group.policy, group.epoch, group.rewards = policy, state.epoch, state.rewards
        self._dirty[state.group] = None

    def absorb(self, state: GroupState, share: float) -> None:
        """Adds a share of what is known of another group to the one of that name. Raises ConfigError."""
        model = self._model(state)
        fresh = state.group not in self.groups
        group = self._meet(state.group, state.arms)
        try:
            group.policy.absorb(model, share)
        except BaseException:
            if fresh:
                self.drop(state.group)
            raise
        group.rewards += round(share * state.rewards)
        self._dirty[state.group] = None

    def _model(self, state: GroupState) -> bytes:
        check_arms(state.arms)
        if state.policy != self._policy:
            raise ConfigError(
                f"group {state.group[:80]!r} is of policy {state.policy!r}, and decide.policy is {self._policy!r}"
            )
        try:
            return base64.b64decode(state.state["model"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"not a saved state of policy {self._policy!r}: {error!r}") from error

    def drop(self, name: str) -> None:
        """Forgets a group; none of that name: nothing to do."""
        if self.groups.pop(name, None) is not None:
            self._gone[name] = None
            self._active.pop(name, None)
            self._dirty.pop(name, None)

    def changed(self) -> list[str]:
        """Groups that learned something since this was last asked."""
        found, self._dirty = list(self._dirty), {}
        return found

    # --- for people --------------------------------------------------------------------------------------------------

    def explain(self, name: str) -> list[dict[str, Any]]:
        """The arms met; their probabilities depend on each request's features. Raises KeyError."""
        return [{"arm": arm, "probability": None} for arm in self.groups[name].arms]

    def favourites(self, limit: int) -> list[tuple[str, str, float, int]]:
        """None: which arm is likely depends on each request's features."""
        return []
