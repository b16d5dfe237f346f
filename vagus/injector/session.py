"""One injection from its first process to the last undo step: a state machine over `Hands`, which touch the system.

The order is what makes it safe: a process waits for the word and ends with us until it is journalled; whatever it or a
step changes is in the journal before. So whoever is killed at any point leaves nothing: the processes end with the line
to them, the watchdog performs the journal.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from vagus.clock import NS, Clock
from vagus.errors import ActuateError
from vagus.injector import Prepared
from vagus.undo import Step

BEGIN_TIMEOUT_S = 120.0  # to load numpy in each: a starved machine, where injections are tried too, takes over 30 s
_LARGEST = ("_ms", "_ratio")  # of these the largest counts; all others add up

P = TypeVar("P")


class Hands(Protocol[P]):
    """Touches the system. All raise ActuateError."""

    def start(self, command: Sequence[str]) -> P:
        """A process that waits for the word, and ends when we do."""

    def ends(self, process: P) -> Step:
        """The step that ends it."""

    def journal(self, steps: Sequence[Step]) -> None:
        """Puts undo steps where they are performed when we are gone."""

    def enter(self, procs: str, process: P) -> None:
        """Moves it into a control group."""

    def release(self, process: P) -> None:
        """The word."""

    def perform(self, steps: Sequence[Step], undo: Sequence[Step]) -> None:
        """All of the steps or none."""

    def undo(self, steps: Sequence[Step]) -> tuple[str, ...]:
        """Undoes and forgets; returns what could not be undone."""


class State(enum.Enum):
    WAITING = "waiting"
    STARTING = "starting"
    IN_FORCE = "in force"
    ENDED = "ended"


class Outcome(msgspec.Struct, frozen=True):
    """What became of an injection. why: done, interrupted, or what went wrong; begin_ns 0: it never was in force.

    figures: its effect as far as it measures it itself; failures: what could not be undone.
    """

    why: str
    begin_ns: int = 0
    end_ns: int = 0
    figures: dict[str, float] = {}
    failures: tuple[str, ...] = ()

    @property
    def in_force_s(self) -> float:
        return (self.end_ns - self.begin_ns) / NS if self.begin_ns else 0.0


class Session(Generic[P]):
    """`begin`, then `said` with each line of a process and `turn` again and again, until it has ended; `end` ends it
    early. Nothing here waits or raises: what goes wrong ends it, and is its outcome."""

    def __init__(self, prepared: Prepared, duration_s: float, hands: Hands[P], clock: Clock) -> None:
        self.prepared = prepared
        self.duration_s = duration_s
        self.state = State.WAITING
        self.processes: list[P] = []
        self.outcome: Outcome | None = None
        self.begin_ns = 0
        self._hands = hands
        self._clock = clock
        self._undo: tuple[Step, ...] = ()
        self._ready: set[int] = set()
        self._begun: set[int] = set()
        self._figures: dict[int, Mapping[str, float]] = {}
        self._due_ns = 0

    @property
    def due_s(self) -> float:
        """Seconds until `turn` has something to do by itself."""
        if self.state in (State.WAITING, State.ENDED):
            return math.inf
        return max(0.0, (self._due_ns - self._clock.monotonic_ns()) / NS)

    def figures(self) -> dict[str, float]:
        """Of all processes together, as they said last."""
        total: dict[str, float] = {}
        for said in self._figures.values():
            for name, value in said.items():
                before = total.get(name, 0.0)
                total[name] = max(before, value) if name.endswith(_LARGEST) else before + value
        return total

    def begin(self) -> None:
        """Starts the processes, which get the word when all are loaded; without any, it is in force at once."""
        assert self.state is State.WAITING
        self.state = State.STARTING
        self._due_ns = self._clock.monotonic_ns() + round(BEGIN_TIMEOUT_S * NS)
        try:
            for command in self.prepared.commands:
                self.processes.append(self._hands.start(command))
            ends = tuple(self._hands.ends(process) for process in self.processes)
            # what processes serve goes before them, what they may leave after them
            undo = (*self.prepared.undo, *ends) if self.prepared.steps else (*ends, *self.prepared.undo)
            self._undo = ends  # what another injection has in force is that one's to undo
            if undo:
                self._hands.journal(undo)
            self._undo = undo
            if not self.processes:
                self._enforce()
        except ActuateError as error:
            self.end(str(error))

    def said(self, number: int, line: Mapping[str, Any]) -> None:
        """A line of the process with that number: that it is loaded, that it has begun, or its figures."""
        for word, reached, act in (("ready", self._ready, self._release), ("begun", self._begun, self._enforce)):
            if line.get(word):
                reached.add(number)
                if len(reached) == len(self.processes) and self.state is State.STARTING:
                    try:
                        act()
                    except ActuateError as error:
                        self.end(str(error))
                return
        self._figures[number] = {
            str(name): float(value)
            for name, value in line.items()
            if isinstance(value, (int, float)) and math.isfinite(value)
        }

    def lost(self, words: str) -> None:
        """A process ended by itself."""
        if self.state in (State.STARTING, State.IN_FORCE):
            self.end(f"a process that strains ended by itself: {words or 'it said nothing'}")

    def turn(self) -> None:
        """Ends what is due to end."""
        if self.state is State.STARTING and self.due_s == 0:
            self.end(
                f"its processes did not begin within {BEGIN_TIMEOUT_S:g} s: try again when the machine is less busy"
            )
        elif self.state is State.IN_FORCE and self.due_s == 0:
            self.end("done")

    def end(self, why: str) -> None:
        """Undoes everything; does nothing when it has ended."""
        if self.state is State.ENDED:
            return
        begun, self.state = self.state is State.IN_FORCE, State.ENDED
        end_ns = self._clock.time_ns() if begun else 0
        try:
            failures = self._hands.undo(self._undo) if self._undo else ()
        except ActuateError as error:
            failures = (str(error),)
        self.outcome = Outcome(why, self.begin_ns if begun else 0, end_ns, self.figures() if begun else {}, failures)

    def _release(self) -> None:
        for process in self.processes:
            for procs in self.prepared.enter:
                self._hands.enter(procs, process)
        for process in self.processes:
            self._hands.release(process)

    def _enforce(self) -> None:
        if self.prepared.steps:
            self._hands.perform(self.prepared.steps, self.prepared.undo)
        self.state = State.IN_FORCE
        self.begin_ns = self._clock.time_ns()
        self._due_ns = self._clock.monotonic_ns() + round(self.duration_s * NS)
