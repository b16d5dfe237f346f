"""What probes cost: three nodes at the default settings, one series of echoes (beside ping's), one transfer.

Run: python benchmarks/probes.py [--seconds 60] [--json]     (loopback only; all nodes in this process)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import subprocess
import time
from collections.abc import Coroutine
from typing import Any

from vagus.actors.base import Seat
from vagus.actors.probing import Probing
from vagus.config import Config, ProbeSettings
from vagus.probes.clique import Probe
from vagus.probes.latency import ECHOES

BAR_RATIO = 0.005  # of a core, for a cluster of three on one machine


class Nodes:
    """Some nodes that know each other."""

    def __init__(self, names: str, settings: ProbeSettings) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.found = 0
        config = Config(probes=settings)
        self.all = {
            n: Probing(Seat("collector", n, "", config, options={"key": "5e" * 32}), self.spawn, _fail) for n in names
        }

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def start(self) -> None:
        for probing in self.all.values():
            probing.start()
        addresses = {name: address for name, p in self.all.items() if (address := p.address())}
        for probing in self.all.values():
            await probing.set_peers(addresses)

    def take(self) -> None:
        for probing in self.all.values():
            self.found += len(probing.found.take()[0])

    async def stop(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for probing in self.all.values():
            probing.stop()


def _fail(where: str, error: Exception) -> None:
    raise SystemExit(f"{where}: {error}")


async def idle(seconds_s: float) -> dict[str, float]:
    """Three nodes for so long."""
    nodes = Nodes("abc", ProbeSettings())
    await nodes.start()
    begin_s, cpu_s = time.monotonic(), time.process_time()
    while time.monotonic() - begin_s < seconds_s:
        await asyncio.sleep(1.0)
        nodes.take()
    spent_s, took_s = time.process_time() - cpu_s, time.monotonic() - begin_s
    datagrams = sum(p.figures()["probe_datagrams"] for p in nodes.all.values())
    failed = sum(p.figures()["probes_failed"] for p in nodes.all.values())
    await nodes.stop()
    return {
        "three_nodes_core_ratio": spent_s / took_s,
        "probes": float(nodes.found),
        "failed": failed,
        "datagrams_per_s": datagrams / took_s,
    }


async def each(kind: str, count: int) -> dict[str, float]:
    """CPU of one probe, both ends of it."""
    nodes = Nodes("ab", ProbeSettings(latency_every=86400))
    await nodes.start()
    await asyncio.sleep(2.0)  # the clique's own first round
    probe = Probe("all", kind, "b", float("inf"))
    measure = nodes.all["a"]._latency if kind == "latency" else nodes.all["a"]._bandwidth
    nodes.take()
    begin_s = time.process_time()
    for _ in range(count):
        assert await measure(probe)
    spent_s = (time.process_time() - begin_s) / count
    values = [sample.values[0] for sample in nodes.all["a"].found.take()[0]]
    await nodes.stop()
    return {f"{kind}_cpu_ms": spent_s * 1e3, f"{kind}_median": sorted(values)[len(values) // 2]}


def ping() -> dict[str, float]:
    """CPU of as many echoes by ping."""
    if not shutil.which("ping"):
        return {}
    times = 20
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(times):
        subprocess.run(["ping", "-c", str(ECHOES), "-i", "0.002", "-q", "127.0.0.1"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"ping_cpu_ms": (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / times * 1e3}


async def measure(seconds_s: float) -> dict[str, float]:
    figures = {**await each("latency", 100), **await each("bandwidth", 30), **ping()}
    if "ping_cpu_ms" in figures:
        figures["latency_to_ping"] = figures["latency_cpu_ms"] / figures["ping_cpu_ms"]
    figures |= await idle(seconds_s)
    figures["bar_core_ratio"] = BAR_RATIO
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = asyncio.run(measure(arguments.seconds))
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:26} {value:.4g}")


if __name__ == "__main__":
    main()
