"""Which of our series are which `system.*` metrics of OpenTelemetry: a table, nothing else.

https://opentelemetry.io/docs/specs/semconv/system/system-metrics/ (names, units, attributes verbatim). Adding one is a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Rule(NamedTuple):
    """Series `name` is the sum of a stream's fields, each times its factor.

    labels: our label → the attribute that it becomes (empty: left out); attributes: fixed ones; unit: UCUM, as
    OpenTelemetry has it.
    """

    name: str
    unit: str
    counter: bool
    factors: Mapping[str, float]
    labels: Mapping[str, str]
    attributes: Mapping[str, str]


Fixed = Mapping[str, str]
CPU_MODES = {
    **{mode: mode for mode in ("user", "system", "nice", "idle", "iowait", "steal", "softirq", "guest", "guest_nice")},
    "irq": "interrupt",
}
CORE = {"core": "cpu.logical_number"}
DISK = {"dev": "system.device"}
LINK = {"dev": "network.interface.name"}
MOUNT = {"dev": "system.device", "mount": "system.filesystem.mountpoint", "fstype": "system.filesystem.type"}


def _rules() -> Iterator[tuple[str, Rule]]:
    def rule(
        counter: bool,
        kind: str,
        name: str,
        unit: str,
        factors: Mapping[str, float],
        labels: Mapping[str, str],
        a: Fixed,
    ) -> tuple[str, Rule]:
        return kind, Rule(name, unit, counter, factors, labels, {k.replace("__", "."): v for k, v in a.items()})

    def gauge(
        kind: str, name: str, unit: str, factors: Mapping[str, float], labels: Mapping[str, str] = {}, **a: str
    ) -> tuple[str, Rule]:
        return rule(False, kind, name, unit, factors, labels, a)

    def counter(
        kind: str, name: str, unit: str, factors: Mapping[str, float], labels: Mapping[str, str] = {}, **a: str
    ) -> tuple[str, Rule]:
        return rule(True, kind, name, unit, factors, labels, a)

    for field, mode in CPU_MODES.items():
        yield gauge("host.core", "system.cpu.utilization", "1", {field: 1}, CORE, cpu__mode=mode)
    for field, window in (("load1", "1m"), ("load5", "5m"), ("load15", "15m")):
        yield gauge("host.load", f"system.cpu.load_average.{window}", "{thread}", {field: 1})
    yield gauge("host.uptime", "system.uptime", "s", {"uptime_s": 1})

    total = {"mem_total": 1.0}
    used = {"mem_total": 1.0, "mem_free": -1.0, "buffers": -1.0, "cached": -1.0}
    for state, sum_of in (
        ("used", used),
        ("free", {"mem_free": 1}),
        ("cached", {"cached": 1}),
        ("buffers", {"buffers": 1}),
    ):
        yield gauge("host.memory", "system.memory.usage", "By", sum_of, system__memory__state=state)
    yield gauge("host.memory", "system.memory.limit", "By", total)
    yield gauge("host.memory", "system.linux.memory.available", "By", {"mem_available": 1})
    for field, state in (("sreclaimable", "reclaimable"), ("sunreclaim", "unreclaimable")):
        yield gauge("host.memory", "system.linux.memory.slab.usage", "By", {field: 1}, linux__memory__slab__state=state)
    swap_used = {"swap_total": 1.0, "swap_free": -1.0}
    for state, sum_of in (("used", swap_used), ("free", {"swap_free": 1})):
        yield gauge("host.memory", "system.paging.usage", "By", sum_of, system__paging__state=state)
    minor = {"pgfault": 1.0, "pgmajfault": -1.0}
    for kind_of, sum_of in (("major", {"pgmajfault": 1}), ("minor", minor)):
        yield counter("host.vmstat", "system.paging.faults", "{fault}", sum_of, system__paging__type=kind_of)
    for field, direction in (("pswpin", "in"), ("pswpout", "out")):
        yield counter(
            "host.vmstat", "system.paging.operations", "{operation}", {field: 1}, system__paging__direction=direction
        )

    for prefix, direction in (("read", "read"), ("write", "write")):
        way = {"disk__io__direction": direction}
        yield counter("host.disk", "system.disk.io", "By", {f"{prefix}_bytes": 1}, DISK, **way)
        yield counter("host.disk", "system.disk.operations", "{operation}", {f"{prefix}s": 1}, DISK, **way)
        yield counter("host.disk", "system.disk.operation_time", "s", {f"{prefix}_ms": 1e-3}, DISK, **way)
        yield counter("host.disk", "system.disk.merged", "{operation}", {f"{prefix}s_merged": 1}, DISK, **way)
    yield counter("host.disk", "system.disk.io_time", "s", {"io_ms": 1e-3}, DISK)

    spaces = {
        "used": {"size_bytes": 1.0, "free_bytes": -1.0},
        "free": {"avail_bytes": 1.0},
        "reserved": {"free_bytes": 1.0, "avail_bytes": -1.0},
    }
    for state, sum_of in spaces.items():
        yield gauge("host.filesystem", "system.filesystem.usage", "By", sum_of, MOUNT, system__filesystem__state=state)
    yield gauge("host.filesystem", "system.filesystem.limit", "By", {"size_bytes": 1}, MOUNT)

    for prefix, direction in (("rx", "receive"), ("tx", "transmit")):
        way = {"network__io__direction": direction}
        yield counter("net.link", "system.network.io", "By", {f"{prefix}_bytes": 1}, LINK, **way)
        yield counter("net.link", "system.network.packet.count", "{packet}", {f"{prefix}_packets": 1}, LINK, **way)
        yield counter("net.link", "system.network.packet.dropped", "{packet}", {f"{prefix}_dropped": 1}, LINK, **way)
        yield counter("net.link", "system.network.errors", "{error}", {f"{prefix}_errors": 1}, LINK, **way)
    states = ("established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait", "close", "close_wait")
    for state in (*states, "last_ack", "listen", "closing"):
        yield gauge(
            "net.tcp_states",
            "system.network.connection.count",
            "{connection}",
            {state: 1},
            network__connection__state=state,
            network__transport="tcp",
        )
    yield counter("host.stat", "system.process.created", "{process}", {"processes": 1})
    for field, state in (
        ("running", "running"),
        ("sleeping", "sleeping"),
        ("stopped", "stopped"),
        ("zombie", "defunct"),
    ):
        yield gauge("host.process", "system.process.count", "{process}", {field: 1}, process__state=state)


RULES: dict[str, tuple[Rule, ...]] = {}
for _kind, _rule in _rules():
    RULES[_kind] = (*RULES.get(_kind, ()), _rule)
