"""Groups of about the same number of arms: rows of one bank, and the lines that are drawn from, computed all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from vagus.controllers.decide.drawing import ROUNDING, Known, Lists
from vagus.controllers.decide.records import ArmSet, Row
from vagus.policies import Bandit
from vagus.policies.bank import Bools, Floats, Ints

_FIRST = 64
TOLERANCE = 1e-6  # of the sum of a policy's probabilities

Again = Callable[[Bools], Floats]
Reweigh = Callable[[Sequence[str], Sequence[Sequence[str]], Bools, Floats, Again], Floats]


class Group(Known):
    """A group of the learner: what is drawn from now (Known), and what will be from the next computation on.

    names: arms by place, as far as they have been met; line_number: of the line over all of them; set_lines: by sorted
    arms, the one met last at the end; met: the arms of the last request looked at; left: lines that go when others
    stand ready. cell: the first of its row, in `cells`. number, tag: see Roll.
    """

    __slots__ = (
        "epoch",
        "left",
        "line_number",
        "met",
        "name",
        "number",
        "places",
        "row",
        "set_lines",
        "tag",
    )
    banked: Banked
    row: int
    cell: int
    number: int
    tag: int
    line_number: int

    def __init__(self, name: str, names: tuple[str, ...], places: dict[str, int]) -> None:
        super().__init__((), NONE, -1)
        self.name = name
        self.names = names
        self.places = places
        self.met: tuple[str, ...] = ()
        self.set_lines: dict[tuple[str, ...], int] | None = None
        self.left: list[tuple[Banked, int]] | None = None
        self.epoch = 0


NONE = Lists(0)


class Banked:
    """One bank with rows of `width` places. `flags` (a byte a line) marks those with news since the last computation.

    A line is a question to the bank: a row, and which of its places are feasible. Its answer stands in `lists` at
    `width` times its number.
    """

    def __init__(self, bank: Bandit, width: int) -> None:
        self.bank = bank
        self.width = width
        self.lists = Lists(width)
        self.groups: list[Group | None] = []
        self.flags = self.lists.flags
        self.dirty = bytearray()  # changed since somebody saved it
        self.seen: Ints = np.zeros(0, np.int64)  # when a row was last active, for who goes first
        self.rewards: Ints = np.zeros(0, np.int64)
        self.row_of: Ints = np.zeros(0, np.int64)  # by line; -1: not asked
        self.feasible: Bools = np.zeros((0, width), np.bool_)
        self._whole: Ints = np.zeros(0, np.int64)  # by row: the line over all its arms
        self._free_rows: list[int] = []
        self._free_lines: list[int] = []
        self.cells: list[int] = []  # of rewards that wait to be learned: row times width, plus place
        self.values: list[float] = []
        self._waiting: list[tuple[Ints, Ints, Floats]] = []  # the same, columns of them

    def __len__(self) -> int:
        return len(self.groups) - len(self._free_rows)

    # --- rows and lines ----------------------------------------------------------------------------------------------

    def take_row(self, group: Group) -> None:
        """Puts it in a row, empty."""
        if not self._free_rows:
            before = len(self.groups)
            size = max(_FIRST, 2 * before)
            self.bank.resize(size, self.width)
            self.groups += [None] * (size - before)
            self._whole = np.concatenate([self._whole, np.zeros(size - before, np.int64)])
            self.dirty += bytes(size - before)
            self.seen = np.concatenate([self.seen, np.zeros(size - before, np.int64)])
            self.rewards = np.concatenate([self.rewards, np.zeros(size - before, np.int64)])
            self._free_rows = list(range(size - 1, before - 1, -1))
        row = self._free_rows.pop()
        self.groups[row] = group
        group.banked, group.row, group.cell = self, row, row * self.width
        group.line_number = self.take_line(row, slice(len(group.names)))
        self._whole[row] = group.line_number
        self.flags[group.line_number] = 1

    def give_row(self, row: int) -> None:
        """The row is free again, and forgets."""
        self.bank.clear(row)
        self.groups[row] = None
        self.dirty[row] = 0
        self.seen[row] = self.rewards[row] = 0
        self._free_rows.append(row)

    def take_line(self, row: int, places: Sequence[int] | slice) -> int:
        """A line that asks for these places of a row from the next computation on."""
        if not self._free_lines:
            before = len(self.row_of)
            size = max(_FIRST, 2 * before)
            self.row_of = np.concatenate([self.row_of, np.full(size - before, -1, np.int64)])
            self.flags += bytes(size - before)
            self.feasible = np.concatenate([self.feasible, np.zeros((size - before, self.width), np.bool_)])
            for column in (self.lists.cumulated, self.lists.probabilities):
                column.frombytes(bytes(8 * self.width * (size - before)))
            self._free_lines = list(range(size - 1, before - 1, -1))
        line = self._free_lines.pop()
        self.ask(line, row, places)
        return line

    def ask(self, line: int, row: int, places: Sequence[int] | slice) -> None:
        """What a line asks for from the next computation on."""
        self.row_of[line] = row
        self.feasible[line] = False
        self.feasible[line, places] = True

    def stop_line(self, line: int) -> None:
        """The line is not computed any more; what stands in it stays."""
        self.row_of[line] = -1

    def give_line(self, line: int) -> None:
        """The line is free for others."""
        self.row_of[line] = -1
        self._free_lines.append(line)

    # --- learning ----------------------------------------------------------------------------------------------------

    def note(self, rows: Ints, places: Ints, values: Floats) -> None:
        """Rewards that wait to be learned, as columns."""
        self._gather()
        self._waiting.append((rows, places, values))

    def _gather(self) -> None:
        if self.cells:
            rows, places = np.divmod(np.array(self.cells), self.width)
            self._waiting.append((rows, places, np.array(self.values, np.float64)))
            self.cells.clear()
            self.values.clear()

    def learn(self, clock: int) -> int:
        """Hands what waits to the bank, oldest first; returns how many. Whatever the policy raises is raised."""
        self._gather()
        if not self._waiting:
            return 0
        rows, places, values = (
            self._waiting[0] if len(self._waiting) == 1 else map(np.concatenate, zip(*self._waiting, strict=True))
        )
        self._waiting = []
        np.frombuffer(self.flags, np.uint8)[self._whole[rows]] = 1
        np.frombuffer(self.dirty, np.uint8)[rows] = 1
        self.seen[rows] = np.arange(clock, clock + len(rows))
        self.rewards += np.bincount(rows, minlength=len(self.rewards))
        self.bank.learn(rows, places, values)
        return len(rows)

    # --- computing ---------------------------------------------------------------------------------------------------

    def compute(self, clock: int, reweigh: Reweigh | None) -> tuple[Ints, int]:
        """Asks the bank for all lines of rows with news; returns those answered well, and how many were not.

        What was not answered well stands as it was. Whatever the policy raises is raised.
        """
        flagged = self.row_of[np.flatnonzero(np.frombuffer(self.flags, np.uint8))]
        active = np.zeros(len(self.groups) + 1, np.bool_)  # one more for the lines that are nobody's
        active[flagged] = True
        active[-1] = False
        if not active.any():
            return np.zeros(0, np.int64), 0
        self.flags[:] = bytes(len(self.flags))
        self.seen[active[:-1]] = np.maximum(self.seen[active[:-1]], clock)
        lines = np.flatnonzero(active[self.row_of])
        rows, feasible = self.row_of[lines], self.feasible[lines]
        weights = np.asarray(self.bank.weights(rows, feasible), np.float64)
        if reweigh is not None:
            weights = self._reweighed(reweigh, rows, feasible, weights)
        return self._write(lines, feasible, weights)

    def _reweighed(self, reweigh: Reweigh, rows: Ints, feasible: Bools, weights: Floats) -> Floats:
        """All lines of each group, together."""
        known = np.array([self.groups[row] is not None for row in rows.tolist()])
        rows, feasible = rows[known], feasible[known]
        groups: list[Any] = [self.groups[row] for row in rows.tolist()]
        weights = weights.copy()
        weights[known] = reweigh(
            [group.name for group in groups],
            [group.names for group in groups],
            feasible,
            weights[known],
            lambda others: self.bank.weights(rows, others),
        )
        return weights

    def _write(self, lines: Ints, feasible: Bools, weights: Floats) -> tuple[Ints, int]:
        if weights.shape != feasible.shape:
            raise ValueError(f"weights of shape {weights.shape} for {feasible.shape}")
        with np.errstate(all="ignore"):  # what is no number is found below
            weights = weights * feasible
            total = weights @ np.ones(self.width)
            off = np.abs(total - 1.0)
        bad = 0
        if not (off.max() <= TOLERANCE and weights.min() >= 0.0):  # also where something is not a number
            good = (off <= TOLERANCE) & (weights >= 0.0).all(axis=1)
            bad = len(lines) - int(good.sum())
            lines, weights, total, off = lines[good], weights[good], total[good], off[good]
            if not len(lines):
                return lines, bad
        rough = off > ROUNDING
        if rough.any():
            weights[rough] /= total[rough, None]
        sums = np.cumsum(weights, axis=1)
        sums /= sums[:, -1:].copy()  # so that it is exactly 1 from the last possible place on
        np.frombuffer(self.lists.probabilities).reshape(-1, self.width)[lines] = weights
        np.frombuffer(self.lists.cumulated).reshape(-1, self.width)[lines] = sums
        return lines, bad


def rows_of(banked: Banked, groups: Sequence[Group | None]) -> Iterator[tuple[str, Row]]:
    """Rows of the table for those of the groups, of this bank, that are drawn from."""
    width = banked.width
    ready = [group for group in groups if group is not None and group.at >= 0]
    here = [group for group in ready if group.lists is banked.lists]
    table = np.frombuffer(banked.lists.probabilities).reshape(-1, width)
    lines = table[[group.at // width for group in here]].tolist() if here else []
    for group, line in zip(here, lines, strict=True):
        arms = group.arms
        yield group.name, Row(arms, tuple(line[: len(arms)]), _sets(group) if group.sets else (), b"", group.values)
    for group in ready:
        if group.lists is not banked.lists:  # it is new here, and drawn from elsewhere until it is computed
            yield group.name, Row(group.arms, tuple(group.line(group.at).values()), _sets(group), b"", group.values)


def _sets(group: Group) -> tuple[ArmSet, ...]:
    found = []
    for arms in group.set_lines or ():
        at = (group.sets or {}).get(arms)
        if at is not None:
            line = group.line(at)
            found.append(ArmSet(arms, tuple([line[arm] for arm in arms])))
    return tuple(found)
