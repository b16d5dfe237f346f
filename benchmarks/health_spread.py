"""From a submit to the inference at interested peers: 3 and 8 observers, each a process of its own, on loopback.

    python -m benchmarks.health_spread [--json]

Times are CLOCK_MONOTONIC, which all processes of a machine share: from before the submit to the verdict's event in the
peer. The limit in the same run is a UDP round trip; the figure of Panorama's reference implementation on such a machine
is 2.2 to 3.1 ms with 3 nodes and 6.3 to 8.7 ms with 8.
"""

from __future__ import annotations

import socket
import statistics
import tempfile
import time
from typing import Any

from benchmarks.health_nodes import nodes, quietly
from benchmarks.shown import run
from vagus.client.submit import Submitter
from vagus.model import Ack, Metric, Report, Status

COUNT = 400
PAUSE_S = 0.005


def spread(count: int, reports: int = COUNT) -> dict[str, float]:
    """Milliseconds until each peer, and until the last of them, knows."""
    each: list[float] = []
    last: list[float] = []
    acked: list[float] = []
    with tempfile.TemporaryDirectory() as home, nodes(home, count) as made, Submitter.connect(home, made[0].name) as to:
        sent: dict[str, int] = {}
        for n in range(-50, reports):
            one = Report("benchmark", f"far{n}", time.time_ns(), {"read": Metric(Status.UNHEALTHY, 1)})
            began = time.monotonic_ns()
            assert to.submit([one]) == [Ack.ACCEPTED]
            if n >= 0:  # those before warm everything up
                acked.append((time.monotonic_ns() - began) / 1e6)
                sent[one.subject] = began
            time.sleep(PAUSE_S)
        latest: dict[str, int] = {}
        missed = 0
        for node in made[1:]:
            seen = {subject: t_ns for subject, t_ns in node.ask("seen") if subject in sent}
            missed += reports - len(seen)
            for subject, t_ns in seen.items():
                each.append((t_ns - sent[subject]) / 1e6)
                latest[subject] = max(latest.get(subject, 0), t_ns)
        last = [(t_ns - sent[subject]) / 1e6 for subject, t_ns in latest.items()]
    return {
        "p50_ms": statistics.median(each),
        "p99_ms": statistics.quantiles(each, n=100)[98],
        "last_peer_p50_ms": statistics.median(last),
        "ack_p50_ms": statistics.median(acked),
        "missed": missed,
    }


def udp_round_trip_ms(count: int = 2000) -> float:
    """The limit: a datagram of 200 bytes to another socket of this thread and back, median."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        times = []
        for _ in range(count):
            began = time.perf_counter()
            one.sendto(bytes(200), two.getsockname())
            two.sendto(two.recv(2000), one.getsockname())
            one.recv(2000)
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


def measure() -> dict[str, Any]:
    """Both sizes; about 15 s."""
    found: dict[str, Any] = {"spread_nice": quietly(), "udp_round_trip_ms": udp_round_trip_ms()}
    for count in (3, 8):
        found |= {f"spread_{count}_{name}": value for name, value in spread(count).items()}
    return found


if __name__ == "__main__":
    run(__doc__, measure)
