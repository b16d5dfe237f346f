"""What Ray says of the nodes, as reports on `node:NAME`, context `ray`, beside what nodes say of themselves and others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vagus.clock import NS
from vagus.model import Metric, Report, Status
from vagus.runtime.names import SUPERVISOR

REPEAT_S = 60.0
TTL_NS = 180 * NS
ACCUSED_S = 600.0
"""A dead node is accused for so long: Ray's table keeps it for ever, also one that nobody will start again."""
ON_PURPOSE = {1, 3, 4}
"""Ray's reasons of a death that are none: expected termination (ray stop), drained by the autoscaler."""


class NodeStates:
    """Which node is in which state, and what was told of it. Pure: `now_s` is monotonic, `t_ns` wall time."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # by node id, since it was alive
        self._dead_s: dict[str, float] = {}  # by name
        self._told: dict[str, tuple[Status, float]] = {}

    def due(
        self, table: Iterable[Mapping[str, Any]], alive: Mapping[str, str], now_s: float, t_ns: int
    ) -> list[Report]:
        """Reports that are due, from Ray's table of nodes and the names of those alive by id.

        A node that ended on purpose is told of no more, and what was said of it ends with its time to live. So it is
        with one that was dead before this supervisor was there.
        """
        for node_id, name in alive.items():
            self._names[node_id] = name
            self._dead_s.pop(name, None)
        for node in table:
            name = self._names.pop(str(node["NodeID"]), "") if not node.get("Alive") else ""
            if name and name not in alive.values():
                if node.get("DeathReason") in ON_PURPOSE:
                    self._told.pop(name, None)
                else:
                    self._dead_s[name] = now_s
        self._dead_s = {name: since_s for name, since_s in self._dead_s.items() if now_s - since_s < ACCUSED_S}
        states = dict.fromkeys(alive.values(), Status.HEALTHY) | dict.fromkeys(self._dead_s, Status.DEAD)
        self._told = {name: told for name, told in self._told.items() if name in states}
        return [
            Report(SUPERVISOR, f"node:{name}", t_ns, {"ray": Metric(status)}, ttl_ns=TTL_NS)
            for name, status in states.items()
            if self._is_due(name, status, now_s)
        ]

    def taken(self, reports: Iterable[Report], now_s: float) -> None:
        """An observer has them: they need not be told again so soon."""
        for report in reports:
            self._told[report.subject.removeprefix("node:")] = (report.contexts["ray"].status, now_s)

    def _is_due(self, name: str, status: Status, now_s: float) -> bool:
        was, told_s = self._told.get(name, (Status.NA, 0.0))
        return was != status or now_s - told_s >= REPEAT_S
