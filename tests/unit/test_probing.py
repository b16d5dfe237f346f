"""Probing over loopback: real sockets, sealed messages, threads; cliques turn fast enough to be watched."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from vagus.actors import transfers
from vagus.actors.base import Seat
from vagus.actors.probing import Probing, _own_key
from vagus.config import CliqueSettings, Config, ProbeSettings
from vagus.model import Event, Report, Sample, Status
from vagus.probes.clique import Probe
from vagus.probes.messages import Ask, Echo, Token, encode
from vagus.sealing import Sealer

KEY = "5e" * 32
FAST = ProbeSettings(latency_every="0.15s", bandwidth_every="0.3s", bandwidth_bytes=1 << 20, bandwidth_time="0.5s")


class Node:
    """One node's probing, and everything it found."""

    def __init__(self, name: str, settings: ProbeSettings = FAST, key: str = KEY) -> None:
        self.samples: list[Sample] = []
        self.events: list[Event] = []
        self.reports: list[Report] = []
        self.failures: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()
        seat = Seat("collector", name, "", Config(probes=settings), options={"key": key} if key else {})
        self.name = name
        self.probing = Probing(seat, self.spawn, lambda where, error: self.failures.append(f"{where}: {error}"))

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def put(self, samples: list[Sample], events: list[Event]) -> None:
        self.samples += samples
        self.events += events

    async def take(self) -> None:
        await self.probing.tell(self.put, self.reports.extend)

    async def end(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.probing.stop()

    def kinds(self) -> set[tuple[str, str]]:
        return {(s.stream.kind, s.stream.labels["dst"]) for s in self.samples}


@asynccontextmanager
async def sitting(*nodes: Node) -> AsyncIterator[None]:
    for node in nodes:
        node.probing.start()
    try:
        await introduce(*nodes)
        yield
    finally:
        for node in nodes:
            await node.end()


async def introduce(*nodes: Node) -> None:
    addresses = {node.name: node.probing.address() for node in nodes}
    for node in nodes:
        await node.probing.set_peers({name: a for name, a in addresses.items() if a is not None})


async def until(check: Callable[[], object], *nodes: Node) -> None:
    async def look() -> None:
        while not check():
            await asyncio.sleep(0.01)
            for node in nodes:
                await node.take()

    await asyncio.wait_for(look(), 20)


async def test_every_node_measures_every_other() -> None:
    nodes = a, b, c = Node("a"), Node("b"), Node("c")
    async with sitting(*nodes):
        wanted = {
            name: {(kind, o) for o in "abc" if o != name for kind in ("probe.latency", "probe.bandwidth")}
            for name in "abc"
        }
        await until(lambda: all(node.kinds() == wanted[node.name] for node in nodes), *nodes)
        await until(lambda: all(len(node.reports) >= 2 for node in nodes), *nodes)
    assert [node.failures for node in nodes] == [[], [], []]
    latency = next(s for s in a.samples if s.stream.kind == "probe.latency")
    assert latency.stream.labels["src"] == "a"
    assert latency.stream.labels["clique"] == "all"
    least_s, median_s, jitter_s, lost = latency.values
    assert 0 < least_s <= median_s < 0.2
    assert jitter_s >= 0
    assert lost == 0
    rate, duration_s, size = next(s for s in b.samples if s.stream.kind == "probe.bandwidth").values
    assert rate > 1e6
    assert duration_s > 0
    assert size == 1 << 20
    assert {(r.observer, r.subject, r.contexts["reach"].status) for r in c.reports} == {
        ("probe@c", "node:a", Status.HEALTHY),
        ("probe@c", "node:b", Status.HEALTHY),
    }
    assert a.probing.figures()["probes_latency"] > 0
    assert a.probing.figures()["probes_refused"] == 0


async def test_a_node_that_ends_is_told_of_once_and_reported() -> None:
    a, b = Node("a"), Node("b")
    async with sitting(a):
        b.probing.start()
        await introduce(a, b)
        await until(lambda: a.kinds() >= {("probe.latency", "b")}, a)
        b.probing.stop()
        for task in list(b.tasks):
            task.cancel()
        await until(lambda: any(r.contexts["reach"].status is Status.UNHEALTHY for r in a.reports), a)
        told = [e for e in a.events if e.event.startswith("probe.") and e.fields.get("kind") == "latency"]
        assert {e.fields["dst"] for e in told} == {"b"}
        names = [e.event for e in told]  # a busy machine may have failed a probe before; changes alone are told
        assert names == (["probe.failed", "probe.recovered"] * len(names))[: len(names)]
        assert names[-1] == "probe.failed"
        a.events.clear()
        again = Node("b")
        again.probing.start()
        await introduce(a, again)
        await until(lambda: any(e.event == "probe.recovered" for e in a.events), a)
        await again.end()
    assert a.failures == []


async def test_alone_disabled_or_without_a_secret_nothing_is_opened_or_sent() -> None:
    off, keyless, alone = Node("a", ProbeSettings(enabled=False)), Node("a", key=""), Node("a")
    never = Node("a", ProbeSettings(latency_every=0, bandwidth_every=0))
    async with sitting(off), sitting(keyless), sitting(alone), sitting(never):
        assert [n.probing.address() for n in (off, keyless, never)] == [None, None, None]
        await off.probing.set_peers({"b": ("127.0.0.1", 9)})
        await off.take()
        await alone.take()
        assert alone.probing.address() is not None
        assert alone.probing.figures()["probe_datagrams"] == 0
        assert alone.probing._timer is None
    assert off.samples == alone.samples == []


async def test_cliques_choose_their_nodes() -> None:
    settings = ProbeSettings(
        latency_every="0.1s",
        bandwidth_every=0,
        cliques=(CliqueSettings(name="ab", nodes=("a", "b")), CliqueSettings(name="c", nodes=("c*", "b"))),
    )
    nodes = a, b, c = [Node(name, settings) for name in "abc"]
    async with sitting(*nodes):
        await until(lambda: len(b.kinds()) == 2 and a.kinds() and c.kinds(), *nodes)
    assert a.kinds() == {("probe.latency", "b")}
    assert c.kinds() == {("probe.latency", "b")}
    assert {(s.stream.labels["clique"], s.stream.labels["dst"]) for s in b.samples} == {("ab", "a"), ("c", "c")}


@pytest.mark.says("probes-own-key")
async def test_strangers_get_no_answer() -> None:
    a, b = Node("a"), Node("b")
    async with sitting(a, b):
        address = a.probing.address()
        assert address is not None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(0.03)
            gossip = Sealer(bytes.fromhex(KEY), "b")  # the cluster's secret, but not the probes' key
            other = Sealer(bytes(32), "b")
            ours = Sealer(_own_key(KEY), "b")
            for datagram in (
                b"",
                b"\x01" * 500,
                gossip.seal(encode(Echo(1, 0))),
                other.seal(encode(Echo(1, 0))),
                ours.seal(b"\xc1 no message"),
                ours.seal(encode(Token("elsewhere", 1, "b", 1, 1.0, ("a", "b")))),
            ):
                udp.sendto(datagram, address)
                with pytest.raises(TimeoutError):
                    udp.recv(1000)
                await asyncio.sleep(0)
            udp.sendto(ours.seal(encode(Echo(1, 0))), address)
            udp.setblocking(False)
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(udp, 1000), 5)
        assert a.probing.figures()["probes_refused"] >= 4
        for hello in (b"\xff\xff", struct.pack(">H", 100) + bytes(100), gossip.seal(encode(Ask(1, 10, 1.0))), b""):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(hello)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 5) == b"", "closed without a word"
            writer.close()
    assert a.failures == []


