"""Submits to one observer from another process, acknowledged after their commit; memory; kill -9.

    python -m benchmarks.health_submit [--json]

Limits measured in the same run: a round trip over a unix stream socket between two processes, and LMDB's commit.
"""

from __future__ import annotations

import os
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.health_nodes import Node, nodes, quietly
from benchmarks.shown import run
from vagus.client.submit import Submitter
from vagus.config import node_folder
from vagus.model import Ack, Metric, Report, Status
from vagus.store import Store

SEQUENTIAL = 3000
PIPELINED = 30_000
RATE = 10_000.0
WINDOWS = 16
MEMORY = 100_000
KILLED = 3000


def report(n: int) -> Report:
    """One of ten observers on one of a hundred subjects."""
    return Report(f"o{n % 10}", f"s{n // 10 % 100}", time.time_ns(), {"read": Metric(Status.HEALTHY, n % 50)})


def percentile(times: list[float], part: float) -> float:
    """In the unit of the times."""
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


def sequential(to: Submitter, count: int = SEQUENTIAL) -> dict[str, float]:
    """One report after the other's answer."""
    times = []
    for n in range(count):
        one = report(n)
        began = time.perf_counter()
        acks = to.submit([one])
        times.append(time.perf_counter() - began)
        assert acks == [Ack.ACCEPTED]
    return {
        "submit_p50_us": statistics.median(times) * 1e6,
        "submit_p99_us": percentile(times, 0.99) * 1e6,
        "submits_sequential_per_s": count / sum(times),
    }


def pipelined(to: Submitter, count: int = PIPELINED, ahead: int = 256) -> float:
    """Reports a second, one in each frame, at most `ahead` unanswered."""
    began = time.perf_counter()
    sent = got = 0
    while got < count:
        while sent < count and sent - got < ahead:
            to.send([report(sent)])
            sent += 1
        got += 1
        assert to.receive() == [Ack.ACCEPTED]
    return count / (time.perf_counter() - began)


