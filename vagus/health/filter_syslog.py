"""Syslog: the kernel's lines, services that systemd gives up, disks that smartd finds failing.

Observers are `PROGRAM@NODE`; subjects `UNIT@NODE` (such as `web.service@n1`) and `host@NODE`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from vagus.health.filter_kernel import KERNEL_RULES
from vagus.health.log_rules import Rule, RuleFilter
from vagus.health.log_syslog import FIELDS, split_syslog
from vagus.model import Status

_UNIT = r"(?P<unit>[A-Za-z0-9:_.@\\-]{1,150}\.(?:service|socket|mount|swap|scope|slice|timer|device|path))"
_DISK = r"\ADevice: /dev/(?P<device>[A-Za-z0-9_.-]{1,60})(?: \[[^\]]{1,60}\]){0,2}, "

SYSTEM_RULES = (
    *KERNEL_RULES,
    Rule(
        "equest repeated too quickly",
        re.compile(rf"\A{_UNIT}: Start request repeated too quickly"),
        "unit",
        Status.DEAD,
        0,
        "{unit}@{node}",
        "systemd",
    ),
    Rule(
        "equest repeated too quickly",
        re.compile(rf"\Astart request repeated too quickly for {_UNIT}"),
        "unit",
        Status.DEAD,
        0,
        "{unit}@{node}",
        "systemd",
    ),
    Rule(
        "ailed",
        re.compile(rf"\A(?:Unit )?{_UNIT}(?:: Failed with result '| entered failed state)"),
        "unit",
        Status.UNHEALTHY,
        20,
        "{unit}@{node}",
        "systemd",
    ),
    Rule(
        "Started ",
        re.compile(rf"\AStarted {_UNIT} - "),
        "unit",
        Status.HEALTHY,
        90,
        "{unit}@{node}",
        "systemd",
    ),
    Rule(
        "FAILED SMART",
        re.compile(_DISK + "FAILED SMART self-check"),
        "disk:{device}",
        Status.DYING,
        5,
        "host@{node}",
        "smartd",
    ),
    Rule(
        " sectors",
        re.compile(_DISK + r"\d{1,9} (?:Currently unreadable \(pending\)|Offline uncorrectable) sectors"),
        "disk:{device}",
        Status.MAYBE_UNHEALTHY,
        40,
        "host@{node}",
        "smartd",
    ),
)


class SyslogFilter(RuleFilter):
    """Reports of syslog's lines, about this node unless they name another host."""

    name = "syslog"
    kind = "host"
    fields: tuple[str, ...] = FIELDS
    rules = SYSTEM_RULES

    def split(self, line: str) -> Mapping[str, str] | None:
        return split_syslog(line)

    def writer(self, fields: Mapping[str, str]) -> str:
        return f"{fields['source']}@{self.host_of(fields)}"

    def about(self, fields: Mapping[str, str]) -> str | None:
        return f"host@{self.host_of(fields)}"
