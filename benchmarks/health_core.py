"""The pure cores of health: submits into the local store, inference, sealing, catching up by anti-entropy.

    python -m benchmarks.health_core [--json]

Panorama's reference implementation (hview-server, Go, gRPC, SQLite) does 2.2k to 2.8k submits/s from one client on such
a machine, with all that is around its core.
"""

from __future__ import annotations

import time
from random import Random

from benchmarks.shown import run
from vagus.health.gossip import Gossip
from vagus.health.local import LocalStore
from vagus.health.strategy_paper import Paper
from vagus.model import Metric, Report, Status
from vagus.sealing import Sealer

REFERENCE_SUBMITS = 2800.0
KEY = bytes(range(32))


def report(n: int, status: Status = Status.UNHEALTHY) -> Report:
    return Report(f"o{n % 10}", f"s{n // 10 % 100}", time.time_ns(), {"read": Metric(status, n % 50)})


def core_submits(count: int = 20_000) -> float:
    """Submits a second into the store alone: a verdict after each, ten observers a subject."""
    local = LocalStore("n1", Paper())
    reports = [report(n) for n in range(count)]
    began = time.thread_time()
    for one in reports:
        local.submit(one, one.t_ns)
    return count / (time.thread_time() - began)


def inference_us(observers: int, count: int = 1000) -> float:
    """One inference over full views of ten reports, in µs."""
    now = time.time_ns()
    views = {
        f"o{o}": [Report(f"o{o}", "s", now - 10 + n, {"read": Metric(Status.HEALTHY, n)}) for n in range(10)]
        for o in range(observers)
    }
    paper = Paper()
    began = time.thread_time()
    for _ in range(count):
        paper.infer("s", views, now)
    return (time.thread_time() - began) / count * 1e6


def seal_us(count: int = 5000) -> float:
    """Sealing and opening one datagram of 1200 bytes, in µs."""
    one, two, body = Sealer(KEY, "n1"), Sealer(KEY, "n2"), bytes(1200)
    began = time.thread_time()
    for _ in range(count):
        two.open(one.seal(body))
    return (time.thread_time() - began) / count * 1e6


def catch_up_s(count: int = 20_000) -> float:
    """A node that lost everything gets `count` reports by anti-entropy, messages handed over at once."""
    one, two = Gossip("n1", Random(1)), Gossip("n2", Random(2))
    one.peers(["n2"])
    now = time.time_ns()
    one.restore([Report("o", "s", now, {"read": Metric(Status.HEALTHY)}, "n1", n + 1) for n in range(count)], now)
    began, got, sends = time.thread_time(), 0, two.greet("n1")
    while sends:
        answers = [answer for send in sends for answer in one.on_message("n2", send.payload, now)[1]]
        sends = []
        for answer in answers:
            new, more = two.on_message("n1", answer.payload, now)
            got, sends = got + len(new), sends + more
    assert got == count
    return time.thread_time() - began


def measure() -> dict[str, float]:
    """All of it; about 3 s."""
    submits = core_submits()
    return {
        "core_submits_per_s": submits,
        "core_submits_ratio_to_reference": submits / REFERENCE_SUBMITS,
        "inference_3_observers_us": inference_us(3),
        "inference_100_observers_us": inference_us(100, 100),
        "seal_and_open_us": seal_us(),
        "catch_up_20k_reports_s": catch_up_s(),
    }


if __name__ == "__main__":
    run(__doc__, measure)
