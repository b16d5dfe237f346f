"""`POST /v1/decide` over HTTP: requests for each CPU-second of the server, beside a bare aiohttp echo in the same run.

    python benchmarks/decide_http.py [--json] [--quick]

Each server is a process on one core, its load on the other: wrk (Debian's package) where it is there, else a loop of
raw sockets. Bodies have 15 features of which two name the group, and 10 arms; 64 different ones, 64 kept-alive
connections. The echo is aiohttp's Application on uvloop that parses the body with msgspec and answers what it parsed:
it checks nothing and decides nothing. Latency is of an open loop: requests leave at
their times, whatever has been answered, and count from those times. Where that is allowed, both sides run as real-time
processes while they are measured, so that neighbours on the machine are not: a second at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import select
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from random import Random
from typing import Any

CONNECTIONS = 64
OPEN_CONNECTIONS = 32
OPEN_RATE = 5000
TOKEN = "a-token-for-benchmarks"
ARMS = [f"cdn{i}" for i in range(10)]
CITIES = ("Pittsburgh", "Berlin", "Zürich", "Paris", "Rome", "Oslo", "Graz", "Wien")


def bodies() -> list[bytes]:
    found = []
    for n in range(64):
        features: dict[str, Any] = {"asn": f"AS{7900 + n % 8}", "city": CITIES[n // 8]}
        features |= {f"feature{i}": (f"value{n}", n * 3, n / 7)[i % 3] for i in range(13)}
        found.append(json.dumps({"features": features, "arms": ARMS}).encode())
    return found


HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


def request(body: bytes) -> bytes:
    head = "POST /v1/decide HTTP/1.1\r\nHost: 127.0.0.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in HEADERS.items())
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


# --- servers, each in a process of its own ---------------------------------------------------------------------------


class Node:
    """As little of a node as decisions need: the table knows all 64 groups, decisions go into a queue."""

    node = "bench"
    cluster = "bench"

    def __init__(self) -> None:
        from vagus.controllers.decide.records import Row, TableUpdate
        from vagus.controllers.decide.table import DecisionTable

        self.table = DecisionTable(Random(1), ("asn", "city"))
        row = Row(tuple(ARMS), tuple(float(n + 1) for n in range(len(ARMS))))
        self.table.apply(TableUpdate(1, 0, None, {f"AS{7900 + n}:{city}": row for n in range(8) for city in CITIES}))
        self.log: deque[object] = deque(maxlen=256)
        self.decided = self.log.append

    def nodes(self) -> tuple[str, ...]:
        return ("bench",)

    def refused(self, event: object) -> None:
        raise SystemExit(f"refused: {event}")


async def serve(kind: str, processes: int) -> None:
    if kind == "echo":
        port = await _echo()
    else:
        from vagus.gateway.server import Gateway

        more = {"processes": processes} if processes > 1 else {}
        url = await Gateway(Node(), token=TOKEN, lean=kind == "lean", **more).start()  # type: ignore[arg-type]
        port = int(url.rpartition(":")[2])
    gc.collect()

    gc.freeze()  # as actors do once they have begun (actors/heap.py)
    print(port, flush=True)
    await asyncio.Event().wait()


async def _echo() -> int:
    import msgspec
    from aiohttp import web

    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=encode(decode(await request.read())), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/decide", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1])


class Server:
    """A server process, its children included, on the first of our cores (`cores`: on so many)."""

    def __init__(self, kind: str, processes: int = 1, cores: int = 1) -> None:
        place = sorted(os.sched_getaffinity(0))[:cores]
        code = [sys.executable, __file__, "--serve", kind, "--processes", str(processes)]
        self.process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, place)), *code], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def cpu_s(self) -> float:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return sum(_cpu_s(pid) for pid in (str(self.process.pid), *children))


def _cpu_s(pid: str) -> float:
    """Of its threads, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks)


# --- load ------------------------------------------------------------------------------------------------------------

