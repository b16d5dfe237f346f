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
EXIT_S = 0.5


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
        self._wake = threading.Event()
        self._flushes: deque[threading.Event] = deque()
        self._lock = threading.Lock()
        self._stopping = False
        self._pid = os.getpid()

    def work(self, now: float, urgent: bool) -> None:
        """Sends what waits; urgent: somebody waits for it, a pause after a failure is not kept."""
        raise NotImplementedError

    def wake(self) -> None:
        """Something waits: starts the thread, or wakes it."""
        if not self.running:
            self.start()
        if not self._wake.is_set():
            self._wake.set()

    def start(self) -> None:
        """Starts the thread, once in each process."""
        with self._lock:
            if self.running or self._stopping:
                return
            self.running = True
            try:
                threading.Thread(target=self._run, name=self.name, daemon=True).start()
            except RuntimeError as error:  # no threads left, or the interpreter is going down
                self.failed += 1
                self.last_error = str(error)

    def flush(self, timeout_s: float = EXIT_S) -> bool:
        """Sends what is queued; whether the thread got through it in time."""
        if not self.running:
            return True
        done = threading.Event()
        self._flushes.append(done)
        self._wake.set()
        return done.wait(timeout_s)

    def close(self) -> None:
        """At exit: sends what is left, for at most half a second."""
        if self.running and not self._stopping and self._pid == os.getpid():
            done = threading.Event()
            self._flushes.append(done)  # before the thread may see that it is to stop
            self._stopping = True
            self._wake.set()
            done.wait(EXIT_S)

    def counts(self) -> dict[str, int]:
        """Items sent, dropped (queue full, or nobody took them for long), failed attempts."""
        return {"sent": self.sent, "dropped": self.dropped, "failed": self.failed}

    def _run(self) -> None:
        while True:
            woken = self._wake.wait(TICK_S)
            self._wake.clear()
            flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
            try:
                self.work(perf_counter(), bool(flushes))
            except Exception as error:  # the host program must not notice
                self.failed += 1
                self.last_error = f"{type(error).__name__}: {error}"
            for done in flushes:
                done.set()
            if self._stopping and not self._flushes:
                return
            if woken and not flushes:
                time.sleep(GAP_S)
