"""A controller on a node: gathers its view, takes a step behind the guard, acts through the watchdog, keeps receipts."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import msgspec
from msgspec.structs import replace

from vagus.actors.base import Actor, Links, Seat
from vagus.actors.claims import NodeClaims
from vagus.actors.lessons import LESSON_S, Lessons
from vagus.actors.limits import Limits
from vagus.actors.steered import Outside
from vagus.actors.targets import Targets
from vagus.actors.telling import Telling
from vagus.actuators.choose import choose
from vagus.actuators.process import read_meminfo_total
from vagus.clock import NS
from vagus.config import ControllerSettings, run_folder, seconds
from vagus.controllers.claims import shareable
from vagus.controllers.doubts import doubts_of, settling
from vagus.controllers.joint import JointController
from vagus.controllers.ladder import Doubt, Rung
from vagus.controllers.load import load, targets_of
from vagus.controllers.objective import Objective
from vagus.controllers.receipts import describe, worth_storing
from vagus.controllers.run import Outcome, refused
from vagus.controllers.steering import MANY_REFUSED, Sight, Steered, Steering
from vagus.controllers.view import Snapshot
from vagus.errors import ConfigError, VagusError
from vagus.model import (
    Acted,
    Action,
    ControlState,
    Event,
    Inference,
    Level,
    Metric,
    Outlook,
    Receipt,
    Report,
    Sample,
    Scalar,
    Status,
    Stream,
    Target,
)
from vagus.store import Store

MAX_LEASE_BLIND_S = 15.0  # a step that takes longer than this hangs: the lease is left to run out
UPKEEP_S = 60.0
TELL_PERIOD_S = 0.5
SELF_REPORT_S = 20.0
RECENT = 200
ACTUATOR_TTL_S = 45.0
STATE = "controller"
Foreseen = tuple[Stream, tuple[Outlook, ...]]


class ControllerActor(Actor):
    """Runs one controller of `controller.yaml`, or a user's class.

    seat.options: `controller` (ControllerSettings, or as builtins), `object` (a user's class or instance), `self_pid`
    (what pid:self means; the parent process by default), `root` (where proc/ and sys/ are).
    """

    role: ClassVar[str] = "controller"

    def __init__(self, seat: Seat, links: Links) -> None:
        super().__init__(seat, links)
        self.settings = _settings(seat)
        root = Path(str(seat.options.get("root", self.config.collect.root)))
        self._resource = next(iter(self.settings.limits), "cpu_cores")
        self._controller = load(self.settings, seat.options.get("object"))
        self._actuator = choose(self.settings.actuator, root, self.config.act, run_folder(Path(seat.home)))
        has = capacity(root)
        self._steering = Steering(self.settings, self._controller, self._actuator, has)
        self._limits = Limits(self._actuator, seat.folder / f"journal-{seat.label}", seconds(self.settings.lease))
        to_share = shareable(has, self.settings.guard)
        self._claims = NodeClaims(seat.folder / "claims.json", self.settings.name, to_share)
        self._objective = Objective(self.settings.objective)
        self._targets = Targets(
            targets_of(self.settings),
            getattr(self._controller, "further", ()),
            tuple(self.settings.limits),
            self._actuator,
            int(seat.options.get("self_pid") or os.getppid()),
            self.links,
        )
        self._outside = Outside(
            seat.node, self.settings, self._controller, self._targets.targets, self._steering.guard.bounds
        )
        self._armed = self.settings.armed
        if self._armed:
            self._limits.allow()
        self._stepping = asyncio.Lock()
        self._made_s = time.monotonic()
        self._failure = ""  # of the last step
        self._reported_s = -SELF_REPORT_S
        self._step_began_s = 0.0  # 0: no step is being taken
        self._stepped_s = self._made_s  # when a step was last taken
        self._told_refused = 0
        self._writing = f"write_{self.settings.name}"  # the context of what it says of the actuator
        self._trouble = ""  # why the target cannot be read or steered
        self._latest: dict[tuple[Target, str], Receipt] = {}
        self._stored: dict[tuple[Target, str], Receipt] = {}
        self._recent: deque[Receipt] = deque(maxlen=RECENT)
        self._previous: list[Receipt] = []
        self._events: list[Event] = []  # since the previous step
        self._unstored: list[Event] = []
        self._telling = Telling(seat.node, links, self._keep_events)
        self._lessons = Lessons.of(self._controller, str(seat.options.get("head") or seat.node), links)
        self._figures = {"steps": 0.0, "held": 0.0, "actions": 0.0, "step_s": 0.0}

    # --- for the runtime -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Restores what an earlier life left behind, then begins. Raises ConfigError, StoreError."""
        notes = await asyncio.to_thread(self._limits.recover)
        self.seat.store_path.parent.mkdir(parents=True, exist_ok=True)
        self._store = Store.open(self.seat.store_path, create=True, map_bytes=self.config.store.map_bytes)
        try:
            self._recent.extend(reversed(list(self._store.records("receipt", Receipt, limit=RECENT))))
            self._restore_state()
        except BaseException:
            self._store.close()
            raise
        for note in notes:
            self._event("controller.recovered", Level.WARNING, note=note)
        self.every(float(self._controller.period_s), self._step, "step")
        self.every(TELL_PERIOD_S, self._telling.flush, "tell")
        self.every(self._limits.lease_s / 3, self._beat, "heartbeat")
        self.every(seconds(self.config.store.sync), self._sync, "sync")
        self.every(UPKEEP_S, self._upkeep, "upkeep")
        if self._lessons is not None:
            self.every(LESSON_S, self._lessons.exchange, "lessons")

    async def stop(self) -> None:
        """Restores every limit, ends the watchdog, closes the store."""
        await self._release()
        self._telling.close()
        self._save_state()
        self._store.flush()
        self._store.sync()
        self._store.close()

    async def arm(self, on: bool) -> tuple[str, ...]:
        """Begins or ends acting; ending restores every limit. Returns lines for people."""
        if on and not self._armed:
            self._armed = True
            self._steering.armed()
            self._limits.allow()
            self._stored.clear()
            self._event("controller.armed", Level.WARNING)
        elif not on and self._armed:
            await self._release()
            self._event("controller.disarmed", Level.INFO)
        return self.notes()

    async def receipts(self, limit: int = 50) -> list[Receipt]:
        """The latest receipts kept, newest first."""
        return list(self._recent)[::-1][: max(0, limit)]

    async def control_state(self, after_ns: int = 0, wait_s: float = 0.0) -> ControlState:
        """What it sees and what is in force; see `Outside.state`."""
        return await self._outside.state(after_ns, wait_s)

    async def control_act(self, actions: Sequence[Action], wait_s: float = 0.0) -> Acted:
        """What is wished from outside, for the next step; see `Outside.act`. Raises ConfigError."""
        return await self._outside.act(actions, wait_s)

    def figures(self) -> dict[str, float]:
        own = self._controller.figures() if isinstance(self._controller, JointController) else {}
        own |= self._lessons.figures() if self._lessons is not None else {}
        return {
            **self._figures,
            **own,
            **(self._store.figures() if hasattr(self, "_store") else {}),  # it opens when it starts
            "armed": float(self._armed),
            "limits": float(len(self._limits.held)),
            "rung": float(list(Rung).index(self._steering.rung)),
            "writes_refused": float(self._limits.failures),
        }

    def notes(self) -> tuple[str, ...]:
        lines = [note for receipt in self._latest.values() if (note := describe(receipt))]
        if self._trouble:
            lines.append(self._trouble)
        if self._failure:
            lines.insert(0, f"its step fails and it does nothing, the limits in force stay: {self._failure}")
        return tuple(lines[:20])

    # --- a step ----------------------------------------------------------------------------------------------------

    async def _step(self) -> None:
        async with self._stepping:
            self._step_began_s = began_s = time.monotonic()
            try:
                await self._targets.find_processes()
                samples, inferences, doubts, outlooks = await self._gather()
                # a user's step may compute for long: beside the event loop, so that heartbeats and status go on
                outcome, receipts = await asyncio.to_thread(self._decide, samples, inferences, doubts, outlooks)
                self._stepped_s = time.monotonic()
            except Exception:
                blind_s = MAX_LEASE_BLIND_S + 2 * float(self._controller.period_s)
                if self._limits.held and time.monotonic() - self._stepped_s > blind_s:
                    self._keep(await asyncio.to_thread(self._restore))  # each step fails: nobody steers any more
                raise
            finally:
                self._step_began_s = 0.0
        self._figures["steps"] += 1
        self._figures["step_s"] = time.monotonic() - began_s
        self._figures["held"] += sum(receipt.note.startswith("held") for receipt in receipts)
        if outcome.failure:
            self.failed("step", VagusError(outcome.failure))
        # events of a user's step say whose they are
        self._unstored += (e if e.source else replace(e, source=self.settings.name) for e in outcome.events)
        self._keep(receipts)
        self._outside.stepped(receipts, self._armed, self._steering.rung.value)
        reports = [*outcome.reports, *self._of_itself(outcome.failure), *self._of_actuator()]
        if reports:
            await self.links.call(f"vagus:observer@{self.seat.node}", "report", reports)

    def _of_itself(self, failure: str) -> list[Report]:
        """Whether its steps succeed, as a report on itself: on change, and now and then."""
        now_s, changed = time.monotonic(), bool(failure) != bool(self._failure)
        self._failure = failure
        if not changed and now_s - self._reported_s < SELF_REPORT_S:
            return []
        self._reported_s = now_s
        observer, t_ns = f"controller@{self.seat.node}", time.time_ns()
        step = Metric(Status.UNHEALTHY if failure else Status.HEALTHY, float(self.errors))
        return [Report(observer, self.seat.name, t_ns, {"step": step})]

    def _of_actuator(self) -> list[Report]:
        """Whether writes are refused, as a report on the actuator, when one was refused or succeeds again.

        It lapses soon: who doubts the actuator for it writes nothing, and would never see that it works again.
        """
        refused = self._limits.failures
        if not self._armed or refused == self._told_refused:
            return []
        was, self._told_refused = self._told_refused, refused
        if max(was, refused) < MANY_REFUSED:
            return []
        write = Metric(Status.UNHEALTHY if refused >= MANY_REFUSED else Status.HEALTHY, float(refused))
        observer, subject = f"controller@{self.seat.node}", f"actuator:{self._actuator.name}@{self.seat.node}"
        contexts = {self._writing: write}
        return [Report(observer, subject, time.time_ns(), contexts, ttl_ns=round(ACTUATOR_TTL_S * NS))]

    async def _gather(self) -> tuple[list[Sample], list[Inference], list[Doubt], list[Foreseen]]:
        node, timeout_s = self.seat.node, min(5.0, max(1.0, float(self._controller.period_s)))
        wanted = [str(s) for s in getattr(self._controller, "selectors", ("*",))]
        wanted += [s for s in (*self._objective.selectors, *self._targets.selectors) if wanted != ["*"]]
        foreseen = [str(s) for s in getattr(self._controller, "foresees", ())]
        asked = await asyncio.gather(
            self.links.call(f"vagus:collector@{node}", "latest", wanted, timeout_s=timeout_s),
            self.links.call(f"vagus:observer@{node}", "inferences", "", timeout_s=timeout_s),
            self._foresee(node, foreseen, timeout_s),
            return_exceptions=True,
        )
        for answer in asked:
            if isinstance(answer, BaseException) and not isinstance(answer, VagusError):
                raise answer
        inferences: list[Inference] = [] if isinstance(asked[1], BaseException) else list(asked[1])
        if isinstance(asked[0], BaseException):
            return [], inferences, [Doubt(f"the collector does not answer: {asked[0]}"[:200], "sight")], []
        samples: list[Sample] = list(asked[0])
        max_age_s = max(5.0, 3 * self.config.collect.period_s)
        doubts = doubts_of(node, time.time_ns(), samples, inferences, max_age_s, self._actuator.name, self._writing)
        doubts += settling(self.seat.restarts, time.monotonic() - self._made_s)
        return samples, inferences, doubts, [] if isinstance(asked[2], BaseException) else asked[2]

    async def _foresee(self, node: str, wanted: list[str], timeout_s: float) -> list[Foreseen]:
        if not wanted:
            return []
        found: list[Foreseen] = await self.links.call(
            f"vagus:collector@{node}", "outlooks", wanted, timeout_s=timeout_s
        )
        return found

    def _decide(
        self, samples: list[Sample], inferences: list[Inference], doubts: list[Doubt], outlooks: list[Foreseen]
    ) -> tuple[Outcome, list[Receipt]]:
        """One step, in a thread of its own: decide, then act."""
        armed, permit = self._armed and not self._actuator.dry, self._limits.permit
        if armed and (lost := self._limits.check()):
            self._event("controller.watchdog_lost", Level.ERROR, note=lost)
            doubts = [*doubts, Doubt(lost, "hand")]
        by_target, wrong = self._targets.read(samples)
        unread = [target for target in self._targets.targets if target in wrong]
        trouble = "; ".join(wrong.values())[:1000]
        if len(unread) == len(self._targets.targets):  # one of several that is gone is no reason to leave the others
            doubts = [*doubts, Doubt(trouble, "hand")]
        events, self._events = self._events, []
        view = Snapshot(
            self.seat.node,
            time.time_ns(),
            samples,
            inferences,
            self._previous,
            events=events,
            signals=by_target.get(self._targets.targets[0]),
            outlooks=outlooks,
            by_target=by_target,
            objective=self._objective.read(samples, time.time_ns()),
        )
        self._outside.saw(view)
        grant = partial(self._claims.grant, take=armed)
        drifts = self._limits.drifted() if armed else ()
        steered = self._steering.step(
            Sight(
                view,
                time.monotonic_ns(),
                armed,
                doubts,
                dict(self._limits.in_force),
                drifts,
                self._limits.failures,
                grant,
                self._targets.resolve,
            )
        )
        for name, level, fields in steered.told:
            self._event(name, level, **fields)
        done = self._perform(steered, permit)
        outcome = steered.outcome
        if trouble and not outcome.receipts:  # nothing was asked for, since nothing could be seen
            outcome.receipts.append(refused(view, steered.bench, next(iter(wrong)), trouble, self._resource))
        self._trouble = trouble
        return outcome, [*outcome.receipts, *done]

    def _perform(self, steered: Steered, permit: int) -> list[Receipt]:
        """Writes what is planned, gives up, restores; then the claims are what is in force."""
        done = self._limits.perform_all(steered.outcome.planned, permit)
        self._figures["actions"] += sum(not receipt.error for receipt in done)
        for limited in steered.give_up:
            if wrong := self._limits.give_up(limited):
                self._event("controller.not_given_up", Level.ERROR, note=wrong)
        if steered.restore:
            done += self._restore()
        if permit & 1:  # also when it was disarmed meanwhile: what was granted since is given back
            self._claims.settle(self._limits.resolved())
        return done

    def _restore(self) -> list[Receipt]:
        receipts, failures = self._limits.restore(self.seat.node, self.settings.name, time.time_ns())
        for failure in failures:
            self._event("controller.not_restored", Level.ERROR, note=failure)
        return receipts

    # --- what is kept ----------------------------------------------------------------------------------------------

    def _keep(self, receipts: Sequence[Receipt]) -> None:
        """Remembers each; stores those that say something new, and each still standing one once a minute."""
        self._previous = list(receipts)
        for receipt in receipts:
            key = (receipt.target, receipt.resource)
            self._latest[key] = receipt
            if worth_storing(receipt, self._stored.get(key)):
                self._stored[key] = receipt
                self._recent.append(receipt)
                index = {"controller": receipt.controller, "target": str(receipt.target)}
                self._store.put("receipt", receipt, t_ns=receipt.t_ns, index=index)
        while len(self._latest) > RECENT:
            oldest = next(iter(self._latest))
            del self._latest[oldest]
            self._stored.pop(oldest, None)
        events, self._unstored = self._unstored, []
        for event in events:
            self._telling.note(event)
        self._store.flush()

    def _keep_events(self, events: Sequence[Event]) -> None:
        """What the collector does not take."""
        for event in events:
            self._store.put("event", event, t_ns=event.t_ns, index={"event": event.event})
        self._store.flush()

    def _event(self, name: str, level: Level, **fields: Scalar) -> None:
        event = Event(time.time_ns(), name, self.seat.node, level, self.settings.name, dict(fields))
        self._events = [*self._events[-100:], event]
        self._unstored.append(event)  # the store is written by the event loop's thread only

    async def _beat(self) -> None:
        began_s = self._step_began_s
        if began_s and time.monotonic() - began_s > max(MAX_LEASE_BLIND_S, self._limits.lease_s):
            return  # the step hangs: nobody steers any more
        await asyncio.to_thread(self._limits.beat)

    async def _release(self) -> None:
        self._armed = False
        receipts, failures = await asyncio.to_thread(
            self._limits.release, self.seat.node, self.settings.name, time.time_ns()
        )
        self._claims.settle({})
        for failure in failures:
            self._event("controller.not_restored", Level.ERROR, note=failure)
        self._stored.clear()
        self._keep(receipts)

    def _sync(self) -> None:
        # a few milliseconds once a second, in the event loop: no thread can still be in the store when it closes
        self._store.sync()

    def _upkeep(self) -> None:
        self._save_state()
        self._store.retain(seconds(self.config.store.retain), self.config.store.retain_bytes)

    def _restore_state(self) -> None:
        restore = getattr(self._controller, "restore", None)
        saved = self._store.load(STATE) if restore is not None else None
        if saved is None or restore is None:
            return
        try:
            restore(msgspec.json.decode(saved))
        except Exception as error:  # a user's code: a fresh start is safe
            self.failed("restoring the controller's state", error)

    def _save_state(self) -> None:
        state = getattr(self._controller, "state", None)
        if callable(state):
            try:
                self._store.save(STATE, msgspec.json.encode(state()))
            except Exception as error:  # a user's code may return anything
                self.failed("saving the controller's state", error)


def capacity(root: Path) -> dict[str, float]:
    """What the machine has: cores and bytes of memory."""
    return {"cpu_cores": float(os.cpu_count() or 1), "memory_bytes": read_meminfo_total(root)}


def _settings(seat: Seat) -> ControllerSettings:
    given = seat.options.get("controller")
    if isinstance(given, ControllerSettings):
        return given
    try:
        return msgspec.convert(cast("Any", given), ControllerSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"controller {seat.label!r}: {error}") from error
