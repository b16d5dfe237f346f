"""The limits that a controller holds: journalled with the watchdog first, then written; restored as one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vagus.actuators import Actuator
from vagus.actuators.apply import apply
from vagus.controllers.acting import Ask, Forget, Keep, Read, Write, carry_out
from vagus.controllers.run import Planned, settle
from vagus.controllers.steering import Drift, Limited
from vagus.errors import ActuateError
from vagus.model import Receipt, Target
from vagus.undo import Step, undo
from vagus.watchdog import Lapsed, Watchdog, recover

DRIFT_RATIO = 0.01
_OF_THE_GROUP = frozenset({"drain", "return", "rmdir"})  # undo what was made for several limits


class Limits:
    """Writes planned limits; blocking, usable from several threads. `held` maps each limit to what it was before.

    The watchdog starts with the first write: a dry controller has no process beside it.
    """

    def __init__(self, actuator: Actuator, folder: Path, lease_s: float) -> None:
        self.lease_s = lease_s
        self.held: dict[Limited, Receipt] = {}  # the first receipt
        self.in_force: dict[Limited, float | None] = {}  # as the kernel keeps it
        self.failures = 0  # writes that failed in a row
        self._resolved: dict[Limited, Target] = {}  # as the actuator knows it
        self._journalled: dict[Limited, list[Step]] = {}
        self._wrote: dict[Limited, set[tuple[str, str, str]]] = {}  # what of it was changed
        self._actuator = actuator
        self._folder = folder
        self._watchdog = Watchdog(folder, lease_s)
        self._started = False
        self.permit = 0  # odd: writing is allowed; a step that began under another one writes no more
        self._writing = threading.Lock()

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
        if not self._started:
            return ""
        with self._writing:
            if not self._lease_holds():
                self._abandon()
                return "the watchdog restored all limits, since it had not heard of this controller for too long"
            if self._watchdog.alive:
                return ""
            try:
                self._watchdog.start()
            except ActuateError as error:
                return f"the watchdog is gone and no new one starts: {error}"
            return f"the watchdog was killed; a new one took over its {self._watchdog.adopted} undo steps"

    def _lease_holds(self) -> bool:
        """Whether the watchdog did not restore for want of a heartbeat. One that is gone did not: its journal stands."""
        try:
            self._watchdog.beat()
        except Lapsed:
            return False
        except ActuateError:
            pass
        return True

    def _abandon(self) -> None:
        try:
            self._watchdog.restore()
        except ActuateError:
            pass  # it is gone: its journal stands, and whoever starts next restores it
        self._forget_all()

    def perform(self, planned: Planned, permit: int) -> Receipt:
        """Journals, writes, verifies; the receipt says what became of it. Raises nothing of ours.

        permit: its value when the step began, so that a slow step cannot write what was planned before a release.
        """
        limited = (planned.receipt.target, planned.receipt.resource)
        with self._writing:
            if not permit & 1 or permit != self.permit:
                return settle(planned, planned.receipt.before, "disarmed while the step was taken")
            receipt = self._carry_out(planned, limited)
            if receipt.error:
                self.failures += 1
                return receipt
            self.failures = 0
            self.held.setdefault(limited, planned.receipt)
            self._resolved[limited] = planned.action.target
            self.in_force[limited] = receipt.after
            self._journalled.setdefault(limited, [])
            self._wrote.setdefault(limited, set()).update(step.key for step in planned.plan.steps)
            return receipt

    def perform_all(self, planned: Sequence[Planned], permit: int) -> list[Receipt]:
        """`perform`, one after the other; what a step plans twice for one target is planned anew the second time."""
        receipts: list[Receipt] = []
        changed: set[Target] = set()
        for one in planned:
            if one.action.target in changed:  # its group may be there by now: undoing this must not remove it
                try:
                    one = one._replace(plan=self._actuator.plan(one.action))
                except Exception as error:  # an actuator may be anyone's
                    receipts.append(settle(one, one.receipt.before, f"{error}"[:1000] or type(error).__name__))
                    continue
            changed.add(one.action.target)
            receipts.append(self.perform(one, permit))
        return receipts

    def _carry_out(self, planned: Planned, limited: Limited) -> Receipt:
        doing = carry_out(planned)
        answer: Any = None
        error: ActuateError | None = None
        try:
            while True:
                ask = doing.throw(error) if error is not None else doing.send(answer)
                answer, error = None, None
                try:
                    answer = self._do(ask, limited)
                except ActuateError as refused:
                    error = refused
                except Exception as broken:  # an actuator may be anyone's
                    error = ActuateError(f"{type(broken).__name__}: {broken}")
        except StopIteration as done:
            receipt: Receipt = done.value
            return receipt

    def _do(self, ask: Ask, limited: Limited) -> Any:
        if isinstance(ask, Keep):
            if not self._started:
                self._watchdog.start()
                self._started = True
            new = self._watchdog.journal(ask.steps)
            self._journalled.setdefault(limited, []).extend(new)
            return new
        if isinstance(ask, Write):
            return apply(ask.plan)
        if isinstance(ask, Read):
            return self._actuator.read(ask.target, ask.resource)
        if isinstance(ask, Forget):
            self._watchdog.forget(ask.steps)
            self._journalled[limited] = [s for s in self._journalled.get(limited, ()) if s not in ask.steps]
            return None
        return "; ".join(f"{step.op} {step.path}: {why}" for step, why in undo(ask.steps))

    def resolved(self) -> dict[Limited, float | None]:
        """The limits in force, by target as the actuator knows it."""
        with self._writing:
            return {(self._resolved[limited], limited[1]): value for limited, value in self.in_force.items()}

    def drifted(self) -> list[Drift]:
        """Limits in force that someone else changed. What cannot be read is no drift: its target may be gone."""
        found = []
        with self._writing:
            known = [(limited, wrote, self._resolved[limited]) for limited, wrote in self.in_force.items()]
        for limited, wrote, target in known:
            try:
                now = self._actuator.read(target, limited[1])
            except Exception:  # noqa: S112  an actuator may be anyone's; the step says what is wrong
                continue
            if now is None or wrote is None:
                if now is not wrote:
                    found.append(Drift(limited, wrote, now))
            elif abs(now - wrote) > DRIFT_RATIO * abs(wrote):
                found.append(Drift(limited, wrote, now))
        return found

    def give_up(self, limited: Limited) -> str:
        """Leaves a limit to whoever changed it: it will not be restored. Returns what went wrong.

        A group that was made for it goes all the same in the end, and others' limits in it with it.
        """
        with self._writing:
            steps = [step for step in self._journalled.get(limited, ()) if step.op not in _OF_THE_GROUP]
            kept: dict[Limited, list[Step]] = {}
            for other, keys in self._wrote.items():  # one undoing may stand for two limits: quota and burst
                if other != limited:
                    kept[other] = [step for step in steps if step.key in keys]
                    steps = [step for step in steps if step.key not in keys]
            try:
                self._watchdog.forget(tuple(steps))
            except ActuateError as error:
                return str(error)  # it is held still: the next step sees it drifted, and tries again
            for other, moved in kept.items():
                self._journalled[other] += moved
            for known in (self.held, self.in_force, self._resolved, self._journalled, self._wrote):
                known.pop(limited, None)
        return ""

    def beat(self) -> None:
        """Renews the lease, if there is a watchdog. A lost one is for `check` to see."""
        if self._started:
            try:
                self._watchdog.beat()
            except ActuateError:
                pass

    def restore(self, node: str, controller: str, t_ns: int) -> tuple[list[Receipt], list[str]]:
        """Restores everything, and stays ready to write: receipts of that, and what could not be restored."""
        with self._writing:
            failures: list[str] = []
            if self._started:
                try:
                    failures = list(self._watchdog.restore())
                except ActuateError:  # it died, or restores by itself just now: `check` starts another
                    failures = self._recover_failures()
            return self._restored(node, controller, t_ns), failures

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
            return self._restored(node, controller, t_ns), failures

    def _recover_failures(self) -> list[str]:
        """What remains in force although it should not."""
        try:
            done = recover(self._folder, wait_s=self.lease_s + 2)
        except ActuateError as error:
            return [str(error)]
        return [*done.failures, *(done.notes if done.busy else ())]

    def _restored(self, node: str, controller: str, t_ns: int) -> list[Receipt]:
        receipts = []
        for (target, resource), first in self.held.items():
            after, error = None, ""
            try:
                after = self._actuator.read(self._resolved[target, resource], resource)
            except Exception as cause:  # an actuator may be anyone's; restored it is
                error = str(cause) or type(cause).__name__
            receipts.append(
                Receipt(
                    t_ns=t_ns,
                    node=node,
                    controller=controller,
                    actuator=first.actuator,
                    target=target,
                    resource=resource,
                    before=self.in_force.get((target, resource)),
                    requested=first.before,
                    after=after,
                    dry=False,
                    reason="restored",
                    error=error,
                )
            )
        self._forget_all()
        return receipts

    def _forget_all(self) -> None:
        for kept in (self.held, self.in_force, self._resolved, self._journalled, self._wrote):
            kept.clear()
