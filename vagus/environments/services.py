"""A simulated service: its replicas, their control group, and which of them takes a call."""

from __future__ import annotations

import math

import numpy as np

from vagus.environments.applications import SimulatedService
from vagus.environments.further import Further
from vagus.environments.machine import Machine
from vagus.environments.processes import Process, SharingProcess
from vagus.environments.quota import Group

MOST = 512  # calls that a replica takes at once; more are refused
START_S, START_WORK_S = 0.2, 0.6  # of a process until it is reached: waiting, and processor time


class Service:
    """shape: what it is. replica_cores: of each replica, fixed, in a group of its own; 0: all are in one group."""

    def __init__(
        self,
        shape: SimulatedService,
        machine: Machine,
        rng: np.random.Generator,
        cores: float,
        replica_cores: float,
        further: bool,
    ) -> None:
        self.shape = shape
        self.replica_cores = replica_cores
        self.further = Further(machine, shape.amounts) if further else None
        self.wanted = shape.replicas
        self._machine = machine
        self._rng = rng
        self._hog_cores = 0.0
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
    def replicas(self) -> int:
        """Those that are there, or start."""
        return self.wanted

    @property
    def limit_cores(self) -> float:
        """Of all its replicas together."""
        return self.replica_cores * self.wanted if self.replica_cores else self._cores

    def limit(self, cores: float) -> None:
        """Of the service. A group whose limit is the same already is left alone."""
        if cores != self._cores and not self.replica_cores:
            self._cores = cores
            self.groups[0].limit(cores)

    def scale(self, count: int) -> None:
        """So many replicas: new ones are reached when they have started, old ones end when they have answered."""
        if not self.shape.scales or count < 1:
            return
        while self.wanted < count:
            self.wanted += 1
            self._machine.at(self._machine.now_s + START_S, self._start)
        while self.wanted > count:
            self.wanted -= 1
            if len(self._ready) > self.wanted:
                self._ready.pop()
        self._spread()

    def _start(self, _: None) -> None:
        if len(self._ready) < self.wanted:
            process = self._process()
            process.add(_Start(self, process), START_WORK_S)

    def started(self, process: Process) -> None:
        """A process can be reached."""
        if len(self._ready) < self.wanted:
            self._ready.append(process)
            self._spread()

    def strain(self, cores: float) -> None:
        """What is burned in its group, all in all; where replicas have groups, spread over those."""
        self._hog_cores = cores
        self._spread()

    def _process(self) -> Process:
        if self.replica_cores or not self.groups:
            self.groups.append(Group(self._machine, self._cores, float(self._rng.uniform(0.0, 0.1))))
        kind = Process if self.shape.in_order else SharingProcess
        return kind(self.groups[-1])

    def _spread(self) -> None:
        """Forgets groups that are no more, and spreads what is burned over the others."""
        if self.replica_cores:
            reached = {id(process) for process in self._ready}
            for group in self.groups[:]:
                if not group.busy and not any(id(process) in reached for process in group.processes):
                    group.strain(0.0)
                    self._gone_s += group.usage_s()
                    self._gone_periods += group.nr_periods
                    self._gone_throttled += group.nr_throttled
                    self.groups.remove(group)
        for group in self.groups:
            group.strain(self._hog_cores / len(self.groups))

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
        return self.shape.memory_bytes * max(self.wanted, 1) + 50e3 * self.pending

    def known(self, value: float) -> float:
        """A limit as it is told: NaN where there is none."""
        return math.nan if value == math.inf else value


class _Start:
    """A process that starts: nobody can call it yet."""

    dead = False

    def __init__(self, service: Service, process: Process) -> None:
        self._service, self._process = service, process

    def done(self) -> None:
        self._service.started(self._process)


def _pending(process: Process) -> int:
    return process.pending
