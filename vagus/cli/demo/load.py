"""Open-loop load: requests at exponential intervals whether or not earlier ones are back; latency counts from the
time at which a request was due, so that a slow service cannot hide its queue."""

from __future__ import annotations

import http.client
import threading
import time
from collections import deque
from random import Random

from vagus.cli.demo.service import call

MAX_WAITING = 200


class Load:
    """Calls `url` about `rate` times a second from a pool of threads. `window` gives the latencies since last asked."""

    def __init__(self, url: str, rate: float, rng: Random, threads: int = 24) -> None:
        self._url, self._rate, self._rng = url, rate, rng
        self._due: deque[float] = deque()
        self._more = threading.Condition()
        self._done: list[float] = []
        self._stop = False
        self.failed = 0
        self.shed = 0
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        self._threads.append(threading.Thread(target=self._schedule, daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        with self._more:
            self._stop = True
            self._more.notify_all()
        for thread in self._threads:
            thread.join(6.0)

    def window(self) -> list[float]:
        """Latencies in seconds of the requests that finished since the last call."""
        with self._more:
            done, self._done = self._done, []
        return done

    def _schedule(self) -> None:
        due = time.monotonic()
        while not self._stop:
            due += self._rng.expovariate(self._rate)
            time.sleep(max(0.0, due - time.monotonic()))
            with self._more:
                if len(self._due) >= MAX_WAITING:
                    self.shed += 1  # bounded: a demo must not queue without end
                    continue
                self._due.append(due)
                self._more.notify()

    def _work(self) -> None:
        while True:
            with self._more:
                while not self._due and not self._stop:
                    self._more.wait()
                if self._stop:
                    return
                due = self._due.popleft()
            try:
                call(self._url)
            except (OSError, http.client.HTTPException):
                with self._more:
                    self.failed += 1
                continue
            with self._more:
                self._done.append(time.monotonic() - due)
