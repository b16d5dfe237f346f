"""Live streams: bounded for slow readers, other nodes by asking, each sample once."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import LINK, NOW_NS, TOKEN, MemoryBackend, batch_of

from vagus.clock import NS, ManualClock
from vagus.gateway.server import Gateway
from vagus.gateway.tail import Buffer, Tail
from vagus.selector import parse


async def test_a_slow_reader_loses_the_oldest_and_is_told():
    buffer = Buffer(limit=3)
    for number in range(5):
        buffer.put([number])
    assert await buffer.get(1.0) == [2, 3, 4]
    assert buffer.dropped == 2
    assert await buffer.get(0.0) == []
    buffer.close()
    assert await buffer.get(60.0) == []


async def test_other_nodes_samples_arrive_once_and_only_new_ones():
    backend = MemoryBackend()
    clock = ManualClock(NOW_NS)
    site = Gateway(backend, token=TOKEN, clock=clock).site
    grown = batch_of(LINK)

    async def ask(node, method, args):
        _, start_ns, end_ns, _ = args
        backend.peer_queries += 1
        return [grown[[start_ns <= t < end_ns for t in grown.t_ns.tolist()].index(True) :]]

    backend.ask = ask
    async with Tail(site, parse("net.*"), ["b"], poll_s=0.001) as buffer:
        first = await buffer.get(5.0)
        while backend.peer_queries < 5:  # asked again and again: nothing new
            await asyncio.sleep(0)
        grown.t_ns[:] += NS
        clock.advance(1)
        second = await buffer.get(5.0)
    assert [tick.t_ns for tick in first] == [NOW_NS]
    assert [tick.t_ns for tick in second] == [NOW_NS + NS]
    assert second[0].values == {"rx_bytes": 2**60 + 5900}


async def test_a_node_that_does_not_answer_is_named_once():
    site = Gateway(MemoryBackend(("c",)), token=TOKEN).site
    asked = 0
    original = site.backend.ask

    async def ask(*args):
        nonlocal asked
        asked += 1
        return await original(*args)

    site.backend.ask = ask
    async with Tail(site, parse("*"), ["c"], poll_s=0.001) as buffer:
        (line,) = await buffer.get(5.0)
        while asked < 4:
            await asyncio.sleep(0)
        assert await buffer.get(0.0) == []
    assert line["missing"].node == "c"


async def test_a_failing_local_stream_ends_the_tail():
    backend = MemoryBackend()

    async def subscribe(selector):
        raise RuntimeError("boom")
        yield []

    backend.subscribe = subscribe
    site = Gateway(backend, token=TOKEN).site
    async with Tail(site, parse("*"), ["a"]) as buffer:
        assert await buffer.get(5.0) == [{"error": "the live stream of this node failed"}]
        assert buffer.closed
    assert site.failures == 1