def at_rate(to: Submitter, node: Node, rate: float = RATE, windows: int = WINDOWS) -> dict[str, float]:
    """Latencies at a fixed rate, from the moment when each report was due (so that a stall counts for all behind it).

    The bar is one for a quiet core, so the figures are those of the quarter of the windows (half a second each) in which
    other programs of this machine used the least; `others_ratio` says how much of its processors that was, and
    `all_p99_ms` is that of all windows.
    """
    taken = []
    for _ in range(windows):
        busy_s, own_s = machine_busy_s(), node.cpu_s() + time.process_time()
        began = time.perf_counter()
        times = window(to, rate, 0.5)
        took_s = time.perf_counter() - began
        own_s = node.cpu_s() + time.process_time() - own_s
        others = max(0.0, machine_busy_s() - busy_s - own_s) / (took_s * (os.cpu_count() or 1))
        taken.append((others, len(times) / took_s, times))
    quiet = sorted(taken)[: max(1, windows // 4)]
    times = [one for _, _, some in quiet for one in some]
    return {
        "at_10k_p50_ms": statistics.median(times) * 1e3,
        "at_10k_p99_ms": percentile(times, 0.99) * 1e3,
        "at_10k_max_ms": max(times) * 1e3,
        "at_10k_others_ratio": statistics.mean(others for others, _, _ in quiet),
        "at_10k_reached_per_s": min(reached for _, reached, _ in quiet),
        "at_10k_all_p99_ms": percentile([one for _, _, some in taken for one in some], 0.99) * 1e3,
        "at_10k_all_others_ratio": statistics.mean(others for others, _, _ in taken),
    }


def window(to: Submitter, rate: float, for_s: float) -> list[float]:
    """Seconds from when each report was due to its answer."""
    times: list[float] = []
    due: list[float] = []
    count = int(rate * for_s)
    began = time.perf_counter()
    sent = 0
    while len(times) < count:
        now = time.perf_counter()
        while sent < count and began + sent / rate <= now and to.unanswered < 1500:
            due.append(began + sent / rate)
            to.send([report(sent)])
            sent += 1
        if to.unanswered:
            assert to.receive() == [Ack.ACCEPTED]
            times.append(time.perf_counter() - due[len(times)])
        else:
            time.sleep(max(0.0, began + sent / rate - time.perf_counter()))
    return times


def machine_busy_s() -> float:
    """Processor time that this machine spent on anything, all processors together."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def memory(node: Node, to: Submitter, count: int = MEMORY) -> dict[str, float]:
    """Resident memory before and after so many reports; before: the store holds all the reports that it is to hold.

    fresh: of a process that has taken none yet.
    """
    fresh, fresh_anon = node.rss()
    to.submit([report(n) for n in range(10_000)])
    time.sleep(1.5)
    rss, anon = node.rss()
    for n in range(0, count, 500):
        assert set(to.submit([report(n + k) for k in range(500)])) == {Ack.ACCEPTED}
    time.sleep(1.5)  # the store is synced each second, and the pages that its commits looked at are let go
    rss_after, anon_after = node.rss()
    return {
        "rss_fresh_mb": fresh / 1e6,
        "rss_before_mb": rss / 1e6,
        "rss_after_mb": rss_after / 1e6,
        "rss_anon_fresh_mb": fresh_anon / 1e6,
        "rss_anon_before_mb": anon / 1e6,
        "rss_anon_after_mb": anon_after / 1e6,
        "rss_ratio": rss_after / rss,
        "rss_anon_ratio": anon_after / anon,
    }


def killed(home: str, count: int = KILLED) -> dict[str, float]:
    """Accepted reports that are there after kill -9."""
    node = Node(home, "victim")
    with Submitter.connect(home, "victim") as to:
        for n in range(count):
            to.send([report(n)])
            if to.unanswered >= 500:
                assert to.receive() == [Ack.ACCEPTED]
        while to.unanswered:
            assert to.receive() == [Ack.ACCEPTED]
    node.end(kill=True)
    Node(home, "victim").end()  # recovers
    with Store.open(node_folder(Path(home), "victim") / "store" / "observer", readonly=True) as store:
        return {"killed_accepted": count, "killed_accepted_and_kept": store.count("report")}


def unix_round_trip_us(count: int = 3000) -> float:
    """The limit: 100 bytes to another process and back, median."""
    one, two = socket.socketpair()
    child = os.fork()
    if child == 0:
        one.close()
        while data := two.recv(200):
            two.send(data)
        os._exit(0)
    two.close()
    times = []
    for _ in range(count):
        began = time.perf_counter()
        one.send(bytes(100))
        one.recv(200)
        times.append(time.perf_counter() - began)
    one.close()
    os.waitpid(child, 0)
    return statistics.median(times) * 1e6


def measure(reports: int = MEMORY) -> dict[str, Any]:
    """All of it; about 20 s."""
    found: dict[str, Any] = {"submit_nice": quietly(), "unix_round_trip_us": unix_round_trip_us()}
    with tempfile.TemporaryDirectory() as home, nodes(home, 1) as (node,), Submitter.connect(home, "n0") as to:
        to.submit([report(n) for n in range(10_000)])  # every view is full
        found |= sequential(to)
        found["submits_pipelined_per_s"] = pipelined(to)
        cpu_s, began = node.cpu_s(), time.perf_counter()
        found |= at_rate(to, node)
        found["at_10k_cpu_ratio"] = (node.cpu_s() - cpu_s) / (time.perf_counter() - began)
    with tempfile.TemporaryDirectory() as home:
        with nodes(home, 1) as (node,), Submitter.connect(home, "n0") as to:
            found |= memory(node, to, reports)
        found |= killed(home)
    return found


if __name__ == "__main__":
    run(__doc__, measure)
