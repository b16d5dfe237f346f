"""A node in CoMon's words: the node report (`Key: values` lines) and the slice dump, from stored samples. Pure.

After CoMon's daemons on PlanetLab, which served both on every node (Park and Pai, "CoMon: a mostly-scalable monitoring
system for PlanetLab", 2006). A slice is a program here: processes are summed by their name.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vagus.clock import NS
from vagus.store import Batch

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
PAGE_BYTES = 4096
UNKNOWN = -1  # what CoMon writes for what is not measured
SLICE_LIMIT = 1000
READ_ONLY_ALWAYS = ("iso9660", "squashfs", "erofs", "cramfs")


def node_report(node: str, batches: Iterable[Batch], t_ns: int) -> str:
    """Lines of `Key: values`; what no sensor tells is -1.

    VMStat: vmstat's sixteen columns. CPUUse: system and total, percent. RWFS: 0, or -1 when a file system that could
    be written is read-only. DNSFail is not measured: -1. Drift: of the clock, seconds. Memory and disk: MB and GB.
    """
    now = _Newest(batches)
    idle = now.of("host.cpu", "idle")
    busy, system = (1 - idle) * 100 if idle >= 0 else UNKNOWN, now.part("host.cpu", "system", 100)
    lines: dict[str, str | float] = {
        "Date": f"{t_ns // NS}.{t_ns % NS // 1000:06d}",
        "Name": node,
        "Uptime": now.of("host.uptime", "uptime_s"),
        "VMStat": " ".join(str(round(value)) for value in _vmstat(now)),  # whole numbers, as vmstat prints them
        "CPUUse": f"{_number(round(system))} {_number(round(busy))}",
        "1minload": now.of("host.load", "load1"),
        "5minload": now.of("host.load", "load5"),
        "MemSize": now.part("host.memory", "mem_total", 1 / MB),
        "FreeMem": now.part("host.memory", "mem_available", 1 / MB),
        "GbFree": min(now.all("host.filesystem", "avail_bytes"), default=UNKNOWN * GB) / GB,
        "TxRate": sum(now.all("net.link", "tx_bytes")) * 8 / 1000,
        "RxRate": sum(now.all("net.link", "rx_bytes")) * 8 / 1000,
        "Drift": now.of("host.clock", "offset_s") if now.of("host.clock", "synchronized") > 0 else UNKNOWN,
        "DNSFail": f"{UNKNOWN:.1f} {UNKNOWN:.1f}",
        "RWFS": -1 if now.read_only() else 0,
        "LiveSlices": now.streams("process"),
    }
    return "".join(f"{key}: {value if isinstance(value, str) else _number(value)}\n" for key, value in lines.items())


def slice_dump(node: str, batches: Sequence[Batch], t_ns: int) -> str:
    """A block of rows: number, traffic (four columns, 0: not measured), processes, memory MB, CPU %, …, name.

    The columns of CoMon's slicestat: id, four rates of traffic, processes, resident and virtual MB, CPU %, memory %,
    connections now and at most, name; what is not measured is 0. Those that use most come first.
    """
    started = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(t_ns // NS))
    rows: list[tuple[float, float, float, str]] = []
    total = _Newest(batches).of("host.memory", "mem_total")
    for batch in batches:
        if batch.stream.kind == "process" and len(batch):
            cores, rss_bytes, processes = (_last(batch, name) for name in ("cpu_cores", "rss_bytes", "processes"))
            if processes > 0:
                rows.append(
                    (cores, rss_bytes, processes, "_".join(batch.stream.labels.get("comm", "?").split()) or "?")
                )
    head = f"Start: {t_ns // NS} {started}\nNode: {node}\n"
    if not rows:
        return head + "(null)\n\n"
    rows.sort(key=lambda row: (-row[0], -row[1], row[3]))
    lines = [
        f"{number:4d} {0:4d} {0:4d} {0:4d} {0:4d} {round(processes):3d} {rss / MB:6.1f} {0.0:6.1f} {cores * 100:4.1f} "
        f"{100 * rss / total if total > 0 else 0:4.1f} {0:7d} {0:7d} {name}\n"
        for number, (cores, rss, processes, name) in enumerate(rows[:SLICE_LIMIT])
    ]
    return head + "".join(lines) + "\n"


def _vmstat(now: _Newest) -> list[float]:
    memory = (now.part("host.memory", name, 1 / KB) for name in ("mem_free", "buffers", "cached"))
    swapped = max(0.0, now.of("host.memory", "swap_total") - now.of("host.memory", "swap_free")) / KB
    return [
        *(now.of("host.stat", name) for name in ("procs_running", "procs_blocked")),
        swapped,
        *memory,
        *(now.part("host.vmstat", name, PAGE_BYTES / KB) for name in ("pswpin", "pswpout")),
        *(now.of("host.vmstat", name) for name in ("pgpgin", "pgpgout")),
        *(now.of("host.stat", name) for name in ("intr", "ctxt")),
        *(now.part("host.cpu", name, 100) for name in ("user", "system", "idle", "iowait")),
    ]


class _Newest:
    """The newest value of each field, counters as rates; -1 where there is none."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._values: dict[str, list[tuple[Mapping[str, str], dict[str, float]]]] = {}
        for batch in batches:
            newest = {field.name: _last(batch, field.name) for field in batch.stream.fields}
            self._values.setdefault(batch.stream.kind, []).append((batch.stream.labels, newest))

    def of(self, kind: str, field: str) -> float:
        return next((values[field] for _, values in self._values.get(kind, ()) if field in values), UNKNOWN)

    def part(self, kind: str, field: str, factor: float) -> float:
        value = self.of(kind, field)
        return value * factor if value != UNKNOWN else UNKNOWN

    def all(self, kind: str, field: str) -> list[float]:
        found = (values.get(field, UNKNOWN) for _, values in self._values.get(kind, ()))
        return [value for value in found if value != UNKNOWN]

    def streams(self, kind: str) -> int:
        return len(self._values.get(kind, ()))

    def read_only(self) -> bool:
        return any(
            values.get("readonly", 0) > 0 and labels.get("fstype") not in READ_ONLY_ALWAYS
            for labels, values in self._values.get("host.filesystem", ())
        )


def _last(batch: Batch, name: str) -> float:
    field = next((field for field in batch.stream.fields if field.name == name), None)
    if field is None or not len(batch):
        return UNKNOWN
    values = batch.rate().column(name) if field.counter else batch.column(name)
    found = float(values[-1]) if len(values) else math.nan
    return found if np.isfinite(found) else UNKNOWN


def _number(value: float) -> str:
    return str(round(value)) if value == round(value) else f"{value:.2f}"
