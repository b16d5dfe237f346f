"""Fetches per CPU-second of this process: a bare aiohttp loop against the whole feed actor (parse and archive).

50 kept-alive targets on loopback, bodies of 1.5 KB, the server in a process of its own.
Run: python benchmarks/feeds.py [--json] [--seconds 2]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

import aiohttp

from vagus.actors.base import Seat
from vagus.actors.feed import FeedActor
from vagus.clock import ManualClock
from vagus.config import Config, FeedSettings, SourceSettings

TARGETS = 50
FIELDS = {"Date": "float", "VMStat": "list[int]", "CPUUse": "list[int]", "DNSFail": "float", "RWFS": "int"}
BODY = "Date: 1177560002.5\nVMStat: 1 0 5996 20628 4 4\nCPUUse: 37 12\nDNSFail: 0.0\nRWFS: 1\n"
BODY += "".join(f"Other{n}: {n} some value of a node report\n" for n in range(100))
BODY = BODY[:1499].rpartition("\n")[0] + "\n"

SERVER = """
import asyncio, sys
BODY = sys.stdin.buffer.read()
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(BODY) + BODY
class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(ANSWER * data.count(b"\\r\\n\\r\\n"))
async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "0.0.0.0", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Neighbours:
    """A collector and an observer that cost nothing."""

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        return None

    def nodes(self) -> tuple[str, ...]:
        return ("bench",)


async def bare(urls: list[str], seconds: float) -> float:
    """aiohttp alone: a loop for each target, the body read and thrown away."""
    count = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def loop(url: str, until: float) -> None:
            nonlocal count
            while time.monotonic() < until:
                async with session.get(url) as answer:
                    await answer.read()
                count += 1

        await asyncio.gather(*(loop(url, 0.0) for url in urls))
        started, until = time.process_time(), time.monotonic() + seconds
        await asyncio.gather(*(loop(url, until) for url in urls))
        return count / (time.process_time() - started)


async def actor(urls: list[str], seconds: float, home: str, fmt: str) -> float:
    """The actor, tick after tick on a hand-turned clock: schedule, fetch, archive (committed), parse, samples."""
    options: dict[str, Any] = {"fields": FIELDS} if fmt == "entries" else {}
    settings = FeedSettings(
        name="bench", source=SourceSettings(all=tuple(urls)), every="60s", format=fmt, options=options
    )
    clock = ManualClock()
    running = FeedActor(Seat("feed", "bench", home, Config(feeds=(settings,))), Neighbours(), clock)
    await running.begin()

    async def one_round() -> int:
        clock.advance(60.0)
        running.tick()
        await running.idle()
        return len(urls)

    await one_round()  # opens the connections
    count, started, until = 0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < until:
        count += await one_round()
    rate = count / (time.process_time() - started)
    if running.figures()["failures"] or running.errors:
        raise RuntimeError(f"the benchmark's fetches failed: {running.notes()[:3]} {running.last_error}")
    await running.end()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        server.stdin.write(BODY.encode())
        server.stdin.close()
        port = int(server.stdout.readline())
        urls = [f"http://127.0.1.{n}:{port}/" for n in range(1, TARGETS + 1)]
        rates = {"bare aiohttp": asyncio.run(bare(urls, chosen.seconds))}
        for name, fmt in (("feed actor, archive only", "text"), ("feed actor, parse and archive", "entries")):
            with tempfile.TemporaryDirectory() as home:
                rates[name] = asyncio.run(actor(urls, chosen.seconds, home, fmt))
    finally:
        server.kill()
        server.wait()
    peer = rates["bare aiohttp"]
    if chosen.json:
        print(json.dumps({name: {"fetches_per_cpu_s": rate, "ratio": rate / peer} for name, rate in rates.items()}))
        return
    print(f"{'':32}{'fetches/CPU-s':>14}{'ratio':>8}")
    for name, rate in rates.items():
        print(f"{name:32}{rate:14,.0f}{rate / peer:8.2f}")


if __name__ == "__main__":
    main()
