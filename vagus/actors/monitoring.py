"""Keeps a monitoring group of resctrl for each target of `collect.resctrl_monitor`, so that the occupancy of the cache
and the memory bandwidth of each are sensed. A watchdog removes the groups when the collector is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from vagus.actuators.apply import LeftBehind, apply
from vagus.actuators.resctrl import Resctrl
from vagus.errors import ActuateError, Rejected
from vagus.model import Action, Target
from vagus.watchdog import Lapsed, Watchdog, recover

PERIOD_S = 5.0
LEASE_S = 60.0
RECOVER_S = 5.0


class Monitoring:
    """Blocking, usable from several threads. `problems` says which targets are not monitored, and why.

    Targets that have just started, and threads that were made elsewhere, are taken in at the next `step`.
    """

    def __init__(self, targets: Sequence[str], root: Path, folder: Path) -> None:
        self.targets = tuple(map(Target.parse, targets))
        self.problems: dict[str, str] = {}
        self._actuator = Resctrl(root)
        self._folder = folder
        self._watchdog = Watchdog(folder, LEASE_S)
        self._began = self._ended = False
        self._mutex = threading.Lock()

    def step(self) -> None:
        """Makes what is missing. Raises nothing of ours: see `problems`."""
        with self._mutex:
            if self._ended:
                return
            if not self._began:
                self._began = True
                self._tell("what was left", self._recover)
            self._tell("watchdog", self._beat)
            for target in self.targets:
                self._tell(str(target), partial(self._monitor, target))

    def stop(self) -> None:
        """Removes the groups. Idempotent."""
        with self._mutex:
            self._ended = True
            if self._watchdog.alive:
                self._tell("watchdog", self._watchdog.release)
            self._watchdog.close()

    def notes(self) -> list[str]:
        """Lines for people."""
        return [f"{what}: {why}"[:500] for what, why in self.problems.items()]

    def _tell(self, what: str, do: Callable[[], object]) -> None:
        try:
            do()
            self.problems.pop(what, None)
        except ActuateError as error:
            self.problems[what] = f"not monitored by resctrl: {error}"

    def _recover(self) -> None:
        recover(self._folder, wait_s=RECOVER_S)

    def _beat(self) -> None:
        if self._watchdog.alive:
            try:
                self._watchdog.beat()
            except Lapsed:
                self._watchdog.restore()  # we were stopped for long, and the groups are gone: they are made anew

    def _monitor(self, target: Target) -> None:
        plan = self._actuator.plan(Action(target, "monitor", 1.0))
        if not plan.steps:
            return
        if not self._watchdog.alive:
            self._watchdog.start()
        new = self._watchdog.journal(plan.undo)
        try:
            apply(plan)
        except LeftBehind:
            raise
        except Rejected:
            self._watchdog.forget(new)
            raise
