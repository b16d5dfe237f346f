"""Applications to be simulated: services, types of requests as trees of calls, and what each costs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vagus.errors import ConfigError

Demands = Mapping[str, Mapping[str, float]]
"""CPU milliseconds by service and type of request."""
MAX_FILE_BYTES = 1 << 20


class Call(NamedTuple):
    """A call of a service. stages: the calls that it makes itself, one stage after the other, those of a stage at once;
    later: calls in the background, made when it answers, for which nobody waits.

    weight: its part in what a request costs its service, beside other calls of that service in the same request. shares:
    of its own work, before the first stage, between stages, and behind the last; even where empty.
    """

    service: str
    stages: tuple[tuple[Call, ...], ...] = ()
    later: tuple[Call, ...] = ()
    weight: float = 1.0
    shares: tuple[float, ...] = ()

    def all(self) -> Iterator[Call]:
        """This call and all below it, in one fixed order."""
        yield self
        for stage in (*self.stages, self.later):
            for call in stage:
                yield from call.all()


class RequestType(NamedTuple):
    """A type of request. sway: its weight rises and falls by so much, slowly."""

    name: str
    call: Call
    weight: float = 1.0
    sway: float = 0.0


class SimulatedService(NamedTuple):
    """A service: one process a replica, which runs on one core at a time. in_order: a process ends a piece of work before
    it begins the next, as asyncio does; otherwise it shares itself among all that it has, as threads do.

    amounts: what a second of its processor time needs of further resources (see `further`).
    """

    name: str
    replicas: int = 1
    scales: bool = True
    in_order: bool = True
    memory_bytes: float = 60e6
    amounts: Mapping[str, float] = {}


class SimulatedApplication(NamedTuple):
    """An application. spread: of the logarithm of what a call costs; hop_s: of a call to another service and its answer,
    beside the work of both."""

    name: str
    services: tuple[SimulatedService, ...]
    requests: tuple[RequestType, ...]
    demands_ms: Demands
    spread: float = 0.4
    hop_s: float = 0.0007

    def scaled(self, ratio: float) -> SimulatedApplication:
        """The same with all demands multiplied."""
        scaled = {s: {t: ms * ratio for t, ms in found.items()} for s, found in self.demands_ms.items()}
        return self._replace(demands_ms=scaled)

    def check(self) -> SimulatedApplication:
        """Itself. Raises ConfigError when its parts do not fit."""
        names = [service.name for service in self.services]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"application {self.name}: services must have names of their own, got {', '.join(names)}")
        if not self.requests or not all(r.weight > 0 and 0 <= r.sway <= 1 for r in self.requests):
            raise ConfigError(f"application {self.name}: request types need a weight above 0 and a sway from 0 to 1")
        for request in self.requests:
            for call in request.call.all():
                if call.service not in names:
                    raise ConfigError(
                        f"application {self.name}: {request.name} calls {call.service!r}, no service of it"
                    )
                if call.shares and (
                    len(call.shares) != len(call.stages) + 1 or min(call.shares) < 0 or not sum(call.shares) > 0
                ):
                    raise ConfigError(
                        f"application {self.name}: {request.name}: the call of {call.service} has {len(call.stages)} "
                        f"stages, and needs {len(call.stages) + 1} shares or none"
                    )
        for service, found in self.demands_ms.items():
            for type_, ms in found.items():
                if not math.isfinite(ms) or ms > 1e5:
                    raise ConfigError(f"application {self.name}: {service} costs {ms} ms for {type_}")
        return self


def read_demands(path: Path) -> Demands:
    """{service: {type: cpu_ms}} from a JSON file. Raises ConfigError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        found: Any = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read the demands {path}: {error}") from error
    if not isinstance(found, dict) or not all(
        isinstance(by_type, dict) and all(type(ms) in (int, float) for ms in by_type.values())
        for by_type in found.values()
    ):
        raise ConfigError(f"{path}: demands are {{service: {{type: cpu_ms}}}}")
    return found


# --- the social network ------------------------------------------------------------------------------------------------

