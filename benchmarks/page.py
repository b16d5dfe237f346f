"""The page `/` with 50 nodes and 20,000 series: what it costs the gateway, and how soon a browser shows it.

    python -m benchmarks.page [--json] [--only gateway|paint] [--seconds 30]

The gateway is a real one in this process over nodes in memory; what other nodes answer is pickled and unpickled, as on
its way through Ray. Five viewers read in a process of their own. CPU is that of this process with viewers, less what it
uses in the same time without. The paint is chromium's own figure, on this machine, with the browser already running.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np

from benchmarks.bars import at_least, at_most, judge
from vagus.actors.arrivals import Arrival, stream_number
from vagus.actors.live import Live
from vagus.clock import NS, SystemClock
from vagus.controllers.decide.records import Row as TableRow
from vagus.controllers.decide.records import TableUpdate
from vagus.controllers.decide.table import DecisionTable
from vagus.errors import NoData
from vagus.gateway.server import Gateway
from vagus.health import STRATEGIES
from vagus.health.local import LocalStore
from vagus.health.matrix import Overview
from vagus.model import (
    ActorStatus,
    Event,
    FeedStatus,
    Field,
    Logged,
    Metric,
    NodeStatus,
    Receipt,
    Report,
    Sample,
    SensorInfo,
    Status,
    Stream,
    Target,
)
from vagus.selector import parse
from vagus.store import Batch
from vagus.store.batch import with_fields

NODES, SERIES = 50, 20_000
VIEWERS = 5
SUBJECTS, OBSERVERS = 200, 8
GROUPS = 12
TOKEN = "a-token-for-benchmarks"
ROOT = Path(__file__).parents[1]
BARS = (
    at_least("gateway", "series", SERIES),
    at_most("gateway", "percent_of_a_core", 5.0),
    at_most("gateway", "kilobytes_per_update", 50.0),
    at_most("paint", "first_paint_s", 1.0),
)


def streams_of(node: str) -> list[Stream]:
    """Ten streams that the page reads, and others up to 400 series."""
    own = [
        Stream(node, "host.cpu", tuple(Field(name, "ratio") for name in ("user", "system", "idle", "iowait"))),
        Stream(node, "host.memory", tuple(Field(name, "bytes", "u8") for name in ("mem_total", "mem_available"))),
        Stream(node, "host.load", (Field("load1"), Field("load5"))),
    ]
    link = tuple(Field(name, "bytes", "u8", True) for name in ("rx_bytes", "tx_bytes"))
    own += [Stream(node, "net.link", link, {"dev": dev}) for dev in ("lo", "eth0", "eth1", "eth2")]
    left = SERIES // NODES - sum(len(stream.fields) for stream in own)
    fields = tuple(Field(f"field{n}") for n in range(8))
    own += [Stream(node, f"app.part{n % 9}", fields, {"instance": f"i{n}"}) for n in range(left // 8)]
    return own


def values_of(stream: Stream, second: int) -> tuple[float | int, ...]:
    return tuple(
        second * 1000 if f.counter else (8 << 30) - at * (second % 999) if f.dtype == "u8" else (second % 97) / 97
        for at, f in enumerate(stream.fields)
    )


class Nodes:
    """The gateway's backend: a cluster in memory, of which `tick` is what happens in a second."""

    def __init__(self) -> None:
        self.node, self.cluster = "node-00", "bench"
        self.names = tuple(f"node-{n:02}" for n in range(NODES))
        self.streams = {name: streams_of(name) for name in self.names}
        self.numbers = {name: tuple(stream_number(s.key) for s in found) for name, found in self.streams.items()}
        self.lives = {name: Live() for name in self.names}
        self.store = LocalStore("node-00", STRATEGIES.make("paper", pending_ns=3 * NS))
        self.overview = Overview()
        self.packed = ("", b"")
        self.table = DecisionTable(Random(1))
        arms = tuple(f"arm{n}" for n in range(8))
        rows = {f"isp={n}": TableRow(arms, (0.125,) * 8) for n in range(GROUPS)}
        self.table.apply(TableUpdate(1, 0, None, rows))
        self.arms = [
            {"arm": arm, "probability": 0.125, "mean": float(n), "evidence": 9.0} for n, arm in enumerate(arms)
        ]
        self.logged: dict[str, list[Logged]] = {name: [] for name in self.names}
        self.receipts: dict[str, list[Receipt]] = {name: [] for name in self.names}
        self.asks = 0
        for second in range(200):
            self.tick(time.time_ns() - (200 - second) * NS)

    def series(self) -> int:
        return sum(live.series() for live in self.lives.values())

    def tick(self, t_ns: int) -> None:
        """A second: all samples, some reports, a decision and now and then a receipt at each node."""
        second = t_ns // NS
        for name, live in self.lives.items():
            samples = [Sample(stream, t_ns, values_of(stream, second)) for stream in self.streams[name]]
            live.publish(Arrival(1, t_ns, self.numbers[name], t_ns), samples)
            arm = f"arm{second % 8}"
            made = Logged(f"{name}{t_ns}", t_ns, f"isp={second % GROUPS}", arm, 0.125, 1, float(second % 7), t_ns)
            self.logged[name] = [made, *self.logged[name][:199]]
            if second % 10 == 0:
                target = Target("cgroup", f"app/{second % 3}")
                done = Receipt(t_ns, name, "shop", "cgroup2", target, "cpu_cores", 1.0, 2.0, 2.0, False, "p99 is 0.2 s")
                self.receipts[name] = [done, *self.receipts[name][:359]]
        for n in range(20):
            subject = f"service-{(second * 20 + n) % SUBJECTS:03}@{self.names[n]}"
            status = Status.UNHEALTHY if n % 5 == 0 else Status.HEALTHY
            report = Report(f"observer-{second % OBSERVERS}", subject, t_ns, {"read": Metric(status, float(n))})
            self.store.submit(report, t_ns, 0)

    def packs(self) -> None:
        """What observers do in processes of their own."""
        self.packed = self.overview.packed(self.store, 40)

    def nodes(self) -> Sequence[str]:
        return self.names

    async def ask(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
        return pickle.loads(pickle.dumps(await self.answer(node, method, *args)))

    async def answer(self, node: str, method: str, *args: Any) -> Any:
        self.asks += 1
        if method == "latest":
            return self.lives[node].latest(*args)
        if method == "query":
            return self._query(node, *args)
        if method == "sensors":
            now_ns = time.time_ns()
            found = [s for s in self.streams[node] if parse(args[0]).matches(s)]
            return [SensorInfo(stream, now_ns - 300 * NS, now_ns, 300, True) for stream in found]
        if method == "status":
            roles = ("collector", "observer", "feed", "decide", "supervisor")
            actors = tuple(ActorStatus(f"vagus:{role}@{node}", role, node, "HEALTHY") for role in roles)
            return NodeStatus(
                node, time.time_ns(), actors, SERIES // NODES, SUBJECTS, receipts=tuple(self.receipts[node][:20])
            )
        if method == "observer":
            tag, body = self.packed
            return f"{node}{tag}", b"" if f"{node}{tag}" in args[1][1] else body
        if method == "feeds":
            return [
                FeedStatus(f"feed{n}", node, "source", "every 5m", codes={"ok/Good": 9}, locations=3) for n in range(3)
            ]
        if method == "records":
            return [r for r in self.receipts[node] if args[1] <= r.t_ns < args[2]][: args[3]]
        return self.logged[node][: args[2]]

    def _query(self, node: str, selector: str, start_ns: int, end_ns: int, limit: int) -> list[Batch]:
        t_ns = np.arange(start_ns, end_ns, NS, dtype=np.int64)
        found = []
        for stream in self.streams[node]:
            fields = parse(selector).narrow(stream)
            columns = tuple(np.arange(len(t_ns)).astype(f.dtype) for f in fields)
            if fields:
                found.append(Batch(with_fields(stream, fields), t_ns, columns))
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        async def own(*args: Any) -> Any:
            return await self.answer(self.node, name, *args)

        return own

    async def explain(self, group: str) -> dict[str, Any]:
        if group not in self.table.full().groups:
            raise NoData(f"no group {group!r}")
        return {"policy": "auto", "leader": self.node, "rewards": 9, "arms": self.arms}

    def refused(self, event: Event) -> None:
        raise AssertionError(event)


async def view(port: int, seconds: float) -> dict[str, float]:
    """One viewer: bytes and events that come, after the first whole round."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /v1/overview HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    got, first, end = b"", 0, time.monotonic() + seconds
    try:
        while True:
            got += await asyncio.wait_for(reader.read(1 << 20), end - time.monotonic())
            if not first and b"event: decisions" in got and b"event: limits" in got:
                first = len(got)
    except (asyncio.TimeoutError, TimeoutError):
        writer.close()
    rest = got[first:]
    return {"first_bytes": first, "bytes": len(rest), "ticks": rest.count(b"event: tick")}


async def viewers(port: int, seconds: float) -> dict[str, float]:
    found = await asyncio.gather(*(view(port, seconds) for _ in range(VIEWERS)))
    return {name: sum(one[name] for one in found) / VIEWERS for name in found[0]}


async def alive(backend: Nodes, packing: float) -> None:
    """A second after another; packing: how often, in seconds."""
    packed = 0.0
    while True:
        backend.tick(time.time_ns())
        if time.monotonic() - packed >= packing:
            packed = time.monotonic()
            backend.packs()
        await asyncio.sleep(1.0)


async def measure_gateway(seconds: float) -> dict[str, float]:
    """CPU of this process without viewers, while they come, and with them."""
    backend = Nodes()
    gateway = Gateway(backend, token=TOKEN, clock=SystemClock())  # type: ignore[arg-type]
    port = int((await gateway.start()).rpartition(":")[2])
    living = asyncio.ensure_future(alive(backend, 2.0))
    await asyncio.sleep(2.0)
    begun, cpu = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    idle = (time.process_time() - cpu) / (time.monotonic() - begun)
    settle = 15.0
    began_s = time.process_time()
    asked = backend.asks
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.page", "--view", str(port), "--seconds", str(settle + seconds)),
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    await asyncio.sleep(settle)
    opening = time.process_time() - began_s - idle * settle
    before_asks, begun, cpu = backend.asks, time.monotonic(), time.process_time()
    await asyncio.sleep(seconds - 2.0)
    took = time.monotonic() - begun
    busy = (time.process_time() - cpu) / took
    asks_per_s = (backend.asks - before_asks) / took
    out, _ = await child.communicate()
    seen = msgspec.json.decode(out.strip().splitlines()[-1])
    living.cancel()
    await gateway.stop()
    return {
        "nodes": NODES,
        "series": backend.series(),
        "viewers": VIEWERS,
        "percent_of_a_core": 100 * (busy - idle),
        "percent_without_viewers": 100 * idle,
        "opening_cpu_s": opening,
        "asks_to_open": before_asks - asked,
        "asks_per_s": asks_per_s,
        "first_kilobytes": seen["first_bytes"] / 1000,
        "kilobytes_per_update": seen["bytes"] / max(seen["ticks"], 1) / 1000,
        "updates_seen": seen["ticks"],
    }


async def measure_paint() -> dict[str, float]:
    """Of the page opened for the first time: first paint, and until all nodes have a card and lines."""
    sys.path.insert(0, str(ROOT / "tests/lab"))
    from browser import browser

    backend = Nodes()
    backend.packs()
    gateway = Gateway(backend, token=TOKEN, clock=SystemClock())  # type: ignore[arg-type]
    url = await gateway.start()
    living = asyncio.ensure_future(alive(backend, 2.0))
    try:
        async with browser() as page:
            await page.appear()
            await page.open("about:blank")
            await page.open(f"{url}/#token={TOKEN}")
            ready = f"document.querySelectorAll('#nodes li svg path[d^=M]').length >= {NODES} && performance.now()"
            cards_ms = await page.until(ready, 60)
            await page.until("performance.getEntriesByName('first-contentful-paint').length")
            paint_ms = await page.run("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            assert page.errors == [], page.errors
    finally:
        living.cancel()
        await gateway.stop()
    return {"first_paint_s": paint_ms / 1000, "all_nodes_shown_s": cards_ms / 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=("gateway", "paint"))
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each phase is")
    parser.add_argument("--view", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.view:
        print(json.dumps(asyncio.run(viewers(args.view, args.seconds))))
        return
    found: dict[str, Any] = {}
    if args.only != "paint":
        found["gateway"] = asyncio.run(measure_gateway(args.seconds))
    if args.only != "gateway":
        found["paint"] = asyncio.run(measure_paint())
    found["bars"] = judge(BARS, found)
    if args.json:
        print(json.dumps(found))
        return
    for part in ("gateway", "paint"):
        for name, value in found.get(part, {}).items():
            print(f"{part:8} {name:28} {value:12.3f}")
    for row in found["bars"]:
        print(f"{row['measure']:28} {row['value']:12.3f}  {row['bar']:10} {'met' if row['met'] else 'NOT MET'}")


if __name__ == "__main__":
    main()
