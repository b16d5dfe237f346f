"""Samples the groups of an application's services twice a second: limits, CPU, throttled periods, replicas."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from vagus.actuators.cgroup import CgroupActuator
from vagus.actuators.cgroup1 import Cgroup1
from vagus.actuators.cgroup2 import Cgroup2
from vagus.cli.experiment.slo_results import Cores, Sampled
from vagus.errors import ActuateError, Unsupported
from vagus.model import Target

PERIOD_S = 0.5


class Reading(NamedTuple):
    """A service's group, with its replicas' own. throttled_s: of periods that were throttled, of the worst of them all;
    the last two are cumulative."""

    limit_cores: Cores
    cpu_s: float
    throttled_s: Mapping[str, float]


class Groups:
    """groups: names below the cpu controller's mount, by service; replicas' groups are in them. Raises Unsupported."""

    def __init__(self, groups: Mapping[str, str], root: Path = Path("/")) -> None:
        self.targets = {service: Target("cgroup", group) for service, group in groups.items()}
        made: tuple[CgroupActuator, ...] = (Cgroup1(root), Cgroup2(root))
        first = next(iter(self.targets.values()))
        found = [actuator for actuator in made if actuator.holds(first, "cpu_cores")]
        if not found:
            raise Unsupported(f"the group {first.name} is in no hierarchy with a cpu controller")
        self._actuator = found[0]

    def read(self, service: str) -> Reading:
        """Now. Raises ActuateError."""
        actuator, whole = self._actuator, self.targets[service]
        limit, usage = actuator.read(whole, "cpu_cores"), actuator.usage(whole)
        throttled = {"": usage.throttled_periods * usage.period_s}
        inner: list[Cores] = []
        for name in self._inner(whole):
            target = Target("cgroup", f"{whole.name}/{name}")
            with contextlib.suppress(ActuateError):  # a replica that is just ending
                cores = actuator.read(target, "cpu_cores")
                if cores is None and self._empty(target):
                    continue  # just made: its limit comes before its process
                inner.append(cores)
                used = actuator.usage(target)
                throttled[name] = used.throttled_periods * used.period_s
        if limit is None and inner:
            known = [cores for cores in inner if cores is not None]
            limit = math.fsum(known) if len(known) == len(inner) else None
        return Reading(limit, usage.cpu_s, throttled)

    def _empty(self, target: Target) -> bool:
        try:
            return not (self._actuator.group(target, self._actuator.mount("cpu")) / "cgroup.procs").read_text().strip()
        except OSError:
            return True

    def _inner(self, target: Target) -> list[str]:
        folder = self._actuator.group(target, self._actuator.mount("cpu"))
        try:
            return [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []


def throttled_ratio(before: Mapping[str, float], now: Mapping[str, float], elapsed_s: float) -> float:
    """The share of the time that was in throttled periods, of the group or replica that was throttled most."""
    worst = max((now[name] - before[name] for name in now if name in before), default=0.0)
    return min(max(worst / elapsed_s, 0.0), 1.0) if elapsed_s > 0 and math.isfinite(worst) else 0.0


class Sampler:
    """A thread between `start` and `stop`. zero_s: the monotonic time from which times count; replicas: of a service.

    problem: why a group could not be read, the first time.
    """

    def __init__(self, groups: Groups, replicas: Callable[[str], int], zero_s: float) -> None:
        self.problem = ""
        self._groups = groups
        self._replicas = replicas
        self._zero_s = zero_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vagus experiment", daemon=True)
        self._t_s: list[float] = []
        self._columns: dict[str, tuple[list[Cores], list[float], list[float], list[int]]] = {
            service: ([], [], [], []) for service in groups.targets
        }

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Sampled:
        """Ends it; all that was sampled. Idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        columns = self._columns
        return Sampled(
            t_s=tuple(self._t_s),
            limit_cores={service: tuple(found[0]) for service, found in columns.items()},
            used_cores={service: tuple(found[1]) for service, found in columns.items()},
            throttled_ratio={service: tuple(found[2]) for service, found in columns.items()},
            replicas={service: tuple(found[3]) for service, found in columns.items()},
        )

    def _run(self) -> None:
        due_s = time.monotonic()
        before: dict[str, tuple[float, Reading]] = {}
        while not self._stop.is_set():
            try:
                before = self._sample(before)
            except ActuateError as error:
                self.problem = self.problem or str(error)
            due_s = max(due_s + PERIOD_S, time.monotonic())
            self._stop.wait(due_s - time.monotonic())

    def _sample(self, before: Mapping[str, tuple[float, Reading]]) -> dict[str, tuple[float, Reading]]:
        now_s = time.monotonic()
        found = {service: (time.monotonic(), self._groups.read(service)) for service in self._columns}
        self._t_s.append(round(now_s - self._zero_s, 3))
        for service, (at_s, reading) in found.items():
            limits, uses, throttled, replicas = self._columns[service]
            was_s, was = before.get(service, (at_s, reading))
            elapsed_s = at_s - was_s
            limits.append(None if reading.limit_cores is None else round(reading.limit_cores, 4))
            uses.append(round(max(reading.cpu_s - was.cpu_s, 0.0) / elapsed_s, 4) if elapsed_s > 0 else 0.0)
            throttled.append(round(throttled_ratio(was.throttled_s, reading.throttled_s, elapsed_s), 4))
            replicas.append(self._replicas(service))
        return found
