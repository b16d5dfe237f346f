"""Local health awareness: how unwell this node itself is, and the time that it slept through."""

from __future__ import annotations

from vagus.model import MAX_DOUBT


class Awareness:
    """Lifeguard's local health multiplier: 0 when well, at most `most`; 0 for `most` turns it off.

    It goes up with probes that fail for reasons of our own (a missed nack, a suspicion of us that we had to refute,
    a late tick) and down by one with each success. Time-outs and intervals are stretched by 1 + it.
    Source: Dadgar, Phillips, Currey, Lifeguard (2017), section 3.1.
    """

    def __init__(self, most: int = MAX_DOUBT) -> None:
        self.most = most
        self.score = 0

    def add(self, change: int) -> None:
        """Worse by so much, or better."""
        self.score = min(max(self.score + change, 0), self.most)

    def scale(self, time_s: float) -> float:
        """A time-out or an interval, as long as it should be for who is so unwell."""
        return time_s * (1 + self.score)


class OwnTime:
    """A clock that stands still while its process does not run.

    What was due long ago when we come to look was not missed by others: we were stopped, starved or collecting
    garbage, and their answers wait in the socket's buffer. So that time counts for no time-out.
    """

    def __init__(self, tolerance_s: float) -> None:
        self.tolerance_s = tolerance_s
        self.slept_s = 0.0

    def wake(self, now_s: float, due_s: float) -> tuple[float, float]:
        """Own time at `now_s`, and how long was slept (0: not), given when (own time) something was due."""
        late_s = now_s - self.slept_s - due_s
        if late_s <= self.tolerance_s:
            return now_s - self.slept_s, 0.0
        self.slept_s += late_s
        return now_s - self.slept_s, late_s
