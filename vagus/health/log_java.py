"""Lines as Hadoop's daemons and HBase write them through log4j, of all ages.

2022-12-02 15:22:04,287 INFO org.apache.hadoop.hdfs.StateChange: BLOCK* removeDeadDatanode: …
2017-04-20 10:28:26,827 INFO  [hbase,45891,1492683714564_ChoreService_1] regionserver.HRegionServer: …
2022-09-07 13:52:07,729 INFO org.apache.hadoop.hdfs.StateChange (IPC Server handler 26 on default port 8020): …
16/03/30 08:33:32 INFO hdfs.DFSClient: Excluding datanode 10.0.0.11:50010
081109 203615 148 INFO dfs.DataNode$PacketResponder: PacketResponder 1 for block …
"""

from __future__ import annotations

import re

from vagus.health.log_rules import Rule
from vagus.model import Status

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,]\d{3}|\d\d/\d\d/\d\d \d\d:\d\d:\d\d|\d{6} \d{6})"
    r"(?: \d{1,9})? {1,4}(?P<level>[A-Z]{4,5}) {1,4}"
    r"(?:\[(?P<thread>.{0,400}?)\] {1,4})?(?P<class>[A-Za-z0-9_.$]{1,300})(?: \((?P<caller>[^)]{0,300})\))?: (?P<content>.*)"
)

FIELDS = ("time", "level", "thread", "class", "source", "content")


def split_java(line: str) -> dict[str, str] | None:
    """The fields of a line, or None; `source` is the class without its package."""
    found = _LINE.match(line)
    if found is None:
        return None
    fields = {name: word or "" for name, word in found.groupdict().items()}
    fields["thread"] = fields["thread"] or fields.pop("caller")
    fields["source"] = fields["class"].rpartition(".")[2]
    return fields


PAUSE = Rule(
    "pause of approximately ",
    re.compile(r"\ADetected pause in JVM or host machine \(eg GC\): pause of approximately \d{5,9}ms"),
    "pause",
    Status.UNHEALTHY,
    30,
)
"""A process that stood still for ten seconds or more."""
