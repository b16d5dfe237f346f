"""A path A → B as hops, and at each hop the streams that tell about it. Pure: (traced route, directory) → hops.

Addresses in the directory join the parts: `net.address` streams name nodes and their links, `snmp.address` streams
name routers and their interfaces (ipAddressTable). The egress of a hop is the interface in whose network the next
hop's address lies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from vagus.errors import ConfigError, NoData
from vagus.model import SensorInfo

LOOPBACK = "127.0.0.1"
MAX_STREAMS = 40  # of one hop
KINDS = ("net.*", "snmp.*", "probe.*", "host.load")
"""Selectors of everything that a path may be made of."""

HopKind = Literal["node", "router", "unknown"]
Part = Literal["end", "probe", "peer", "ingress", "egress", "device"]


class TracedHop(msgspec.Struct, frozen=True):
    """Who answered at one distance: addresses (more than one where routes share the load; none: silence)."""

    addresses: tuple[str, ...] = ()
    rtt_s: float | None = None  # the least of its probes


class Earlier(msgspec.Struct, frozen=True):
    """A route as it was when it was first seen; `addresses` has an empty text for each silent hop."""

    t_ns: int
    addresses: tuple[str, ...]


class Trace(msgspec.Struct, frozen=True):
    """A route as one node found it. hops: by distance, the target last when it was reached; note: why it ended."""

    node: str
    source: str  # the node's own address on it
    target: str
    hops: tuple[TracedHop, ...] = ()
    reached: bool = False
    note: str = ""
    earlier: tuple[Earlier, ...] = ()  # other routes to the same target, newest first


class HopStream(msgspec.Struct, frozen=True):
    """A stream that tells about a hop, and as which part of it; values: its newest, counters per second."""

    part: Part
    sensor: SensorInfo
    values: dict[str, float] = {}


class Hop(msgspec.Struct, frozen=True):
    """One hop of a path. name: of the node or the device; interface: the one that the address belongs to."""

    distance: int
    kind: HopKind
    name: str
    address: str
    interface: str = ""
    rtt_s: float | None = None
    others: tuple[str, ...] = ()  # further addresses that answered at this distance
    streams: tuple[HopStream, ...] = ()


class Ends(NamedTuple):
    """What is to be traced: from which node to which address; to: what the user called it."""

    node: str
    to: str
    target: str


class _Place(NamedTuple):
    """An address in the directory: of which node or device, on which interface, in which network."""

    kind: HopKind
    name: str
    interface: str
    address: str
    network: str
    live: bool


class Map:
    """The addresses and streams of a directory. Ended entries count only with `history`, and after live ones."""

    def __init__(self, sensors: Iterable[SensorInfo], history: bool = False) -> None:
        self.sensors = sorted((s for s in sensors if s.live or history), key=lambda s: (not s.live, s.stream.key))
        self.places: list[_Place] = []
        for s in self.sensors:
            labels = s.stream.labels
            where = labels.get("address", ""), labels.get("network", ""), s.live
            if s.stream.kind == "net.address":
                self.places.append(_Place("node", s.stream.node, labels.get("dev", ""), *where))
            elif s.stream.kind == "snmp.address" and "device" in labels:
                self.places.append(_Place("router", labels["device"], labels.get("interface", ""), *where))

    def addresses(self, kind: HopKind, name: str) -> list[_Place]:
        """Where a node or device is, live addresses first."""
        return [place for place in self.places if (place.kind, place.name) == (kind, name)]

    def at(self, address: str) -> list[_Place]:
        """Who has an address; a machine that is both a node and a device comes as the node first."""
        return sorted((p for p in self.places if p.address == address), key=lambda p: (not p.live, p.kind))

    def towards(self, kind: HopKind, name: str, address: str) -> str:
        """The interface of a node or device in whose network an address lies; of several the narrowest."""
        found = [p for p in self.addresses(kind, name) if address and _inside(address, p.network)]
        return max(found, key=lambda p: _bits(p.network)).interface if found else ""

    def select(self, part: Part, kind: str, **labels: str) -> Iterator[HopStream]:
        """Streams of a kind with these labels; `node` is one."""
        for s in self.sensors:
            if s.stream.kind == kind and all(
                (s.stream.node if label == "node" else s.stream.labels.get(label)) == value
                for label, value in labels.items()
            ):
                yield HopStream(part, s)


def ends(a: str, b: str, there: Map, nodes: Sequence[str]) -> Ends:
    """Which node traces to which address. a: a node's name or address; b: also a device's, or any address.

    Raises NoData for an `a` that is no node, and a `b` whose address is not known.
    """
    node = a if a in nodes else next((p.name for p in there.at(_address(a)) if p.kind == "node"), "")
    if not node:
        raise NoData(f"a path begins at a node, and {a[:80]!r} is none; there are: {', '.join(sorted(nodes))[:400]}")
    literal = _address(b)
    if literal and b not in nodes:
        return Ends(node, next((p.name for p in there.at(literal)), b), literal)
    kind: HopKind = "node" if b in nodes else "router"
    own, found = there.addresses("node", node), there.addresses(kind, b)
    if found:
        near = [p for p in found if any(_inside(p.address, o.network) for o in own)]
        four = [p for p in found if "." in p.address]
        return Ends(node, b, (near or four or found)[0].address)
    if kind == "node" and (b == node or not own):  # nodes of one machine that has no network
        return Ends(node, b, LOOPBACK)
    hosts = [s.stream.labels.get("host", "") for s in there.sensors if s.stream.labels.get("device") == b]
    known = next((host for host in hosts if _address(host)), "")
    if known:
        return Ends(node, b, known)
    devices = sorted({p.name for p in there.places if p.kind == "router"})
    raise NoData(
        f"no address of {b[:80]!r} is known; give one, or a node ({', '.join(sorted(nodes))[:200]}) or a device "
        f"({', '.join(devices)[:200] or 'none is read'})"
    )


def resolve(end: Ends, trace: Trace, there: Map) -> list[Hop]:
    """The hops from the node `end.node` to `end.to`, both included."""
    between = list(trace.hops[:-1] if trace.reached else trace.hops)
    last = trace.hops[-1] if trace.reached and trace.hops else TracedHop()
    answered = [*(hop.addresses[0] if hop.addresses else "" for hop in between), trace.target]
    hops = [_first(end, trace, there, next((address for address in answered if address), ""))]
    for i, hop in enumerate(between):
        came_from = trace.source if i == 0 else answered[i - 1]
        hops.append(_between(i + 1, hop, came_from, answered[i + 1], end.node, there))
    if end.to != end.node or not trace.reached:
        came_from = answered[-2] if between else trace.source
        hops.append(_last(len(hops), end, trace, last, came_from, there))
    return [msgspec.structs.replace(hop, streams=_distinct(hop.streams)) for hop in hops]


def resolve_earlier(end: Ends, trace: Trace, earlier: Earlier, there: Map) -> list[Hop]:
    """The same of a former route."""
    hops = tuple(TracedHop((address,) if address else ()) for address in earlier.addresses)
    reached = bool(earlier.addresses) and earlier.addresses[-1] == trace.target
    return resolve(end, Trace(trace.node, trace.source, trace.target, hops, reached), there)


def _first(end: Ends, trace: Trace, there: Map, following: str) -> Hop:
    node = end.node
    own = [p for p in there.at(trace.source) if (p.kind, p.name) == ("node", node)]
    link = own[0].interface if own else there.towards("node", node, following)
    streams = [
        *_of_end(node, link, "egress", there),
        *_probes(node, end.to, there),
        *_peers(node, [trace.target, *(p.address for p in _places_of(end.to, there))], there),
    ]
    return Hop(0, "node", node, trace.source, link, 0.0, (), tuple(streams))


def _between(distance: int, hop: TracedHop, came_from: str, following: str, observer: str, there: Map) -> Hop:
    if not hop.addresses:
        return Hop(distance, "unknown", "", "")
    address, *others = hop.addresses
    place = next(iter(there.at(address)), None)
    streams = list(_peers(observer, [address], there))
    if place is None:
        return Hop(distance, "unknown", "", address, "", hop.rtt_s, tuple(others), tuple(streams))
    # what answers has the address of the interface that leads back; where it has none there, the packet's way in
    ingress = there.towards(place.kind, place.name, came_from) or place.interface
    egress = there.towards(place.kind, place.name, following)
    streams += _interfaces(place, ingress, egress, there)
    return Hop(distance, place.kind, place.name, address, place.interface, hop.rtt_s, tuple(others), tuple(streams))


def _last(distance: int, end: Ends, trace: Trace, hop: TracedHop, came_from: str, there: Map) -> Hop:
    places = [p for p in there.at(trace.target) if p.name == end.to] or there.at(trace.target)
    place = places[0] if places else None
    own = _places_of(end.to, there)
    kind: HopKind = place.kind if place else own[0].kind if own else "unknown"
    name = place.name if place else end.to if own else ""
    interface = place.interface if place else ""
    streams: list[HopStream] = []
    if kind == "node":
        streams += _of_end(name, interface, "ingress", there)
        streams += _probes(name, end.node, there)
        streams += _peers(name, [trace.source, *(p.address for p in there.addresses("node", end.node))], there)
    elif kind == "router" and place is not None:
        ingress = there.towards("router", name, came_from) or interface
        streams += _interfaces(place, ingress, "", there)
    return Hop(distance, kind, name, trace.target, interface, hop.rtt_s, (), tuple(streams))


def _of_end(node: str, link: str, part: Part, there: Map) -> Iterator[HopStream]:
    if link:
        yield from there.select(part, "net.link", node=node, dev=link)
    for kind in ("net.tcp", "host.load", "probe.cpu"):
        yield from there.select("end", kind, node=node)


def _probes(src: str, dst: str, there: Map) -> Iterator[HopStream]:
    for kind in ("probe.latency", "probe.bandwidth"):
        yield from there.select("probe", kind, src=src, dst=dst)


def _peers(node: str, addresses: Iterable[str], there: Map) -> Iterator[HopStream]:
    for address in dict.fromkeys(addresses):
        yield from there.select("peer", "net.peer", node=node, peer=address)


def _interfaces(place: _Place, ingress: str, egress: str, there: Map) -> Iterator[HopStream]:
    if place.kind == "node":
        yield from there.select("ingress", "net.link", node=place.name, dev=ingress)
        if egress != ingress:
            yield from there.select("egress", "net.link", node=place.name, dev=egress)
        return
    yield from there.select("ingress", "snmp.interface", device=place.name, interface=ingress)
    if egress != ingress:
        yield from there.select("egress", "snmp.interface", device=place.name, interface=egress)
    for kind in ("snmp.system", "snmp.ip", "snmp.load", "snmp.cpu"):
        yield from there.select("device", kind, device=place.name)


def _places_of(name: str, there: Map) -> list[_Place]:
    return there.addresses("node", name) or there.addresses("router", name)


def _distinct(streams: Iterable[HopStream]) -> tuple[HopStream, ...]:
    found: dict[str, HopStream] = {}
    for stream in streams:
        found.setdefault(stream.sensor.stream.key, stream)
    return tuple(found.values())[:MAX_STREAMS]


def check_address(text: str) -> str:
    """An IPv4 or IPv6 address in its canonical form. Raises ConfigError."""
    found = _address(text)
    if not found:
        raise ConfigError(f"{text[:80]!r} is not an IP address")
    return found


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _inside(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return False


def _bits(network: str) -> int:
    return ipaddress.ip_network(network).prefixlen