LUA = """
local requests, n = {}, 0
function init(args)
  for body in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("POST", "/v1/decide", %s, body)
  end
end
function request() n = n %% #requests + 1; return requests[n] end
function done(summary)
  io.write(string.format("DONE %%d %%d\\n", summary.requests,
    summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


def load(port: int, duration_s: float) -> int:
    """Asks as fast as answers come; how many requests were answered."""
    last = sorted(os.sched_getaffinity(0))[-1:]
    if shutil.which("wrk") is None:
        return _load(port, duration_s, last)
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/bodies", "wb") as file:
            file.write(b"\n".join(bodies()))
        headers = "{" + ", ".join(f'["{name}"]="{value}"' for name, value in HEADERS.items()) + "}"
        with open(f"{folder}/load.lua", "w") as file:
            file.write(LUA % headers)
        line = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(duration_s))}s", "-s", f"{folder}/load.lua"]
        done = subprocess.run(
            ["taskset", "-c", str(last[0]), *line, f"http://127.0.0.1:{port}", "--", f"{folder}/bodies"],
            capture_output=True,
            text=True,
            check=True,
        )
    answered, errors = map(int, done.stdout.rpartition("DONE ")[2].split())
    if errors:
        raise SystemExit(f"{errors} errors: {done.stdout}")
    return answered


class _Client:
    """A kept-alive connection of the open loop, or of the load where there is no wrk."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due: deque[float] = deque()
        self.got = b""

    def answers(self) -> int:
        self.got += self.socket.recv(1 << 18)
        count = 0
        while True:
            head, end, rest = self.got.partition(b"\r\n\r\n")
            if not end:
                return count
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(rest) < length:
                return count
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(self.got)
            self.got = rest[length:]
            count += 1


def _load(port: int, duration_s: float, cores: list[int]) -> int:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        poll, clients = selectors.DefaultSelector(), [_Client(port) for _ in range(CONNECTIONS)]
        sent = [request(body) for body in bodies()]
        for client in clients:
            poll.register(client.socket, selectors.EVENT_READ, client)
            client.socket.send(sent[0])
        count, end = 0, time.monotonic() + duration_s
        while time.monotonic() < end:
            for key, _ in poll.select(0.1):
                for _ in range(key.data.answers()):
                    count += 1
                    key.data.socket.send(sent[count % len(sent)])
        return count
    finally:
        os.sched_setaffinity(0, before)


