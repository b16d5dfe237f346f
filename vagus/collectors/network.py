"""The network: links and queues, protocol counters, tracked connections, and TCP sockets by peer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vagus.clock import NS
from vagus.collectors.addresses import Addresses
from vagus.collectors.links import LINK_NOTICES, Links
from vagus.collectors.netlink import ROUTE, Netlink, Notices
from vagus.collectors.packets import Conntrack, Softnet
from vagus.collectors.parts import Every, Part, read_parts
from vagus.collectors.qdisc import Qdiscs
from vagus.collectors.snmp import Snmp, Snmp6, SockStat
from vagus.collectors.sockets import Sockets
from vagus.config import CollectSettings
from vagus.model import Event, Sample

CONNTRACK_NS = 5 * NS  # the table is large, and fills over minutes


class NetworkCollector:
    """Kinds `net.*` of the process' own network namespace. Raises CollectError.

    Netlink answers for the running kernel only, so that with a `root` other than / just the files are read.
    """

    name = "network"

    def __init__(self, node: str, root: Path, settings: CollectSettings) -> None:
        sockstat = SockStat(node, root)
        self._parts: tuple[Part, ...] = (
            Snmp(node, root, "proc/net/snmp"),
            Snmp(node, root, "proc/net/netstat"),
            Snmp6(node, root),
            sockstat,
            SockStat(node, root, "6"),
            Softnet(node, root),
            Every(CONNTRACK_NS, Conntrack(node, root)),
        )
        if root == Path("/"):
            route = Netlink(ROUTE)
            links = Links(node, route, Notices(ROUTE, LINK_NOTICES))
            addresses = Addresses(node, route, lambda: links.names)
            qdiscs = Qdiscs(node, route, lambda: links.names)
            sockets = Sockets(node, time_wait=lambda: sockstat.latest("tcp_tw"))
            self._parts += (links, addresses, qdiscs, sockets)

    def collect(self, t_ns: int) -> Iterator[Sample | Event]:
        """Samples of all parts; the error that names the failing ones comes last."""
        return read_parts(self._parts, t_ns)

    def close(self) -> None:
        """Closes all files and sockets. Idempotent."""
        for part in self._parts:
            part.close()
