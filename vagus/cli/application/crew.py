"""The replicas of one service: which there should be, and what to do about the difference. Pure.

starting → serving → draining → ending, and gone. One that is to go is first taken off the list of addresses, then left
alone until all callers have seen that, then asked to end. One that died is replaced, after failed starts later and later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

DRAIN_S = 0.5  # for callers to read the list of addresses anew
TERM_S = 8.0  # to finish what is in flight
CANNOT = 126  # the status of what could not be started, as in a shell
MAX_PAUSE_S = 30.0  # before a start is tried again

State = Literal["starting", "serving", "draining", "ending"]
Todo = Literal["start", "admit", "withdraw", "end", "kill", "bury"]


class Order(NamedTuple):
    """What to do with a replica. start: its process; admit: it is ready, callers may know; withdraw: they may not any
    longer; end: gently; kill: at once; bury: it has ended."""

    todo: Todo
    number: int


class Death(NamedTuple):
    """A replica that ended though nobody asked. status: of exit, negative the signal; None: it was never ready in time."""

    number: int
    status: int | None
    served: bool


class Crew:
    """ready_s: how long a start may take. wanted: how many shall serve."""

    def __init__(self, wanted: int, ready_s: float) -> None:
        self.wanted = wanted
        self.ready_s = ready_s
        self.deaths: list[Death] = []
        self.failures = 0  # starts in a row that came to nothing
        self._states: dict[int, tuple[State, float]] = {}
        self._not_before = 0.0

    def numbers(self, *states: State) -> list[int]:
        """The replicas in these states, in order."""
        return sorted(number for number, (state, _) in self._states.items() if state in states)

    @property
    def settled(self) -> bool:
        """Whether as many serve as are wanted, and nothing else is there."""
        return len(self._states) == self.wanted == len(self.numbers("serving"))

    def step(self, now_s: float, ended: Mapping[int, int], ready: frozenset[int]) -> list[Order]:
        """What to do now, in order. ended: exit status of the replicas that have ended; ready: who answered."""
        orders: list[Order] = []
        for number, status in ended.items():
            self._gone(number, status, now_s)
            orders.append(Order("bury", number))
        for number in self.numbers("starting"):
            if number in ready:
                self._states[number] = ("serving", now_s)
                self.failures = 0
                orders.append(Order("admit", number))
            elif now_s - self._states[number][1] > self.ready_s:
                self._failed(Death(number, None, False), now_s)
                self._states[number] = ("ending", now_s)
                orders.append(Order("kill", number))
        for number in self.numbers("draining"):
            if now_s - self._states[number][1] >= DRAIN_S:
                self._states[number] = ("ending", now_s)
                orders.append(Order("end", number))
        for number in self.numbers("ending"):
            since_s = self._states[number][1]
            if now_s - since_s >= TERM_S:
                self._states[number] = ("ending", now_s)  # once more, should it survive
                orders.append(Order("kill", number))
        return orders + self._adjust(now_s)

    def refused(self, number: int, now_s: float) -> None:
        """The start that was just ordered could not be."""
        self._gone(number, CANNOT, now_s)

    def _adjust(self, now_s: float) -> list[Order]:
        orders: list[Order] = []
        there = self.numbers("starting", "serving")
        for _ in range(self.wanted - len(there)):
            if now_s < self._not_before:
                break
            number = next(n for n in range(len(self._states) + 1) if n not in self._states)
            self._states[number] = ("starting", now_s)
            orders.append(Order("start", number))
        surplus = len(there) - self.wanted
        # the newest go first, and those that nobody knows of yet before those that serve
        for number in sorted(there, key=lambda n: (self._states[n][0] == "serving", -n))[: max(0, surplus)]:
            serving = self._states[number][0] == "serving"
            self._states[number] = ("draining" if serving else "ending", now_s)
            orders.append(Order("withdraw" if serving else "end", number))
        return orders

    def _gone(self, number: int, status: int, now_s: float) -> None:
        state, _ = self._states.pop(number, ("ending", 0.0))
        if state == "starting":
            self._failed(Death(number, status, False), now_s)
        elif state == "serving":
            self.deaths.append(Death(number, status, True))

    def _failed(self, death: Death, now_s: float) -> None:
        self.deaths.append(death)
        self.failures += 1
        self._not_before = now_s + min(MAX_PAUSE_S, 0.5 * 2.0 ** min(self.failures - 1, 10))
