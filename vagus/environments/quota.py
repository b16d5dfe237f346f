"""A control group's processor time as the kernel's CFS bandwidth control hands it out (kernel/sched/fair.c).

A period timer, which runs while there is work, refills the quota; none is carried over. Whoever wants to run when it is
used up is throttled until then. That is seen when somebody stops running, and at the scheduler's ticks: what was run in
excess of the quota till then is owed, and paid from the next one. nr_periods counts the timer's periods, nr_throttled those
at whose end the group was throttled. A new quota is handed out at once, also to who is throttled, and debts are forgotten.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vagus.environments.machine import Machine

if TYPE_CHECKING:
    from vagus.environments.processes import Process

PERIOD_S = 0.1
TICK_S = 0.004
KEPT_S = 0.001  # min_cfs_rq_runtime, of which a processor keeps so much for the group
_NOTHING = 1e-12


class Group:
    """A group of processes. phase_s: when within a tenth of a second its periods begin; tick_s: of the scheduler, 0: it sees
    everything at once; hog_cores: what another process in it burns."""

    __slots__ = (
        "_asked",
        "_left_s",
        "_mark_s",
        "_phase_s",
        "_quota_s",
        "_tick_s",
        "_timer",
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

    def __init__(self, machine: Machine, cores: float = math.inf, phase_s: float = 0.0, tick_s: float = TICK_S) -> None:
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
        self._tick_s = tick_s
        self._timer = False
        self._asked = False  # whether anybody ran since the period began

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
            if self._left_s > _NOTHING:
                self._watch(work_s)
            elif not self._tick_s:
                self._throttle()

    def end(self) -> None:
        """A process has no work left."""
        self._count()
        self.busy -= 1
        self.machine.runs(-1.0)
        self.version += 1
        if self._left_s < -_NOTHING:
            self._throttle()
        elif self.hog_cores or self.busy:
            self._watch()

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
        if not self._timer:
            self._timer = True
            machine.at(self._next(self._phase_s, PERIOD_S), self._period)
        if self._left_s <= _NOTHING:
            self._throttle()
        elif wanted != 1.0 or work_s >= self._left_s:
            machine.ends(machine.work_s + self._left_s / wanted, self, self.version)

    def due(self) -> None:
        """The quota is used up."""
        if self._tick_s:
            self.machine.at(self._next(0.0, self._tick_s), self._tick, self.version)
        else:
            self._count()
            self._left_s = 0.0
            self._throttle()

    def _next(self, phase_s: float, every_s: float) -> float:
        """The next time of those that are so far apart."""
        past = math.floor((self.machine.now_s - phase_s) / every_s + 1e-6)
        return phase_s + (past + 1) * every_s

    def _tick(self, version: int) -> None:
        self._count()
        if self._left_s <= _NOTHING and not self.throttled:
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

    def _period(self, _: None) -> None:
        if self._quota_s == math.inf:
            self._timer = False
            return
        self._count()
        self.nr_periods += 1
        self.nr_throttled += self.throttled
        kept_s = min(self._left_s, KEPT_S) if self._tick_s else 0.0
        self._left_s = self._quota_s + min(self._left_s, max(kept_s, 0.0))
        asked, self._asked = self._asked, False
        if self.throttled:
            if self._left_s > 0.0:
                self._unthrottle()
        elif asked:
            self._watch()
        else:
            self._timer = False
            return
        self.machine.at(self._next(self._phase_s, PERIOD_S), self._period)
