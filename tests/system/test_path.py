"""A path over real network namespaces in line: a - r1 - r2 - b, with a collector at each end, snmpd in each router."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from conftest import PATIENCE, eventually
from snmp_agent import SNMPD, Agent

from vagus.actors.base import Seat
from vagus.actors.collector import CollectorActor
from vagus.actors.traceroute import trace
from vagus.config import CollectSettings, Config, GatewaySettings, ProbeSettings, SnmpSettings
from vagus.errors import PeerUnreachable
from vagus.model import Ack, Field, Report, Sample, Status, Stream

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make network namespaces"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="ip is not installed (Debian: iproute2)"),
    pytest.mark.skipif(SNMPD is None, reason="snmpd is not installed (Debian: snmpd)"),
]
pytest.importorskip("pysnmp", reason="the extra `snmp` is not installed")

TOKEN = "a-token-of-the-tests"
PREFIX = f"vgp{os.getpid()}"
NODES = ("a", "r1", "r2", "b")
ROUTERS = {"r1": "10.91.1.254", "r2": "10.91.2.2"}


def name(node: str) -> str:
    return f"{PREFIX}{node}"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def within(node: str, *command: str) -> None:
    subprocess.run(["ip", "netns", "exec", name(node), *command], check=True, capture_output=True)


def link(left: str, right: str, network: str, addresses: tuple[int, int], devices: tuple[str, str]) -> None:
    """A cable between two namespaces."""
    ip("link", "add", devices[0], "netns", name(left), "type", "veth", "peer", "name", devices[1], "netns", name(right))
    for node, number, device in zip((left, right), addresses, devices, strict=True):
        ip("-n", name(node), "addr", "add", f"{network}.{number}/24", "dev", device)
        ip("-n", name(node), "link", "set", device, "up")


@pytest.fixture(scope="module")
def line() -> Iterator[None]:
    """10.91.1.1 a - r1 10.91.1.254, 10.91.2.1 - 10.91.2.2 r2 10.91.3.254 - b 10.91.3.2; and a cable r1 - b, unused."""
    try:
        for node in NODES:
            ip("netns", "add", name(node))
            ip("-n", name(node), "link", "set", "lo", "up")
            within(node, "sh", "-c", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done")
        link("a", "r1", "10.91.1", (1, 254), ("out", "left"))
        link("r1", "r2", "10.91.2", (1, 2), ("right", "west"))
        link("r2", "b", "10.91.3", (254, 2), ("east", "in"))
        link("r1", "b", "10.91.4", (1, 2), ("short", "back"))
        for router in ("r1", "r2"):
            within(router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        ip("-n", name("a"), "route", "add", "default", "via", "10.91.1.254")
        ip("-n", name("r1"), "route", "add", "10.91.3.0/24", "via", "10.91.2.2")
        ip("-n", name("r2"), "route", "add", "default", "via", "10.91.2.1")
        ip("-n", name("b"), "route", "add", "default", "via", "10.91.3.254")
        yield
    finally:
        for node in NODES:
            subprocess.run(["ip", "netns", "del", name(node)], check=False, capture_output=True)


class Namespace:
    """A thread with an event loop in a network namespace; threads that it starts are in there too."""

    def __init__(self, node: str) -> None:
        self.loop = asyncio.new_event_loop()
        entered = threading.Event()

        def run() -> None:
            fd = os.open(f"/run/netns/{name(node)}", os.O_RDONLY)
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(fd, 0x40000000) == 0, os.strerror(ctypes.get_errno())  # CLONE_NEWNET
            os.close(fd)
            entered.set()
            self.loop.run_forever()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert entered.wait(10)

    def call(self, work: Any, timeout_s: float = 30.0) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        async def called() -> Any:
            return function(*arguments)

        return self.call(called())

    def close(self) -> None:
        self.call(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


class Ends:
    """Collectors a and b, each in its namespace, linked to each other alone."""

    def __init__(self, folder: Path, devices: tuple[SnmpSettings, ...]) -> None:
        self.spaces = {node: Namespace(node) for node in ("a", "b")}
        self.actors: dict[str, CollectorActor] = {}
        self.reports: list[Report] = []  # what a tells its observer
        config = Config(
            gateway=GatewaySettings(port=0),
            probes=ProbeSettings(enabled=False),
            collect=CollectSettings(period_s=0.2, collectors=("network", "snmp"), snmp=devices),
        )
        for node, space in self.spaces.items():
            seat = Seat("collector", node, str(folder), config, options={"token": TOKEN, "head": "a"})
            self.actors[node] = space.run(CollectorActor, seat, self)
            space.call(self.actors[node].begin())

    def nodes(self) -> tuple[str, ...]:
        return ("a", "b")

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        node = actor.removeprefix("vagus:collector@")
        if (actor, method) == ("vagus:observer@a", "report"):
            self.reports += args[0]
            return [Ack.ACCEPTED] * len(args[0])
        if node not in self.actors:
            raise PeerUnreachable(f"{actor} is not part of this test")
        work = getattr(self.actors[node], method)(*args)
        future = asyncio.run_coroutine_threadsafe(work, self.spaces[node].loop)
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)

    def close(self) -> None:
        for node, actor in self.actors.items():
            self.spaces[node].call(actor.end())
        for space in self.spaces.values():
            space.close()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`vagus` at a's gateway, in a's namespace."""
        vagus = [sys.executable, "-m", "vagus", "--url", self.actors["a"]._url, "--token", TOKEN, *arguments]
        done = subprocess.run(
            ["ip", "netns", "exec", name("a"), *vagus], capture_output=True, text=True, timeout=60 * PATIENCE
        )
        assert done.returncode == 0, done.stderr
        return done

    def path(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.command("sensors", "--path", *arguments, "--json").stdout)
        return found

    def kinds(self) -> set[tuple[str, str]]:
        """Live kinds, with the device where there is one."""
        found = self.spaces["a"].call(self.actors["a"].sensors("*"))
        return {(s.stream.kind, s.stream.labels.get("device", "")) for s in found if s.live}


