"""The limits that a controller holds: journalled with the watchdog first, then written; restored as one."""

from __future__ import annotations

import threading
from pathlib import Path

from vagus.actuators import Actuator
from vagus.actuators.apply import LeftBehind, apply
from vagus.controllers.run import Planned, settle
from vagus.errors import ActuateError, Rejected
from vagus.model import Receipt, Target
from vagus.watchdog import Watchdog, recover


class Limits:
    """Writes planned limits; blocking, usable from several threads. `held` maps each limit to what it was before.

    The watchdog starts with the first write: a dry controller has no process beside it.
    """

    def __init__(self, actuator: Actuator, folder: Path, lease_s: float) -> None:
        self.lease_s = lease_s
        self.held: dict[tuple[Target, str], Receipt] = {}  # the first receipt, and the target as the actuator knows it
        self._resolved: dict[tuple[Target, str], Target] = {}
        self._actuator = actuator
        self._folder = folder
        self._watchdog = Watchdog(folder, lease_s)
        self._started = False
        self.permit = 0  # odd: writing is allowed; a step that began under another one writes no more
        self._writing = threading.Lock()
        self._in_force: dict[tuple[Target, str], float | None] = {}

    def allow(self) -> None:
        """Allows writing until `release`."""
        with self._writing:
            self.permit |= 1

    def recover(self) -> list[str]:
        """Undoes what an earlier life left behind, after its watchdog had its turn. Returns lines for people."""
        try:
            done = recover(self._folder, wait_s=self.lease_s + 2)
        except ActuateError as error:
            return [str(error)]
        undone = [f"restored {done.undone} limits left by an earlier life"] if done.undone else []
        return [*undone, *done.failures, *done.notes]

    def check(self) -> str:
        """Why nothing may be written in this step: the watchdog was lost; a new one is started. Empty when all is well."""
        if not self._started or self._watchdog.alive:
            return ""
        try:
            self._watchdog.start()
        except ActuateError as error:
            return f"the watchdog is gone and no new one starts: {error}"
        if self._watchdog.adopted:
            return f"the watchdog was killed; a new one took over its {self._watchdog.adopted} undo steps"
        self.held.clear()
        self._resolved.clear()
        return "the watchdog restored all limits, since it had not heard of this controller for too long"

    def perform(self, planned: Planned, permit: int) -> Receipt:
        """Journals, writes, verifies; the receipt says what became of it. Raises nothing of ours.

        permit: its value when the step began, so that a slow step cannot write what was planned before a release.
        """
        key = (planned.receipt.target, planned.receipt.resource)
        before = planned.receipt.before
        with self._writing:
            if not permit & 1 or permit != self.permit:
                return settle(planned, before, "disarmed while the step was taken")
            try:
                if not self._started:
                    self._watchdog.start()
                    self._started = True
                new = self._watchdog.journal(planned.plan.undo)
                try:
                    apply(planned.plan)
                except LeftBehind:
                    raise
                except Rejected:
                    self._watchdog.forget(new)
                    raise
                after = self._actuator.read(planned.action.target, planned.action.resource)
            except ActuateError as error:
                return settle(planned, before, str(error)[:1000])
            self.held.setdefault(key, planned.receipt)
            self._resolved[key] = planned.action.target
            self._in_force[key] = after
            return settle(planned, after)

    def beat(self) -> None:
        """Renews the lease, if there is a watchdog. A lost one is for `check` to see."""
        if self._started:
            try:
                self._watchdog.beat()
            except ActuateError:
                pass

    def release(self, node: str, controller: str, t_ns: int) -> tuple[list[Receipt], list[str]]:
        """Restores everything and ends the watchdog: receipts of that, and what could not be restored."""
        with self._writing:
            failures: list[str] = []
            self.permit += self.permit & 1
            if self._started:
                self._started = False
                try:
                    failures = list(self._watchdog.release())
                except ActuateError:  # it died, or restores by itself just now
                    self._watchdog.close()
                    failures = self._recover_failures()
            receipts = [self._restored(key, first, node, controller, t_ns) for key, first in self.held.items()]
            self.held.clear()
            self._resolved.clear()
            return receipts, failures

    def _recover_failures(self) -> list[str]:
        """What remains in force although it should not."""
        try:
            done = recover(self._folder, wait_s=self.lease_s + 2)
        except ActuateError as error:
            return [str(error)]
        return [*done.failures, *(done.notes if done.busy else ())]

    def _restored(self, key: tuple[Target, str], first: Receipt, node: str, controller: str, t_ns: int) -> Receipt:
        target, resource = key
        after, error = None, ""
        try:
            after = self._actuator.read(self._resolved[key], resource)
        except ActuateError as cause:
            error = str(cause)
        return Receipt(
            t_ns=t_ns,
            node=node,
            controller=controller,
            actuator=self._actuator.name,
            target=target,
            resource=resource,
            before=self._in_force.pop(key, None),
            requested=first.before,
            after=after,
            dry=False,
            reason="restored",
            error=error,
        )
