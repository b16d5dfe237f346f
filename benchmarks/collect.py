"""What a tick of the collectors costs, against psutil's comparable calls and node_exporter, in the same run.

    python benchmarks/collect.py [--json] [--ticks N]

CPU is this process' own, user and system (`time.process_time`); a series is one field of one stream.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from vagus.collectors import COLLECTORS
from vagus.collectors.run import Runner
from vagus.collectors.sockets import Sockets
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Sample

NAMES = ("host", "pressure", "network")


def cpu_ms(call: Callable[[], object], times: int) -> float:
    """Mean CPU milliseconds of a call, after three to warm up."""
    for _ in range(3):
        call()
    begin = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - begin) / times * 1e3


def series(records: list) -> int:
    return sum(len(r.values) for r in records if isinstance(r, Sample))


def drain(collector) -> list:
    records: list = []
    with contextlib.suppress(CollectError):
        records.extend(collector.collect(time.time_ns()))
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


def node_exporter(times: int) -> tuple[float, int] | None:
    """CPU milliseconds and series of a scrape of Debian's prometheus-node-exporter; None where it is absent."""
    program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if program is None:
        return None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    process = subprocess.Popen(
        [program, f"--web.listen-address={address}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        peer = psutil.Process(process.pid)
        body = b""
        for _ in range(100):
            with contextlib.suppress(OSError):
                body = urllib.request.urlopen(f"http://{address}/metrics", timeout=5).read()
                break
            time.sleep(0.05)
        before = sum(peer.cpu_times()[:2])
        for _ in range(times):
            body = urllib.request.urlopen(f"http://{address}/metrics", timeout=5).read()
        spent = sum(peer.cpu_times()[:2]) - before
        return spent / times * 1e3, sum(1 for line in body.splitlines() if line and not line.startswith(b"#"))
    finally:
        process.terminate()
        process.wait()


def measure(ticks: int) -> dict[str, object]:
    rows: list[dict[str, object]] = []

    def row(what: str, cpu: float, count: int) -> None:
        rows.append({"what": what, "cpu_ms": round(cpu, 4), "series": count})

    settings = CollectSettings(collectors=NAMES)
    runner = Runner.from_settings("bench", settings)
    count = series(runner.tick(time.time_ns()))
    row("vagus, a tick of all", cpu_ms(lambda: runner.tick(time.time_ns()), ticks), count)
    runner.close()
    for name in NAMES:
        collector = COLLECTORS.make(name, "bench", Path("/"), settings)
        row(f"  {name}", cpu_ms(lambda c=collector: drain(c), ticks), series(drain(collector)))
        collector.close()
    row("psutil, comparable calls", cpu_ms(psutil_calls, ticks), psutil_calls())
    peer = node_exporter(max(20, ticks // 10))
    if peer:
        row("node_exporter, a scrape", *peer)
    many = 1000
    with connections(many):

        def read_sockets() -> int:
            part = Sockets("bench")
            records = list(part.read(time.time_ns()))
            part.close()
            return series(records)

        row(f"vagus, {2 * many} TCP sockets", cpu_ms(read_sockets, 10), read_sockets())
        row("psutil.net_connections, the same", cpu_ms(lambda: psutil.net_connections("tcp"), 3), 0)
    return {"cores": os.cpu_count(), "kernel": os.uname().release, "node_exporter": peer is not None, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ticks", type=int, default=500)
    options = parser.parse_args()
    result = measure(options.ticks)
    if options.json:
        print(json.dumps(result))
        return
    print(f"{'':36}{'CPU ms':>9}{'series':>8}{'µs/series':>11}")
    for row in result["rows"]:
        each = f"{row['cpu_ms'] * 1e3 / row['series']:.2f}" if row["series"] else ""
        print(f"{row['what']:36}{row['cpu_ms']:>9.3f}{row['series'] or '':>8}{each:>11}")
    figures = {row["what"]: row for row in result["rows"]}
    ours = figures["vagus, a tick of all"]
    per = ours["cpu_ms"] / ours["series"]
    for what in ("psutil, comparable calls", "node_exporter, a scrape"):
        if what in figures:
            print(f"{what}: {figures[what]['cpu_ms'] / figures[what]['series'] / per:.1f} x our CPU per series")
    if not result["node_exporter"]:
        print("node_exporter: not installed, skipped (Debian: prometheus-node-exporter)")


if __name__ == "__main__":
    main()