@pytest.mark.says("limit-probes")
async def test_silent_connections_are_bounded_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "HELLO_S", 0.2)
    a, b = Node("a"), Node("b")
    async with sitting(a, b):
        address = a.probing.address()
        assert address is not None
        opened = [await asyncio.open_connection(*address) for _ in range(12)]
        ends = [asyncio.wait_for(reader.read(), 5) for reader, _ in opened]
        assert set(await asyncio.gather(*ends)) == {b""}
        for _, writer in opened:
            writer.close()
        await until(lambda: ("probe.bandwidth", "a") in b.kinds(), a, b)


async def test_a_taken_port_is_told_and_the_node_goes_on() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        node = Node("a", ProbeSettings(port=taken.getsockname()[1]))
        async with sitting(node):
            assert node.probing.address() is None
    assert "set probes.port" in node.failures[0]


async def test_a_receiver_that_hangs_is_a_failed_probe() -> None:
    a = Node("a")
    async with sitting(a):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            a.probing._addresses["b"] = silent.getsockname()
            await a.probing._probe(next(iter(a.probing._cliques.values())), Probe("all", "bandwidth", "b", 1e18))
        await a.take()
    (event,) = a.events
    assert (event.event, event.fields["dst"]) == ("probe.failed", "b")
    assert "did not answer within" in str(event.fields["error"])
