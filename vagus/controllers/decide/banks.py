"""All groups of a learner: which arms and sets of arms each has met, and in which bank it is known."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vagus.controllers.decide.ages import Ages
from vagus.controllers.decide.arms import MAX_ARMS, check_arms
from vagus.controllers.decide.banked import Banked, Group, Reweigh, rows_of
from vagus.controllers.decide.drawing import worth
from vagus.controllers.decide.records import GroupState, Outcome, Row
from vagus.controllers.decide.roll import Roll
from vagus.errors import ConfigError
from vagus.policies import Bandit

MAX_INDEXES = 10_000
KEPT_ARMS = MAX_ARMS * 3 // 4  # where they are too many: room for some time
MAX_SETS = 8  # sets of feasible arms answered exactly, per group
WIDTHS = sorted({max(4, 2**power * part // 4) for power in range(2, 11) for part in (4, 5, 6)} | {MAX_ARMS})

_NONE = bytearray()

Failed = Callable[[str, Exception], None]


class Banks:
    """Groups by name, each a row of the bank that is wide enough for its arms; what is met is taken in at `step`.

    make: a new bank; policy: its name; failed: told what the policy raised, and where. max_groups: beyond those the
    one that was active least lately goes.
    """

    def __init__(self, make: Callable[[], Bandit], policy: str, max_groups: int, failed: Failed) -> None:
        self._make = make
        self._policy = policy
        self._max_groups = max_groups
        self._failed = failed
        self.groups: dict[str, Group] = {}
        self.roll = Roll()
        self.banked: dict[int, Banked] = {}
        self._news: dict[tuple[str, tuple[str, ...]], None] = {}
        self._many: set[str] = set()  # groups that met more sets than there are lines for
        self._restructured: dict[str, Group] = {}  # what is drawn from is not yet what was met
        self._places: dict[tuple[str, ...], tuple[tuple[str, ...], dict[str, int]]] = {}
        self._clock = 1
        self._ages = Ages(self.groups)
        self._gone: dict[str, None] = {}
        self._computed: list[tuple[Banked, Any]] = []
        make()  # wrong options fail here, not at the first request

    # --- what comes in -----------------------------------------------------------------------------------------------

    def met(self, name: str, arms: tuple[str, ...]) -> None:
        """A request of this group had these feasible arms."""
        group = self.groups.get(name)
        if group is not None:
            group.banked.flags[group.line_number] = 1
            if arms == group.met:
                return
        self._news[name, arms] = None

    def tagged(self, name: str, arm: str) -> tuple[int, int]:
        """A group's tag (see Roll) and the arm's place in it; -1: there is none."""
        group = self.groups.get(name)
        return (-1, -1) if group is None else (group.tag, group.places.get(arm, -1))

    def fold(self, outcomes: Sequence[Outcome]) -> None:
        """Rewards into the banks, oldest first."""
        self._meet_all()
        if not outcomes:
            return
        groups = self.groups
        for outcome in outcomes:
            group = groups.get(outcome.group)
            place = None if group is None else group.places.get(outcome.arm)
            if group is None or place is None:
                group = self._meet(outcome.group, outcome.arms or (outcome.arm,))
                place = group.places.get(outcome.arm)
                if place is None:  # not one of the arms that came with it
                    group = self._meet(outcome.group, (outcome.arm,))
                    place = group.places[outcome.arm]
            banked = group.banked
            banked.cells.append(group.cell + place)
            banked.values.append(outcome.reward)
        self._learn()

    def _learn(self) -> None:
        for banked in self.banked.values():
            try:
                self._clock += banked.learn(self._clock)
            except Exception as error:  # policies may be anybody's
                self._failed("", error)

    # --- a tick ------------------------------------------------------------------------------------------------------

    def step(self, reweigh: Reweigh | None) -> bool:
        """A step of time for all, and new weights for groups with news; whether there were any."""
        self._meet_all()
        self._learn()  # so that rows may move
        self._computed = []
        for banked in self.banked.values():
            try:
                banked.bank.tick()
            except Exception as error:
                self._failed("", error)
            try:
                lines, bad = banked.compute(self._clock, reweigh)
            except Exception as error:  # the last weights hold; none yet: the table draws evenly
                self._failed("", error)
                continue
            if bad:
                self._failed("", ValueError(f"{bad} answers whose weights are not 0 or more and sum to 1"))
            if len(lines):
                self._computed.append((banked, lines))
        self._clock += 1
        self._publish()
        self._value()
        return bool(self._computed or self._gone)

    def _publish(self) -> None:
        """What was restructured and is computed is drawn from; what stood for it goes."""
        if not self._restructured:
            return
        computed = {}
        for banked, lines in self._computed:
            computed[banked.width] = done = bytearray(len(banked.row_of))
            np.frombuffer(done, np.uint8)[lines] = 1
        for name, group in list(self._restructured.items()):
            done = computed.get(group.banked.width, _NONE)
            if not (done and done[group.line_number]):
                continue
            width = group.banked.width
            at = group.line_number * width
            group.arms, group.lists = group.names, group.banked.lists
            group.at = group.cell if group.cell == at else at  # one number in memory rather than two
            lines = group.set_lines or {}
            self.roll.published(group)
            group.sets = {arms: line * width for arms, line in lines.items() if done[line]} or None
            for banked, line in group.left or ():
                banked.give_line(line)
            group.left = None
            if all(done[line] for line in lines.values()):
                del self._restructured[name]

    def _value(self) -> None:
        """What arms are worth, in groups with news that meet more sets than there are lines for."""
        computed = {banked.width: set(banked.row_of[lines].tolist()) for banked, lines in self._computed}
        for name in list(self._many):
            group = self.groups.get(name)
            if group is None:
                self._many.discard(name)
            elif group.arms is group.names and group.row in computed.get(group.banked.width, ()):
                try:
                    group.values = worth(group.banked.bank.explain(group.row, len(group.names)))
                except Exception as error:  # the last values hold
                    self._failed(name, error)

    def rows(self) -> dict[str, Row]:
        """Rows of the table that the last step changed."""
        found: dict[str, Row] = {}
        for banked, lines in self._computed:
            names = np.unique(banked.row_of[lines])
            found.update(rows_of(banked, [banked.groups[row] for row in names.tolist()]))
        return found

    def all_rows(self) -> dict[str, Row]:
        """All rows of the table."""
        found: dict[str, Row] = {}
        for banked in self.banked.values():
            found.update(rows_of(banked, banked.groups))
        return found

    def gone(self) -> tuple[str, ...]:
        """Groups that were dropped since this was last asked."""
        gone, self._gone = tuple(self._gone), {}
        return gone

    # --- groups ------------------------------------------------------------------------------------------------------

    def _meet_all(self) -> None:
        if self._news:
            news, self._news = self._news, {}
            for name, arms in news:
                self._meet(name, arms)

    def _meet(self, name: str, arms: tuple[str, ...]) -> Group:
        group = self.groups.get(name)
        if group is None:
            group = self._new(name, arms)
        group.banked.flags[group.line_number] = 1
        places = group.places
        unseen = tuple([arm for arm in arms if arm not in places])
        if unseen:
            group = self._grow(group, unseen, arms)
        if len(arms) < len(group.places):
            self._touch(group, tuple(sorted(arms)))
        group.met = arms
        return group

    def _new(self, name: str, arms: tuple[str, ...]) -> Group:
        group = Group(name, *self._index(arms))
        self._place(group)
        self._enter(group)
        return group

    def _enter(self, group: Group) -> None:
        self.roll.enter(group)
        self.groups[group.name] = self._restructured[group.name] = group
        self._clock += 1
        group.banked.seen[group.row] = self._clock
        self._ages.add(group)
        while len(self.groups) > self._max_groups:
            self.drop(self._ages.oldest().name)

    def _index(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, int]]:
        """Names of arms and their places: the same objects for all groups that have the same."""
        found = self._places.get(names)
        if found is None:
            if len(self._places) > MAX_INDEXES:
                self._places.clear()
            found = self._places[names] = (names, {arm: at for at, arm in enumerate(names)})
        return found

    def _place(self, group: Group) -> None:
        """A row and a line in the bank that is wide enough."""
        width = next(width for width in WIDTHS if width >= len(group.names))
        banked = self.banked.get(width)
        if banked is None:
            banked = self.banked[width] = Banked(self._make(), width)
        banked.take_row(group)
        banked.bank.named(group.row, group.names)

    def _grow(self, group: Group, unseen: tuple[str, ...], latest: tuple[str, ...]) -> Group:
        """More arms; where they are too many, those that are in no set met lately go first."""
        names = group.names + unseen
        group.met = ()  # what was all of them may be a smaller set now
        if len(names) > MAX_ARMS:
            recent = {arm: None for arms in (latest, *reversed(group.set_lines or {})) for arm in arms}
            others = [arm for arm in reversed(names) if arm not in recent]
            kept = {*[*recent, *others][: max(len(latest), KEPT_ARMS)]}
            return self._rebuild(group, tuple([arm for arm in names if arm in kept]))
        if len(names) > group.banked.width:
            return self._rebuild(group, names)
        group.names, group.places = self._index(names)
        group.banked.ask(group.line_number, group.row, slice(len(names)))
        group.banked.bank.named(group.row, names)
        self._restructured[group.name] = group
        return group

    def _rebuild(self, group: Group, names: tuple[str, ...]) -> Group:
        """The group with other arms by place: in another row, with what is known of those that stay."""
        banked, row, before = group.banked, group.row, group.names
        self._learn_waiting(banked)
        names, places = self._index(names)
        state = banked.bank.moved(banked.bank.row(row), [places.get(arm, -1) for arm in before])
        seen, rewards, dirty = banked.seen[row], banked.rewards[row], banked.dirty[row]
        sets, left = group.set_lines, group.left or []
        for line in (group.line_number, *(sets or {}).values()):
            banked.stop_line(line)
            left.append((banked, line))
        banked.give_row(row)
        if names[: len(before)] == before:
            group.names, group.places = names, places
            self._place(group)
            self.roll.placed(group)
        else:  # who knows the old places knows the old group
            old, group = group, Group(group.name, names, places)
            group.arms, group.lists, group.at, group.sets, group.epoch = (
                *(old.arms, old.lists, old.at),
                *(old.sets, old.epoch),
            )
            self.roll.leave(old)
            self._place(group)
            self.roll.enter(group)
            self.groups[group.name] = group
        group.set_lines, group.left = None, left
        try:
            group.banked.bank.set_row(group.row, state)
        except Exception as error:  # it starts anew
            self._failed(group.name, error)
        group.banked.seen[group.row], group.banked.rewards[group.row] = seen, rewards
        group.banked.dirty[group.row] = dirty
        self._restructured[group.name] = group
        for arms in sets or ():
            if len(arms) < len(names) and all(arm in places for arm in arms):
                self._touch(group, arms)
        return group

    def _learn_waiting(self, banked: Banked) -> None:
        try:
            self._clock += banked.learn(self._clock)
        except Exception as error:
            self._failed("", error)

    def _touch(self, group: Group, arms: tuple[str, ...]) -> None:
        """A set of arms, sorted, that is smaller than all."""
        lines = group.set_lines
        if lines is None:
            lines = group.set_lines = {}
        line = lines.pop(arms, None)
        if line is None:
            line = group.banked.take_line(group.row, [group.places[arm] for arm in arms])
            self._restructured[group.name] = group
        lines[arms] = line
        if len(lines) > MAX_SETS:
            if group.banked.bank.by_means:
                self._many.add(group.name)
            oldest = lines.pop(next(iter(lines)))
            group.banked.stop_line(oldest)
            group.left = [*(group.left or ()), (group.banked, oldest)]

    # --- states ------------------------------------------------------------------------------------------------------

    def state(self, name: str) -> GroupState:
        """All that is known of a group. Raises KeyError."""
        self._meet_all()
        group = self.groups[name]
        self._learn_waiting(group.banked)
        state = group.banked.bank.row(group.row)
        return GroupState(name, group.epoch, self._policy, group.names, state, int(group.banked.rewards[group.row]))

    def put(self, state: GroupState) -> None:
        """The group as told, in place of what is known. Raises ConfigError, with nothing changed."""
        self._check(state)
        self._meet_all()
        fresh = Group(state.group, *self._index(state.arms))
        self._place(fresh)
        try:
            fresh.banked.bank.set_row(fresh.row, state.state)
        except BaseException:
            fresh.banked.give_line(fresh.line_number)
            fresh.banked.give_row(fresh.row)
            raise
        fresh.epoch = state.epoch
        fresh.banked.rewards[fresh.row] = state.rewards
        fresh.banked.dirty[fresh.row] = 1
        if state.group in self.groups:
            self._remove(state.group)
        self._enter(fresh)

    def absorb(self, state: GroupState, share: float) -> None:
        """Adds a share of what is known of another group to the one of that name. Raises ConfigError."""
        self._check(state)
        self._meet_all()
        group = self.groups.get(state.group)
        fresh = group is None
        if group is None:
            group = self._meet(state.group, state.arms)
        elif any(arm not in group.places for arm in state.arms):
            group = self._grow(group, tuple([arm for arm in state.arms if arm not in group.places]), state.arms)
        banked = group.banked
        self._learn_waiting(banked)
        try:
            places = [group.places.get(arm, -1) for arm in state.arms]
            moved = state.state if places == list(range(len(places))) else banked.bank.moved(state.state, places)
            banked.bank.absorb(group.row, moved, share)
        except BaseException:
            if fresh:
                self.drop(state.group)
            raise
        banked.rewards[group.row] += round(share * state.rewards)
        banked.flags[group.line_number] = banked.dirty[group.row] = 1

    def _check(self, state: GroupState) -> None:
        check_arms(state.arms)
        if state.policy != self._policy:
            raise ConfigError(
                f"group {state.group[:80]!r} is of policy {state.policy!r}, and decide.policy is {self._policy!r}"
            )

    def drop(self, name: str) -> None:
        """Forgets a group; none of that name: nothing to do."""
        if name in self.groups:
            self._gone[name] = None
            self._remove(name)

    def _remove(self, name: str) -> None:
        group = self.groups.pop(name)
        self._restructured.pop(name, None)
        banked = group.banked
        self._learn_waiting(banked)  # none of what waits may find another group in its row
        for line in (group.line_number, *(group.set_lines or {}).values()):
            banked.give_line(line)
        for other, line in group.left or ():
            other.give_line(line)
        banked.give_row(group.row)
        self.roll.leave(group)
        group.at = -1

    def changed(self) -> list[str]:
        """Groups that learned something since this was last asked."""
        found = []
        for banked in self.banked.values():
            rows = np.flatnonzero(np.frombuffer(banked.dirty, np.uint8))
            found += [group.name for row in rows.tolist() if (group := banked.groups[row]) is not None]
            banked.dirty[:] = bytes(len(banked.dirty))
        return found

    # --- for people --------------------------------------------------------------------------------------------------

    def explain(self, name: str) -> list[dict[str, Any]]:
        """Per arm: its name, its probability now, and what the policy says. Raises KeyError."""
        group = self.groups[name]
        line = group.line(group.at) if group.at >= 0 else {}
        said = group.banked.bank.explain(group.row, len(group.names))
        return [
            {"arm": arm, "probability": line.get(arm), **about} for arm, about in zip(group.names, said, strict=True)
        ]

    def favourites(self, limit: int) -> list[tuple[str, str, float, int]]:
        """Of the groups active last, latest first: (group, likeliest arm, its probability, rewards so far)."""
        latest = heapq.nlargest(limit, self.groups.values(), key=lambda group: group.banked.seen[group.row])
        found = []
        for group in latest:
            if group.at >= 0:
                arm, share = max(group.line(group.at).items(), key=lambda item: item[1])
                found.append((group.name, arm, share, int(group.banked.rewards[group.row])))
        return found
