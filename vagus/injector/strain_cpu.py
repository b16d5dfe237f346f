"""Burns a share of one CPU: spins until it has had its share of each period, sleeps for the rest."""

from __future__ import annotations

import os
import time

from vagus.injector.strain import Line

PERIOD_S = 0.02


def strain(line: Line, duty: float, nice: int = 0) -> None:
    """duty: share of a CPU that it asks for, 0 to 1. Figure: cpu_cores."""
    os.nice(nice)
    line.begun()
    first_s, end = time.thread_time(), time.monotonic()
    while True:
        end = max(end + PERIOD_S, time.monotonic())
        enough = time.thread_time() + duty * PERIOD_S
        while time.thread_time() < enough and time.monotonic() < end:  # what it did not get is not made up for
            for _ in range(200):
                pass
        rest_s = end - time.monotonic()
        if rest_s > 0:
            time.sleep(rest_s)
        if line.due():
            line.tell(cpu_cores=(time.thread_time() - first_s) / line.age_s)
