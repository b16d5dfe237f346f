"""What a limit must not do: cut the node off from its cluster."""

from __future__ import annotations

from pathlib import Path

from vagus.errors import Rejected
from vagus.shaping.place import Flow, Place
from vagus.shaping.seen import Link

FLOOR = 64_000  # bytes/s: what heartbeats, gossip and a shell need
_MAX_BYTES = 1 << 20


def check_whole(root: Path, place: Place, link: Link, value: float | None) -> str:
    """Raises Rejected for a whole device that the node lives by (or flows that are nearly that), unless `all` was said,
    and below 64 kB/s even then.

    Returns a warning, empty for other devices. In another namespace nothing of the node's can be cut off.
    """
    if place.namespace or place.classid or not is_whole(place.flow):
        return ""
    carries = "is the loopback" if link.loopback else ""
    if link.name in default_routes(root):
        carries = "carries this node's default route"
    if not carries:
        return ""
    if not place.everything:
        raise Rejected(
            str(place), f"{value or 0:g}", f"{link.name} {carries}: name flows, such as net:{link.name}/dport=80, "
            f"or say net:{link.name}/all",
        )  # fmt: skip
    if value is not None and value < FLOOR:
        raise Rejected(
            str(place), f"{value:g}", f"{link.name} {carries}: below {FLOOR} bytes/s the node could be cut off"
        )
    return f"{link.name} {carries}: the cluster's own traffic is concerned too"


def is_whole(flow: Flow | None) -> bool:
    """Whether a flow is all there is, or nearly: it names neither a port nor a network."""
    if flow is None:
        return True
    networks = [network for network in (flow.to, flow.source) if network is not None and network.prefixlen > 0]
    return not networks and flow.dport is None and flow.sport is None


def default_routes(root: Path) -> set[str]:
    """Devices of default routes, from ROOT/proc/net/route and ipv6_route."""
    found = set()
    for line in _lines(root / "proc/net/route")[1:]:
        words = line.split()
        if len(words) > 7 and words[1] == "00000000" and words[7] == "00000000":
            found.add(words[0])
    for line in _lines(root / "proc/net/ipv6_route"):
        words = line.split()
        if len(words) > 9 and words[0] == "0" * 32 and words[1] == "00" and words[9] != "lo":
            found.add(words[9])
    return found


def link_rate(root: Path, place: Place) -> float | None:
    """The link's speed in bytes/s, from ROOT/sys/class/net/DEVICE/speed; None where nobody says."""
    if place.namespace:
        return None  # sysfs shows the devices of the namespace in which it was mounted
    try:
        megabits = int((root / "sys/class/net" / place.device / "speed").read_text())
    except (OSError, ValueError):
        return None
    return megabits * 125_000.0 if megabits > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        with open(path) as file:
            return file.read(_MAX_BYTES).splitlines()
    except OSError:
        return []
