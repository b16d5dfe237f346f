"""A bounded queue and a daemon thread that sends what is in it: the background half of what a host program calls.

Nothing here raises into the host program, blocks it, or outlives its exit by more than half a second. What cannot be
sent is dropped, oldest first, and counted.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from time import perf_counter

TICK_S = 0.25
GAP_S = 0.05  # between two batches: a storm is sent together
WORK_S = 5.0  # sending takes no longer, whatever does not answer
EXIT_S = 0.5
START_AGAIN_S = 1.0


class Background:
    """Base: subclasses say in `work` what the thread does when something waits, and each quarter of a second."""

    name = "vagus"

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        """As new: at the start, and in a forked child, which has no thread and owes nothing."""
        self.running = False
        self.sent = 0
        self.dropped = 0
        self.failed = 0
        self.last_error = ""
        # A plain lock as a bell: ringing it is safe in a signal handler or a finalizer, which an Event's lock is not.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._flushes: deque[threading.Event] = deque()
        self._lock = threading.Lock()
        self._start_after = 0.0
        self._stopping = False
        self._pid = os.getpid()

    def work(self, now: float, urgent: bool) -> None:
        """Sends what waits; urgent: somebody waits for it, a pause after a failure is not kept."""
        raise NotImplementedError

    def waited(self, asked_s: float, took_s: float) -> None:
        """The thread asked to sleep so long at most, and slept so long: how late this process runs."""

    def begun(self) -> None:
        """The thread has started."""

    def wake(self) -> None:
        """Something waits: starts the thread, or wakes it."""
        if not self.running:
            self.start()
        self._ring()

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:  # it rings already
            pass

    def start(self) -> None:
        """Starts the thread, once in each process; what hinders it now is tried again a second later."""
        if self._stopping or perf_counter() < self._start_after or not self._lock.acquire(blocking=False):
            return  # not acquired: it is being started, perhaps by this very thread, below a signal handler
        try:
            if not self.running:
                self.running = True
                threading.Thread(target=self._run, name=self.name, daemon=True).start()
        except Exception as error:  # no threads left, or the interpreter is going down
            self.running = False
            self._start_after = perf_counter() + START_AGAIN_S
            self.fail(error)
        finally:
            self._lock.release()

    def flush(self, timeout_s: float = EXIT_S) -> bool:
        """Sends what is queued; whether the thread got through it in time."""
        if not self.running:
            return True
        done = threading.Event()
        self._flushes.append(done)
        self._ring()
        return done.wait(timeout_s)

    def close(self) -> None:
        """At exit: sends what is left, for at most half a second."""
        if self.running and not self._stopping and self._pid == os.getpid():
            done = threading.Event()
            self._flushes.append(done)  # before the thread may see that it is to stop
            self._stopping = True
            self._ring()
            done.wait(EXIT_S)

    def counts(self) -> dict[str, int]:
        """Items sent, dropped (queue full, or nobody took them for long), failed attempts."""
        return {"sent": self.sent, "dropped": self.dropped, "failed": self.failed}

    def _run(self) -> None:
        self.begun()
        slept_at = perf_counter()
        while True:
            woken = self._bell.acquire(timeout=TICK_S)
            flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
            now = perf_counter()
            self._note(TICK_S, now - slept_at)
            try:
                self.work(now, bool(flushes))
            except Exception as error:  # the host program must not notice
                self.fail(error)
            for done in flushes:
                done.set()
            if self._stopping and not self._flushes:
                return
            slept_at = perf_counter()
            if slept_at - now > WORK_S:
                self._note(WORK_S, slept_at - now)
            if woken and not flushes:
                time.sleep(GAP_S)
                now = perf_counter()
                self._note(GAP_S, now - slept_at)
                slept_at = now

    def _note(self, asked_s: float, took_s: float) -> None:
        try:
            self.waited(asked_s, took_s)
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException, count: int = 1) -> None:
        """Counts what went wrong instead of raising it."""
        self.failed += count
        try:
            self.last_error = f"{type(error).__name__}: {error}"[:500]
        except Exception:  # the exception's own __str__
            self.last_error = type(error).__name__
