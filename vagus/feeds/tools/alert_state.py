"""The state machine of one alert of one subject. Pure: times and judgements in, what changed out.

A judgement is true, false, or None where it could not be made: that changes nothing, it neither begins nor ends an
alert. An alert begins when what was judged true has been so for `for_s`, from one judgement to another, none between
them false; it ends in the same way by `clear_s`. Between the two (hysteresis) it stays as it is.
"""

from __future__ import annotations

import enum
from collections import deque

import msgspec

from vagus.clock import NS

FLAP_WINDOW_S = 3600.0


class Change(enum.Enum):
    """What became of an alert."""

    BEGAN = "began"
    GOES_ON = "goes on"
    ENDED = "ended"


class Timing(msgspec.Struct, frozen=True):
    """How long, in seconds.

    most_begins: of one subject within an hour; after these an alert ends only once it was clear for an hour divided by
    this number, so that flapping is bounded and nothing that stands is kept back. repeat_s: 0 never.
    """

    for_s: float = 0.0
    clear_s: float = 0.0
    repeat_s: float = 0.0
    most_begins: int = 6

    @property
    def calm_s(self) -> float:
        """For how long what flaps must be clear."""
        return max(self.clear_s, FLAP_WINDOW_S / self.most_begins)


class AlertState:
    """One subject's alert: quiet, pending since `bad_since_ns`, or standing since `since_ns`."""

    __slots__ = ("_begins", "bad_since_ns", "clear_since_ns", "since_ns", "standing", "told_ns")

    def __init__(self) -> None:
        self.standing = False
        self.since_ns = 0  # when it was first judged true, of the alert that stands
        self.bad_since_ns: int | None = None
        self.clear_since_ns: int | None = None
        self.told_ns = 0
        self._begins: deque[int] = deque()

    def judged(self, bad: bool | None, clear: bool | None, timing: Timing, now_ns: int) -> Change | None:
        """Takes a judgement. Where time goes back, what was counted begins anew."""
        if self.standing:
            if clear:
                if self.clear_since_ns is None or now_ns < self.clear_since_ns:
                    self.clear_since_ns = now_ns
                if now_ns - self.clear_since_ns >= round(self._clear_s(timing, now_ns) * NS):
                    self.standing = False
                    self.clear_since_ns = None
                    return Change.ENDED
            elif clear is False or bad:
                self.clear_since_ns = None
        elif bad:
            if self.bad_since_ns is None or now_ns < self.bad_since_ns:
                self.bad_since_ns = now_ns
            if now_ns - self.bad_since_ns >= round(timing.for_s * NS):
                self._begin(timing, now_ns)
                return Change.BEGAN
        elif bad is False:
            self.bad_since_ns = None
        return self.passed(timing, now_ns)

    def _begin(self, timing: Timing, now_ns: int) -> None:
        self.standing = True
        self.since_ns = now_ns if self.bad_since_ns is None else self.bad_since_ns
        self.bad_since_ns = self.clear_since_ns = None
        self.told_ns = now_ns
        self._begins.append(now_ns)
        while len(self._begins) > timing.most_begins:
            self._begins.popleft()

    def _clear_s(self, timing: Timing, now_ns: int) -> float:
        return timing.calm_s if self.flapping(timing, now_ns) else timing.clear_s

    def flapping(self, timing: Timing, now_ns: int) -> bool:
        """Whether it began as often within the last hour as it may."""
        begins = self._begins
        return len(begins) >= timing.most_begins and 0 <= now_ns - begins[0] < FLAP_WINDOW_S * NS

    def passed(self, timing: Timing, now_ns: int) -> Change | None:
        """Time has passed: whether an alert that stands is to be told again."""
        self.told_ns = min(self.told_ns, now_ns)
        if self.standing and timing.repeat_s and now_ns - self.told_ns >= round(timing.repeat_s * NS):
            self.told_ns = now_ns
            return Change.GOES_ON
        return None

    @property
    def quiet(self) -> bool:
        """Whether nothing is lost when it is forgotten."""
        return not self.standing and self.bad_since_ns is None
