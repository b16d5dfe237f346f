"""Processes: each runs on one core at a time, and has pieces of work of several calls."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Protocol

from vagus.environments.quota import Group


class Job(Protocol):
    """Whose work it is. dead: nobody waits for it any longer: what is left of it costs nothing."""

    @property
    def dead(self) -> bool: ...

    def done(self) -> None:
        """The piece of work has been done."""


class Process:
    """One at a time, in the order in which they came: an asyncio process. pending: calls that it has taken."""

    __slots__ = ("_ends_s", "_job", "_queue", "busy", "group", "left_s", "pending", "version")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.busy = False
        self.version = 0
        self.left_s = 0.0  # while throttled: until the present piece ends
        self.pending = 0
        self._ends_s = 0.0  # by the machine's work clock
        self._job: Job | None = None
        self._queue: deque[tuple[Job, float]] = deque()
        group.processes.append(self)

    def add(self, job: Job, work_s: float) -> None:
        """A piece of work."""
        if self.busy:
            self._queue.append((job, work_s))
        else:
            self.busy = True
            self._job = job
            self.group.begin(self, work_s)

    def due(self) -> None:
        """The present piece has been done."""
        job = self._job
        if self._queue:
            self._job, work_s = self._queue.popleft()
            if self._job.dead:
                work_s = 0.0
            self.run(work_s)
            self.group.go_on(work_s)
        else:
            self.busy = False
            self._job = None
            self.version += 1
            self.group.end()
        assert job is not None
        job.done()

    def run(self, work_s: float) -> None:
        """Runs: its next piece ends after so much."""
        self.version += 1
        machine = self.group.machine
        self._ends_s = machine.work_s + work_s
        machine.ends(self._ends_s, self, self.version)

    def pause(self) -> None:
        """Is throttled."""
        self.version += 1
        self.left_s = self._ends_s - self.group.machine.work_s


class SharingProcess(Process):
    """All at once, each as fast as the others: processor sharing. Each has a mark on a clock that only advances at the
    speed at which each is served."""

    __slots__ = ("_marks", "_serial")

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self._marks: list[tuple[float, int, Job]] = []
        self._serial = 0

    def add(self, job: Job, work_s: float) -> None:
        marks = self._marks
        self._serial += 1
        if not marks:
            marks.append((work_s, self._serial, job))  # the clock begins anew
            self.busy = True
            self.group.begin(self, work_s)
            return
        throttled = self.group.throttled
        left_s = self.left_s if throttled else self._ends_s - self.group.machine.work_s
        served_s = marks[0][0] - left_s / len(marks)
        heapq.heappush(marks, (served_s + work_s, self._serial, job))
        left_s = (marks[0][0] - served_s) * len(marks)
        if throttled:
            self.left_s = left_s
        else:
            self.run(left_s)
            self.group.go_on(left_s)

    def due(self) -> None:
        mark_s, _, job = heapq.heappop(self._marks)
        if self._marks:
            left_s = (self._marks[0][0] - mark_s) * len(self._marks)
            self.run(left_s)
            self.group.go_on(left_s)
        else:
            self.busy = False
            self.version += 1
            self.group.end()
        job.done()
