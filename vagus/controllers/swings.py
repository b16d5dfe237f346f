"""Oscillation of a limit: a policy that goes up and down and up again is held at the most that it gave."""

from __future__ import annotations

from typing import NamedTuple

SWING_RATIO = 0.1  # smaller ones hurt nobody
MAX_HOLD_FACTOR = 32


class _Course(NamedTuple):
    value: float
    up: bool
    turns: int  # in a row: each change went against the one before
    most: float  # of these
    held_until_ns: int = 0
    holds: int = 0  # one after the other: each is twice as long


class Swings:
    """Watches the changes of each limit; after `turns` in a row that each go against the one before, only more is given
    for `hold_s`, twice as long each time that the swinging goes on after it.

    A saw-tooth of many small steps up and one down is no oscillation: it turns twice in many changes.
    """

    def __init__(self, turns: int, hold_s: float) -> None:
        self._turns = turns
        self._hold_ns = round(hold_s * 1e9)
        self._courses: dict[object, _Course] = {}

    def most(self, key: object, now_ns: int) -> float | None:
        """The value that a swinging limit is held at for now, None when it does not swing."""
        course = self._courses.get(key)
        return course.most if course is not None and now_ns < course.held_until_ns else None

    def left_s(self, key: object, now_ns: int) -> float:
        """For how long it is still held there."""
        course = self._courses.get(key)
        return 0.0 if course is None else max(0, course.held_until_ns - now_ns) / 1e9

    def passed(self, key: object, before: float | None, value: float, now_ns: int) -> None:
        """A change of this limit was let through."""
        if before is None or self._turns <= 0:
            return
        up = value > before
        course = self._courses.get(key)
        if course is None:
            self._courses[key] = _Course(value, up, 0, max(before, value))
            return
        if abs(value - before) <= SWING_RATIO * before:
            return
        most = max(before, value, course.most if course.turns else 0.0)
        turns = course.turns + 1 if up != course.up else 0
        until_ns, holds = course.held_until_ns, course.holds if turns else 0
        if turns >= self._turns:
            until_ns = now_ns + min(self._hold_ns << holds, self._hold_ns * MAX_HOLD_FACTOR)
            turns, holds = self._turns - 2, min(holds + 1, 10)  # it need not swing all over again
        self._courses[key] = _Course(value, up, turns, most, until_ns, holds)

    def forget(self) -> None:
        """All courses: whose limits were restored, or targets without end."""
        self._courses.clear()