@pytest.fixture(scope="module")
def agents(line: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Agent]]:
    folder = tmp_path_factory.mktemp("agents")
    made = {
        router: Agent(folder / router, router, host, 161, ("ip", "netns", "exec", name(router)))
        for router, host in ROUTERS.items()
    }
    try:
        for agent in made.values():
            agent.start()
        yield made
    finally:
        for agent in made.values():
            agent.stop()


@pytest.fixture(scope="module")
def ends(agents: dict[str, Agent], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    made = None
    try:
        devices = tuple(
            SnmpSettings(host=host, community_file=str(agents[router].community_file), every="0.5s", timeout="0.5s")
            for router, host in ROUTERS.items()
        )
        made = Ends(tmp_path_factory.mktemp("path"), devices)
        eventually(
            lambda: {("snmp.address", "r1"), ("snmp.address", "r2")} <= made.kinds(), what="both routers are read"
        )
        yield made
    finally:
        if made is not None:
            made.close()


def test_a_route_is_traced_in_milliseconds_and_silence_has_an_end(line):
    space = Namespace("a")
    try:
        found = space.run(trace, "a", "10.91.3.2")
        assert [hop.addresses for hop in found.hops] == [("10.91.1.254",), ("10.91.2.2",), ("10.91.3.2",)]
        assert (found.reached, found.source) == (True, "10.91.1.1")
        assert all(0 < hop.rtt_s < 5 for hop in found.hops)
        nowhere = space.run(trace, "a", "10.91.3.77")  # r2 finds nobody there
        assert not nowhere.reached
        assert [hop.addresses for hop in nowhere.hops][:2] == [("10.91.1.254",), ("10.91.2.2",)]
        assert nowhere.note
        ip("-n", name("r1"), "route", "add", "blackhole", "10.99.0.0/16")
        started = time.monotonic()
        lost = space.run(trace, "a", "10.99.0.1")
        assert not lost.reached
        assert time.monotonic() - started < 5, "a gateway's patience"
        refused = space.run(trace, "a", "2001:db8::1")
        assert (refused.reached, refused.hops) == (False, ())
    finally:
        space.close()


def test_the_path_names_both_ends_each_router_s_streams_and_the_probes(ends):
    now_ns = time.time_ns()
    latency = {
        src: Stream(src, "probe.latency", (Field("rtt_s", "s"),), {"src": src, "dst": dst})
        for src, dst in (("a", "b"), ("b", "a"))
    }
    former = Stream("a", "probe.bandwidth", (Field("bps", "bit/s"),), {"src": "a", "dst": "b"})
    hour_ns = 3600 * 10**9
    for src, stream in latency.items():
        ends.spaces[src].call(ends.actors[src].ingest([Sample(stream, now_ns, (0.002,))]))
    ends.spaces["a"].call(ends.actors["a"].ingest([Sample(former, now_ns - hour_ns, (1e9,))]))
    listener = ends.spaces["b"].run(socket.create_server, ("10.91.3.2", 0))
    client = ends.spaces["a"].run(socket.create_connection, listener.getsockname()[:2])
    try:

        def complete() -> dict[str, Any] | None:
            found = ends.path("a", "b")
            client.sendall(b"x" * 1000)
            parts = {(i, s["part"]) for i, hop in enumerate(found["hops"]) for s in hop["streams"]}
            wanted = {(0, "peer"), (1, "ingress"), (1, "egress"), (2, "egress"), (3, "peer"), (3, "ingress")}
            values = [
                s["values"] for hop in found["hops"] for s in hop["streams"] if s["part"] in ("ingress", "egress")
            ]
            return found if wanted <= parts and all("rx_bytes" in v for v in values) else None

        found = eventually(complete, within_s=40, what="every stream of the path is live")
        kept = [ends.path("10.91.1.1", "10.91.3.2")["hops"], ends.path("a", "r2")["hops"]]
        with_history = ends.path("a", "b", "--history")
    finally:
        client.close()
        listener.close()
    assert isinstance(found, dict)
    assert (found["reached"], found["target"], found["partial"]) == (True, "10.91.3.2", False)
    assert [(h["kind"], h["name"], h["address"], h["interface"]) for h in found["hops"]] == [
        ("node", "a", "10.91.1.1", "out"),
        ("router", "r1", "10.91.1.254", "left"),
        ("router", "r2", "10.91.2.2", "west"),
        ("node", "b", "10.91.3.2", "in"),
    ]
    shown = [{(s["part"], key(s)) for s in hop["streams"]} for hop in found["hops"]]
    assert shown[0] >= {("egress", "net.link a out"), ("probe", "probe.latency a a"), ("peer", "net.peer a 10.91.3.2")}
    assert shown[1] >= {("ingress", "snmp.interface a left"), ("egress", "snmp.interface a right")}
    assert shown[1] >= {("device", "snmp.system a r1"), ("device", "snmp.ip a r1")}
    assert shown[2] >= {("ingress", "snmp.interface a west"), ("egress", "snmp.interface a east")}
    assert shown[3] >= {("ingress", "net.link b in"), ("probe", "probe.latency b b"), ("peer", "net.peer b 10.91.1.1")}
    assert not any(kind == "probe.bandwidth" for hop in shown for _, text in hop for kind in text.split()[:1])
    system = next(s for s in found["hops"][1]["streams"] if s["sensor"]["stream"]["kind"] == "snmp.system")
    assert (system["values"]["up"], system["values"]["forwarding"]) == (1, 1)
    probe = next(s for s in found["hops"][0]["streams"] if s["part"] == "probe")
    assert probe["values"] == {"rtt_s": 0.002}
    assert [h["name"] for h in kept[0]] == ["a", "r1", "r2", "b"], "by address"
    assert [h["name"] for h in kept[1]] == ["a", "r1", "r2"], "to a device"
    ended = {key(s) for s in with_history["hops"][0]["streams"] if not s["sensor"]["live"]}
    assert ended == {"probe.bandwidth a a"}


def key(stream: dict[str, Any]) -> str:
    described = stream["sensor"]["stream"]
    labels = described["labels"]
    detail = next((labels[n] for n in ("interface", "dev", "peer", "src", "device") if n in labels), "")
    return f"{described['kind']} {described['node']} {detail}".strip()


def test_the_terminal_shows_a_line_for_each_hop(ends):
    eventually(lambda: ends.path("a", "b")["reached"])
    lines = ends.command("sensors", "--path", "a", "b").stdout.splitlines()
    assert lines[0].split() == ["hop", "what", "name", "address", "rtt", "stream", "values"]
    hops = [line.split() for line in lines[1:] if line[:3].strip()]
    assert [(h[0], h[1], h[2], h[3]) for h in hops] == [
        ("0", "node", "a", "10.91.1.1"),
        ("1", "router", "r1", "10.91.1.254"),
        ("2", "router", "r2", "10.91.2.2"),
        ("3", "node", "b", "10.91.3.2"),
    ]
    assert any("snmp.interface" in line and "rx_bytes=" in line for line in lines)


def test_a_route_that_changed_is_an_event_and_history_has_the_one_before(ends):
    eventually(lambda: [h["name"] for h in ends.path("a", "b")["hops"]] == ["a", "r1", "r2", "b"])
    ip("-n", name("r1"), "route", "replace", "10.91.3.2/32", "via", "10.91.4.2")
    try:
        eventually(lambda: [h["name"] for h in ends.path("a", "b")["hops"]] == ["a", "r1", "b"], within_s=20)
        found = ends.path("a", "b", "--history")
        r1 = {(s["part"], key(s)) for s in found["hops"][1]["streams"]}
        assert ("ingress", "snmp.interface a left") in r1
        assert [[h["name"] for h in e["hops"]] for e in found["earlier"]] == [["a", "r1", "r2", "b"]]
        events = json.loads(ends.command("events", "--json").stdout)
        assert "path.changed" in json.dumps(events)
    finally:
        ip("-n", name("r1"), "route", "del", "10.91.3.2/32")


def test_a_router_that_falls_silent_is_unhealthy_and_stays_on_the_path(ends, agents):
    def said(device: str) -> Status | None:
        found = [r for r in ends.reports if r.subject == f"device:{device}"]
        return found[-1].contexts["snmp"].status if found else None

    eventually(lambda: said("r1") == said("r2") == Status.HEALTHY, what="reports on both devices")
    agents["r2"].stop()  # its agent alone: it still routes
    eventually(lambda: said("r2") is Status.UNHEALTHY, within_s=30, what="a report on the silent device")
    eventually(lambda: [h["name"] for h in ends.path("a", "b")["hops"]] == ["a", "r1", "r2", "b"], what="as it was")
    hop = ends.path("a", "b")["hops"][2]
    system = next(s for s in hop["streams"] if s["sensor"]["stream"]["kind"] == "snmp.system")
    assert (hop["name"], system["values"]["up"]) == ("r2", 0)
    assert said("r1") is Status.HEALTHY
    agents["r2"].start()
    eventually(lambda: said("r2") is Status.HEALTHY, within_s=60, what="it is back")
