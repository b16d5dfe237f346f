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

    Made as `LogFilter(node)`; the node's name may be left out.

    `t_ns` is when the line was read; a filter that finds a full date in the line prefers that.
    """

    name: str

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
        "kernel": "vagus.health.filter_kernel:KernelFilter",
    },
)
