"""Groups by number, for columns: what a decision in a ring refers to, however its group moves between banks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vagus.policies.bank import Ints

if TYPE_CHECKING:
    from vagus.controllers.decide.banked import Group

NUMBER = (1 << 32) - 1  # the bits of a tag that are the group's number; those above count who had it
_AGE = 1 << 32
_MOST_AGE = 1 << 30
MOST_KINDS = 100_000
MAX_LATE = 50_000


class Roll:
    """A tag names a group as long as the places of its arms mean the same; then the next tag with its number does not.

    groups: by number; tags, rows, widths, lines (where what is drawn from begins, -1: nowhere), kinds: columns of the
    same. kind: groups of the same arms in the same order have the same; -1: not known.
    """

    def __init__(self) -> None:
        self.groups: list[Group | None] = []
        self.tags: Ints = np.zeros(0, np.int64)
        self.rows: Ints = np.zeros(0, np.int64)
        self.widths: Ints = np.zeros(0, np.int64)
        self.lines: Ints = np.zeros(0, np.int64)
        self.kinds: Ints = np.zeros(0, np.int64)
        self.arms: list[tuple[str, ...]] = []  # by kind
        self._kinds: dict[tuple[str, ...], int] = {}
        self._free: list[int] = []
        self._late: dict[int, Group] = {}  # those that left
        self._later: dict[int, Group] = {}

    def enter(self, group: Group) -> None:
        """A number and a tag for it."""
        if not self._free:
            before = len(self.groups)
            more = max(64, before)
            self.groups += [None] * more
            self.tags = np.concatenate([self.tags, np.arange(before, before + more)])
            for name in ("rows", "widths", "lines", "kinds"):
                setattr(self, name, np.concatenate([getattr(self, name), np.full(more, -1)]))
            self._free = list(range(before + more - 1, before - 1, -1))
        group.number = number = self._free.pop()
        group.tag = int(self.tags[number])
        self.groups[number] = group
        self.kinds[number] = -1
        self.placed(group)

    def leave(self, group: Group) -> None:
        """Its tag is void, its number free; it has no row any more."""
        self._late[group.tag] = group
        if len(self._late) > MAX_LATE:
            self._later, self._late = self._late, {}
        number = group.number
        self.tags[number] = (group.tag + _AGE) % (_AGE * _MOST_AGE)
        self.groups[number] = None
        self.lines[number] = -1
        group.tag = group.cell = -1
        self._free.append(number)

    def of(self, tag: int) -> Group | None:
        """The group of a tag; one that left lately still knows its name and those of its arms."""
        if tag >= 0 and self.tags[tag & NUMBER] == tag:
            return self.groups[tag & NUMBER]
        return self._late.get(tag) or self._later.get(tag)

    def placed(self, group: Group) -> None:
        """It is in another row, and nothing is drawn from there yet."""
        self.lines[group.number] = -1
        self.rows[group.number] = group.row
        self.widths[group.number] = group.banked.width

    def published(self, group: Group) -> None:
        """It is drawn from another line, or for other arms."""
        kind = self._kinds.get(group.arms)
        if kind is None:
            if len(self.arms) >= MOST_KINDS:
                self.arms, self._kinds = [], {}
                self.kinds[:] = -1
            kind = self._kinds[group.arms] = len(self.arms)
            self.arms.append(group.arms)
        self.lines[group.number] = group.at
        self.kinds[group.number] = kind
