"""The injections of a run, in a thread beside the load."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from vagus.actors.injecting import Injecting, Item, Running, check_together
from vagus.actors.injecting_left import folder_of
from vagus.cli.experiment.slo_injections import later
from vagus.cli.experiment.slo_results import Injected
from vagus.cli.inject_events import Telling
from vagus.cli.inject_run import items_of
from vagus.client.endpoint import Endpoint
from vagus.clock import NS
from vagus.errors import VagusError
from vagus.injector.campaign import Due
from vagus.injector.session import Outcome
from vagus.model import Event

END_S = 30.0


class Hogs:
    """plan: targets are groups; times count from the measured part's begin. Checks all of it. Raises VagusError."""

    def __init__(self, plan: Sequence[Due], campaign: str, home: Path, found: Endpoint) -> None:
        self.problem = ""
        self._plan = [due._replace(number=number) for number, due in enumerate(plan)]  # each has a target of its own
        self._campaign = campaign
        self._run = secrets.token_hex(6)
        items, prepared = items_of(self._plan, self._run, campaign)
        check_together(items, prepared)
        self._found = found
        self._injecting = Injecting(folder_of(home, found.node, self._run), found.node, self._tell, self._look)
        self._telling: Telling | None = None
        self._done: list[tuple[Item, Outcome]] = []
        self._thread: threading.Thread | None = None
        self.present = ""  # what is hit now

    def start(self, zero_s: float) -> None:
        """zero_s: the monotonic time at which the measured part begins."""
        if not self._plan:
            return
        self._telling = Telling(self._found)
        self._thread = threading.Thread(target=self._go, args=(zero_s,), name="vagus experiment hogs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends and undoes what is at work. Idempotent."""
        self._injecting.stop()
        if self._thread is not None:
            self._thread.join(END_S)
            if self._thread.is_alive():
                self.problem = self.problem or f"an injection did not end within {END_S:g} s"
            self._thread = None
        if self._telling is not None:
            self._telling.close()
            self.problem = self.problem or self._telling.problem
            self._telling = None

    def injected(self, begin_ns: int) -> tuple[Injected, ...]:
        """What was done, the first one first. begin_ns: wall time of the measured part's begin."""
        found = []
        for item, outcome in self._done:
            due = self._plan[item.number]
            begin_s, end_s = due.begin_s, due.begin_s
            if outcome.begin_ns:
                begin_s, end_s = (outcome.begin_ns - begin_ns) / NS, (outcome.end_ns - begin_ns) / NS
            found.append(
                Injected(
                    type=due.settings.type,
                    service=due.settings.component,
                    intensity=item.injected.intensity,
                    begin_s=round(begin_s, 3),
                    end_s=round(end_s, 3),
                    why="; ".join((outcome.why, *outcome.failures)),
                )
            )
        return tuple(sorted(found, key=lambda one: one.begin_s))

    def _go(self, zero_s: float) -> None:
        try:
            items, _ = items_of(later(self._plan, zero_s - time.monotonic()), self._run, self._campaign)
            self._done = self._injecting.run(items)
        except VagusError as error:
            self.problem = str(error)

    def _tell(self, event: Event) -> None:
        if self._telling is not None:
            self._telling.put(event)

    def _look(self, running: Sequence[Running], age_s: float) -> None:
        self.present = ", ".join(one.item.injected.component for one in running)
