"""Cassandra: nodes that gossip holds for down or up again; a node that pauses, collects garbage, drops messages.

    INFO  [GossipStage:1] 2020-03-16 16:39:12,368 Gossiper.java:1198 - InetAddress 127.0.0.2:7000 is now DOWN

Observers and subjects are `cassandra@HOST`; the node that wrote the log is `cassandra@NODE`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from vagus.health.log_rules import HOST, Rule, RuleFilter
from vagus.model import Status

_LINE = re.compile(
    r" ?(?P<level>[A-Z]{4,5}) {1,4}\[(?P<thread>.{0,300}?)\] (?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) "
    r"(?P<source>[A-Za-z0-9_$]{1,100})\.java(?::\d{1,6} -| \(line \d{1,6}\)) (?P<content>.*)"
)
_NODE = rf"(?:[A-Za-z0-9_.-]{{0,255}}/)?{HOST}(?::\d{{1,5}})?"


class CassandraFilter(RuleFilter):
    """Reports of the lines of system.log."""

    name = "cassandra"
    fields = ("level", "thread", "time", "source", "content")
    rules = (
        Rule(
            " is now DOWN",
            re.compile(rf"\AInetAddress {_NODE} is now DOWN"),
            "gossip",
            Status.UNHEALTHY,
            10,
            "cassandra@{host}",
            "Gossiper",
        ),
        Rule(
            "now UP",
            re.compile(rf"\A(?:InetAddress|Node) {_NODE} (?:is|has restarted,) now UP"),
            "gossip",
            Status.HEALTHY,
            100,
            "cassandra@{host}",
            "Gossiper",
        ),
        Rule(
            "due to local pause of ",
            re.compile(r"\ANot marking nodes down due to local pause of \d"),
            "pause",
            Status.UNHEALTHY,
            30,
            "",
            "FailureDetector",
        ),
        Rule(
            " GC in ", re.compile(r"\A.{1,60} GC in \d{4,9}ms\."), "gc", Status.MAYBE_UNHEALTHY, 40, "", "GCInspector"
        ),
        Rule(
            " messages were dropped in ",
            re.compile(r"\A[A-Z_]{3,40} messages were dropped in (?:the )?last \d{1,9} ms"),
            "dropped",
            Status.MAYBE_UNHEALTHY,
            40,
        ),
    )

    def split(self, line: str) -> Mapping[str, str] | None:
        found = _LINE.match(line)
        return None if found is None else found.groupdict()
