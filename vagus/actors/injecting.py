"""Performs injections behind a watchdog: one thread, any number of injections at once. Free of Ray: the command uses it.

Whoever is killed, nothing remains: without this process the watchdog performs its journal and the processes that strain
end with the line to them; without the watchdog a new one adopts the journal; without both the processes end all the
same, and steps are undone by the next `vagus inject`, `vagus up` or `vagus down` (`adopt`, `restore_limits`).
"""

from __future__ import annotations

import contextlib
import selectors
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vagus.actors.injecting_hands import Process, SystemHands
from vagus.actors.injecting_left import note
from vagus.clock import NS, Clock, SystemClock
from vagus.errors import ActuateError, ConfigError, VagusError
from vagus.injector import Prepared
from vagus.injector.events import Injected, begin_event, end_event
from vagus.injector.session import Outcome, Session, State
from vagus.model import Event
from vagus.watchdog import Watchdog, recover

LEASE_S = 5.0
TURN_S = 0.2


class Item(NamedTuple):
    """One injection of a timetable, seconds from its begin; `prepare` is asked right before. number: of its line."""

    begin_s: float
    end_s: float
    injected: Injected
    prepare: Callable[[], Prepared]
    number: int = 0


class Running(NamedTuple):
    """An injection at work, and which line of the timetable it is."""

    item: Item
    session: Session[Process]


def check_together(items: Sequence[Item], prepared: Mapping[int, Prepared]) -> None:
    """Raises ConfigError when two that are in force at the same time change the same thing: neither could be undone."""
    present: list[Item] = []
    for item in sorted(items, key=lambda item: item.begin_s):
        present = [other for other in present if other.end_s > item.begin_s]
        keys = {step.key for step in prepared[item.number].undo}
        for other in present:
            if keys & {step.key for step in prepared[other.number].undo}:
                raise ConfigError(
                    f"{other.injected.type} and {item.injected.type} on {item.injected.target or 'this machine'} overlap "
                    f"{item.begin_s:.3g} s after the begin, and change the same: let one begin `after` the other"
                )
        present.append(item)


class Injecting:
    """Runs a timetable of injections. `tell` is given each event, `look` what is at work, a few times a second.

    folder: of the watchdog's journal, of this run alone; removed at the end. Both calls must be quick.
    """

    def __init__(
        self,
        folder: Path,
        node: str,
        tell: Callable[[Event], None],
        look: Callable[[Sequence[Running], float], None] = lambda running, age_s: None,
        clock: Clock | None = None,
    ) -> None:
        self.folder = folder
        self.node = node
        self._tell = tell
        self._look = look
        self._clock = clock or SystemClock()
        self._watchdog = Watchdog(folder, LEASE_S)
        self._hands = SystemHands(self._watchdog)
        self._running: list[Running] = []
        self._done: list[tuple[Item, Outcome]] = []
        self._stop = ""
        self._selector = selectors.DefaultSelector()

    def stop(self, why: str = "interrupted") -> None:
        """Ends everything soon; may be called by a signal handler."""
        self._stop = why

    def run(self, items: Sequence[Item]) -> list[tuple[Item, Outcome]]:
        """Until all have ended; what became of each, in the order of their ends. What did not begin because of `stop`
        is not told. Raises ActuateError when there is no watchdog to begin with."""
        waiting = sorted(items, key=lambda item: item.begin_s)
        self._watchdog.start()
        begun_ns = self._clock.monotonic_ns()
        try:
            while (waiting or self._running) and not self._stop:
                age_s = (self._clock.monotonic_ns() - begun_ns) / NS
                while waiting and waiting[0].begin_s <= age_s and self._clear(waiting[0]):
                    self._begin(waiting.pop(0))
                self._look(self._running, age_s)
                self._wait(waiting[0].begin_s - age_s if waiting else TURN_S)
                self._guarded()
                for running in list(self._running):
                    running.session.turn()
                self._settle()
        finally:
            for running in self._running:
                running.session.end(self._stop or "interrupted")
            self._settle()
            self._selector.close()
            failures = self._release()
        if not failures:
            shutil.rmtree(self.folder, ignore_errors=True)
        return self._done

    # --- one turn ----------------------------------------------------------------------------------------------------

    def _clear(self, item: Item) -> bool:
        """Whether all that should have ended by now have: processes take a moment to begin, so they end later."""
        return all(running.item.end_s > item.begin_s for running in self._running)

    def _begin(self, item: Item) -> None:
        duration_s = item.injected.duration_s
        try:
            session = Session(item.prepare(), duration_s, self._hands, self._clock)
        except VagusError as error:
            self._done.append((item, Outcome(str(error))))
            return
        self._running.append(Running(item, session))
        session.begin()
        if session.state is State.STARTING:
            for number, process in enumerate(session.processes):
                self._selector.register(process.output, selectors.EVENT_READ, (session, number))
        self._in_force(self._running[-1], State.STARTING)

    def _wait(self, next_s: float) -> None:
        due_s = min([TURN_S, next_s, *(running.session.due_s for running in self._running)])
        for key, _ in self._selector.select(max(0.0, due_s)):
            session, number = key.data
            process = session.processes[number]
            before = session.state
            lines, open_ = process.lines()
            for line in lines:
                session.said(number, line)
            if not open_:
                self._selector.unregister(key.fileobj)
                session.lost(process.last_words())
            self._in_force(next(r for r in self._running if r.session is session), before)

    def _in_force(self, running: Running, before: State) -> None:
        if before is not State.IN_FORCE and running.session.state is State.IN_FORCE:
            event = begin_event(running.item.injected, running.session.begin_ns, self.node)
            note(self.folder, event)
            self._tell(event)

    def _guarded(self) -> None:
        """The watchdog hears of us; a killed one is replaced by one that adopts its journal."""
        with contextlib.suppress(ActuateError):
            if self._watchdog.alive:
                self._watchdog.beat()
                return
        try:
            self._watchdog.start()
        except ActuateError as error:
            self.stop(f"the watchdog is gone, and no new one starts: {error}")
            return
        if self._running and not self._watchdog.adopted:
            self.stop("the watchdog undid everything, since it had not heard of this process for too long")

    def _settle(self) -> None:
        """Tells of those that have ended."""
        for running in [r for r in self._running if r.session.state is State.ENDED]:
            self._running.remove(running)
            outcome = running.session.outcome
            assert outcome is not None
            for process in running.session.processes:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(process.output)
                process.close()
            self._done.append((running.item, outcome))
            if outcome.begin_ns:
                event = end_event(running.item.injected, outcome, self.node)
                note(self.folder, event)
                self._tell(event)

    def _release(self) -> tuple[str, ...]:
        try:
            return self._watchdog.release()
        except ActuateError:  # it was killed, or restores by itself just now
            self._watchdog.close()
        try:
            return recover(self.folder, wait_s=LEASE_S + 2).failures
        except ActuateError as error:
            return (str(error),)
