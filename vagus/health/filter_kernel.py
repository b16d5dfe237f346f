"""The Linux kernel's log, as dmesg (also with -T), /dev/kmsg, syslog (RFC 3164 or ISO times) or journalctl write it.

Observers are `kernel@NODE`, subjects `host@NODE`, `PROCESS@NODE` for a process that crashed, `nfs@SERVER` for a server
of others. Of lines in syslog's form only those that syslog attributes to the kernel count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from vagus.health.log_rules import HOST, Rule, RuleFilter
from vagus.health.log_syslog import HEADER, plain_time
from vagus.model import Status

_UPTIME = r"\[ {0,11}\d{1,11}\.\d{0,9}\](?:\[ {0,6}[TC]\d{1,9}\])? "
_LINE = re.compile(
    r"(?:<\d{1,3}>)?(?:"
    rf"{_UPTIME}"  # dmesg
    r"|\[(?P<date>[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4})\] "  # dmesg -T
    r"|\d{1,4},\d{1,20},\d{1,20},[^;]{1,200};"  # /dev/kmsg
    rf"|{HEADER}kernel(?:\[\d{{1,9}}\])?: (?:{_UPTIME})?"
    r")(?P<content>.*)"
)

_DEVICE = r"(?P<device>[A-Za-z0-9_.:-]{1,64})"
_LINK = rf"(?<![^\s:]){_DEVICE}(?::| NIC|: NIC) (?:\(unregistering\): )?[Ll]ink (?:is )?"
_HOST = "host@{node}"


def _rule(needle: str, pattern: str, context: str, status: Status, score: float, subject: str = _HOST) -> Rule:
    return Rule(needle, re.compile(pattern), context, status, score, subject, "kernel")


KERNEL_RULES = (
    _rule(  # at its own limit: the host has memory
        "Memory cgroup out of memory",
        r"Memory cgroup out of memory: Kill(?:ed)? process \d{1,10} \((?P<process>[^()]{1,60})\)",
        "memory",
        Status.UNHEALTHY,
        20,
        "{process}@{node}",
    ),
    _rule("Kill", r"(?<!cgroup )[Oo]ut of memory: Kill(?:ed)? process \d", "memory", Status.UNHEALTHY, 20),
    _rule(  # but for drives without a medium: floppies that are not there, empty CD drives
        "I/O error", rf"\bI/O error,? (?:on )?dev(?:ice)? (?!fd\d|sr\d){_DEVICE}", "disk:{device}", Status.UNHEALTHY, 20
    ),
    _rule("-fs error", rf"\b[A-Za-z0-9]{{1,16}}-fs error \(device {_DEVICE}\)", "disk:{device}", Status.UNHEALTHY, 20),
    _rule(
        "Disk failure on ", rf"\bmd/[\w:]{{1,60}}: Disk failure on {_DEVICE},", "disk:{device}", Status.UNHEALTHY, 10
    ),
    _rule(
        "blocked for more than",
        r"INFO: task .{1,64}:\d{1,10} blocked for more than \d{1,6} seconds",
        "hung_task",
        Status.UNHEALTHY,
        30,
    ),
    _rule("soft lockup", r"BUG: soft lockup - CPU#\d{1,5} stuck for ", "cpu", Status.UNHEALTHY, 20),
    _rule("detected stall", r"\bINFO: rcu_\w{1,40} (?:self-)?detected stalls? on CPU", "cpu", Status.UNHEALTHY, 20),
    _rule(
        "table full, dropping packet",
        r"\Anf_conntrack: .{0,40}table full, dropping packet",
        "conntrack",
        Status.UNHEALTHY,
        30,
    ),
    _rule(
        "segfault at",
        r"(?P<process>[A-Za-z0-9_.:/+-]{1,64})\[\d{1,10}\]: segfault at ",
        "segfault",
        Status.UNHEALTHY,
        20,
        "{process}@{node}",
    ),
    _rule("not responding", rf"\Anfs: server {HOST} not responding, ", "nfs", Status.UNHEALTHY, 20, "nfs@{host}"),
    _rule("nfs: server ", rf"\Anfs: server {HOST} OK\Z", "nfs", Status.HEALTHY, 90, "nfs@{host}"),
    _rule("ink ", _LINK + r"[Dd]own\b", "link:{device}", Status.UNHEALTHY, 20),
    _rule("ink ", _LINK + r"[Uu]p\b", "link:{device}", Status.HEALTHY, 100),
)


class KernelFilter(RuleFilter):
    """Reports of the kernel's lines, about this node unless they name another host."""

    name = "kernel"
    fields = ("time", "host", "source", "content")
    rules = KERNEL_RULES

    def split(self, line: str) -> Mapping[str, str] | None:
        found = _LINE.match(line)
        if found is None:
            return None
        time = plain_time(found["time"] or found["date"] or "")
        return {"time": time, "host": found["sender"] or "", "source": "kernel", "content": found["content"]}

    def writer(self, fields: Mapping[str, str]) -> str:
        return f"kernel@{self.host_of(fields)}"
