"""Observation of threads and child processes: whether they are there, move, and say so.

worker = vagus.observe_thread(thread, beat_s=5.0)     # and in its loop: worker.beat()
vagus.observe_process(subprocess.Popen(...))
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

from vagus.client.reporter import REPORTER, Reporter
from vagus.client.track import HEALTHY_EVERY_S, default_observer
from vagus.errors import ConfigError
from vagus.model import Status

EVERY_S = 0.25
STUCK_S = 3.0
"""A process in uninterruptible sleep for so long hangs on a device or a file system."""
MAX_WATCHED = 10_000


class Watch:
    """Something that is to be there until `end` is called. A chore of the reporter's thread. Made by observe_thread
    and observe_process.
    """

    def __init__(self, reporter: Reporter, subject: str, context: str, observer: str | None) -> None:
        self.subject = subject
        self._reporter = reporter
        self._key = f"{context}:{id(self)}"
        self._track = reporter.track(subject, context, observer)
        self._next = 0.0
        self._said = Status.NA
        self._say_after = 0.0
        if len(reporter.chores) >= MAX_WATCHED:
            reporter.dropped += 1
            return
        reporter.chores[self._key] = self
        if not reporter.running:
            reporter.start()

    def end(self) -> None:
        """It may go: what becomes of it from now on is nobody's concern."""
        self._reporter.chores.pop(self._key, None)

    def look(self, now: float) -> tuple[Status, float]:
        """How it is, and for how many seconds it has been silent."""
        raise NotImplementedError

    def slept(self, late_s: float, now: float) -> None:
        """This process did not run: nobody's silence."""

    def check(self, now: float) -> None:
        """HEALTHY as often as that is said of anything; what is worse at once, and again every 20 s."""
        if now < self._next:
            return
        self._next = now + EVERY_S
        status, silent_s = self.look(now)
        track = self._track
        if status == Status.HEALTHY:
            track.count += 1
            if now >= track.due:
                self._reporter.healthy(track, now)
        elif status != self._said or now >= self._say_after:
            self._say_after = now + HEALTHY_EVERY_S
            self._reporter.unwell(track, status, silent_s)
        self._said = status


class ThreadWatch(Watch):
    """A thread: DEAD when it is not alive, UNHEALTHY when it has not beaten for `beat_s` seconds."""

    def __init__(
        self, reporter: Reporter, thread: threading.Thread, subject: str, observer: str | None, beat_s: float | None
    ) -> None:
        self._thread = thread
        self._beat_s = beat_s
        self._beaten = perf_counter()
        super().__init__(reporter, subject, "thread", observer)

    def beat(self) -> None:
        """The thread is at work; call it from the loop that does the work. Costs 50 ns."""
        self._beaten = perf_counter()

    def slept(self, late_s: float, now: float) -> None:
        self._beaten += min(late_s, max(0.0, now - self._beaten))

    def look(self, now: float) -> tuple[Status, float]:
        silent_s = max(0.0, now - self._beaten)
        if not self._thread.is_alive():
            begun = self._thread.ident is not None
            return (Status.DEAD if begun else Status.PENDING), silent_s
        if self._beat_s is not None and silent_s > self._beat_s:
            return Status.UNHEALTHY, silent_s
        return Status.HEALTHY, silent_s


class ProcessWatch(Watch):
    """A process of this machine: DEAD when it has exited, UNHEALTHY while it is stopped, PENDING while it hangs in the
    kernel (uninterruptible, 3 s or longer).

    It is looked at in /proc, and never waited for: that is its parent's, and the pid cannot be mistaken for a later
    process of the same number.
    """

    def __init__(
        self,
        reporter: Reporter,
        pid: int,
        subject: str,
        observer: str | None,
        read: Callable[[int], tuple[str, int] | None],
    ) -> None:
        self._pid = pid
        self._read = read
        found = read(pid)
        self._started = found[1] if found else -1
        self._since = perf_counter()
        self._state = ""
        super().__init__(reporter, subject, "process", observer)

    def slept(self, late_s: float, now: float) -> None:
        self._since += min(late_s, max(0.0, now - self._since))

    def look(self, now: float) -> tuple[Status, float]:
        found = self._read(self._pid)
        state, started = found if found else ("X", -1)
        if started != self._started or state in "XxZ":
            state = "X"
        if state != self._state:
            self._state, self._since = state, now
        lasted_s = max(0.0, now - self._since)
        if state == "X":
            return Status.DEAD, lasted_s
        if state in "Tt":
            return Status.UNHEALTHY, lasted_s
        if state == "D" and lasted_s >= STUCK_S:
            return Status.PENDING, lasted_s
        return Status.HEALTHY, 0.0


def observe_thread(
    thread: threading.Thread | None = None,
    subject: str | None = None,
    beat_s: float | None = None,
    observer: str | None = None,
    *,
    reporter: Reporter = REPORTER,
) -> ThreadWatch:
    """Watches a thread (default: this one) that is to live until `.end()`. beat_s: how long it may go without `.beat()`.

    subject: default `thread:NAME@PROGRAM:PID@HOST`.
    """
    thread = thread or threading.current_thread()
    named = subject or f"thread:{thread.name}@{default_observer()}"
    return ThreadWatch(reporter, thread, named, observer, beat_s)


def observe_process(
    process: Any, subject: str | None = None, observer: str | None = None, *, reporter: Reporter = REPORTER
) -> ProcessWatch:
    """Watches a process that is to live until `.end()`: a pid, or anything with one (Popen, multiprocessing, psutil).

    subject: default `process:PID@HOST`. Raises ConfigError for what has no pid.
    """
    pid = process if isinstance(process, int) else getattr(process, "pid", None)
    if not isinstance(pid, int) or pid <= 0:
        raise ConfigError(
            f"observe_process: {process!r:.80} has no process id; give a pid, or a process that has begun"
        )
    return ProcessWatch(reporter, pid, subject or f"process:{pid}@{os.uname().nodename}", observer, read_state)


def read_state(pid: int) -> tuple[str, int] | None:
    """A process' state letter and when it was started, in ticks since boot; None: there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        return fields[0].decode(), int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
