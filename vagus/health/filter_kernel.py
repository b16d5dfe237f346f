"""The Linux kernel's log, as dmesg, /dev/kmsg, syslog (RFC 3164 or ISO times) or journalctl write it.

| line | subject | context | status |
|---|---|---|---|
| a process killed for want of memory | `host@NODE` | `memory` | UNHEALTHY 20 |
| I/O error on a device, file system error | `host@NODE` | `disk:DEVICE` | UNHEALTHY 20 |
| task blocked for more than N seconds | `host@NODE` | `hung_task` | UNHEALTHY 30 |
| soft lockup | `host@NODE` | `cpu` | UNHEALTHY 20 |
| segfault of a process | `PROCESS@NODE` | `segfault` | UNHEALTHY 20 |
| network link down, up | `host@NODE` | `link:DEVICE` | UNHEALTHY 20, HEALTHY 100 |

The observer is `kernel@NODE`. Of lines in syslog's form only those that syslog attributes to the kernel count.
"""

from __future__ import annotations

import platform
import re
from typing import NamedTuple

from vagus.errors import ConfigError
from vagus.model import Metric, Report, Status, check_name

MAX_LINE = 4096

_PREFIX = re.compile(
    r"(?:<\d{1,3}>)?(?:"
    r"\[ {0,11}\d{1,11}\.\d{1,9}\](?:\[ {0,6}[TC]\d{1,9}\])? "  # dmesg
    r"|\d{1,4},\d{1,20},\d{1,20},[^;]{1,200};"  # /dev/kmsg
    r"|(?:[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ][0-9:.,+Z-]{8,30}) "
    r"\S{1,255} kernel(?:\[\d{1,9}\])?: (?:\[ {0,11}\d{1,11}\.\d{1,9}\] )?"  # syslog
    r")"
)


class _Rule(NamedTuple):
    """A line with `needle` (cheap to look for) that matches `pattern` says this of subject and context."""

    needle: str
    pattern: re.Pattern[str]
    subject: str
    context: str
    status: Status
    score: float


_DEVICE = r"(?P<device>[A-Za-z0-9_.:-]{1,64})"
_RULES = (
    _Rule("Kill", re.compile(r"[Oo]ut of memory: Kill(?:ed)? process \d"), "host", "memory", Status.UNHEALTHY, 20),
    _Rule(
        "I/O error",
        re.compile(rf"\bI/O error,? (?:on )?dev(?:ice)? {_DEVICE}"),
        "host",
        "disk:{device}",
        Status.UNHEALTHY,
        20,
    ),
    _Rule(
        "-fs error",
        re.compile(rf"\b[A-Za-z0-9]{{1,16}}-fs error \(device {_DEVICE}\)"),
        "host",
        "disk:{device}",
        Status.UNHEALTHY,
        20,
    ),
    _Rule(
        "blocked for more than",
        re.compile(r"INFO: task .{1,64}:\d{1,10} blocked for more than \d{1,6} seconds"),
        "host",
        "hung_task",
        Status.UNHEALTHY,
        30,
    ),
    _Rule("soft lockup", re.compile(r"BUG: soft lockup - CPU#\d{1,5} stuck for "), "host", "cpu", Status.UNHEALTHY, 20),
    _Rule(
        "segfault at",
        re.compile(r"(?P<process>[A-Za-z0-9_.:/+-]{1,64})\[\d{1,10}\]: segfault at "),
        "{process}",
        "segfault",
        Status.UNHEALTHY,
        20,
    ),
    _Rule(
        "ink",
        re.compile(
            rf"(?<![^\s:]){_DEVICE}(?::| NIC|: NIC) (?:\(unregistering\): )?[Ll]ink (?:is )?(?P<way>[Dd]own|[Uu]p)\b"
        ),
        "host",
        "link:{device}",
        Status.UNHEALTHY,
        20,
    ),
)


class KernelFilter:
    """Reports of the kernel's lines about `node`, by default this machine. Raises ConfigError for a bad name."""

    name = "kernel"

    def __init__(self, node: str = "") -> None:
        self.node = check_name("node", node or platform.node() or "localhost")

    def read(self, line: str, path: str, t_ns: int) -> Report | None:
        """The report in a line, at `t_ns` (many of the forms carry no date), or None. Never raises."""
        line = line[:MAX_LINE]
        prefix = _PREFIX.match(line)
        if prefix is None:
            return None
        for rule in _RULES:
            if rule.needle not in line:
                continue
            found = rule.pattern.search(line, prefix.end())
            if found is not None:
                return self._report(rule, found.groupdict(), t_ns)
        return None

    def _report(self, rule: _Rule, words: dict[str, str | None], t_ns: int) -> Report | None:
        metric = Metric(rule.status, rule.score)
        if (words.get("way") or "").lower() == "up":
            metric = Metric(Status.HEALTHY, 100)
        named = {key: (word or "").rstrip(":.") for key, word in words.items()}
        try:
            return Report(
                f"kernel@{self.node}",
                f"{rule.subject.format(**named)}@{self.node}",
                t_ns,
                {rule.context.format(**named): metric},
            )
        except ConfigError:
            return None  # a node's name so long that process@node is no name