def open_loop(server: Server, rate: int, duration_s: float) -> dict[str, float]:
    """Latencies in ms, from the times at which requests were to leave.

    Where that is allowed server and sender run as real-time processes: neighbours on the machine are not measured.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-1:])
    real_time = _real_time(True, 0, server.process.pid)
    clients = [_Client(server.port) for _ in range(OPEN_CONNECTIONS)]
    try:
        by_socket = {client.socket: client for client in clients}
        sockets = list(by_socket)
        sent = [request(body) for body in bodies()]
        total, n = round(rate * duration_s), 0
        times: list[float] = []
        late = 0.0
        begun = time.perf_counter() + 0.01
        while len(times) < total:
            now = time.perf_counter()
            while n < total and begun + n / rate <= now:
                client = clients[n % OPEN_CONNECTIONS]
                due = begun + n / rate
                client.due.append(due)
                client.socket.send(sent[n % len(sent)])
                late = max(late, now - due)
                n += 1
            wait_s = max(0.0, begun + n / rate - time.perf_counter()) if n < total else 0.1
            for ready in select.select(sockets, (), (), wait_s)[0]:
                count = by_socket[ready].answers()
                now = time.perf_counter()
                times += [now - by_socket[ready].due.popleft() for _ in range(count)]
            if time.perf_counter() > begun + duration_s + 10:
                raise SystemExit(f"only {len(times)} of {total} were answered")
    finally:
        for client in clients:
            client.socket.close()
        _real_time(False, 0, server.process.pid)
        os.sched_setaffinity(0, before)
    times.sort()
    return {
        "p50_ms": times[total // 2] * 1e3,
        "p99_ms": times[total * 99 // 100] * 1e3,
        "p999_ms": times[total * 999 // 1000] * 1e3,
        "sender_late_ms": late * 1e3,
        "real_time": float(real_time),
    }


def _real_time(wanted: bool, *pids: int) -> bool:
    try:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_FIFO if wanted else os.SCHED_OTHER, os.sched_param(int(wanted)))
    except PermissionError:
        return False
    return True


# --- figures ---------------------------------------------------------------------------------------------------------


def rate(server: Server, duration_s: float, alone: bool = False) -> tuple[float, float]:
    """Requests for each CPU-second of the server, and for each second; alone: as real-time processes, if allowed."""
    pids = (0, server.process.pid)  # what wrk is started by, it is
    if alone:
        _real_time(True, *pids)
    try:
        before, begun = server.cpu_s(), time.perf_counter()
        answered = load(server.port, duration_s)
        elapsed = time.perf_counter() - begun
        return answered / (server.cpu_s() - before), answered / elapsed
    finally:
        if alone:
            _real_time(False, *pids)


def measure(quick: bool = False) -> dict[str, Any]:
    duration_s, rounds = (1.0, 2) if quick else (2.0, 4)
    kinds = ("echo", "aiohttp", "lean")
    best = dict.fromkeys(kinds, (0.0, 0.0))
    servers = {kind: Server(kind) for kind in kinds}
    try:
        for _ in range(rounds):  # in turns, so that a busy machine is busy for all
            for kind in kinds:
                best[kind] = max(best[kind], rate(servers[kind], 1.0, alone=True))
        waits = min(
            (open_loop(servers["lean"], OPEN_RATE, duration_s) for _ in range(rounds)), key=lambda w: w["p99_ms"]
        )
    finally:
        for server in servers.values():
            server.__exit__()
    found: dict[str, Any] = {f"{kind}_per_cpu_s": best[kind][0] for kind in kinds}
    found |= {f"{kind}_per_s": best[kind][1] for kind in kinds}
    found["aiohttp_ratio"] = best["aiohttp"][0] / best["echo"][0]
    found["lean_ratio"] = best["lean"][0] / best["echo"][0]
    found |= waits
    cores = len(os.sched_getaffinity(0))
    for processes in (1, 2) if quick else (1, 2, 4):
        with Server("lean", processes, cores) as server:
            load(server.port, 1.0)  # until all are ready
            found[f"processes_{processes}_per_cpu_s"], found[f"processes_{processes}_per_s"] = rate(server, duration_s)
    found["load"] = "wrk" if shutil.which("wrk") else "own (install wrk for more)"
    found["cores"] = cores
    return found


def rows(quick: bool) -> list[dict[str, Any]]:
    """For benchmarks.decide: what, value, unit, bar, met, peer."""
    found = measure(quick)
    ratio = "x aiohttp+uvloop echo"

    def row(what: str, value: float, unit: str, bar: float | None = None, most: bool = False, peer: Any = None) -> Any:
        met = None if bar is None else (value <= bar if most else value >= bar)
        shown = None if bar is None else f"{'<=' if most else '>='} {bar:g}"
        return {"what": what, "value": value, "unit": unit, "bar": shown, "met": met, "peer": peer}

    echo = found["echo_per_cpu_s"]
    return [
        row("HTTP: bare aiohttp+uvloop echo", echo, "1/CPU-s"),
        row("HTTP decide, aiohttp's own handler", found["aiohttp_per_cpu_s"], "1/CPU-s", peer=echo),
        row("HTTP decide, aiohttp's own handler, ratio", found["aiohttp_ratio"], ratio, 0.8),
        row("HTTP decide, lean front", found["lean_per_cpu_s"], "1/CPU-s", peer=echo),
        row("HTTP decide, lean front, ratio", found["lean_ratio"], ratio, 3.0),
        row(f"HTTP decide, p99 at {OPEN_RATE}/s open loop", found["p99_ms"], "ms", 5.0, most=True),
        row("HTTP decide, p50 of the same", found["p50_ms"], "ms"),
        *(
            row(f"HTTP decide, {n} process{'es' if n > 1 else ''}, load on the same {found['cores']} cores", v, "1/s")
            for n in (1, 2, 4)
            if (v := found.get(f"processes_{n}_per_s")) is not None
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", choices=("echo", "aiohttp", "lean"), help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        import uvloop

        uvloop.run(serve(options.serve, options.processes))
        return
    found = rows(options.quick)
    if options.json:
        print(json.dumps(found))
        return
    for row in found:
        bar = "" if row["bar"] is None else f"  bar {row['bar']}: {'met' if row['met'] else 'NOT MET'}"
        print(f"{row['what']:68}{row['value']:>12.2f} {row['unit']}{bar}")


if __name__ == "__main__":
    main()
