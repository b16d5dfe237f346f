"""Submits per second, inference, gossip from submit to inference at a peer; beside Panorama's own numbers.

    python benchmarks/health.py [--json]

The reference implementation (Panorama's hview-server, Go, gRPC, SQLite) was measured on such a machine: 2.2k to 2.8k
submits/s from one client, 2.2 to 3.1 ms from submit to inference at a peer of three nodes. Its durability is weaker:
of 3000 accepted reports 181 were left after kill -9. The limit measured in the same run is one UDP round trip.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import tempfile
import time
from random import Random

import uvloop

from vagus.actors.base import Seat
from vagus.actors.observer import ObserverActor
from vagus.config import Config
from vagus.health.gossip import Gossip
from vagus.health.local import LocalStore
from vagus.health.strategy_paper import Paper
from vagus.model import Ack, Event, Metric, Report, Status
from vagus.sealing import Sealer

REFERENCE_SUBMITS = 2800.0
REFERENCE_GOSSIP_MS = 2.2
KEY = bytes(range(32))


def report(n: int, status: Status = Status.UNHEALTHY) -> Report:
    return Report(f"o{n % 10}", f"s{n // 10 % 100}", time.time_ns(), {"read": Metric(status, n % 50)})


def core_submits(count: int = 20_000) -> float:
    """Submits a second into the store alone: a verdict after each, ten observers a subject."""
    local = LocalStore("n1", Paper())
    reports = [report(n) for n in range(count)]
    began = time.perf_counter()
    for one in reports:
        local.submit(one, one.t_ns)
    return count / (time.perf_counter() - began)


def inference_us(observers: int, count: int = 1000) -> float:
    """One inference over full views of ten reports, in µs."""
    now = time.time_ns()
    views = {
        f"o{o}": [Report(f"o{o}", "s", now - 10 + n, {"read": Metric(Status.HEALTHY, n)}) for n in range(10)]
        for o in range(observers)
    }
    paper = Paper()
    began = time.perf_counter()
    for _ in range(count):
        paper.infer("s", views, now)
    return (time.perf_counter() - began) / count * 1e6


def seal_us(count: int = 5000) -> float:
    """Sealing and opening one datagram of 1200 bytes, in µs."""
    one, two, body = Sealer(KEY, "n1"), Sealer(KEY, "n2"), bytes(1200)
    began = time.perf_counter()
    for _ in range(count):
        two.open(one.seal(body))
    return (time.perf_counter() - began) / count * 1e6


def catch_up_s(count: int = 20_000) -> float:
    """A node that lost everything gets `count` reports by anti-entropy, messages handed over at once."""
    one, two = Gossip("n1", Random(1)), Gossip("n2", Random(2))
    one.peers(["n2"])
    now = time.time_ns()
    one.restore([Report("o", "s", now, {"read": Metric(Status.HEALTHY)}, "n1", n + 1) for n in range(count)], now)
    began, got, sends = time.perf_counter(), 0, two.greet("n1")
    while sends:
        answers = [answer for send in sends for answer in one.on_message("n2", send.payload, now)[1]]
        sends = []
        for answer in answers:
            new, more = two.on_message("n1", answer.payload, now)
            got, sends = got + len(new), sends + more
    assert got == count
    return time.perf_counter() - began


def udp_round_trip_ms(count: int = 2000) -> float:
    """The limit: a datagram of 200 bytes to another socket of this thread and back, median."""
    one, two = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    one.bind(("127.0.0.1", 0))
    two.bind(("127.0.0.1", 0))
    times = []
    for _ in range(count):
        began = time.perf_counter()
        one.sendto(bytes(200), two.getsockname())
        two.sendto(two.recv(2000), one.getsockname())
        one.recv(2000)
        times.append(time.perf_counter() - began)
    one.close()
    two.close()
    return statistics.median(times) * 1e3


async def actors(home: str) -> dict[str, float]:
    """Three observers on loopback in this process: sequential, concurrent and batched reports, and gossip."""
    made = [ObserverActor(Seat("observer", f"n{n}", home, Config(), options={"key": KEY}), None) for n in range(3)]
    for actor in made:
        await actor.begin()
    one, two = made[0], made[1]
    found: dict[str, float] = {}

    times = []
    for n in range(2000):
        began = time.perf_counter()
        assert await one.report([report(n)]) == [Ack.ACCEPTED]
        times.append(time.perf_counter() - began)
    found["actor_submit_p50_ms"] = statistics.median(times) * 1e3
    found["actor_submit_p99_ms"] = statistics.quantiles(times, n=100)[98] * 1e3
    found["actor_submits_sequential_per_s"] = len(times) / sum(times)

    async def client(number: int) -> None:
        for n in range(200):
            await one.report([report(number * 200 + n)])

    began = time.perf_counter()
    await asyncio.gather(*(client(n) for n in range(50)))
    found["actor_submits_50_clients_per_s"] = 10_000 / (time.perf_counter() - began)

    began = time.perf_counter()
    for n in range(0, 20_000, 500):
        await one.report([report(n + k) for k in range(500)])
    found["actor_submits_batches_of_500_per_s"] = 20_000 / (time.perf_counter() - began)

    addresses = {actor.seat.node: await actor.address() for actor in made}
    for actor in made:
        await actor.set_peers(addresses)
    while two.figures()["merged"] < 20_000 and len(two._gossip) < 20_000:
        await asyncio.sleep(0.01)

    verdicts: asyncio.Queue[Event] = asyncio.Queue()
    two.subscribe(verdicts.put_nowait)
    times, acks = [], []
    for n in range(500):
        verdict = Report("gossip", "far", time.time_ns(), {"read": Metric(Status.DEAD if n % 2 else Status.HEALTHY)})
        began = time.perf_counter()
        ack = asyncio.ensure_future(one.report([verdict]))
        while (await verdicts.get()).fields["subject"] != "far":
            pass
        times.append(time.perf_counter() - began)
        acks.append(await ack)
    found["gossip_p50_ms"] = statistics.median(times) * 1e3
    found["gossip_p99_ms"] = statistics.quantiles(times, n=100)[98] * 1e3
    for actor in made:
        await actor.end()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    wants_json = parser.parse_args().json
    found = {
        "core_submits_per_s": core_submits(),
        "inference_3_observers_us": inference_us(3),
        "inference_100_observers_us": inference_us(100, 100),
        "seal_and_open_us": seal_us(),
        "catch_up_20k_reports_s": catch_up_s(),
        "udp_round_trip_ms": udp_round_trip_ms(),
    }
    with tempfile.TemporaryDirectory() as home:
        found |= uvloop.run(actors(home))
    if wants_json:
        print(json.dumps(found))
        return
    peers = {
        "core_submits_per_s": f"{found['core_submits_per_s'] / REFERENCE_SUBMITS:.1f} x reference",
        "actor_submits_sequential_per_s": f"{found['actor_submits_sequential_per_s'] / REFERENCE_SUBMITS:.1f} x reference",
        "actor_submits_50_clients_per_s": f"{found['actor_submits_50_clients_per_s'] / REFERENCE_SUBMITS:.1f} x reference",
        "actor_submits_batches_of_500_per_s": (
            f"{found['actor_submits_batches_of_500_per_s'] / REFERENCE_SUBMITS:.1f} x reference"
        ),
        "gossip_p50_ms": (
            f"{REFERENCE_GOSSIP_MS / found['gossip_p50_ms']:.1f} x as fast as the reference, "
            f"{found['gossip_p50_ms'] / found['udp_round_trip_ms']:.0f} x a bare UDP round trip"
        ),
    }
    for name, value in found.items():
        print(f"{name:38} {value:12.3f}  {peers.get(name, '')}")


if __name__ == "__main__":
    main()
