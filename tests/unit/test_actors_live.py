"""Live samples, subscriptions and batching."""

from __future__ import annotations

import asyncio

import pytest

from vagus.actors.batcher import Batcher
from vagus.actors.live import MAX_TICKS_QUEUED, Live, Subscription
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import Field, Sample, Stream
from vagus.selector import parse

CPU = Stream(node="a", kind="host.cpu", fields=(Field("user"), Field("idle")))
LINK = Stream(node="a", kind="net.link", fields=(Field("rx_bytes", dtype="u8"),), labels={"dev": "lo"})


def test_latest_is_narrowed_and_newest():
    live = Live()
    live.publish([Sample(CPU, 1, (0.1, 0.9)), Sample(LINK, 1, (5,))])
    live.publish([Sample(CPU, 2, (0.2, 0.8))])
    (user,) = live.latest(["host.cpu.user"])
    assert (user.t_ns, user.values, [f.name for f in user.stream.fields]) == (2, (0.2,), ["user"])
    assert live.series() == 3
    live.forget(before_ns=2)
    assert live.series() == 2
    assert live.last_ns(LINK) == 0
    with pytest.raises(ConfigError):
        live.latest(["host.cpu{"])


def test_a_slow_subscriber_loses_its_oldest_ticks_and_is_told():
    subscription = Subscription(parse("host.cpu"))
    for t in range(MAX_TICKS_QUEUED + 7):
        subscription.offer([Sample(CPU, t, (0.0, 1.0))])
        subscription.offer([Sample(LINK, t, (1,))])
    assert subscription.lost == 7


async def test_subscribers_get_ticks_in_order():
    live = Live()
    ticks = live.subscribe("net.*")
    first = asyncio.ensure_future(anext(ticks))
    await asyncio.sleep(0)
    live.publish([Sample(CPU, 1, (0.0, 1.0))])
    live.publish([Sample(LINK, 1, (1,))])
    live.publish([Sample(LINK, 2, (2,))])
    assert [s.values for s in await first] == [(1,)]
    assert [s.values for s in await anext(ticks)] == [(2,)]
    await ticks.aclose()
    assert live._subscriptions == set()


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
