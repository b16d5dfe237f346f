"""HBase: region servers that the master gave up, that abort, that stood still; datanodes as HDFS's client finds them.

Subjects are `regionserver@HOST` (with an ensemble file `regionserver@ID`) and `datanode@HOST`; observers are
`hmaster@NODE` and `regionserver@NODE`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from vagus.health.filter_hdfs import CLIENT_RULES
from vagus.health.log_java import FIELDS, PAUSE, split_java
from vagus.health.log_rules import HOST, Rule, RuleFilter
from vagus.model import Status

_SERVER = rf"{HOST},\d{{1,5}},\d{{1,15}}"


class HBaseFilter(RuleFilter):
    """Reports of the lines of masters and region servers."""

    name = "hbase"
    kind = "regionserver"
    fields = FIELDS
    rules = (
        Rule(
            "processing expiration [",
            re.compile(rf"\ARegionServer ephemeral node deleted, processing expiration \[{_SERVER}\]"),
            "heartbeat",
            Status.DEAD,
            0,
            "regionserver@{host}",
        ),
        Rule(
            "Registering ",
            re.compile(rf"\ARegistering (?:region)?server={_SERVER}"),
            "heartbeat",
            Status.HEALTHY,
            90,
            "regionserver@{host}",
            "ServerManager",
        ),
        Rule(
            "ABORTING region server ",
            re.compile(rf"\A(?:\*{{5}} )?ABORTING region server {_SERVER}"),
            "abort",
            Status.DEAD,
            0,
            "regionserver@{host}",
        ),
        Rule("We slept ", re.compile(r"\AWe slept \d{5,9}ms instead of \d{1,9}ms"), "pause", Status.UNHEALTHY, 30),
        PAUSE,
        *CLIENT_RULES,
    )

    def split(self, line: str) -> Mapping[str, str] | None:
        return split_java(line)

    def writer(self, fields: Mapping[str, str]) -> str:
        by_master = "master" in fields["class"].lower() or fields["source"] == "RegionServerTracker"
        return f"{'hmaster' if by_master else 'regionserver'}@{self.node}"
