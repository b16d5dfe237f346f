"""What the streams of collectors mean, for people who meet them elsewhere: a line for a kind, one for fields that need it.

A kind or field without a line is told by its name and unit: a new collector works without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Meaning(NamedTuple):
    """about: of the kind, which each field's text goes on from; fields: of those whose name does not say it."""

    about: str
    fields: Mapping[str, str] = {}


_CPU = {
    "user": "programs",
    "nice": "programs of low priority",
    "system": "the kernel for programs",
    "idle": "nothing to do",
    "iowait": "nothing to do while a disk is waited for",
    "irq": "interrupts",
    "softirq": "the later part of interrupts",
    "steal": "taken by the hypervisor",
    "guest": "virtual machines, in user too",
    "guest_nice": "virtual machines of low priority, in nice too",
}
_PRESSURE = {
    **{f"some_avg{s}": f"at least one task waited, over the last {s} s" for s in (10, 60, 300)},
    **{f"full_avg{s}": f"all tasks waited, over the last {s} s" for s in (10, 60, 300)},
    "some_total": "at least one task waited, since boot",
    "full_total": "all tasks waited, since boot",
}

MEANINGS: Mapping[str, Meaning] = {
    "collector.run": Meaning(
        "One reading of a collector",
        {
            "duration_s": "how long it took",
            "samples": "records that it gave",
            "ok": "1 when it could read its source",
            "failures": "readings that failed since the start",
        },
    ),
    "host.cpu": Meaning("Share of all processors' time since the reading before", _CPU),
    "host.core": Meaning("Share of one processor's time since the reading before", _CPU),
    "host.stat": Meaning(
        "Counts of the kernel since boot (/proc/stat)",
        {
            "ctxt": "context switches",
            "intr": "interrupts",
            "softirq": "soft interrupts",
            "processes": "processes and threads made",
            "procs_running": "tasks that run or want to, now",
            "procs_blocked": "tasks that wait for a disk, now",
            "btime": "when it booted, since 1970",
        },
    ),
    "host.load": Meaning(
        "Load of the host",
        {
            **{f"load{m}": f"tasks that run or wait, mean of about {m} min" for m in (1, 5, 15)},
            "running": "tasks that run or want to, now",
            "threads": "threads that there are",
        },
    ),
    "host.uptime": Meaning(
        "Since boot", {"uptime_s": "time passed", "idle_s": "time that processors were idle, summed over them"}
    ),
    "host.filehandles": Meaning("File handles of the kernel", {"max": "the most there may be"}),
    "host.entropy": Meaning("Entropy pool of the kernel", {"available": "entropy at hand"}),
    "host.memory": Meaning(
        "Memory of the host (/proc/meminfo)",
        {
            "mem_total": "all there is",
            "mem_available": "what programs can have without swapping",
            "mem_free": "used for nothing",
            "cached": "page cache",
            "swap_total": "swap, all there is",
            "swap_free": "swap that is free",
        },
    ),
    "host.vmstat": Meaning("Virtual memory, as the kernel names it (/proc/vmstat)"),
    "host.disk": Meaning(
        "Disk, since boot",
        {
            "in_flight": "requests under way, now",
            "io_ms": "time with at least one request under way",
            "weighted_io_ms": "time that requests were under way, summed over them",
        },
    ),
    "host.filesystem": Meaning(
        "Mounted file system",
        {
            "avail_bytes": "free for ordinary users",
            "free_bytes": "free for root",
            "readonly": "1 when it cannot be written",
        },
    ),
    "host.clock": Meaning(
        "Clock of the host, as the kernel keeps it (adjtimex)",
        {
            "synchronized": "1 while something keeps it right",
            "offset_s": "what the kernel still corrects",
            "max_error_s": "the most that it may be wrong",
            "est_error_s": "how wrong it is thought to be",
        },
    ),
    "host.process": Meaning(
        "Processes of the host",
        {
            "total": "all there are",
            "files_open": "open files of all",
            "files_max": "open files of the one that has most",
            "left_out": "processes without a stream of their own",
        },
    ),
    "host.temperature": Meaning("Sensor of the host"),
    "host.fan": Meaning("Fan of the host"),
    "host.energy": Meaning("Energy that a part of the host used, since boot"),
    "host.memory_errors": Meaning("Errors of a memory controller since boot"),
    "host.raid": Meaning("Software RAID", {"active": "1 while the array runs", "disks_active": "disks that work"}),
    "pressure.cpu": Meaning("Waiting for a processor (pressure stall information)", _PRESSURE),
    "pressure.memory": Meaning("Waiting for memory (pressure stall information)", _PRESSURE),
    "pressure.io": Meaning("Waiting for disks (pressure stall information)", _PRESSURE),
    "net.link": Meaning(
        "Network device, since it was made",
        {
            "operstate": "RFC 2863: 6 up, 2 down, 0 unknown",
            "carrier": "1 while it has a signal",
            "carrier_changes": "signal lost or found",
        },
    ),
    "net.qdisc": Meaning(
        "Queueing discipline of a network device", {"backlog_bytes": "what waits", "qlen": "packets that wait"}
    ),
    "net.address": Meaning("Address of a network device"),
    "net.softnet": Meaning(
        "Packets on their way in, since boot", {"time_squeeze": "times that there was more to do than time"}
    ),
    "net.conntrack": Meaning("Connections that the firewall follows", {"max": "the most that it can"}),
    "net.peer": Meaning("TCP connections to one peer", {"retransmits": "of the connections that exist now"}),
    "net.tcp_states": Meaning(
        "TCP sockets by state",
        {"peers": "addresses at the other ends", "complete": "0 when there were too many to count all"},
    ),
    "net.sockstat": Meaning("Sockets (/proc/net/sockstat)"),
    "net.sockstat6": Meaning("Sockets of IPv6 (/proc/net/sockstat6)"),
    **{
        f"net.{word}": Meaning(f"{name} since boot, as the kernel names it (/proc/net/{file})")
        for word, name, file in (
            ("ip", "IP", "snmp"),
            ("icmp", "ICMP", "snmp"),
            ("icmpmsg", "ICMP by type", "snmp"),
            ("tcp", "TCP", "snmp"),
            ("udp", "UDP", "snmp"),
            ("udplite", "UDP-Lite", "snmp"),
            ("snmp6", "IPv6", "snmp6"),
            ("tcpext", "TCP's finer counters", "netstat"),
            ("ipext", "IP's finer counters", "netstat"),
            ("mptcpext", "Multipath TCP", "netstat"),
        )
    },
    "cgroup.cpu": Meaning(
        "Processors of a control group",
        {
            "usage_us": "time used",
            "nr_periods": "periods in which its limit counted",
            "nr_throttled": "periods in which it was held",
            "throttled_us": "time that it was held",
            "limit_cores": "its limit in processors; none: not shown",
        },
    ),
    "cgroup.memory": Meaning(
        "Memory of a control group",
        {
            "current_bytes": "used, caches included",
            "limit_bytes": "its limit; none: not shown",
            "limit_hits": "times that it reached its limit",
            "oom_kill": "processes killed for want of memory",
        },
    ),
    "cgroup.io": Meaning("Disks' use by a control group"),
    "cgroup.net": Meaning("Network use by a control group"),
    "cgroup.pressure": Meaning("Waiting of a control group's tasks"),
    "cgroup.groups": Meaning(
        "Reading control groups",
        {"left_out": "groups without a stream of their own", "complete": "0: not all were seen"},
    ),
    "process": Meaning(
        "Processes of one program name",
        {"cpu_cores": "processors that they used", "pid": "of the one that uses most"},
    ),
    "resctrl.l3": Meaning("Cache and memory bandwidth, as the processor counts them"),
    "probe.cpu": Meaning("What a short busy loop could have of a processor", {"cores_available": "processors free"}),
    "service.heartbeat": Meaning(
        "Service that is asked whether it is there",
        {
            "up": "1 when it answered",
            "rtt_s": "how long its answer took",
            "age_s": "since it answered last",
            "failures": "looks without an answer",
        },
    ),
    "log.file": Meaning(
        "Log file that is followed",
        {
            "dropped": "lines beyond a tick's limit, counted, not kept",
            "skipped_bytes": "jumped over when too far behind",
        },
    ),
    "snmp.system": Meaning("Device asked by SNMP", {"up": "1 when it answers", "forwarding": "1 when it routes"}),
    "snmp.interface": Meaning("Interface of a device asked by SNMP"),
    "snmp.address": Meaning("Address of a device asked by SNMP"),
}
