"""Open decisions of one process as columns: an id says where its decision stands, and proves that it was given.

40 bytes a decision. The ids are made here, in bulk: half of one is a number that grows, half is random.
"""

from __future__ import annotations

import math
import os
import struct
from array import array
from typing import TYPE_CHECKING
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.model import Ack
from vagus.policies.bank import Bools, Floats, Ints

if TYPE_CHECKING:
    from vagus.controllers.decide.banked import Group

BLOCK = 1024  # ids made at once, at most
_NEVER = -(1 << 62)  # when an id was given that nobody has been told
ELSEWHERE = -1  # in `places`: see `strays`
_FIRST = 2048
NEWS, OTHER, REPEATED, UNKNOWN = 0, -3, -2, -1
ACKS = (Ack.ACCEPTED, Ack.IGNORED, Ack.ACCEPTED, Ack.FAILED)  # by these codes

_KEY = struct.Struct(">QQ")

Stray = tuple[str, str, tuple[str, ...]]


class Ring:
    """At most max_open decisions, for at most max_age_s; beyond those the oldest go. Numbers grow, places do not.

    groups, places: the group and which of its arms; or tags: the group by number, see Roll; or neither: strays has
    (group, arm, arms) by number. rewards: NaN while there is none.
    """

    def __init__(self, max_open: int, max_age_s: float) -> None:
        if max_open < 1 or not max_age_s > 0.0:
            raise ConfigError(f"max_open={max_open}, max_age_s={max_age_s} must be above 0")
        self._max_open = max_open
        self._max_age_ns = round(max_age_s * NS)
        self._block = max(1, min(BLOCK, max_open // 8))
        self._begin = int.from_bytes(os.urandom(6), "big") * BLOCK  # how many there were is nobody's business
        self._first = self._end = self._begin
        self._mask = _FIRST - 1
        self._nonces = array("Q", bytes(8 * _FIRST))
        self.groups: list[Group | None] = [None] * _FIRST
        self.tags = array("q", bytes(8 * _FIRST))
        self.places = array("h", bytes(2 * _FIRST))
        self._since = array("q", [_NEVER]) * _FIRST
        self._rewards = array("d", [math.nan]) * _FIRST
        self._marks: NDArray[np.int32] = np.zeros(0, np.int32)
        self.strays: dict[int, Stray] = {}
        self.ready: list[str] = []
        self.void = 0  # ids made, and not to be given
        self.rewarded = 0
        self.unjoined = 0  # rewards refused: decision unknown or aged out
        self.unrewarded = 0  # decisions that went without a reward
        _RINGS.add(self)

    def __len__(self) -> int:
        return self._end - len(self.ready) - self._first

    @property
    def figures(self) -> dict[str, float]:
        """Counts since the start, and how many are open."""
        return {
            "decisions": float(self._end - len(self.ready) - self._begin - self.void),
            "rewards": float(self.rewarded),
            "open": float(len(self)),
            "unjoined": float(self.unjoined),
            "unrewarded": float(self.unrewarded),
        }

    def more(self) -> str:
        """Fills `ready` with ids, the next one last, and gives one. Makes room for them first: the oldest go."""
        self.ready = self._make(self._block)[::-1].tobytes().hex(" ", 16).split(" ")
        return self.ready.pop()

    def _make(self, count: int) -> Ints:
        """Numbers and nonces of so many new ids, (count, 2) of big-endian uint64."""
        beyond = self._end + count - self._first - self._max_open
        if beyond > 0:
            self._forget(min(beyond, self._end - self._first))
        while self._end + count - self._first > self._mask + 1:
            self._mask = 2 * self._mask + 1  # each column behind itself: a number's new place has what its old one had
            self.groups += self.groups
            for column in (self._nonces, self.tags, self.places, self._since, self._rewards):
                column += column  # type: ignore[operator]
        keys = np.empty((count, 2), ">u8")
        keys[:, 0] = np.arange(self._end, self._end + count, dtype=np.uint64)
        keys[:, 1] = np.frombuffer(os.urandom(8 * count), np.uint64)
        at = np.arange(self._end, self._end + count) & self._mask
        np.frombuffer(self._nonces, np.uint64)[at] = keys[:, 1]
        np.frombuffer(self._since, np.int64)[at] = _NEVER
        np.frombuffer(self._rewards)[at] = np.nan
        np.frombuffer(self.tags, np.int64)[at] = -1
        self._end += count
        return keys

    # --- one at a time -----------------------------------------------------------------------------------------------

    def add(self, group: Group | None, place: int, now_ns: int) -> int:
        """The decision with the id that was just taken from `ready`; returns its number."""
        number = self._end - len(self.ready) - 1
        at = number & self._mask
        self.groups[at] = group
        self.places[at] = place
        self._since[at] = now_ns
        return number

    def join(self, decision_id: str, reward: float, now_ns: int) -> int:
        """The place in the columns of the decision that this reward is news for; below 0 `ACKS` says what else it is.

        REPEATED: the same reward again; OTHER: it has another one, which stays; UNKNOWN: no such decision, or too old.
        """
        try:
            number: int
            nonce: int
            number, nonce = _KEY.unpack(bytes.fromhex(decision_id))
        except (ValueError, TypeError, struct.error):
            number, nonce = -1, -1
        at = number & self._mask
        if number < self._first or self._nonces[at] != nonce or now_ns - self._since[at] > self._max_age_ns:
            self.unjoined += 1
            return UNKNOWN
        before = self._rewards[at]
        if before == before:
            return REPEATED if before == reward else OTHER
        self._rewards[at] = reward
        self.rewarded += 1
        return at

    def stray(self, at: int) -> Stray:
        """What stands at a place of the columns with ELSEWHERE."""
        return self.strays[self._first + ((at - self._first) & self._mask)]

    # --- many at a time ----------------------------------------------------------------------------------------------

    def add_many(self, tags: Ints, places: Ints, now_ns: int) -> Ints:
        """Decisions as columns; returns their ids as numbers and nonces, (n, 2) of big-endian uint64."""
        self._end -= len(self.ready)  # the numbers of ids that nobody has seen are used again
        self.ready = []
        count = len(tags)
        if count > self._max_open:
            raise ConfigError(f"{count} decisions at once, where at most {self._max_open} can wait for their outcome")
        begin = self._end
        keys = self._make(count)
        at = np.arange(begin, begin + count) & self._mask
        turn = min(count, self._mask + 1 - (begin & self._mask))  # what comes before the ring's end
        self.groups[begin & self._mask : (begin & self._mask) + turn] = [None] * turn
        self.groups[: count - turn] = [None] * (count - turn)
        np.frombuffer(self.tags, np.int64)[at] = tags
        np.frombuffer(self.places, np.int16)[at] = places
        np.frombuffer(self._since, np.int64)[at] = now_ns
        return keys

    def repeated(self, keys: Ints) -> Bools | None:
        """Which of these keys have a number that one before them has; None: all differ."""
        if len(self._marks) <= self._mask:
            self._marks = np.zeros(self._mask + 1, np.int32)
        at = (keys[:, 0] & np.uint64(self._mask)).astype(np.int64)
        order = np.arange(len(keys), dtype=np.int32)
        self._marks[at] = order
        if (self._marks[at] == order).all():
            return None
        self._marks[at[::-1]] = order[::-1]
        again: Bools = self._marks[at] != order
        return again

    def join_many(self, keys: Ints, rewards: Floats, now_ns: int) -> tuple[Ints, Bools, Ints]:
        """Rewards as columns, no key twice: places in the columns, for which of them it is news, and codes of `ACKS`."""
        numbers, nonces = keys[:, 0].astype(np.uint64), keys[:, 1].astype(np.uint64)
        at = (numbers & np.uint64(self._mask)).astype(np.int64)
        there = (numbers >= self._first) & (numbers < self._end)
        there &= np.frombuffer(self._nonces, np.uint64)[at] == nonces
        there &= np.frombuffer(self._since, np.int64)[at] >= now_ns - self._max_age_ns
        column = np.frombuffer(self._rewards)
        before = column[at]
        news = there & np.isnan(before)
        codes = np.where(there, np.where(before == rewards, REPEATED, OTHER), UNKNOWN)
        codes[news] = NEWS
        if news.all():
            column[at] = rewards
        else:
            column[at[news]] = rewards[news]
        self.rewarded += int(news.sum())
        self.unjoined += len(there) - int(there.sum())
        return at, news, codes

    # --- forgetting --------------------------------------------------------------------------------------------------

    def expire(self, now_ns: int) -> None:
        """Forgets what is too old. To be called now and then."""
        limit_ns = now_ns - self._max_age_ns
        while (count := min(len(self), 65_536)) > 0 and self._since[self._first & self._mask] < limit_ns:
            at = np.arange(self._first, self._first + count) & self._mask
            old = np.frombuffer(self._since, np.int64)[at] < limit_ns
            self._forget(count if old.all() else int(np.argmin(old)))

    def _forget(self, count: int) -> None:
        at = np.arange(self._first, self._first + count) & self._mask
        told = np.frombuffer(self._since, np.int64)[at] != _NEVER
        self.unrewarded += int((told & np.isnan(np.frombuffer(self._rewards)[at])).sum())
        if self.strays:
            for number in range(self._first, self._first + count):
                self.strays.pop(number, None)
        self._first += count


_RINGS: WeakSet[Ring] = WeakSet()


def _after_fork() -> None:
    for ring in _RINGS:
        ring.void += len(ring.ready)  # they are the parent's
        ring.ready.clear()


os.register_at_fork(after_in_child=_after_fork)
