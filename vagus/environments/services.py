"""A simulated service: its replicas, their control group, and which of them takes a call."""

from __future__ import annotations

import numpy as np

from vagus.environments.applications import SimulatedService
from vagus.environments.further import Further
from vagus.environments.machine import Machine
from vagus.environments.processes import Process, SharingProcess
from vagus.environments.quota import PERIOD_S, Group

MOST = 512  # calls that a replica takes at once; more are refused
START_S, START_WORK_S = 0.15, 0.25  # of a process until it is called: waiting, and processor time


class Service:
    """shape: what it is; cores: the limit of its group, or with replica_cores: of each replica, fixed, in a group of its own;
    further: whether its other resources are limited; tick_s: of the scheduler."""

    def __init__(
        self,
        shape: SimulatedService,
        machine: Machine,
        rng: np.random.Generator,
        cores: float,
        replica_cores: float,
        further: bool,
        tick_s: float,
    ) -> None:
        self.shape = shape
        self.replica_cores = replica_cores
        self.further = Further(machine, shape.amounts) if further else None
        self.replicas = shape.replicas  # those that are there, or start
        self._machine = machine
        self._rng = rng
        self._tick_s = tick_s
        self._cores = replica_cores or cores
        self.groups: list[Group] = []
        self._ready: list[Process] = []
        self._gone_s = 0.0  # used by, and counted of, groups that are no more
        self._gone_periods = self._gone_throttled = 0
        self._turn = 0
        for _ in range(shape.replicas):
            self._ready.append(self._process())

    # --- calls -------------------------------------------------------------------------------------------------------

    def choose(self) -> Process | None:
        """The replica with the fewest calls under way, in turn among equals; None when it refuses."""
        ready = self._ready
        if len(ready) == 1:
            best = ready[0]
        else:
            self._turn += 1
            start = self._turn % len(ready)
            best = min(ready[start:] + ready[:start], key=_pending)
        return best if best.pending < MOST else None

    # --- limits ------------------------------------------------------------------------------------------------------

    @property
    def limit_cores(self) -> float:
        """Of all its replicas together."""
        return self.replica_cores * len(self._ready) if self.replica_cores else self._cores

    def limit(self, cores: float) -> None:
        """Of the service. A group whose limit is the same already is left alone."""
        if cores != self._cores and not self.replica_cores:
            self._cores = cores
            self.groups[0].limit(cores)

    def scale(self, count: int) -> None:
        """So many replicas: new ones are called when they have started, old ones end when they have answered."""
        if not self.shape.scales or count < 1:
            return
        while self.replicas < count:
            self.replicas += 1
            self._machine.at(self._machine.now_s + START_S, self._start)
        self.replicas = count
        del self._ready[count:]
        self._forget()

    def _start(self, _: None) -> None:
        if len(self._ready) < self.replicas:
            Process(Group(self._machine)).add(_Start(self), START_WORK_S)  # its limits hold from when it is ready

    def started(self) -> None:
        """One more process can be called."""
        if len(self._ready) < self.replicas:
            self._ready.append(self._process())

    def strain(self, cores: float) -> None:
        """What is burned in the group of its first replica."""
        self.groups[0].strain(cores)

    def _process(self) -> Process:
        if self.replica_cores or not self.groups:
            phase_s = float(self._rng.uniform(0.0, PERIOD_S))
            self.groups.append(Group(self._machine, self._cores, phase_s, self._tick_s))
        kind = Process if self.shape.in_order else SharingProcess
        return kind(self.groups[-1])

    def _forget(self) -> None:
        """Processes that have ended, and their groups."""
        called = set(map(id, self._ready))
        for group in self.groups[:]:
            group.processes = [p for p in group.processes if p.pending or p.busy or id(p) in called]
            if not group.processes:
                self._gone_s += group.usage_s()
                self._gone_periods += group.nr_periods
                self._gone_throttled += group.nr_throttled
                self.groups.remove(group)

    # --- what is seen ------------------------------------------------------------------------------------------------

    def usage_s(self) -> float:
        """Processor time used so far."""
        return self._gone_s + sum(group.usage_s() for group in self.groups)

    def periods(self) -> tuple[float, float]:
        """nr_periods and nr_throttled so far; of replicas with groups of their own, their sums."""
        return (
            self._gone_periods + sum(group.nr_periods for group in self.groups),
            self._gone_throttled + sum(group.nr_throttled for group in self.groups),
        )

    @property
    def pending(self) -> int:
        """Calls under way."""
        return sum(process.pending for group in self.groups for process in group.processes)

    def memory_bytes(self) -> float:
        """Of its processes and the calls under way."""
        return self.shape.memory_bytes * self.replicas + 50e3 * self.pending


class _Start:
    """A process that starts: nobody can call it yet."""

    dead = False

    def __init__(self, service: Service) -> None:
        self._service = service

    def done(self) -> None:
        self._service.started()


def _pending(process: Process) -> int:
    return process.pending
