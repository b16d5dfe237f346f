"""A control group's processor time as the kernel's CFS bandwidth control hands it out (kernel/sched/fair.c).

A period timer, which runs while there is work, refills the quota; none is carried over. Whoever wants to run when it is
used up is throttled until then. nr_periods counts the timer's ticks, nr_throttled those at which the group was throttled.
A new quota is handed out at once, also to who is throttled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vagus.environments.machine import Machine

if TYPE_CHECKING:
    from vagus.environments.processes import Process

PERIOD_S = 0.1
_NOTHING = 1e-12


class Group:
    """A group of processes. phase_s: when its timer ticks within a period; hog_cores: what another process in it burns."""

    __slots__ = (
        "_asked",
        "_left_s",
        "_mark_s",
        "_phase_s",
        "_quota_s",
        "_ticks",
        "_used_s",
        "busy",
        "hog_cores",
        "machine",
        "nr_periods",
        "nr_throttled",
        "processes",
        "throttled",
        "version",
    )

    def __init__(self, machine: Machine, cores: float = math.inf, phase_s: float = 0.0) -> None:
        self.machine = machine
        self.processes: list[Process] = []
        self.busy = 0  # processes that have work
        self.hog_cores = 0.0
        self.throttled = False
        self.version = 0
        self.nr_periods = self.nr_throttled = 0
        self._used_s = 0.0
        self._mark_s = 0.0  # the machine's work_s up to which use is counted
        self._phase_s = phase_s
        self._quota_s = self._left_s = cores * PERIOD_S
        self._ticks = self._asked = False  # the timer; whether anybody ran since its last tick

    @property
    def limit_cores(self) -> float:
        return self._quota_s / PERIOD_S

    def usage_s(self) -> float:
        """Processor time used so far."""
        self._count()
        return self._used_s

    # --- what changes ------------------------------------------------------------------------------------------------

    def limit(self, cores: float) -> None:
        """Sets the quota; infinite: none."""
        self._count()
        self._quota_s = self._left_s = cores * PERIOD_S
        if self.throttled:
            self._unthrottle()
        else:
            self._watch()

    def strain(self, cores: float) -> None:
        """So many cores' work is wanted by a process that nobody waits for."""
        self._count()
        if not self.throttled:
            self.machine.runs(cores - self.hog_cores)
        self.hog_cores = cores
        self._watch()

    def begin(self, process: Process, work_s: float) -> None:
        """A process that had none has work."""
        self._count()
        self.busy += 1
        if self.throttled:
            process.left_s = work_s
            return
        self.machine.runs(1.0)
        process.run(work_s)
        if self._quota_s < math.inf:
            self._watch(work_s)

    def go_on(self, work_s: float) -> None:
        """A process that has ended a piece of work has another one, so large."""
        if self._quota_s < math.inf:
            self._count()
            self._watch(work_s)

    def end(self) -> None:
        """A process has no work left."""
        self._count()
        self.busy -= 1
        self.machine.runs(-1.0)
        if self.hog_cores or self.busy:
            self._watch()
        else:
            self.version += 1

    # --- the quota ---------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        work_s = self.machine.work_s
        if not self.throttled:
            used_s = (work_s - self._mark_s) * (self.busy + self.hog_cores)
            self._used_s += used_s
            self._left_s -= used_s
        self._mark_s = work_s

    def _watch(self, work_s: float = math.inf) -> None:
        """Looks ahead to when the quota will be used up. work_s: the only process ends by itself after so much."""
        self.version += 1
        wanted = self.busy + self.hog_cores
        if not wanted or self._quota_s == math.inf or self.throttled:
            return
        machine = self.machine
        self._asked = True
        if not self._ticks:
            self._ticks = True
            past = math.floor((machine.now_s - self._phase_s) / PERIOD_S + 1e-9)
            machine.at(self._phase_s + (past + 1) * PERIOD_S, self._tick)
        left_s = self._left_s
        if left_s <= _NOTHING:
            self._throttle()
        elif wanted != 1.0 or work_s > left_s:
            machine.ends(machine.work_s + left_s / wanted, self, self.version)

    def due(self) -> None:
        """The quota is used up."""
        self._count()
        self._left_s = 0.0
        self._throttle()

    def _throttle(self) -> None:
        self.throttled = True
        self.version += 1
        self.machine.runs(-(self.busy + self.hog_cores))
        for process in self.processes:
            if process.busy:
                process.pause()

    def _unthrottle(self) -> None:
        self.throttled = False
        self.machine.runs(self.busy + self.hog_cores)
        for process in self.processes:
            if process.busy:
                process.run(process.left_s)
        self._watch()

    def _tick(self, _: None) -> None:
        if self._quota_s == math.inf:
            self._ticks = False
            return
        self._count()
        self.nr_periods += 1
        self.nr_throttled += self.throttled
        self._left_s = self._quota_s
        if self.throttled:
            self._unthrottle()
        elif not self._asked:
            self._ticks = False
            return
        elif self.busy or self.hog_cores:
            self._watch()
        self._asked = self.busy > 0 or self.hog_cores > 0
        # by the phase, so that no error adds up
        past = round((self.machine.now_s - self._phase_s) / PERIOD_S)
        self.machine.at(self._phase_s + (past + 1) * PERIOD_S, self._tick)
