"""ZooKeeper's log: peers that cannot be reached, connections that break, a disk that is too slow.

A line is `2017-05-26 17:26:04,937 [myid:0] - WARN  [tag:class@line] - content`, where `[myid:…]` may be missing.
A tag is the thread's name; what it is about stands at its end, after a colon (`RecvWorker:4`, a peer's id) or after a
slash (`LearnerHandler-/10.0.0.7:33894`, an address). Observers and subjects are `peer@ID`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from vagus.health.log_rules import Rule, RuleFilter
from vagus.model import Status

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) (?:\[myid:(?P<myid>\d{0,9})\] )?- (?P<level>[A-Z]{4,5}) {1,4}"
    r"\[(?P<tag>.{1,400}?):(?P<class>[A-Za-z0-9_.$]{1,200})@(?P<line>\d{1,9})\] - (?P<content>.*)"
)
_AT_HOST = re.compile(r"(?P<context>[^/]*)/(?P<host>.*):\d{1,5}\Z")
_WITH_ID = re.compile(r"(?P<context>[^:]*):(?P<id>\d+)\Z")
_MYID = re.compile(r"\[myid=(\d{1,9})\]")
MAX_ID_DIGITS = 9  # what a stranger sends to the election port is taken for an id, and is usually longer


class ZooKeeperFilter(RuleFilter):
    """Reports of ZooKeeper's lines. The observer is the peer that wrote them: by its id, else `zookeeper@NODE`."""

    name = "zookeeper"
    kind = "peer"
    fields = ("time", "myid", "level", "tag", "tag_context", "tag_id", "tag_host", "class", "line", "content")
    rules = (
        Rule(
            "Cannot open channel to ",
            re.compile(r"\ACannot open channel to (?P<id>\d{1,9}) at election address "),
            "WorkerSender",
            Status.MAYBE_UNHEALTHY,
            40,
            "peer@{id}",
        ),
        Rule(
            "Connection broken for id ",
            re.compile(r"\AConnection broken for id (?P<id>\d{1,9}), my id = "),
            "RecvWorker",
            Status.MAYBE_UNHEALTHY,
            50,
            "peer@{id}",
        ),
        Rule("Too busy to snap", re.compile(r"\AToo busy to snap, skipping"), "Snapshot", Status.UNHEALTHY, 20),
        Rule(
            "fsync-ing the write ahead log",
            re.compile(r"\Afsync-ing the write ahead log .{0,60}in SyncThread:\d{1,9} took \d{4,9}ms "),
            "SyncThread",
            Status.UNHEALTHY,
            30,
        ),
        Rule(
            "Exception when following the leader",
            re.compile(r"\AException when following the leader"),
            "Following",
            Status.UNHEALTHY,
            30,
        ),
    )

    def split(self, line: str) -> Mapping[str, str] | None:
        found = _LINE.match(line)
        if found is None:
            return None
        fields = {name: word or "" for name, word in found.groupdict().items()}
        fields["class"] = fields["class"].rpartition(".")[2]  # newer versions write o.a.z.s.q.QuorumCnxManager
        tag = fields["tag"]
        about = (_AT_HOST.match(tag) or _WITH_ID.match(tag)) if tag[-1].isdigit() else None
        words = about.groupdict() if about is not None else {}
        fields["tag_context"] = words.get("context", tag)
        fields["tag_host"] = words.get("host", "")
        fields["tag_id"] = words.get("id", "")
        return fields

    def writer(self, fields: Mapping[str, str]) -> str:
        myid = fields["myid"]
        if not myid:
            named = _MYID.search(fields["tag"])
            myid = named[1] if named else ""
        return f"peer@{int(myid)}" if myid else super().writer(fields)

    def about(self, fields: Mapping[str, str]) -> str | None:
        if fields["tag_id"]:
            return f"peer@{int(fields['tag_id'])}" if len(fields["tag_id"]) <= MAX_ID_DIGITS else None
        return self.server(fields["tag_host"])

    def context(self, fields: Mapping[str, str]) -> str:
        return fields["tag_context"].rstrip("-") or fields["class"]
