"""Which programs use the processor and the memory, and in which states the host's processes are.

Processes are added up by program name (comm): `process{comm=}`. A label pid would make a stream of each short-lived
process, tens of thousands a day on a machine that compiles or runs cron; a rank as label would mix programs in one
series. The pid of the busiest one is a field.

/proc/PID/stat costs 7 µs each, and twice that when the caches are cold, so that all this is done every 5 s, for the
busiest ones of late and a sixth of all others. Those that used no processor between their last two readings, which
are most, wait twice as long (what does not run does not grow either): a new hog is seen after 30 s, and one that had
slept before after 60 s at most.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from heapq import nlargest
from pathlib import Path
from typing import NamedTuple

from vagus.clock import NS
from vagus.collectors.files import KernelFile
from vagus.collectors.process_stat import Stat, parse_stat, program, read_stat
from vagus.collectors.table import check_range
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Event, Field, Sample, Stream

EVERY_NS = 5 * NS
ROUND = 6  # in so many readings every process is read once
IDLE_ROUNDS = 2  # processes that do nothing are read once in so many rounds
KERNEL_ROUNDS = 4  # and kernel threads that do nothing
LEAST = 10  # processes of one reading
BUSY = 50_000  # millionths of a core: from five per cent of one a process is read each time
MAX_PROCESSES = 20_000
MAX_PROGRAMS = 500  # distinct streams within a day; what comes after is added up as `other`
STAY_NS = 60 * NS  # a program that was among the first is shown so long, so that series have no holes
FORGET_NS = 86_400 * NS
OTHER = "(other)"
LARGEST = 1 << 48  # of a number of one process: the sum over all is within 64 bits

TICKS_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# I: idle kernel threads; t: stopped by a debugger; what else there may be (X, W, P) is in `total` only
STATES = {"R": "running", "S": "sleeping", "D": "disk_sleep", "I": "idle", "T": "stopped", "t": "traced", "Z": "zombie"}
HOST_FIELDS = (
    *(Field(name, dtype="u8") for name in STATES.values()),
    *(Field(name, dtype="u8") for name in ("total", "threads", "files_open", "files_max", "left_out")),
)
FIELDS = (
    Field("cpu_cores"),
    Field("rss_bytes", unit="bytes", dtype="u8"),
    Field("processes", dtype="u8"),
    Field("threads", dtype="u8"),
    Field("pid", dtype="u8"),  # of the one that uses most of the processor, then of memory
)


class _Process(NamedTuple):
    """The latest reading of one process, and millionths of a core that it used since the one before."""

    stat: Stat
    program: str
    read_ns: int
    microcores: int


class _Program:
    """What the processes of one program add up to: whole numbers, so that adding and taking away leaves no remainder."""

    __slots__ = ("microcores", "pages", "pid", "processes", "threads")

    def __init__(self) -> None:
        self.microcores = self.pages = self.processes = self.threads = 0
        self.pid = "0"  # of the busiest

    def add(self, process: _Process, sign: int) -> None:
        self.microcores += sign * process.microcores
        self.pages += sign * process.stat.rss_pages
        self.processes += sign
        self.threads += sign * process.stat.threads

    def values(self) -> tuple[float | int, ...]:
        return self.microcores / 1e6, self.pages * PAGE_BYTES, self.processes, self.threads, int(self.pid)


class ProcessesCollector:
    """Kinds `process{comm=}` (the `settings.top_processes` programs that use most of the processor, and as many that
    use most of the memory) and `host.process`. top_processes 0: the counts only. Raises CollectError.
    """

    name = "process"

    def __init__(self, node: str, root: Path, settings: CollectSettings) -> None:
        self._node = node
        self._path = str(root / "proc")
        self._top = settings.top_processes
        self._uptime = KernelFile(root, "proc/uptime", whole=True)
        self._files = KernelFile(root, "proc/sys/fs/file-nr", whole=True)
        self._folder = -1
        self._host = Stream(node, "host.process", HOST_FIELDS)
        self._known: dict[str, _Process] = {}
        self._programs: dict[str, _Program] = {}
        self._states = dict.fromkeys(STATES, 0)
        self._threads = 0
        self._busy: list[str] = []
        self._round: list[str] = []  # pids that this round has still to read
        self._due_ns = 0
        self._share = LEAST
        self._rounds = -1
        self._left_out = 0
        self._opened = (0, 0)
        self._streams: dict[str, Stream] = {}
        self._shown_ns: dict[str, int] = {}  # when a program was last among the first

    def collect(self, t_ns: int) -> Iterator[Sample | Event]:
        """Counts of the host, then one sample for each program that is shown; nothing but every 5 s."""
        if 0 < self._due_ns - t_ns <= EVERY_NS:
            return
        self._due_ns = t_ns + EVERY_NS
        try:
            if self._folder < 0:
                self._folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if not self._round:
                self._begin_round()
        except OSError as error:
            raise CollectError(f"cannot list {self._path}: {error.strerror}") from error
        due, self._round = self._round[: self._share], self._round[self._share :]
        reading = list(dict.fromkeys((*self._busy, *due)))
        problems = [problem for pid in reading if (problem := self._read(pid, t_ns))]
        there = [pid for pid in reading if pid in self._known and self._known[pid].microcores >= BUSY]
        self._busy = nlargest(self._top, there, key=lambda pid: self._known[pid].microcores)
        yield self._count(t_ns)
        if self._top:
            yield from self._most(t_ns)
        if problems:
            raise CollectError("; ".join(problems[:5]))

    def _begin_round(self) -> None:
        pids = [name for name in os.listdir(self._folder) if name[0] in "123456789"]
        self._left_out = max(0, len(pids) - MAX_PROCESSES)
        pids = pids[:MAX_PROCESSES]
        there = set(pids)
        self._rounds += 1
        if len(pids) > LEAST:
            pids = [pid for pid in pids if self._is_due(pid)]
        self._round = pids
        self._share = max(LEAST, -(-len(pids) // ROUND)) if self._known else len(pids)
        self._read_files()
        for pid in [pid for pid in self._known if pid not in there]:
            self._replace(pid, None)

    def _read(self, pid: str, t_ns: int) -> str:
        """Reads one process; returns what is wrong, if it is more than that the process is gone."""
        try:
            data = read_stat(self._folder, pid)
        except OSError:
            self._replace(pid, None)
            return ""
        try:
            stat = parse_stat(data)
            if not all(0 <= number < LARGEST for number in stat[3:]):
                raise ValueError(f"{stat} is no process")
        except (ValueError, IndexError) as error:
            self._replace(pid, None)
            return f"{self._path}/{pid}/stat: content of an unexpected form: {error}"
        before = self._known.get(pid)
        if before is not None and before.stat == stat and not before.microcores:  # it sleeps on: no sum changes
            self._known[pid] = _Process(stat, before.program, t_ns, 0)
            return ""
        if before is not None and before.stat.start_ticks == stat.start_ticks:
            over_s = (t_ns - before.read_ns) / NS
            ticks = stat.cpu_ticks - before.stat.cpu_ticks
            cores = ticks / TICKS_S / over_s if over_s > 0 else before.microcores / 1e6
            name = before.program if before.stat.comm == stat.comm else program(stat)
        else:  # first seen: over the time since it began
            age_s = max(self._uptime_s() - stat.start_ticks / TICKS_S, 1.0)
            cores, name = stat.cpu_ticks / TICKS_S / age_s, program(stat)
        self._replace(pid, _Process(stat, name, t_ns, max(0, round(cores * 1e6))))
        return ""

    def _is_due(self, pid: str) -> bool:
        """Whether this round reads it; the idle ones are spread over rounds by their number."""
        known = self._known.get(pid)
        if known is None or known.microcores:
            return True
        return (int(pid) + self._rounds) % (KERNEL_ROUNDS if known.stat.kernel else IDLE_ROUNDS) == 0

    def _replace(self, pid: str, process: _Process | None) -> None:
        """Takes the earlier reading of a process out of all sums, and a new one in."""
        before = self._known.pop(pid, None)
        if before is not None:
            self._account(before, -1)
            found = self._programs[before.program]
            if not found.processes:
                del self._programs[before.program]
        if process is not None:
            self._known[pid] = process
            self._account(process, 1)
            found = self._programs[process.program]
            busiest = self._known.get(found.pid)
            if busiest is None or busiest.program != process.program or _rank(process) >= _rank(busiest):
                found.pid = pid

    def _account(self, process: _Process, sign: int) -> None:
        self._threads += sign * process.stat.threads
        if process.stat.state in self._states:
            self._states[process.stat.state] += sign
        found = self._programs.get(process.program)
        if found is None:
            found = self._programs[process.program] = _Program()
        found.add(process, sign)

    def _count(self, t_ns: int) -> Sample:
        values = (*self._states.values(), len(self._known), self._threads, *self._opened, self._left_out)
        return Sample(self._host, t_ns, values)

    def _read_files(self) -> None:
        data = self._files.read()
        try:
            opened, _, most = map(int, data.split())
            check_range((opened, most))
        except ValueError as error:
            raise CollectError(f"{self._files.path}: content of an unexpected form: {error}") from error
        self._opened = (opened, most)

    def _uptime_s(self) -> float:
        data = self._uptime.read()
        try:
            uptime_s = float(data.split(None, 1)[0])
        except (ValueError, IndexError) as error:
            raise CollectError(f"{self._uptime.path}: content of an unexpected form: {error}") from error
        return uptime_s if 0 <= uptime_s < LARGEST else 0.0

    def _most(self, t_ns: int) -> Iterator[Sample]:
        """The programs that are, or were within a minute, among the first by processor or by memory."""
        programs, shown = self._programs, self._shown_ns
        busy = [name for name, found in programs.items() if found.microcores]
        first = nlargest(self._top, busy, key=lambda name: (programs[name].microcores, name))
        first += nlargest(self._top, programs, key=lambda name: (programs[name].pages, name))
        other = _Program()
        for name in dict.fromkeys(first):
            if name in shown or len(shown) < MAX_PROGRAMS:
                shown[name] = t_ns
            else:  # names that change with every process: no streams of their own
                self._forget(t_ns)
                found = programs[name]
                other.microcores += found.microcores
                other.pages += found.pages
                other.processes += found.processes
                other.threads += found.threads
        for name, at in shown.items():
            if 0 <= t_ns - at <= STAY_NS and name in programs:
                yield Sample(self._stream(name), t_ns, programs[name].values())
        if other.processes:
            yield Sample(self._stream(OTHER), t_ns, other.values())

    def _stream(self, name: str) -> Stream:
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = Stream(self._node, "process", FIELDS, {"comm": name})
        return stream

    def _forget(self, t_ns: int) -> None:
        old = [name for name, at in self._shown_ns.items() if not 0 <= t_ns - at <= FORGET_NS]
        for name in old:
            del self._shown_ns[name]
            self._streams.pop(name, None)

    def close(self) -> None:
        """Closes all files. Idempotent."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
        self._uptime.close()
        self._files.close()


def _rank(process: _Process) -> tuple[int, int]:
    return process.microcores, process.stat.rss_pages
