"""What a second of sensing costs: collectors, store and live view as in the collector's actor, against node_exporter.

    python -m benchmarks.collect [--json] [--seconds N]

Both at 1 Hz in the same run: node_exporter (Debian's package, its default collectors) is scraped over HTTP, and its CPU
is what the scheduler counts for its threads; ours is that of the thread that ticks. A series is one field of one stream.
Sealing of blocks, which happens every 600 ticks, is measured apart and added. Two sets of ours, one after the other,
each against the scrapes of its own seconds:

all defaults    every collector that a node runs when nothing is configured; the bar is on this one
like for like   host, pressure and network: what node_exporter reads by default; no processes, cgroups, logs
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil

from benchmarks.sensed import Sensed
from vagus.collectors import COLLECTORS
from vagus.collectors.sockets import Sockets
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Sample

SEAL_TICKS = 600
BAR_RATIO = 1 / 8
SETS = {"all defaults": CollectSettings(), "like for like": CollectSettings(collectors=("host", "pressure", "network"))}


def cpu_ms(call: Callable[[], object], times: int) -> float:
    """Mean CPU milliseconds of a call, after three to warm up."""
    for _ in range(3):
        call()
    begin = time.thread_time()
    for _ in range(times):
        call()
    return (time.thread_time() - begin) / times * 1e3


def series(records: list) -> int:
    return sum(len(r.values) for r in records if isinstance(r, Sample))


def drain(collector, t_ns: int) -> list:
    records: list = []
    with contextlib.suppress(CollectError):
        records.extend(collector.collect(t_ns))
    return records


def psutil_calls() -> int:
    """What psutil offers of the same; returns the number of series."""
    count = 0
    for answer in (psutil.cpu_times(), psutil.cpu_stats(), psutil.virtual_memory(), psutil.swap_memory()):
        count += len(answer)
    count += sum(len(core) for core in psutil.cpu_times(percpu=True))
    count += len(psutil.getloadavg())
    count += sum(len(disk) for disk in psutil.disk_io_counters(perdisk=True).values())
    count += sum(len(link) for link in psutil.net_io_counters(pernic=True).values())
    count += sum(len(link) for link in psutil.net_if_stats().values())
    count += len(psutil.disk_usage("/"))
    return count


@contextlib.contextmanager
def connections(count: int) -> Iterator[None]:
    """So many open TCP connections on loopback."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 3 * count)), hard))
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        for _ in range(count):
            stack.enter_context(socket.create_connection(listener.getsockname()))
            stack.enter_context(listener.accept()[0])
        yield


