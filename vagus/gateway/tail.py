"""Live samples of the cluster for one reader: this node's as they are taken, other nodes' by asking each second.

Memory is bounded: a reader that does not keep up loses its oldest chunks, and is told how many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from vagus.client.tail import Tick
from vagus.clock import NS
from vagus.errors import VagusError
from vagus.gateway.fanout import MissingNode
from vagus.gateway.route import Site
from vagus.model import Sample, Stream
from vagus.selector import Selector

MAX_CHUNKS = 256
POLL_S = 1.0
LATE_NS = 5 * NS  # a sample may become visible this long after its own time


class Buffer:
    """Chunks on their way to one reader; the oldest go when it is full."""

    def __init__(self, limit: int = MAX_CHUNKS) -> None:
        self._chunks: deque[list[Any]] = deque()
        self._limit = limit
        self._ready = asyncio.Event()
        self.dropped = 0
        self.closed = False

    def put(self, chunk: list[Any]) -> None:
        """Adds a chunk, at the cost of the oldest when full."""
        if len(self._chunks) >= self._limit:
            self._chunks.popleft()
            self.dropped += 1
        self._chunks.append(chunk)
        self._ready.set()

    def close(self) -> None:
        """Ends the stream once what is here has been taken."""
        self.closed = True
        self._ready.set()

    async def get(self, timeout_s: float) -> list[Any]:
        """All that is here, as soon as there is any; empty after `timeout_s`, or when closed."""
        if not self._chunks and not self.closed:
            self._ready.clear()
            try:
                await asyncio.wait_for(self._ready.wait(), timeout_s)
            except asyncio.TimeoutError:
                return []
        lines = [line for chunk in self._chunks for line in chunk]
        self._chunks.clear()
        return lines


class Tail:
    """Fills a buffer from the nodes; `async with` starts and ends its tasks."""

    def __init__(self, site: Site, selector: Selector, nodes: list[str], poll_s: float = POLL_S) -> None:
        self.site = site
        self.selector = selector
        self.nodes = nodes
        self.buffer = Buffer()
        self._poll_s = poll_s
        self._picked: dict[Stream, list[tuple[str, int]]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Buffer:
        self._start(self._until_closing())
        for node in self.nodes:
            self._start(self._local() if node == self.site.backend.node else self._remote(node))
        return self.buffer

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.site.tail_dropped += self.buffer.dropped

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _until_closing(self) -> None:
        await self.site.closing.wait()
        self.buffer.close()

    async def _local(self) -> None:
        try:
            async for samples in self.site.backend.subscribe(self.selector.text):
                ticks = [tick for sample in samples if (tick := self.tick(sample.stream, sample)) is not None]
                if ticks:
                    self.buffer.put(ticks)
        except VagusError as error:
            self.buffer.put([{"error": str(error)}])
        except Exception as error:
            self.site.failures += 1
            self.site.last_failure = f"tail: {type(error).__name__}: {error}"[:300]
            self.buffer.put([{"error": "the live stream of this node failed"}])
        self.buffer.close()

    async def _remote(self, node: str) -> None:
        site = self.site
        seen: dict[str, int] = {}
        begin_ns = site.clock.time_ns()
        trouble = ""
        while True:
            await asyncio.sleep(self._poll_s)
            now_ns = site.clock.time_ns()
            args = (self.selector.text, max(begin_ns, now_ns - LATE_NS), now_ns + NS, 0)
            try:
                batches = await asyncio.wait_for(site.backend.ask(node, "query", args), site.timeout_s)
            except Exception as error:
                if str(error) != trouble:
                    trouble = str(error)
                    self.buffer.put([{"missing": MissingNode(node, trouble[:300] or type(error).__name__)}])
                continue
            trouble = ""
            ticks = [tick for batch in batches for tick in self._fresh(batch, seen)]
            if ticks:
                self.buffer.put(sorted(ticks, key=lambda tick: tick.t_ns))

    def _fresh(self, batch: Any, seen: dict[str, int]) -> list[Tick]:
        stream: Stream = batch.stream
        after_ns = seen.get(stream.key, -1)
        columns = [batch.column(field.name).tolist() for field in stream.fields]
        ticks = []
        for row, t_ns in enumerate(batch.t_ns.tolist()):
            if t_ns > after_ns:
                seen[stream.key] = t_ns
                tick = self.tick(stream, Sample(stream, t_ns, tuple(column[row] for column in columns)))
                if tick is not None:
                    ticks.append(tick)
        return ticks

    def tick(self, stream: Stream, sample: Sample) -> Tick | None:
        """The selected part of a sample; None when no field of its stream is selected."""
        picked = self._picked.get(stream)
        if picked is None:
            picked = [(stream.fields[index].name, index) for index in self.selector.fields(stream)]
            self._picked[stream] = picked
        if not picked:
            return None
        values = sample.values
        return Tick(sample.t_ns, stream.node, stream.kind, stream.labels, {name: values[i] for name, i in picked})
