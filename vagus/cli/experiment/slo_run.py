"""One run of `vagus experiment slo`: the application deployed, loaded, disturbed and steered, and all of it undone."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil

from vagus.actuators.apply import apply
from vagus.actuators.choose import choose
from vagus.cli.application import Deployment
from vagus.cli.demo.unbroken import unbroken
from vagus.cli.experiment import slo_measure as measure
from vagus.cli.experiment import slo_steps
from vagus.cli.experiment.slo_given import Given
from vagus.cli.experiment.slo_hogs import Hogs
from vagus.cli.experiment.slo_injections import aimed, timetable
from vagus.cli.experiment.slo_load import Load
from vagus.cli.experiment.slo_plan import Turn
from vagus.cli.experiment.slo_results import Plan, Run
from vagus.cli.experiment.slo_sampling import Groups, Sampler
from vagus.cli.experiment.slo_variants import controller, objective_of, with_files
from vagus.cli.openloop.log import Log, read_log
from vagus.cli.openloop.plan import Plan as LoadPlan
from vagus.cli.openloop.trace import slice_of
from vagus.client.connection import Connection
from vagus.client.endpoint import find
from vagus.clock import NS
from vagus.config import ControllerSettings, VariantSettings, seconds
from vagus.errors import ConfigError, VagusError
from vagus.model import Action, ActorStatus, Target
from vagus.runtime.spawn import remove, spawn

LOAD_STARTS_S = 2.0  # a process that imports numpy
ALONE = 1 / 3  # of the warm-up passes before the controller begins
HOGS_START_S = 2.0
LATE_S = 0.05  # a load that is later than that measures itself
TURN_S = 0.1
TRACE_RATIO = "0.02"

Look = Callable[[float, str], None]
"""Told seconds since the measured part began, and what there is to see."""


class Stage(NamedTuple):
    """What all runs share. folder: for the results; home: of the experiment's own cluster; scratch: a folder."""

    plan: Plan
    given: Given
    folder: Path
    home: Path
    scratch: Path


class Measured(NamedTuple):
    """What a controller was seen to do at the two ends of the measured part."""

    before: ActorStatus | None
    after: ActorStatus | None
    machine_ratio: float | None
    controlled_from_s: float | None


def perform(stage: Stage, turn: Turn, look: Look) -> Run:
    """Runs a variant on a seed's slice. Raises VagusError; whatever happens, nothing is left behind."""
    variant = next(v for v in stage.plan.variants if v.name == turn.variant)
    variant = with_files(variant, stage.given.app_folder)
    begun = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with contextlib.ExitStack() as stack:
        try:
            return _Performance(stage, turn, variant, look, stack).run(begun)
        finally:
            with unbroken():
                stack.close()


