"""The simulated application: how much faster than real time, and how near to what is known of queues and of the kernel.

Run: python -m benchmarks.control_world_speed [--json] [--quick]
Times are CPU seconds, the best of several rounds. Speed: the social network (ten services), 50 requests per second,
diurnal and noisy, a CPU hog each minute, all limits set anew in each step of 0.2 s. Peer: heapq alone, with as many events
pushed and popped: nothing in Python with a heap can be faster.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import time
from typing import Any

import numpy as np

from vagus.environments.applications import Call, RequestType, SimulatedApplication, SimulatedService, social_network
from vagus.environments.rates import Rates, made
from vagus.environments.simulated import Injection, SimulatedWorld

STEP_S, RATE_HZ = 0.2, 50.0
SPEED = 20.0
ROUNDS = 5


def world(services: int = 10) -> SimulatedWorld:
    application = social_network()
    hogs = [Injection(30.0 + 60.0 * n, 15.0, application.services[n].name, 0.4) for n in range(services)]
    trace = made(Rates(mean_hz=RATE_HZ), 600, 1)
    return SimulatedWorld(application, trace, period_s=STEP_S, start=0.2, injections=hogs)


def simulated(for_s: float) -> tuple[float, int]:
    """CPU seconds for so much simulated time, and events."""
    it = world()
    seen = it.reset(1)
    events, begin = it.machine.events, time.process_time()
    for _ in range(round(for_s / STEP_S)):
        limits = {
            (target, "cpu_cores"): 0.7 * signals["limit_cores"] + 0.3 * max(2.5 * signals["usage_cores"], 0.08)
            for target, signals in seen.signals.items()
        }
        seen = it.step(limits)
    return time.process_time() - begin, it.machine.events - events


def heap(events: int) -> float:
    """CPU seconds for pushing and popping so many."""
    queue = [(float(n), n, heap, None) for n in range(20)]
    begin = time.process_time()
    for n in range(events):
        at, _, do, what = heapq.heappop(queue)
        heapq.heappush(queue, (at + 20.0, n, do, what))
    return time.process_time() - begin


def sharing_error(load: float, for_s: float) -> float:
    """Of the mean response of M/G/1 processor sharing, as a ratio."""
    mean_s = 0.01
    application = SimulatedApplication(
        "one",
        (SimulatedService("web", in_order=False),),
        (RequestType("get", Call("web")),),
        {"web": {"get": mean_s * 1e3}},
        spread=0.8,
        hop_s=0.0,
    )
    it = SimulatedWorld(application, [load / mean_s], period_s=10.0, start=math.inf)
    it.reset(1)
    it.ingress.log = []
    while it.machine.now_s < for_s:
        it.step({})
    return abs(float(np.mean([request.latency_s for request in it.ingress.log])) * (1 - load) / mean_s - 1)


def rows(quick: bool = False) -> list[dict[str, Any]]:
    """what, value, unit, bar, met, peer."""
    for_s = 60.0 if quick else 300.0
    best = math.inf
    for _ in range(2 if quick else ROUNDS):
        took_s, events = simulated(for_s)
        best = min(best, took_s)
    alone = min(heap(events) for _ in range(3))
    speed = for_s / best
    found: list[dict[str, Any]] = [
        row(
            "simulated social network, 50 requests/s, steps of 0.2 s", speed, "× real", f"≥ {SPEED:g} ×", speed >= SPEED
        ),
        row("CPU time of an event", best / events * 1e6, "µs", peer=f"heapq alone {alone / events * 1e6:.2f} µs"),
        row("events of a simulated second", events / for_s, "1/s"),
    ]
    for load in (0.5, 0.8):
        error = sharing_error(load, 200.0 if quick else 2000.0)
        found.append(
            row(f"M/G/1 processor sharing, load {load:g}: error of the mean", 100 * error, "%", "≤ 8 %", error <= 0.08)
        )
    return found


def row(
    what: str, value: float, unit: str, bar: str | None = None, met: bool | None = None, peer: str | None = None
) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "bar": bar, "met": met, "peer": peer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="shorter, less exact")
    options = parser.parse_args()
    found = rows(options.quick)
    if options.json:
        print(json.dumps(found))
        return
    for one in found:
        print(
            f"{one['what']:65} {one['value']:10.3f} {one['unit']:8} {one['bar'] or '':8} {one['met']} {one['peer'] or ''}"
        )


if __name__ == "__main__":
    main()
