"""What the files of a cgroup say, in the same fields for v1 and v2.

Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/{cpuacct,memory,blkio-controller}.rst.
Counters of v1 in nanoseconds and clock ticks become microseconds, as v2 has them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vagus.collectors.table import pick
from vagus.model import Field

Number = int | float
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
SLOW_S = 5  # memory and I/O: their files are long, and waiting for them is in the pressure of each second
NO_LIMIT_BYTES = 1 << 62  # v1 writes no limit as the largest number of pages


def _counter(name: str, unit: str = "") -> Field:
    return Field(name, unit=unit, dtype="u8", counter=True)


def _bytes(name: str) -> Field:
    return Field(name, unit="bytes", dtype="u8")


USAGE = (_counter("usage_us", "us"), _counter("user_us", "us"), _counter("system_us", "us"))
THROTTLING = (_counter("nr_periods"), _counter("nr_throttled"), _counter("throttled_us", "us"), Field("limit_cores"))
MEMORY = (
    _bytes("current_bytes"),
    Field("limit_bytes", unit="bytes"),  # NaN: none
    *(_bytes(name) for name in ("anon_bytes", "file_bytes", "shmem_bytes", "mapped_bytes")),
    *(_bytes(name) for name in ("dirty_bytes", "writeback_bytes", "unevictable_bytes")),
    *(_bytes(f"{which}_{what}_bytes") for what in ("anon", "file") for which in ("inactive", "active")),
    *(_counter(name) for name in ("refault_anon", "refault_file", "pgfault", "pgmajfault", "limit_hits", "oom_kill")),
)
SWAP = _bytes("swap_bytes")
IO = (_counter("read_bytes", "bytes"), _counter("write_bytes", "bytes"), _counter("reads"), _counter("writes"))
_WAITERS = tuple((resource, who) for resource in ("cpu", "memory", "io") for who in ("some", "full"))
PRESSURE = tuple(
    field
    for resource, who in _WAITERS
    for field in (
        Field(f"{resource}_{who}_avg10", unit="percent"),
        Field(f"{resource}_{who}_total", unit="us", dtype="u8", counter=True),
    )
)

_LISTS = (b"unevictable", b"inactive_anon", b"active_anon", b"inactive_file", b"active_file")
_EVENTS = (b"workingset_refault_anon", b"workingset_refault_file", b"pgfault", b"pgmajfault")
_MEMORY2 = (b"anon", b"file", b"shmem", b"file_mapped", b"file_dirty", b"file_writeback", *_LISTS, *_EVENTS)
_CHARGED1 = (b"rss", b"cache", b"shmem", b"mapped_file", b"dirty", b"writeback")
_MEMORY1 = tuple(b"total_" + name for name in (*_CHARGED1, *_LISTS, *_EVENTS, b"swap"))  # total: with those below


class Picker:
    """The numbers of some names in a file of `name number` lines. What an older kernel does not count is 0.

    Positions are found once and kept while the same names stand there: all groups of a machine have the same lines.
    """

    def __init__(self, names: Sequence[bytes]) -> None:
        self._names = tuple(names)
        self._count = -1
        self._there: tuple[bytes, ...] = ()
        self._name_tokens = self._number_tokens = pick(())
        self._whole = False

    def __call__(self, data: bytes) -> tuple[int, ...]:
        """Raises ValueError."""
        tokens = data.split()
        if len(tokens) != self._count or self._name_tokens(tokens) != self._there:
            self._find(tokens)
        if self._whole:
            return tuple(map(int, self._number_tokens(tokens)))
        found = dict(zip(self._there, self._number_tokens(tokens), strict=True))
        return tuple([int(found.get(name, b"0")) for name in self._names])

    def _find(self, tokens: list[bytes]) -> None:
        places = {name: i for i, name in enumerate(tokens[:-1:2])}
        there = [name for name in self._names if name in places]
        if not there or len(tokens) % 2:
            raise ValueError(f"none of {self._names} in it, or cut: it is truncated")
        self._there = tuple(there)
        self._name_tokens = pick([2 * places[name] for name in there])
        self._number_tokens = pick([2 * places[name] + 1 for name in there])
        self._count = len(tokens)
        self._whole = self._there == self._names


_pick_memory1 = Picker(_MEMORY1)
_pick_memory2 = Picker(_MEMORY2)


def pairs(data: bytes) -> dict[bytes, bytes]:
    """`name number` lines."""
    tokens = data.split()
    return dict(zip(tokens[::2], tokens[1::2], strict=False))


def _number(found: dict[bytes, bytes], name: bytes) -> int:
    return int(found.get(name, b"0"))  # what an older kernel does not count has not happened


def usage2(contents: Sequence[bytes]) -> tuple[Number, ...]:
    """cpu.stat of v2, which every group has."""
    found = pairs(contents[0])
    return int(found[b"usage_usec"]), int(found[b"user_usec"]), int(found[b"system_usec"])


def cpu2(contents: Sequence[bytes]) -> tuple[Number, ...]:
    """cpu.stat and cpu.max (`max 100000`, `20000 100000`)."""
    found = pairs(contents[0])
    quota, period = contents[1].split()
    limit = math.nan if quota == b"max" else int(quota) / int(period)
    counts = (_number(found, b"nr_periods"), _number(found, b"nr_throttled"), _number(found, b"throttled_usec"))
    return (*usage2(contents), *counts, limit)


def usage1(contents: Sequence[bytes]) -> tuple[Number, ...]:
    """cpuacct.usage in nanoseconds, cpuacct.stat in clock ticks."""
    found = pairs(contents[1])
    return int(contents[0]) // 1000, int(found[b"user"]) * TICK_US, int(found[b"system"]) * TICK_US


def throttling1(contents: Sequence[bytes]) -> tuple[Number, ...]:
    """cpu.stat with throttled_time in nanoseconds, cpu.cfs_quota_us (-1: none), cpu.cfs_period_us."""
    found = pairs(contents[0])
    quota, period = int(contents[1]), int(contents[2])
    counts = (int(found[b"nr_periods"]), int(found[b"nr_throttled"]), int(found[b"throttled_time"]) // 1000)
    return (*counts, quota / period if quota >= 0 else math.nan)


def cpu1(contents: Sequence[bytes]) -> tuple[Number, ...]:
    """Both."""
    return (*usage1(contents[:2]), *throttling1(contents[2:]))


def memory2(contents: Sequence[bytes]) -> tuple[Number, ...]:
    """memory.current, memory.max, memory.stat, memory.events, and memory.swap.current where there is swap."""
    current, limit, stat, events, *swap = contents
    happened = pairs(events)
    most = math.nan if limit.strip() == b"max" else float(int(limit))
    counts = (_number(happened, b"max"), _number(happened, b"oom_kill"))
    return (int(current), most, *_pick_memory2(stat), *counts, *map(int, swap))


def memory1(contents: Sequence[bytes]) -> tuple[Number, ...]:
    """memory.usage_in_bytes, memory.limit_in_bytes, memory.stat, memory.failcnt, memory.oom_control."""
    current, limit, stat, failures, oom = contents
    *found, swap = _pick_memory1(stat)
    most = math.nan if int(limit) >= NO_LIMIT_BYTES else float(int(limit))
    return (int(current), most, *found, int(failures), _number(pairs(oom), b"oom_kill"), swap)


def io2(contents: Sequence[bytes]) -> tuple[Number, ...]:
    """io.stat: `254:0 rbytes=1 wbytes=2 rios=3 wios=4 …`, summed over devices (a stacked one counts again)."""
    sums = {b"rbytes": 0, b"wbytes": 0, b"rios": 0, b"wios": 0}
    for token in contents[0].split():
        name, equal, number = token.partition(b"=")
        if equal and name in sums:
            sums[name] += int(number)
    return tuple(sums.values())


def io1(contents: Sequence[bytes]) -> tuple[Number, ...]:
    """blkio.throttle.io_service_bytes and io_serviced: `8:0 Read 4096` lines, summed over devices."""
    return (*_read_write(contents[0]), *_read_write(contents[1]))


def _read_write(data: bytes) -> tuple[int, int]:
    sums = {b"Read": 0, b"Write": 0}
    for line in data.split(b"\n"):
        words = line.split()
        if len(words) == 3 and words[1] in sums:
            sums[words[1]] += int(words[2])
    return sums[b"Read"], sums[b"Write"]


def pressure(contents: Sequence[bytes]) -> tuple[Number, ...]:
    """cpu.pressure, memory.pressure, io.pressure; cpu has no `full` line before Linux 5.13, and it counts as 0."""
    values: list[Number] = []
    for content in contents:
        lines = {line[:4]: line.split() for line in content.split(b"\n") if line}
        if b"some" not in lines:
            raise ValueError(f"no line that begins with some in {content[:60]!r}")
        for who in (b"some", b"full"):
            words = lines.get(who)
            if words is None:
                values += (0.0, 0)
            else:
                values += (float(words[1].removeprefix(b"avg10=")), int(words[4].removeprefix(b"total=")))
    return tuple(values)


class Reading(NamedTuple):
    """Files that together give the values of one kind of stream."""

    kind: str
    version: int
    files: tuple[str, ...]
    fields: tuple[Field, ...]
    parse: Callable[[Sequence[bytes]], tuple[Number, ...]]
    every_s: int = 1


_PSI = ("cpu.pressure", "memory.pressure", "io.pressure")
_CPU1 = ("cpu.stat", "cpu.cfs_quota_us", "cpu.cfs_period_us")
_CPUACCT1 = ("cpuacct.usage", "cpuacct.stat")
_MEM1 = ("memory.usage_in_bytes", "memory.limit_in_bytes", "memory.stat", "memory.failcnt", "memory.oom_control")
_MEM2 = ("memory.current", "memory.max", "memory.stat", "memory.events")
_IO1 = ("blkio.throttle.io_service_bytes", "blkio.throttle.io_serviced")

READINGS = (
    Reading("cgroup.cpu", 1, (*_CPUACCT1, *_CPU1), (*USAGE, *THROTTLING), cpu1),
    Reading("cgroup.cpu", 1, _CPUACCT1, USAGE, usage1),
    Reading("cgroup.cpu", 1, _CPU1, THROTTLING, throttling1),
    Reading("cgroup.cpu", 2, ("cpu.stat", "cpu.max"), (*USAGE, *THROTTLING), cpu2),
    Reading("cgroup.cpu", 2, ("cpu.stat",), USAGE, usage2),
    Reading("cgroup.memory", 1, _MEM1, (*MEMORY, SWAP), memory1, SLOW_S),
    Reading("cgroup.memory", 2, (*_MEM2, "memory.swap.current"), (*MEMORY, SWAP), memory2, SLOW_S),
    Reading("cgroup.memory", 2, _MEM2, MEMORY, memory2, SLOW_S),
    Reading("cgroup.io", 1, tuple(f"{name}_recursive" for name in _IO1), IO, io1, SLOW_S),
    Reading("cgroup.io", 1, _IO1, IO, io1, SLOW_S),
    Reading("cgroup.io", 2, ("io.stat",), IO, io2, SLOW_S),
    Reading("cgroup.pressure", 2, _PSI, PRESSURE, pressure),
)
"""In order of preference: of each kind the first whose files a group has."""