class _Performance:
    def __init__(
        self, stage: Stage, turn: Turn, variant: VariantSettings, look: Look, stack: contextlib.ExitStack
    ) -> None:
        self.stage, self.turn, self.variant, self.look = stage, turn, variant, look
        self.name = f"slo-{turn.variant}-{turn.seed}"[:64]
        self.stack = stack
        self.notes: list[str] = []
        self.app: Deployment | None = None

    def run(self, begun: str) -> Run:
        stage, plan = self.stage, self.stage.plan
        self.look(-plan.warm_s, "deploying")
        app = self.app = self._deployed()
        groups = Groups({service: app.group(service) for service in plan.services})
        self._limit_first(app)
        load = self._load(app)
        zero_s = time.monotonic() + (load.plan.begin_ns - time.time_ns()) / NS
        found = find(home=stage.home, here=True)
        hogs = Hogs(self._hits(app), plan.inject, stage.home, found)
        sampler = Sampler(groups, app.replicas, zero_s)
        settings = self._controller(app)
        self.stack.callback(sampler.stop)
        self.stack.callback(load.stop)
        load.start()
        sampler.start()
        with Connection(found.url, found.token) as connection:
            seen = self._measured(settings, connection, load, hogs, zero_s)
            self.look(plan.run_s, "collecting")
            hogs.stop()
            sampled = sampler.stop()
            run = self._figures(begun, load, sampled, hogs)
            run = msgspec.structs.replace(
                run,
                machine_ratio=seen.machine_ratio,
                steps=self._steps(connection, seen, load.begin_ns) if settings else run.steps,
            )
        if seen.controlled_from_s is not None and seen.controlled_from_s > 0:
            self.notes.append(f"its controller acted only from {seen.controlled_from_s:.1f} s on")
        self.notes += [f"{d.service}, replica {d.replica}, ended by itself and was replaced" for d in app.dead()[:5]]
        self.notes += [problem for problem in (sampler.problem, hogs.problem) if problem]
        return msgspec.structs.replace(run, notes=tuple(self.notes))

    # --- before ------------------------------------------------------------------------------------------------------

    def _deployed(self) -> Deployment:
        stage = self.stage
        app = Deployment(
            stage.given.settings,
            stage.given.app_folder,
            stage.scratch / self.name,
            environment={"VAGUS_HOME": str(stage.home), "VAGUS_TRACE_RATIO": TRACE_RATIO},
            replica_cores=self.variant.replica_cores,
        )
        self.stack.callback(self._stop, app)
        app.start()
        if not app.confined:
            raise ConfigError(f"the experiment needs control groups: {app.unconfined}")
        return app

    def _stop(self, app: Deployment) -> None:
        app.stop()
        self.notes += [f"left behind: {problem}" for problem in app.problems]

    def _limit_first(self, app: Deployment) -> None:
        """What is in force when the run begins. Replicas of a size have theirs; those that cannot be several get
        start_cores for good, as in Kubernetes each container has a limit of its own."""
        if not self.variant.policy:
            return
        actuator = choose("auto")
        for service in self.stage.given.settings.services:
            group = app.group(service.name)
            if self.variant.replica_cores:
                if service.scales:
                    continue
                group = _first_replica(group)
            apply(actuator.plan(Action(Target("cgroup", group), "cpu_cores", self.variant.start_cores)))

    def _load(self, app: Deployment) -> Load:
        stage, plan = self.stage, self.stage.plan
        log = stage.folder / "logs" / f"{self.turn.variant}-{self.turn.seed}.npz"
        log.parent.mkdir(parents=True, exist_ok=True)
        rates = slice_of(stage.given.trace, self.turn.offset_s, plan.run_s, plan.rate_hz, plan.trace)
        made = LoadPlan(
            name=plan.application,
            requests=stage.given.settings.requests,
            rates_hz=rates,
            run_s=plan.run_s,
            warm_s=plan.warm_s,
            users=stage.given.settings.users,
            endpoints=str(app.run / "endpoints.json"),
            entry=stage.given.settings.entry,
            seed=self.turn.seed,
            timeout_s=plan.given_up_s,
            window_s=plan.window_s,
            begin_ns=time.time_ns() + round((LOAD_STARTS_S + plan.warm_s) * NS),
            log=str(log),
            sample=True,
        )
        return Load(made, {**os.environ, "VAGUS_HOME": str(stage.home)})

    def _hits(self, app: Deployment) -> tuple[Any, ...]:
        campaign, plan = self.stage.given.campaign, self.stage.plan
        if campaign is None:
            return ()
        due = timetable(campaign, plan.services, self.turn.seed, plan.run_s)
        # into the first replica's group, as a program gone wild in a container: within whatever limits that, in each variant
        return aimed(due, {service: _first_replica(app.group(service)) for service in plan.services})

    def _controller(self, app: Deployment) -> ControllerSettings | None:
        plan = self.stage.plan
        return controller(
            self.variant,
            self.name,
            {service: app.group(service) for service in plan.services},
            [service for service in plan.services if service not in plan.fixed],
            objective_of(plan.application, plan.slo_s, plan.requests),
        )

    # --- while it runs -----------------------------------------------------------------------------------------------

    def _measured(
        self, settings: ControllerSettings | None, connection: Connection, load: Load, hogs: Hogs, zero_s: float
    ) -> Measured:
        run_s, warm_s = self.stage.plan.run_s, self.stage.plan.warm_s
        controlled_from_s = None
        self._until(zero_s - warm_s * (1 - ALONE), load, hogs, zero_s)
        if settings is not None:
            self.stack.callback(self._removed)
            spawn(self.stage.home, settings, None)
            controlled_from_s = time.monotonic() - zero_s
        self._until(zero_s - HOGS_START_S, load, hogs, zero_s)
        self.stack.callback(hogs.stop)
        hogs.start(zero_s)
        self._until(zero_s, load, hogs, zero_s)
        before, busy = slo_steps.seen(connection, self.name), _busy_s()
        self._until(zero_s + run_s, load, hogs, zero_s)
        after, idle_and_busy = slo_steps.seen(connection, self.name), _busy_s()
        self._until(None, load, hogs, zero_s)
        return Measured(before, after, _ratio(busy, idle_and_busy), controlled_from_s)

    def _until(self, t_s: float | None, load: Load, hogs: Hogs, zero_s: float) -> None:
        """Waits until then, or until the load has ended. Raises VagusError when that or the application fails."""
        while not load.ended():
            now_s = time.monotonic()
            if self.app is not None and self.app.failure:
                raise VagusError(f"the application cannot be kept: {self.app.failure}")
            if t_s is not None and now_s >= t_s:
                return
            p99_s = load.windows[-1].get("p99_s") if load.windows else None
            told = "" if p99_s is None else f"P99 {1000 * p99_s:.0f} ms"
            self.look(now_s - zero_s, f"{told}, hit: {hogs.present}" if hogs.present else told)
            time.sleep(TURN_S if t_s is None else min(TURN_S, max(0.0, t_s - now_s)))
        if t_s is not None and time.monotonic() < t_s - LOAD_STARTS_S:
            raise VagusError("the load ended before its time")

    def _removed(self) -> None:
        try:
            remove(self.stage.home, self.name)
        except VagusError as error:
            self.notes.append(f"its controller could not be removed: {error}")

    # --- afterwards --------------------------------------------------------------------------------------------------

    def _steps(self, connection: Connection, seen: Measured, begin_ns: int) -> Any:
        end_ns = begin_ns + round(self.stage.plan.run_s * NS)
        since_s = (time.time_ns() - begin_ns) / NS
        receipts = slo_steps.receipts_of(connection, self.name, since_s, end_ns)
        rungs = slo_steps.rungs_of(connection, self.name, since_s)
        self.notes += slo_steps.troubles(seen.before, seen.after, self.stage.plan.run_s / seconds(self.variant.period))
        before, after = ({} if actor is None else actor.figures for actor in (seen.before, seen.after))
        return slo_steps.steps_of(before, after, receipts, rungs)

    def _figures(self, begun: str, load: Load, sampled: Any, hogs: Hogs) -> Run:
        plan = self.stage.plan
        log: Log = read_log(Path(load.plan.log))
        found = measure.answered(log.scheduled_s, log.latency_s, plan.run_s)
        windows = load.columns()
        over = measure.slices(found, plan.slo_s, plan.run_s)
        late_s = measure.late(log.late_s)
        if late_s is not None and late_s > LATE_S:
            self.notes.append(f"the load itself was late: 1 % of its requests by {1000 * late_s:.0f} ms or more")

        def percentile(ratio: float) -> float | None:
            return measure.percentile(found.latency_s, ratio, plan.given_up_s)

        return Run(
            variant=self.turn.variant,
            seed=self.turn.seed,
            begun=begun,
            requests=len(found.latency_s),
            failed=measure.violations(found.latency_s, plan.given_up_s),
            violations=measure.violations(found.latency_s, plan.slo_s),
            windows_over_ratio=measure.over_ratio(windows, plan.slo_s, plan.run_s),
            p50_s=percentile(0.5),
            p99_s=percentile(0.99),
            p999_s=percentile(0.999),
            requested_cores=measure.requested(sampled, plan.run_s),
            used_cores=measure.used(sampled, plan.run_s),
            late_s=late_s,
            injected=tuple(measure.judged(one, list(over), sampled) for one in hogs.injected(load.begin_ns)),
            windows=windows,
            sampled=sampled,
            log=str(Path(load.plan.log).relative_to(self.stage.folder)),
        )


def _first_replica(group: str) -> str:
    return f"{group}/replica-0"


def _busy_s() -> tuple[float, float]:
    """Busy and all seconds of the machine's processors."""
    times = psutil.cpu_times()
    whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return whole - times.idle - getattr(times, "iowait", 0.0), whole


def _ratio(before: tuple[float, float], after: tuple[float, float]) -> float | None:
    passed = after[1] - before[1]
    return (after[0] - before[0]) / passed if passed > 0 else None
