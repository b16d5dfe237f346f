"""Sense: one file per sensor. Reading is split from parsing, so that captured trees of other machines are test data.

To add one: a file with a class like `Collector` below, and a line in `COLLECTORS`. The contract test runs over it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from vagus.config import CollectSettings
from vagus.model import Event, Sample
from vagus.registry import Registry


class Collector(Protocol):
    """Reads one source of signals. Built as `Collector(node, root, settings)`; `root` holds proc/ and sys/.

    `collect` never blocks for long, returns samples of the given time and any events since the last call, and
    raises CollectError (or OSError) when its source cannot be read: the caller records that and goes on.
    """

    name: str

    def __init__(self, node: str, root: Path, settings: CollectSettings) -> None: ...

    def collect(self, t_ns: int) -> Iterable[Sample | Event]: ...

    def close(self) -> None: ...


@runtime_checkable
class Stateful(Protocol):
    """A collector that goes on where an earlier life of it ended. Its state is committed with what it collected."""

    def restore(self, state: bytes) -> None:
        """Called once, before the first `collect`; a state that it cannot use is ignored."""

    def state(self) -> bytes | None:
        """Called after each `collect`; None: as it was at the last call."""


COLLECTORS: Registry[Collector] = Registry(
    "vagus.collectors",
    {
        "host": "vagus.collectors.host:HostCollector",
        "pressure": "vagus.collectors.pressure:PressureCollector",
        "network": "vagus.collectors.network:NetworkCollector",
        "logs": "vagus.collectors.logs:LogsCollector",
        "cgroup": "vagus.collectors.cgroups:CgroupsCollector",
        "process": "vagus.collectors.processes:ProcessesCollector",
        "resctrl": "vagus.collectors.resctrl:ResctrlCollector",
        "heartbeat": "vagus.collectors.heartbeats:HeartbeatsCollector",
        "snmp": "vagus.collectors.device:DeviceCollector",
        "availability": "vagus.collectors.availability:AvailabilityCollector",
    },
)
