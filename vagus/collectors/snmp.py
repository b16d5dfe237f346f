"""Protocol counters in text: /proc/net/snmp, netstat, snmp6 and sockstat. Names of fields are the kernel's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vagus.collectors.parts import FilePart
from vagus.collectors.table import Column, Table, check_range, pick
from vagus.errors import CollectError
from vagus.model import Field, Sample, Stream

# Settings and present amounts among the counters; MaxConn is -1 where there is no limit.
AMOUNTS = frozenset({"Forwarding", "DefaultTTL", "RtoAlgorithm", "RtoMin", "RtoMax", "MaxConn", "CurrEstab"})
LEFT_OUT = frozenset({"IcmpMsg"})  # its columns come and go with the types of messages seen
WHEN_USED = frozenset({"UdpLite", "MPTcpExt"})  # on most machines nothing but zeros


class _Protocol:
    """What the header line of one protocol says: its stream, and which columns are amounts."""

    def __init__(self, node: str, prefix: str, names: list[str]) -> None:
        fields = tuple(Field(n, dtype="i8") if n in AMOUNTS else Field(n, dtype="u8", counter=True) for n in names)
        self.stream = Stream(node, f"net.{prefix.lower()}", fields)
        self.prefix = prefix.encode() + b":"
        self.shown = prefix not in LEFT_OUT
        self.used = prefix not in WHEN_USED
        self.line: bytes | None = None  # the last one that was parsed, with its values
        self.values: tuple[int, ...] = ()
        counters = [i for i, name in enumerate(names) if name not in AMOUNTS]
        self.counters = pick(counters) if len(counters) < len(names) else tuple


class Snmp(FilePart):
    """`net.ip`, `net.icmp`, `net.tcp`, `net.udp`, or `net.tcpext`, `net.ipext`: a line of names, a line of numbers."""

    def __init__(self, node: str, root: Path, path: str) -> None:
        super().__init__(root, path, whole=True)
        self._node = node
        self._protocols: dict[bytes, _Protocol] = {}

    def read(self, t_ns: int) -> Iterator[Sample]:
        """One sample for each protocol."""
        lines = self._file.read().split(b"\n")
        for header, line in zip(lines[::2], lines[1::2], strict=False):
            protocol = self._protocols.get(header) or self._learn(header)
            if not protocol.shown:
                continue
            if line == protocol.line:  # nothing happened
                if protocol.used:
                    yield Sample(protocol.stream, t_ns, protocol.values)
                continue
            prefix, _, rest = line.partition(b" ")
            numbers = rest.split()
            if prefix != protocol.prefix or len(numbers) != len(protocol.stream.fields):
                raise CollectError(f"{self.source}: {line[:60]!r} does not fit the names before it: it is truncated")
            values = tuple(map(int, numbers))
            check_range(protocol.counters(values))
            protocol.line, protocol.values = line, values
            if protocol.used or any(values):
                protocol.used = True
                yield Sample(protocol.stream, t_ns, values)

    def _learn(self, header: bytes) -> _Protocol:
        prefix, *names = header.decode("ascii").split()
        if not prefix.endswith(":") or not names:
            raise CollectError(f"{self.source}: {header[:60]!r} is not a line of names")
        if len(self._protocols) > 100:
            self._protocols.clear()
        protocol = self._protocols[header] = _Protocol(self._node, prefix[:-1], names)
        return protocol


def snmp6_layout(tokens: list[bytes]) -> list[Column]:
    """`Ip6InReceives 12`; without the types of ICMP messages, which come and go, and UDP-Lite."""
    columns = []
    for i in range(0, len(tokens) - 1, 2):
        name = tokens[i].decode("ascii")
        if "Type" not in name and not name.startswith("UdpLite"):
            columns.append(Column(i + 1, Field(name, dtype="u8", counter=True)))
    return columns


def sockstat_layout(tokens: list[bytes]) -> list[Column]:
    """`TCP: inuse 3 orphan 0` → `tcp_inuse`, `tcp_orphan`; `mem` and `memory` are pages and bytes, as in the file."""
    columns = []
    prefix = ""
    i = 0
    while i < len(tokens):
        if tokens[i].endswith(b":"):
            prefix = tokens[i][:-1].decode("ascii").lower()
            i += 1
        else:
            if i + 1 < len(tokens):
                columns.append(Column(i + 1, Field(f"{prefix}_{tokens[i].decode('ascii')}", dtype="u8")))
            i += 2
    return columns


class Snmp6(FilePart):
    """`net.snmp6`: all counters of IPv6; nothing where the kernel has none."""

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/net/snmp6", whole=True)
        self._table = Table(node, "net.snmp6", snmp6_layout)

    def read(self, t_ns: int) -> list[Sample]:
        """One sample, or none."""
        sample = self._table.sample(self._file.read_if_there(), t_ns)
        return [sample] if sample else []


class SockStat(FilePart):
    """`net.sockstat` or `net.sockstat6`: sockets in use by protocol; `latest` keeps the last values by name."""

    def __init__(self, node: str, root: Path, version: str = "") -> None:
        super().__init__(root, f"proc/net/sockstat{version}", whole=True)
        self._optional = bool(version)
        self._table = Table(node, f"net.sockstat{version}", sockstat_layout)
        self._last: Sample | None = None

    def read(self, t_ns: int) -> list[Sample]:
        """One sample; none where the kernel has no IPv6."""
        data = self._file.read_if_there() if self._optional else self._file.read()
        self._last = self._table.sample(data, t_ns)
        if self._last is None and not self._optional:
            raise CollectError(f"{self.source} is empty")
        return [self._last] if self._last else []

    def latest(self, name: str) -> int:
        """The value of a field at the last reading; 0 before it or without such a field."""
        if self._last is not None:
            for field, value in zip(self._last.stream.fields, self._last.values, strict=True):
                if field.name == name:
                    return int(value)
        return 0
