"""Subscriptions: a hundred on one stream at 10,000 items a second, and what `publish` costs with none, 1 and 100.

    python -m benchmarks.subscribe [--json]

The agent (collector with store and gateway) runs in a process of its own and is fed in batches, as an application
does; the subscribers are in another and check that each got every item, in order. The bare peer is a uvloop server
that writes the same number of ready-made bytes to as many sockets, at the same pace. CPU is that of the process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import zlib
from typing import Any

SUBSCRIBERS = 100
RATE = 10_000
BATCH = 100
SECONDS = 5
TOKEN = "a-token-for-benchmarks"
PACE_S = 0.02


class Alone:
    """Links of a collector without neighbours."""

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        return [] if method == "inferences" else None

    def nodes(self) -> tuple[str, ...]:
        return ("bench",)


# --- servers, each in a process of its own ---------------------------------------------------------------------------


async def serve_agent(seconds: int) -> None:
    from vagus.actors.base import Seat
    from vagus.actors.collector import CollectorActor
    from vagus.config import CollectSettings, Config, GatewaySettings, ProbeSettings
    from vagus.model import Field, Sample, Stream

    stream = Stream("bench", "bench.items", (Field("number", dtype="u8"),))
    config = Config(
        gateway=GatewaySettings(port=0), collect=CollectSettings(collectors=()), probes=ProbeSettings(enabled=False)
    )
    with tempfile.TemporaryDirectory() as home:
        actor = CollectorActor(Seat("collector", "bench", home, config, options={"token": TOKEN}), Alone())
        await actor.begin()
        print(actor._url.rpartition(":")[2], flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        begun, before = time.monotonic(), time.process_time()
        t_ns = time.time_ns()
        for number in range(0, RATE * seconds, BATCH):
            await asyncio.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            await actor.ingest([Sample(stream, t_ns + n, (n,)) for n in range(number, number + BATCH)])
        took_s = time.monotonic() - begun
        await asyncio.sleep(0.5)
        print(json.dumps({"cpu_s": time.process_time() - before, "took_s": took_s}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await actor.end()


async def serve_bare(seconds: int, size: int) -> None:
    content = b"x" * size
    framed = b"%x\r\n%b\r\n" % (len(content), content)
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    begun, before = time.monotonic(), time.process_time()
    for number in range(round(seconds / PACE_S)):
        await asyncio.sleep(max(0.0, begun + number * PACE_S - time.monotonic()))
        for writer in writers:
            writer.write(framed)
    took_s = time.monotonic() - begun
    await asyncio.sleep(0.5)
    print(json.dumps({"cpu_s": time.process_time() - before, "took_s": took_s}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)


# --- subscribers -----------------------------------------------------------------------------------------------------


class Subscriber(asyncio.Protocol):
    """Reads a chunked answer; counts the items and sums what they are."""

    def __init__(self, keep: bool) -> None:
        self.items = self.crc = self.size = 0
        self.kept = bytearray() if keep else None
        self.trouble = b""
        self._got = bytearray()
        self._head = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        head = f"GET /v1/tail?selector=bench.items HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        transport.write(head.encode())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._head:
            _, end, rest = self._got.partition(b"\r\n\r\n")
            if not end:
                return
            self._head, self._got = False, rest
        while True:
            end_of_size = self._got.find(b"\r\n")
            if end_of_size < 0:
                return
            size = int(self._got[:end_of_size], 16)
            if len(self._got) < end_of_size + size + 4:
                return
            self._take(bytes(self._got[end_of_size + 2 : end_of_size + 2 + size]))
            del self._got[: end_of_size + size + 4]

    def _take(self, lines: bytes) -> None:
        while lines.startswith((b'{"at"', b"\n")):
            lines = lines.partition(b"\n")[2]
        self.items += lines.count(b'"t_ns":')
        self.crc = zlib.crc32(lines, self.crc)
        self.size += len(lines)
        for word in (b'"dropped"', b'"gap"', b'"missing"'):
            if word in lines:
                self.trouble = word
        if self.kept is not None:
            self.kept += lines


async def subscribers(port: int, server: subprocess.Popen[str], checked: bool) -> dict[str, Any]:
    assert server.stdin is not None
    assert server.stdout is not None
    loop = asyncio.get_running_loop()
    made = []
    for number in range(SUBSCRIBERS):
        _, protocol = await loop.create_connection(lambda n=number: Subscriber(checked and n == 0), "127.0.0.1", port)
        made.append(protocol)
    await asyncio.sleep(1.0)  # all of them wait for the next item
    server.stdin.write("go\n")
    server.stdin.flush()
    figures: dict[str, Any] = json.loads(await asyncio.to_thread(server.stdout.readline))
    await asyncio.sleep(0.5)
    if checked:
        kept = made[0].kept or b""
        numbers = [json.loads(line)["values"]["number"] for line in kept.splitlines()]
        right = numbers == list(range(RATE * SECONDS))
        complete = sum(right and m.crc == made[0].crc and not m.trouble for m in made)
        figures |= {"complete": complete, "items": made[0].items, "bytes": made[0].size}
    return figures


def measure(kind: str, *more: str) -> dict[str, Any]:
    import uvloop

    command = [sys.executable, __file__, "--serve", kind, *more]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        return uvloop.run(subscribers(port, server, kind == "agent"))
    finally:
        server.kill()
        server.wait()


def publishing() -> dict[str, float]:
    """Microseconds of CPU to publish a tick of 815 series in 80 streams, with so many subscriptions."""
    from vagus.actors.arrivals import Arrival, stream_number
    from vagus.actors.interest import interest
    from vagus.actors.live import Live
    from vagus.actors.seam import begin, plan
    from vagus.model import Field, Page, Sample, Stream

    fields = tuple(Field(f"field{i}") for i in range(10))
    streams = [Stream("bench", f"kind{i % 8}.part", fields, {"dev": f"d{i}"}) for i in range(81)]
    numbers = tuple(stream_number(s.key) for s in streams)
    found = {}
    for many in (0, 1, 100):
        live = Live()
        wanted = [interest(f'kind{i % 8}.part.field1{{dev=~"d[0-9]*{i % 10}"}}', f"n{i}") for i in range(many)]
        positions = [begin(live.arrivals, 0)] * many
        before, ticks = 0.0, 200
        for t in range(1, ticks + 20):
            if t == 20:
                before = time.thread_time()
            live.publish(Arrival(1, t, numbers, t), [Sample(s, t, (0.5,) * 10) for s in streams])
            for n in range(many):
                page = plan(live, wanted[n], positions[n], None, t, 1, 5000)
                assert isinstance(page, Page)
                positions[n] = live.arrivals.newest()
        found[str(many)] = (time.thread_time() - before) / ticks * 1e6
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs="+")
    args = parser.parse_args()
    if args.serve:
        import uvloop

        work = serve_agent(SECONDS) if args.serve[0] == "agent" else serve_bare(SECONDS, int(args.serve[1]))
        uvloop.run(work)
        return
    agent = measure("agent")
    bare = measure("bare", str(round(agent["bytes"] * PACE_S / SECONDS)))
    found = {
        "subscribers": SUBSCRIBERS,
        "complete": agent["complete"],
        "items_per_s": RATE,
        "agent_cores": agent["cpu_s"] / max(agent["took_s"], SECONDS),
        "bare_cores": bare["cpu_s"] / max(bare["took_s"], SECONDS),
        "ratio_to_bare": agent["cpu_s"] / bare["cpu_s"],
        "bytes_per_item": agent["bytes"] / max(agent["items"], 1),
        "publish_us": publishing(),
    }
    found["bars"] = [{"measure": "agent_cores", "bar": "<= 1", "met": found["agent_cores"] <= 1}]
    if args.json:
        print(json.dumps(found))
        return
    print(f"{found['complete']} of {SUBSCRIBERS} subscribers complete at {RATE} items/s each")
    print(f"agent {found['agent_cores']:.2f} cores (bar: 1), bare server {found['bare_cores']:.2f}")
    for many, us in found["publish_us"].items():
        print(f"a tick of 810 series with {many} different subscriptions: {us:.0f} us")


if __name__ == "__main__":
    main()
