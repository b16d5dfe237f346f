"""HDFS: datanodes that clients, other datanodes or the namenode find wanting; pauses; disks that are slow.

Subjects are `datanode@HOST` (with an ensemble file `datanode@ID`), `namenode@NODE`; observers are the daemon that wrote
the line, and `hdfs-client@NODE` for what runs in a client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from vagus.health.log_java import FIELDS, PAUSE, split_java
from vagus.health.log_rules import HOST, Rule, RuleFilter
from vagus.model import Status

_DATANODE = rf"(?:DatanodeInfoWithStorage\[)?{HOST}:\d{{1,5}}"

CLIENT_RULES = (
    Rule(
        "Excluding datanode ",
        re.compile(rf"\AExcluding datanode {_DATANODE}"),
        "write",
        Status.UNHEALTHY,
        30,
        "datanode@{host}",
    ),
    Rule(
        "bad datanode ",
        re.compile(rf"\AError Recovery for .{{1,3000}}: bad datanode {_DATANODE}"),
        "pipeline",
        Status.UNHEALTHY,
        20,
        "datanode@{host}",
    ),
    Rule(  # Hadoop 3's form of it
        ") is bad",
        re.compile(rf"\AError Recovery for .{{1,3000}}: datanode \d{{1,4}}\({_DATANODE}[^()]{{0,100}}\) is bad"),
        "pipeline",
        Status.UNHEALTHY,
        20,
        "datanode@{host}",
    ),
)
"""What a client of HDFS says, wherever it runs."""


class HdfsFilter(RuleFilter):
    """Reports of the lines of namenodes, datanodes and clients."""

    name = "hdfs"
    kind = "datanode"
    fields = FIELDS
    rules = (
        *CLIENT_RULES,
        Rule(
            "lost heartbeat from ",
            re.compile(rf"removeDeadDatanode: lost heartbeat from {HOST}:\d{{1,5}}"),
            "heartbeat",
            Status.DEAD,
            0,
            "datanode@{host}",
        ),
        Rule(
            "registerDatanode: from ",
            re.compile(rf"registerDatanode: from DatanodeRegistration\({HOST}:\d{{1,5}}"),
            "heartbeat",
            Status.HEALTHY,
            90,
            "datanode@{host}",
        ),
        Rule(  # the next in the pipeline is slow to take it; older Hadoops do not say who that is
            "Slow BlockReceiver ",
            re.compile(
                rf"\ASlow BlockReceiver write packet to mirror took \d{{4,9}}ms .{{1,60}}downstream DNs=\[{_DATANODE}"
            ),
            "mirror",
            Status.MAYBE_UNHEALTHY,
            40,
            "datanode@{host}",
        ),
        Rule(
            "Slow BlockReceiver ",
            re.compile(r"\ASlow BlockReceiver write data to disk cost:\d{4,9}ms "),
            "disk",
            Status.MAYBE_UNHEALTHY,
            40,
        ),
        PAUSE,
    )

    def split(self, line: str) -> Mapping[str, str] | None:
        return split_java(line)

    def writer(self, fields: Mapping[str, str]) -> str:
        name = fields["class"].lower()
        if "datanode" in name and "blockmanagement" not in name:
            return f"datanode@{self.node}"
        if any(word in name for word in ("namenode", "namesystem", "blockmanagement", "statechange")):
            return f"namenode@{self.node}"
        return f"hdfs-client@{self.node}"
