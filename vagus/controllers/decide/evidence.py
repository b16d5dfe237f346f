"""What a node knows of groups: a learner, and which of its groups changed since they were saved and replicated. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from vagus.controllers.decide.plan import renames
from vagus.controllers.decide.records import GroupState, Outcome, Plan
from vagus.controllers.decide.replicas import Replication


class Learns(Protocol):
    """What is needed of a learner. `changed` is called before groups are asked for: what waits is learned then."""

    @property
    def met(self) -> Callable[[str, tuple[str, ...]], object]: ...
    def learn(self, outcomes: Sequence[Outcome]) -> object: ...
    def group(self, name: str) -> GroupState: ...
    def put(self, state: GroupState) -> object: ...
    def absorb(self, state: GroupState, share: float) -> object: ...
    def drop(self, name: str) -> object: ...
    def changed(self) -> Sequence[str]: ...
    def __contains__(self, name: object) -> bool: ...


class Evidence:
    """groups: that the learner has or will have; learned: outcomes, in all lives since it was last taken over.

    strays: groups to be looked at whether another leads them; None: all.
    """

    def __init__(self, learner: Learns) -> None:
        self.learner = learner
        self.groups: set[str] = set()
        self.learned = 0
        self.replication = Replication()
        self.unsaved: set[str] = set()
        self.gone: set[str] = set()
        self.strays: set[str] | None = None
        self._epochs: dict[str, int] = {}
        self._renamed: dict[str, str] = {}

    # --- names -----------------------------------------------------------------------------------------------------

    def name(self, group: str) -> str:
        """What a group of a grouping before this one is called now."""
        return self._renamed.get(group, group)

    def named(self, outcome: Outcome) -> Outcome:
        """An outcome under its group's present name."""
        name = self._renamed.get(outcome.group)
        return outcome if name is None else msgspec.structs.replace(outcome, group=name)

    def carry(self, plan: Plan) -> set[str]:
        """Groups are split and merged as the Plan's moves say; gives those that are no more."""
        targets = {move.target for move in plan.moves}
        renamed = {source: target for source, target in renames(plan).items() if source not in targets}
        self._renamed = {source: renamed.get(target, target) for source, target in self._renamed.items()} | renamed
        self.learner.changed()
        states = {move.source: self.state(move.source) for move in plan.moves if move.source in self.learner}
        for source in states:
            self.drop(source)
        for move in plan.moves:
            if move.source in states:
                self.absorb(msgspec.structs.replace(states[move.source], group=move.target), move.share)
        return {move.source for move in plan.moves} - targets

    # --- learning --------------------------------------------------------------------------------------------------

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Takes outcomes, each once."""
        if outcomes:
            self.learner.learn(outcomes)
            self.learned += len(outcomes)
            self._touched({outcome.group for outcome in outcomes})

    def meet(self, group: str, arms: tuple[str, ...]) -> None:
        """A session had these arms."""
        self.learner.met(group, arms)
        if group not in self.groups:
            self._touched((group,))

    def absorb(self, state: GroupState, share: float = 1.0) -> None:
        """Adds what another node, or another group, knew."""
        group = self.name(state.group)
        self._epochs[group] = max(self._epochs.get(group, 0), state.epoch) + 1
        self.learner.absorb(msgspec.structs.replace(state, group=group, epoch=self._epochs[group]), share)
        self._touched((group,))

    def restore(self, states: Iterable[GroupState]) -> None:
        """Groups as they were saved."""
        for state in states:
            self._epochs[state.group] = state.epoch
            self.learner.put(state)
            self.groups.add(state.group)
        self.replication.changed(self.groups)

    def _touched(self, groups: Iterable[str]) -> None:
        groups = set(groups)
        self.groups |= groups
        self.unsaved |= groups
        self.gone -= groups
        self.replication.changed(groups)
        if self.strays is not None:
            self.strays |= groups

    # --- groups that are asked for, and go -------------------------------------------------------------------------

    def epoch(self, group: str) -> int:
        """How often a group was taken over or handed over, as far as is known here."""
        return self._epochs.get(group, 0)

    def state(self, group: str) -> GroupState:
        """All that is known of a group. Raises NoData."""
        return msgspec.structs.replace(self.learner.group(group), epoch=self.epoch(group))

    def states(self, groups: Iterable[str]) -> tuple[GroupState, ...]:
        """Of those that the learner has."""
        self.learner.changed()
        return tuple(self.state(group) for group in groups if group in self.learner)

    def drop(self, group: str) -> int:
        """Forgets a group; the round from which on the replica is without it."""
        self.learner.drop(group)
        return self.forget(group)

    def forget(self, group: str) -> int:
        """A group that the learner has no more."""
        self.groups.discard(group)
        self.unsaved.discard(group)
        self.gone.add(group)
        return self.replication.dropped(group)

    def drop_all(self) -> None:
        """Forgets everything: another has it. A new replica begins."""
        for group in list(self.groups):
            self.drop(group)
        self.learned = 0
        position, self.replication = self.replication.position, Replication()
        self.replication.position = position

    def take_strays(self, is_stray: Callable[[str], bool]) -> list[str]:
        """Groups that another leads, of those that may have become so."""
        looked_at = self.groups if self.strays is None else self.strays & self.groups
        self.strays = set()
        return [group for group in looked_at if is_stray(group)]
