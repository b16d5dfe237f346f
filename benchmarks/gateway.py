"""Gateway and client: decisions per second against a bare aiohttp handler, CPU per request, and what `observe` costs.

    python benchmarks/gateway.py [--json]

Servers run in processes of their own on uvloop; the load is 16 kept-alive connections of raw sockets. The bare
handler is aiohttp's own Application that reads the body, parses it with the standard library and answers a constant.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from random import Random

CONNECTIONS = 16
SECONDS = 2.0
TOKEN = "a-token-for-benchmarks"
FEATURES = {f"feature{i}": value for i, value in enumerate(["AS7922", "Pittsburgh", "US", 5, 0.25] * 3)}
BODY = json.dumps({"features": FEATURES, "arms": [f"cdn{i}" for i in range(10)]}).encode()


def request(path: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
    return (head + f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n").encode() + BODY


# --- servers, each in a process of its own ---------------------------------------------------------------------------


class Node:
    """As little of a node as decisions need."""

    node = "bench"
    cluster = "bench"

    def __init__(self) -> None:
        from vagus.controllers.decide.table import DecisionTable

        self.table = DecisionTable(Random(1), ("feature0", "feature1"))
        self.log: list[object] = []

    def nodes(self) -> tuple[str, ...]:
        return ("bench",)

    def refused(self, event: object) -> None:
        raise SystemExit(f"refused: {event}")

    def decided(self, decision: object) -> None:
        self.log.append(decision)
        if len(self.log) > 1000:
            self.log.clear()


async def serve(kind: str) -> None:
    if kind == "gateway":
        from vagus.gateway.server import Gateway

        url = await Gateway(Node(), token=TOKEN).start()  # type: ignore[arg-type]
        port = int(url.rpartition(":")[2])
    else:
        from aiohttp import web

        async def handle(request: web.Request) -> web.Response:
            json.loads(await request.read())
            return web.json_response({"decision": "cdn1"})

        app = web.Application()
        app.router.add_post("/v1/decide", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
    print(port, flush=True)
    await asyncio.Event().wait()


# --- load ------------------------------------------------------------------------------------------------------------


class Client(asyncio.Protocol):
    """Sends the next request when the answer to the last is complete."""

    def __init__(self, sent: bytes, times: list[float]) -> None:
        self.sent = sent
        self.times = times
        self.got = b""
        self.begun = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.begun = time.perf_counter()
        self.transport.write(self.sent)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.got += data
        head, end, body = self.got.partition(b"\r\n\r\n")
        if end:
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(body) >= length:
                if not head.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(self.got)
                self.got = b""
                self.times.append(time.perf_counter() - self.begun)
                self.send()


async def load(port: int) -> list[float]:
    times: list[float] = []
    loop = asyncio.get_running_loop()
    transports = []
    for _ in range(CONNECTIONS):
        transport, _ = await loop.create_connection(lambda: Client(request("/v1/decide"), times), "127.0.0.1", port)
        transports.append(transport)
    await asyncio.sleep(SECONDS)
    for transport in transports:
        transport.abort()
    return times


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        parts = file.read().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def measure(kind: str) -> dict[str, float]:
    import uvloop

    server = subprocess.Popen([sys.executable, __file__, "--serve", kind], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        before = cpu_s(server.pid)
        begun = time.perf_counter()
        times = sorted(uvloop.run(load(port)))
        elapsed = time.perf_counter() - begun
        return {
            "requests_per_s": len(times) / elapsed,
            "cpu_us_per_request": (cpu_s(server.pid) - before) / len(times) * 1e6,
            "p50_ms": times[len(times) // 2] * 1e3,
            "p99_ms": times[len(times) * 99 // 100] * 1e3,
        }
    finally:
        server.kill()
        server.wait()


# --- observe ---------------------------------------------------------------------------------------------------------


def observing(calls: int = 200_000) -> dict[str, float]:
    """Microseconds that one observed call adds, beside an empty `with` and an empty function."""
    import contextlib

    import vagus
    from vagus.client.reporter import Reporter

    reporter = Reporter(send=lambda reports: None)
    nothing = contextlib.nullcontext()
    kept = vagus.observe("db@2", context="read", reporter=reporter)

    def empty() -> None:
        pass

    decorated = vagus.observe("db@2", reporter=reporter)(empty)

    def fresh() -> float:
        begun = time.perf_counter()
        for _ in range(calls):
            with vagus.observe("db@2", context="read", reporter=reporter):
                pass
        return time.perf_counter() - begun

    def timed(context: object) -> float:
        begun = time.perf_counter()
        for _ in range(calls):
            with context:  # type: ignore[attr-defined]
                pass
        return time.perf_counter() - begun

    def called(function: object) -> float:
        begun = time.perf_counter()
        for _ in range(calls):
            function()  # type: ignore[operator]
        return time.perf_counter() - begun

    def best(run: object, *args: object) -> float:
        return min(run(*args) for _ in range(3)) / calls * 1e6  # type: ignore[operator]

    found = {
        "null_with_us": best(timed, nothing),
        "with_fresh_us": best(fresh),
        "with_kept_us": best(timed, kept),
        "decorated_us": best(called, decorated),
        "plain_call_us": best(called, empty),
    }
    reporter.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", choices=("gateway", "bare"))
    options = parser.parse_args()
    if options.serve:
        import uvloop

        uvloop.run(serve(options.serve))
        return
    bare, gateway = measure("bare"), measure("gateway")
    observed = observing()
    ratio = gateway["requests_per_s"] / bare["requests_per_s"]
    if options.json:
        print(json.dumps({"bare": bare, "gateway": gateway, "ratio": ratio, "observe": observed}))
        return
    print(f"POST /v1/decide, 15 features, 10 arms, {CONNECTIONS} connections, one server process")
    print(f"{'':14}{'req/s':>10}{'CPU us':>10}{'p50 ms':>10}{'p99 ms':>10}")
    for name, figures in (("bare aiohttp", bare), ("vagus gateway", gateway)):
        print(f"{name:14}" + "".join(f"{value:10.2f}" for value in figures.values()))
    print(f"ratio of req/s {ratio:.2f} (the bare handler checks nothing and decides nothing)")
    print("\nobserve, microseconds a call (reports to nobody)")
    for name, value in observed.items():
        print(f"{name:16}{value:8.3f}")


if __name__ == "__main__":
    main()
