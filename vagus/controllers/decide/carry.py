"""From one grouping to the next: which part of what is known of a group is evidence on which new one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from vagus.controllers.decide.grouping import compile_grouping
from vagus.controllers.decide.records import Grouping, GroupState, Move
from vagus.errors import NoData
from vagus.model import Scalar


class Keeper(Protocol):
    """What holds groups: a Learner."""

    def group(self, name: str) -> GroupState: ...
    def absorb(self, state: GroupState, share: float) -> None: ...
    def drop(self, name: str) -> None: ...


def moves(old: Grouping, new: Grouping, sessions: Iterable[tuple[Mapping[str, Scalar], int]]) -> tuple[Move, ...]:
    """By the features of recent sessions (each with how many had them), where what each old group knows goes.

    The shares of a source are those of its sessions and add up to 1: two targets are a split, two sources a merge, one
    of each a new name. A group that stays as it is has no move, nor has one without sessions: what is known of that
    stays under its name. Sorted by names.
    """
    before, after = compile_grouping(old), compile_grouping(new)
    counted: dict[str, dict[str, int]] = {}
    for features, count in sessions:
        targets = counted.setdefault(before(features), {})
        target = after(features)
        targets[target] = targets.get(target, 0) + count
    return tuple(
        Move(source, target, count / sum(targets.values()))
        for source, targets in sorted(counted.items())
        if list(targets) != [source]
        for target, count in sorted(targets.items())
        if count
    )


def carry(moved: Iterable[Move], keeper: Keeper) -> None:
    """Moves what a learner knows, all at once: sources give everything away, and may be targets of others or of
    themselves. Groups that are no source keep what they know, and add what comes. Raises ConfigError.
    """
    every = tuple(moved)
    states: dict[str, GroupState] = {}
    for source in dict.fromkeys(move.source for move in every):
        try:
            states[source] = keeper.group(source)
        except NoData:
            continue
    for source in states:
        keeper.drop(source)
    for move in every:
        if move.source in states:
            keeper.absorb(msgspec.structs.replace(states[move.source], group=move.target), move.share)
