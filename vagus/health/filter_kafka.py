"""Kafka: brokers that others cannot fetch from or connect to, that fall behind, whose session ended, whose disks fail.

    [2019-09-21 11:24:07,625] WARN [ReplicaFetcher replicaId=4, leaderId=0, fetcherId=0] Error in response … (class)

Observers and subjects are `broker@ID`; a line that does not tell the id of the broker that wrote it is of
`kafka@NODE`. Of a replica that a leader drops it accuses that one; a leader that drops several at once may as well be
the one that is cut off, and accuses nobody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from vagus.health.log_rules import Rule, RuleFilter
from vagus.model import Status

_LINE = re.compile(r"\[?(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})\]? (?P<level>[A-Z]{4,5}) (?P<content>.*)")
_CLASS = re.compile(
    r"\((?:[A-Za-z0-9_]{1,60}\.){1,12}(?P<source>[A-Za-z0-9_$]{1,100})(?::\d{1,6})?\)(?: \[[^\]]{0,200}\])?\Z"
)
_OWN_ID = re.compile(r"\[[^\]]{0,100}?\b(?:broker|brokerId|replicaId|id|controllerId)=(?P<id>\d{1,9})\b")
_ID = r"(?P<id>\d{1,9})"


class KafkaFilter(RuleFilter):
    """Reports of the lines of server.log and controller.log."""

    name = "kafka"
    kind = "broker"
    fields = ("time", "level", "source", "content")
    rules = (
        Rule(
            " leaderId=",
            re.compile(
                rf"\A\[ReplicaFetcher replicaId=\d{{1,9}}, leaderId={_ID}, fetcherId=\d{{1,9}}\] "
                r"Error (?:in response for fetch request|in fetch to broker|sending fetch request)"
            ),
            "fetch",
            Status.UNHEALTHY,
            20,
            "broker@{id}",
        ),
        Rule(
            " could not be established. ",
            re.compile(  # ids of ten digits are no broker's, but a client's own for a coordinator
                r"Connection to node (?P<id>\d{1,9}) \([^()]{1,300}\) could not be established\. (?:Broker|Node) may not be available"
            ),
            "connect",
            Status.UNHEALTHY,
            20,
            "broker@{id}",
        ),
        Rule(
            "Shrinking ISR from ",
            re.compile(
                rf"Shrinking ISR from [\d,]{{1,500}} to .{{1,500}}Out of sync replicas: \(brokerId: {_ID}, [^()]{{1,200}}\)\.?(?! ?\()"
            ),
            "isr",
            Status.UNHEALTHY,
            30,
            "broker@{id}",
        ),
        Rule(
            "Expanding ISR from ",
            re.compile(rf"Expanding ISR from (?P<isr>[\d,]{{1,500}}) to (?P=isr),{_ID}(?![\d,])"),
            "isr",
            Status.HEALTHY,
            90,
            "broker@{id}",
        ),
        Rule(
            "deleted brokers: ",
            re.compile(rf"Newly added brokers: [\d,]{{0,500}}, deleted brokers: {_ID}, (?:bounced|all live)"),
            "session",
            Status.DEAD,
            0,
            "broker@{id}",
        ),
        Rule(
            ", deleted brokers: , ",
            re.compile(rf"Newly added brokers: {_ID}, deleted brokers: , (?:bounced brokers: , )?all live"),
            "session",
            Status.HEALTHY,
            90,
            "broker@{id}",
        ),
        Rule(
            " to unfence has been granted",
            re.compile(rf"\bThe request from broker {_ID} to unfence has been granted"),
            "session",
            Status.HEALTHY,
            90,
            "broker@{id}",
        ),
        Rule(
            "because its session has timed out",
            re.compile(rf"\bFencing broker {_ID}(?: at epoch \d{{1,19}})? because its session has timed out"),
            "session",
            Status.DEAD,
            0,
            "broker@{id}",
        ),
        Rule(
            "Shutdown broker because ",
            re.compile(r"\AShutdown broker because all log dirs in .{1,1000} have failed"),
            "log_dir",
            Status.DEAD,
            0,
        ),
        Rule(
            "Stopping serving ",
            re.compile(r"(?:\A|\] )Stopping serving (?:logs|replicas) in dir "),
            "log_dir",
            Status.UNHEALTHY,
            10,
        ),
    )

    def split(self, line: str) -> Mapping[str, str] | None:
        found = _LINE.match(line)
        if found is None:
            return None
        fields = found.groupdict()
        by = _CLASS.search(line, max(0, len(line) - 600))
        fields["source"] = by["source"] if by else ""
        return fields

    def writer(self, fields: Mapping[str, str]) -> str:
        own = _OWN_ID.match(fields["content"])
        return f"broker@{int(own['id'])}" if own else super().writer(fields)
