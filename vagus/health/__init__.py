"""Infer: local observation store, inference strategies, gossip, log filters. All pure cores: time is an argument.

To add a strategy or a log filter: a file with a class like the Protocols below, and a line in its registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from vagus.model import Inference, Report
from vagus.registry import Registry


class Strategy(Protocol):
    """Judges a subject. `views` maps each observer to its last reports on the subject, newest last (at most 10).

    Must not change its input; the same views and time give the same inference on every node.
    Made as `Strategy(pending_ns=…)`: how long a PENDING may stand before it is evidence.
    """

    name: str

    def infer(self, subject: str, views: Mapping[str, Sequence[Report]], now_ns: int) -> Inference: ...


class LogFilter(Protocol):
    """Turns a line of a log into a report, or None. Must not raise on any line.

    Made as `LogFilter(node, zone=, tree=, ensemble=, observer=)`: this node's name, the time zone of the log, a
    filter file instead of the filter's own rules, servers' addresses, who reports; all may be left out. `log_rules`
    has a base class.

    `t_ns` is when the line was read; a filter that finds a full date in the line prefers that.
    """

    name: str
    fields: tuple[str, ...]  # which a line has, for filter files

    def read(self, line: str, path: str, t_ns: int) -> Report | None: ...


STRATEGIES: Registry[Strategy] = Registry(
    "vagus.strategies",
    {
        "paper": "vagus.health.strategy_paper:Paper",
        "majority": "vagus.health.strategy_majority:Majority",
        "weighted": "vagus.health.strategy_weighted:Weighted",
    },
)

LOG_FILTERS: Registry[LogFilter] = Registry(
    "vagus.log_filters",
    {
        "zookeeper": "vagus.health.filter_zookeeper:ZooKeeperFilter",
        "hdfs": "vagus.health.filter_hdfs:HdfsFilter",
        "hbase": "vagus.health.filter_hbase:HBaseFilter",
        "cassandra": "vagus.health.filter_cassandra:CassandraFilter",
        "kafka": "vagus.health.filter_kafka:KafkaFilter",
        "syslog": "vagus.health.filter_syslog:SyslogFilter",
        "journald": "vagus.health.filter_journald:JournaldFilter",
        "kernel": "vagus.health.filter_kernel:KernelFilter",
    },
)