# as examples/social_network/measure.py found them
SOCIAL_NETWORK_MS: Demands = {
    "frontend": {"home": 2.21, "user": 2.23, "compose": 1.23},
    "user": {"home": 1.25, "user": 1.19, "compose": 1.23},
    "compose-post": {"compose": 3.34},
    "unique-id": {"compose": 3.84},
    "text": {"compose": 4.06},
    "media": {"home": 1.94, "user": 1.94, "compose": 3.39},
    "social-graph": {"home": 1.35, "compose": 0.44},
    "home-timeline": {"home": 1.94, "compose": 1.0},
    "user-timeline": {"user": 2.3, "compose": 0.45},
    "post-storage": {"home": 1.24, "user": 1.26, "compose": 0.55},
}
# of a second of processor time: percent of the machine's memory bandwidth, ways of cache, bytes read and sent
_AMOUNTS: Mapping[str, Mapping[str, float]] = {
    "frontend": {"memory_bandwidth_percent": 15, "llc_ways": 3, "net_bytes_s": 6e6},
    "media": {"memory_bandwidth_percent": 40, "llc_ways": 4, "io_read_bytes_s": 8e6, "net_bytes_s": 8e6},
    "social-graph": {"memory_bandwidth_percent": 30, "llc_ways": 8, "net_bytes_s": 1e6},
    "home-timeline": {"memory_bandwidth_percent": 25, "llc_ways": 4, "io_read_bytes_s": 2e6, "net_bytes_s": 4e6},
    "user-timeline": {"memory_bandwidth_percent": 20, "llc_ways": 3, "io_read_bytes_s": 2e6, "net_bytes_s": 4e6},
    "post-storage": {"memory_bandwidth_percent": 25, "llc_ways": 3, "io_read_bytes_s": 2e7, "net_bytes_s": 8e6},
}
_OTHERWISE = {"memory_bandwidth_percent": 10.0, "llc_ways": 2.0, "net_bytes_s": 1e6}


def social_network(demands: Demands | Path | None = None) -> SimulatedApplication:
    """examples/social_network: its ten services and three types of requests. demands: measured ones, or their file. Raises
    ConfigError."""
    found = SOCIAL_NETWORK_MS if demands is None else read_demands(demands) if isinstance(demands, Path) else demands
    services = tuple(
        SimulatedService(name, scales=name != "post-storage", amounts=_AMOUNTS.get(name, _OTHERWISE))
        for name in SOCIAL_NETWORK_MS
    )
    requests = (
        RequestType("home", _page("home-timeline"), 0.5, 0.2),
        RequestType("user", _page("user-timeline"), 0.3, 0.2),
        RequestType("compose", _compose(), 0.2, 0.3),
    )
    return SimulatedApplication("vagus-app-social", services, requests, found).check()


def _check() -> Call:
    return Call("user", weight=3.0)  # the password is most of it


def _page(timeline: str) -> Call:
    stored = Call("post-storage")
    ties = (Call("social-graph"),)
    read = (
        Call(timeline, (ties, (stored,)), shares=(0.2, 0.6, 0.2))
        if timeline == "home-timeline"
        else Call(timeline, ((stored,),), shares=(0.2, 0.8))
    )
    shown = (Call("user"), Call("media"))
    return Call("frontend", ((_check(),), (read,), shown), shares=(0.15, 0.15, 0.2, 0.5))


def _compose() -> Call:
    parts = (Call("unique-id"), Call("text", ((Call("user"),),), shares=(0.9, 0.1)), Call("media"))
    spread = Call("home-timeline", ((Call("social-graph"),),), shares=(0.3, 0.7))
    stages = (parts, (Call("post-storage"),), (Call("user-timeline"),))
    composed = Call("compose-post", stages, (spread,), shares=(0.2, 0.5, 0.15, 0.15))
    return Call("frontend", ((_check(),), (composed,)), shares=(0.35, 0.35, 0.3))


APPLICATIONS: Mapping[str, Callable[[], SimulatedApplication]] = {"social_network": social_network}