class NodeExporter:
    """Debian's node_exporter with its default collectors."""

    def __init__(self, program: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._url = f"http://127.0.0.1:{probe.getsockname()[1]}/metrics"
        listen = f"--web.listen-address={self._url.removeprefix('http://').removesuffix('/metrics')}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([program, listen], **quiet)
        for _ in range(200):
            with contextlib.suppress(OSError):
                self.scrape()
                return
            time.sleep(0.05)
        raise SystemExit("node_exporter does not answer")

    def scrape(self) -> int:
        """Number of series."""
        body = urllib.request.urlopen(self._url, timeout=5).read()
        return sum(1 for line in body.splitlines() if line and not line.startswith(b"#"))

    def cpu_ms(self) -> float:
        """CPU of all its threads so far, to the nanosecond."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


async def at_one_hertz(
    seconds: int, peer: NodeExporter | None, folder: Path, collect: CollectSettings
) -> dict[str, float]:
    """Both once a second: milliseconds of CPU of each in the mean, and microseconds a series."""
    sensed = Sensed(folder, collect)
    now = time.time_ns() // 10**9
    for i in range(20):  # the first round of processes, the first scans
        await sensed.tick((now + i) * 10**9)
    if peer:
        for _ in range(3):
            peer.scrape()
    spent = stored = count = peer_count = 0.0
    before = peer.cpu_ms() if peer else 0.0
    for i in range(seconds):
        await asyncio.sleep(1)
        spent += await sensed.tick((now + 20 + i) * 10**9)
        count += sensed.series
        stored += sensed.stored_ms
        if peer:
            peer_count += peer.scrape()
    found = {"cpu_ms": spent / seconds, "series": count / seconds, "write_ms": stored / seconds}
    if peer:
        found |= {"peer_ms": (peer.cpu_ms() - before) / seconds, "peer_series": peer_count / seconds}
    for i in range(SEAL_TICKS - 20 - seconds):
        await sensed.tick((now + 20 + seconds + i) * 10**9)
    found["seal_ms"] = sensed.seal_ms() / SEAL_TICKS
    await sensed.close()
    found["us_per_series"] = (found["cpu_ms"] + found["seal_ms"]) / found["series"] * 1e3
    if peer:
        found["peer_us_per_series"] = found["peer_ms"] / found["peer_series"] * 1e3
        found["ratio"] = found["us_per_series"] / found["peer_us_per_series"]
    return found


def measure(seconds: int) -> dict[str, object]:
    program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    peer = NodeExporter(program) if program else None
    sets = {}
    try:
        for name, collect in SETS.items():
            with tempfile.TemporaryDirectory() as folder:
                sets[name] = asyncio.run(at_one_hertz(seconds, peer, Path(folder), collect))
    finally:
        if peer:
            peer.close()
    result: dict[str, object] = {**sets["all defaults"], "sets": sets}
    if peer:
        met = sets["all defaults"]["ratio"] <= BAR_RATIO
        result["bars"] = [{"measure": "ratio", "bar": f"<= {BAR_RATIO:g}", "met": met}]
    rows = result["collectors"] = {}
    settings = CollectSettings()
    for name in settings.collectors:
        collector = COLLECTORS.make(name, "bench", Path("/"), settings)
        begin = time.time_ns()
        times = iter(range(begin, begin + 10**15, 10**9))
        for _ in range(12):
            drain(collector, next(times))
        cost = cpu_ms(lambda c=collector, t=times: drain(c, next(t)), 200)
        rows[name] = {"cpu_ms": cost, "series": series(drain(collector, next(times)))}
        collector.close()
    rows["psutil, comparable calls"] = {"cpu_ms": cpu_ms(psutil_calls, 100), "series": psutil_calls()}
    processes = {"attrs": ["pid", "name", "cpu_times", "memory_info", "num_threads", "status"]}
    cost = cpu_ms(lambda: [p.info for p in psutil.process_iter(**processes)], 5)
    rows["psutil.process_iter, 6 attributes"] = {"cpu_ms": cost, "series": 0}
    many = 1000
    with connections(many):

        def read_sockets() -> int:
            part = Sockets("bench")
            records = list(part.read(time.time_ns()))
            part.close()
            return series(records)

        rows[f"vagus, {2 * many} TCP sockets"] = {"cpu_ms": cpu_ms(read_sockets, 10), "series": read_sockets()}
        cost = cpu_ms(lambda: psutil.net_connections("tcp"), 3)
        rows["psutil.net_connections, the same"] = {"cpu_ms": cost, "series": 0}
    return {"cores": os.cpu_count(), "kernel": os.uname().release, **result}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=int, default=20, help="of each set at 1 Hz")
    options = parser.parse_args()
    result = measure(options.seconds)
    if options.json:
        print(json.dumps(result))
        return
    print(f"{'':36}{'CPU ms':>9}{'series':>8}{'µs/series':>11}")

    def row(what: str, cost: float, count: float) -> None:
        each = f"{cost * 1e3 / count:.2f}" if count else ""
        print(f"{what:36}{cost:>9.3f}{f'{count:.0f}' if count else '':>8}{each:>11}")

    for name, found in result["sets"].items():
        print(f"{name}: {', '.join(SETS[name].collectors)}")
        row("  vagus: sensed, stored, shown, 1 Hz", found["cpu_ms"], found["series"])
        row("    of it written and committed", found["write_ms"], found["series"])
        row("    and sealing, in the mean", found["seal_ms"], found["series"])
        if "ratio" in found:
            row("  node_exporter, a scrape, 1 Hz", found["peer_ms"], found["peer_series"])
    print("in a loop, without storing:")
    for name, found in result["collectors"].items():
        row(f"  {name}", found["cpu_ms"], found["series"])
    if "ratio" in result:
        for name, found in result["sets"].items():
            print(f"per series, stored, {name}: {found['ratio']:.4f} of node_exporter's CPU")
        verdict = "met" if result["ratio"] <= BAR_RATIO else "missed"
        print(f"the bar is {BAR_RATIO} with all defaults: {verdict}")
    else:
        print("node_exporter: not installed, skipped (Debian: prometheus-node-exporter)")


if __name__ == "__main__":
    main()
