"""CPU availability: the part of a core that a new process would get, as the Network Weather Service senses it.

After Wolski, Spring and Hayes, "Predicting the CPU availability of time-shared Unix systems" (HPDC 1999), for several
cores: what is idle, and a fair share of what is busy, from /proc/stat at each call; this takes all processes for
equal. So every few minutes a thread computes for some milliseconds and sees what it really gets, and the difference
(nice values, weights of cgroups) corrects the estimate until the next time: their hybrid sensor.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from vagus.collectors.files import KernelFile
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Event, Field, Sample, Stream

CHECK_EVERY_S = 120.0
CHECK_AFTER = 3  # calls: the run queue is known by then
CHECK_CPU_S = 0.008
CHECK_WALL_S = 0.1
LEAST_CONTENTION = 0.1  # below this a check tells nothing of how contention is shared
MOST_SCALE = 3.0
RUNNING_GAIN = 0.2  # the run queue is seen at one instant a second: an average of some of them
SCALE_GAIN = 0.3  # a check is short, and luck is part of it
FIELDS = (Field("available_ratio", unit="ratio"), Field("cores_available", unit="cores"))
_RUNNING = b"\nprocs_running "
_WORK = bytes(1 << 17)


class Available(NamedTuple):
    """For a program of one thread (0 to 1), and for one with a thread for each core (0 to the number of cores)."""

    ratio: float
    cores: float


def available(cores: int, idle_ratio: float, running: float, scale: float = 1.0) -> Available:
    """Idle cores and a fair share of the others. running: threads that run or wait to; scale corrects the contention."""
    idle = cores * idle_ratio
    running = max(running, cores - idle)
    one = min(1.0, idle + (cores - idle) / (running + 1))
    every = idle + (cores - idle) * cores / (running + cores)
    return Available(max(0.0, 1 - scale * (1 - one)), max(0.0, cores - scale * (cores - every)))


def check() -> float:
    """Computes for a few milliseconds; the part of the time, running or waiting for a core, in which it ran."""
    with contextlib.ExitStack() as stack:
        waited: Callable[[], float] | None = None
        with contextlib.suppress(OSError):
            fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            waited = lambda: int(os.pread(fd, 100, 0).split()[1]) * 1e-9  # noqa: E731  time on a run queue
        waited_s, wall_s, cpu_s = waited() if waited else 0.0, time.monotonic(), time.thread_time()
        while time.thread_time() - cpu_s < CHECK_CPU_S and time.monotonic() - wall_s < CHECK_WALL_S:
            zlib.crc32(_WORK)  # without the interpreter's lock: waiting for that is not waiting for a core
        ran_s = time.thread_time() - cpu_s
        lost_s = waited() - waited_s if waited else time.monotonic() - wall_s - ran_s
    return ran_s / (ran_s + max(0.0, lost_s)) if ran_s > 0 else 0.0


class AvailabilityCollector:
    """`probe.cpu`: available_ratio, cores_available. Raises CollectError.

    `check` is called where `root` is this machine's; None: never.
    """

    name = "availability"

    def __init__(
        self, node: str, root: Path, settings: CollectSettings, check: Callable[[], float] | None = check
    ) -> None:
        self.scale = 1.0
        self._check = check if root == Path("/") else None
        self._file = KernelFile(root, "proc/stat", whole=True)
        self._stream = Stream(node, "probe.cpu", FIELDS)
        self._before = (0, 0)
        self._running = -1.0
        self._calls = 0
        self._checked_ns = 0

    def collect(self, t_ns: int) -> Iterator[Sample | Event]:
        """One sample. The first tells of the time since boot."""
        try:
            cores, total, idle, running = parse(self._file.read())
        except (ValueError, IndexError) as error:
            raise CollectError(f"{self._file.path}: content of an unexpected form: {error}") from error
        running = max(0, running - 1)  # this thread
        self._running = running if self._running < 0 else self._running + RUNNING_GAIN * (running - self._running)
        spent, rested = total - self._before[0], idle - self._before[1]
        if spent <= 0:  # too soon, or counters that began anew
            spent, rested = total, idle
        self._before = (total, idle)
        self._calls += 1
        idle_ratio = min(1.0, max(0.0, rested / spent)) if spent else 1.0
        if self._due(t_ns):
            self._correct(1 - available(cores, idle_ratio, self._running).ratio)
            self._checked_ns = t_ns
        found = available(cores, idle_ratio, self._running, self.scale)
        yield Sample(self._stream, t_ns, tuple([round(value, 4) for value in found]))  # no estimate is finer

    def _due(self, t_ns: int) -> bool:
        if self._check is None or self._calls < CHECK_AFTER:
            return False
        return not self._checked_ns or abs(t_ns - self._checked_ns) >= CHECK_EVERY_S * 1e9

    def _correct(self, contention: float) -> None:
        """Moves the scale towards what a check finds of the contention that was estimated."""
        if self._check is not None and contention >= LEAST_CONTENTION:
            found = min(MOST_SCALE, (1 - self._check()) / contention)
            self.scale += (SCALE_GAIN if self._checked_ns else 1.0) * (found - self.scale)

    def close(self) -> None:
        """Closes the file. Idempotent."""
        self._file.close()


def parse(stat: bytes) -> tuple[int, int, int, int]:
    """Cores, all ticks, idle ticks (waiting for I/O included), running threads, from /proc/stat. Raises ValueError."""
    if not stat.startswith(b"cpu "):
        raise ValueError("it does not begin with a line cpu")
    cores = stat.count(b"\ncpu")
    ticks = list(map(int, stat[: stat.find(b"\n")].split()[1:9]))
    at = stat.find(_RUNNING)
    running = int(stat[at + len(_RUNNING) :].split(None, 1)[0]) if at >= 0 else -1
    if not cores or len(ticks) < 4 or running < 0:
        raise ValueError("a line cpu, cpu0 or procs_running is missing")
    return cores, sum(ticks), ticks[3] + (ticks[4] if len(ticks) > 4 else 0), running
