"""Live samples and batching."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from vagus.actors.arrivals import Arrival, stream_number
from vagus.actors.batcher import Batcher
from vagus.actors.live import Live
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import Event, Field, Sample, Stream

CPU = Stream(node="a", kind="host.cpu", fields=(Field("user"), Field("idle")))
LINK = Stream(node="a", kind="net.link", fields=(Field("rx_bytes", dtype="u8"),), labels={"dev": "lo"})


NUMBERS = count(1)


def publish(live: Live, *records: Sample | Event) -> None:
    samples = [r for r in records if isinstance(r, Sample)]
    events = [r for r in records if isinstance(r, Event)]
    streams = tuple(stream_number(s.stream.key) for s in samples)
    arrival = Arrival(1, next(NUMBERS), streams, tuple(s.t_ns for s in samples), tuple(e.t_ns for e in events))
    live.publish(arrival, samples, events)


def test_latest_is_narrowed_and_newest():
    live = Live()
    publish(live, Sample(CPU, 1, (0.1, 0.9)), Sample(LINK, 1, (5,)))
    publish(live, Sample(Stream("a", "host.cpu", CPU.fields), 2, (0.2, 0.8)))  # equal, but another object
    (user,) = live.latest(["host.cpu.user"])
    assert (user.t_ns, user.values, [f.name for f in user.stream.fields]) == (2, (0.2,), ["user"])
    both = live.latest(["host.cpu.user", "host.cpu.idle"])  # two fields of one stream
    assert {field.name: value for s in both for field, value in zip(s.stream.fields, s.values, strict=True)} == {
        "user": 0.2,
        "idle": 0.8,
    }
    assert [s.values for s in live.latest(["host.cpu.user", "host.cpu"])] == [(0.2, 0.8)]
    assert live.series() == 3
    live.forget(before_ns=2)
    assert live.series() == 2
    assert live.last_ns(LINK) == 0
    with pytest.raises(ConfigError):
        live.latest(["host.cpu{"])


def test_streams_beyond_the_limit_are_not_live_and_the_ring_is_bounded(monkeypatch):
    monkeypatch.setattr("vagus.actors.live.MAX_STREAMS", 1)
    monkeypatch.setattr("vagus.actors.live.MAX_VALUES", 12)
    live = Live()
    for t in range(10):
        publish(live, Sample(CPU, t, (0.1, 0.9)), Sample(LINK, t, (5,)))
    assert live.refused == 10
    assert len(live.ticks) == 2
    live.publish(Arrival(1, 11, (), (), (1,)), (), [Event(1, "x", "a", fields={"text": "t" * 1000})])
    assert len(live.ticks) == 1  # long texts count for what they are


async def test_who_waits_is_woken_by_what_comes_right_after():
    live = Live()
    waiting = asyncio.ensure_future(live.wait(60.0))
    await asyncio.sleep(0)
    publish(live, Sample(CPU, 1, (0.1, 0.9)))
    await waiting
    await live.wait(0.0)  # nothing more comes
    assert live._waiting == []


async def test_requests_that_wait_travel_together():
    sizes = []
    gate = asyncio.Event()

    async def send(items: list[int]) -> list[int]:
        sizes.append(len(items))
        await gate.wait()
        return [i * 10 for i in items]

    batcher: Batcher[int, int] = Batcher(send)
    puts = [asyncio.ensure_future(batcher.put([i, i + 100])) for i in range(5)]
    while not sizes:
        await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*puts) == [[i * 10, (i + 100) * 10] for i in range(5)]
    assert sum(sizes) == 10
    assert len(sizes) <= 2


async def test_a_failed_send_fails_its_requests_only_and_overload_is_refused():
    calls = 0

    async def send(items: list[int]) -> list[int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise PeerUnreachable("gone")
        return items

    batcher: Batcher[int, int] = Batcher(send, limit=3)
    with pytest.raises(PeerUnreachable, match="gone"):
        await batcher.put([1])
    assert await batcher.put([2]) == [2]
    with pytest.raises(PeerUnreachable, match="overloaded"):
        await batcher.put([1, 2, 3, 4])
