"""The simulated application against what is known of queues."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from vagus.environments import Seen
from vagus.environments.applications import (
    Call,
    RequestType,
    SimulatedApplication,
    SimulatedService,
    social_network,
)
from vagus.environments.rates import Rates, made
from vagus.environments.simulated import Injection, SimulatedWorld

MEAN_S = 0.010


def single(in_order: bool, spread: float) -> SimulatedApplication:
    """One service, one call, no way to it."""
    service = SimulatedService("web", in_order=in_order)
    request = RequestType("get", Call("web"))
    return SimulatedApplication("one", (service,), (request,), {"web": {"get": MEAN_S * 1e3}}, spread, hop_s=0.0)


def responses(application: SimulatedApplication, rate_hz: float, for_s: float, seed: int = 1) -> np.ndarray:
    world = SimulatedWorld(application, [rate_hz], period_s=10.0, start=math.inf, slo_s=1.0, tick_s=0.0)
    world.reset(seed)
    world.ingress.log = []
    while world.machine.now_s < for_s:
        world.step({})
    return np.array([request.latency_s for request in world.ingress.log])


@pytest.mark.parametrize("spread", [0.0, 0.8])
@pytest.mark.parametrize("load", [0.5, 0.8])
def test_processor_sharing_depends_on_the_mean_alone(load: float, spread: float) -> None:
    """M/G/1-PS: E[T] = E[S] / (1 − ρ), whatever the distribution (Kleinrock, 1976)."""
    found = responses(single(False, spread), load / MEAN_S, 800.0)
    assert found.mean() == pytest.approx(MEAN_S / (1 - load), rel=0.08)


@pytest.mark.parametrize("spread", [0.0, 0.8])
@pytest.mark.parametrize("load", [0.5, 0.8])
def test_a_queue_in_order_is_as_pollaczek_and_khinchine_say(load: float, spread: float) -> None:
    """M/G/1: E[T] = E[S] + λ E[S²] / 2(1 − ρ); E[S²] = E[S]² exp(spread²)."""
    found = responses(single(True, spread), load / MEAN_S, 800.0)
    second = MEAN_S**2 * math.exp(spread**2)
    assert found.mean() == pytest.approx(MEAN_S + load / MEAN_S * second / 2 / (1 - load), rel=0.08)


def test_two_cores_shared_by_three_services() -> None:
    """Each service is a queue of its own while there are cores enough, and slower when there are not."""
    names = "abc"
    services = tuple(SimulatedService(name) for name in names)
    requests = tuple(RequestType(name, Call(name)) for name in names)
    application = SimulatedApplication(
        "three", services, requests, {n: {n: MEAN_S * 1e3} for n in names}, spread=0.0, hop_s=0.0
    )

    def mean(cores: float) -> float:
        world = SimulatedWorld(application, [3 * 60.0], period_s=10.0, start=math.inf, cores=cores)
        world.reset(3)
        world.ingress.log = []
        for _ in range(20):
            world.step({})
        return float(np.mean([request.latency_s for request in world.ingress.log]))

    many, few = mean(8.0), mean(2.0)
    assert many == pytest.approx(MEAN_S * (1 + 0.6 / 2 / 0.4), rel=0.08)
    assert 1.2 * many < few < 10 * many
    assert mean(1.5) > 5 * few  # 1.8 cores are wanted


def test_throttled_periods_at_a_known_load() -> None:
    """A period is throttled when more was wanted in it than the quota: counted for requests that never meet."""
    quota = 0.25
    world = SimulatedWorld(single(True, 0.0), [20.0], period_s=10.0, start=quota, slo_s=1.0, tick_s=0.0)
    world.reset(5)
    throttled = used = 0.0
    for _ in range(200):
        seen = world.step({})
        throttled += seen.signals["cgroup:one/web"]["throttled_ratio"] / 200
        used += seen.signals["cgroup:one/web"]["usage_cores"] / 200
    assert used == pytest.approx(0.2, rel=0.05)
    # the same as a chain of periods: Poisson(2) times 10 ms beside what is left over, against 25 ms
    rng, left, count = np.random.default_rng(0), 0.0, 0
    for arrivals in rng.poisson(2.0, 200_000):
        left += arrivals * MEAN_S
        count += left > quota * 0.1 + 1e-12
        left = max(left - quota * 0.1, 0.0)
    # a period whose work came too late to be done in it is counted by the chain only: it is an upper bound
    assert 0.75 * count / 200_000 < throttled <= 1.05 * count / 200_000


def test_as_many_are_there_as_little_says() -> None:
    """L = λ W, over a run in which the quota of a service is often used up."""
    world = SimulatedWorld(social_network(), [40.0], period_s=0.037, start=0.12)
    world.reset(7)
    world.ingress.log = []
    came, there, steps = world.ingress.came, 0.0, 6000
    for _ in range(steps):
        world.step({})
        there += world.ingress.waiting / steps
    rate_hz = (world.ingress.came - came) / (steps * 0.037)
    assert there == pytest.approx(
        rate_hz * float(np.mean([request.latency_s for request in world.ingress.log])), rel=0.03
    )


@pytest.mark.parametrize("limit", [0.3, 0.06])
def test_all_that_come_leave(limit: float) -> None:
    """Also where most are given up."""
    world = SimulatedWorld(social_network(), [50.0] * 20, period_s=1.0, start=limit, once=True)
    world.reset(2)
    seen = [world.step({}) for _ in range(100)]
    ingress = world.ingress
    assert (ingress.came, ingress.waiting) == (ingress.ended, 0)
    assert ingress.came > 900
    assert sum(s.requests for s in seen) > 0.9 * ingress.came
    assert (ingress.failures > 100) == (limit < 0.1)
    for service in world.services.values():
        assert service.pending == 0
        assert not any(process.busy for group in service.groups for process in group.processes)
    assert world.machine.running == pytest.approx(0.0, abs=1e-9)


def test_what_is_used_is_what_requests_cost() -> None:
    application = social_network()
    world = SimulatedWorld(application, [40.0] * 300, period_s=1.0, start=0.5, once=True)
    world.reset(4)
    for _ in range(310):
        world.step({})
    mean_ms = sum(
        request.weight * sum(found.get(request.name, 0.0) for found in application.demands_ms.values())
        for request in application.requests
    )
    used_s = sum(service.usage_s() for service in world.services.values())
    assert used_s == pytest.approx(world.ingress.came * mean_ms / 1e3, rel=0.03)


def run(limit: float, seed: int, injections: Sequence[Injection] = (), steps: int = 120) -> list[Seen]:
    trace = made(Rates(mean_hz=45.0), 300, seed)
    world = SimulatedWorld(social_network(), trace, start=limit, injections=injections)
    return [world.reset(seed), *(world.step({}) for _ in range(steps - 1))]


def test_the_same_seed_is_the_same_run_and_another_is_not() -> None:
    assert run(0.15, 3, steps=60) == run(0.15, 3, steps=60)
    assert run(0.15, 3, steps=60) != run(0.15, 4, steps=60)


def test_a_hog_throttles_its_service_and_delays_requests() -> None:
    hog = Injection(40.0, 20.0, "text", 0.5)
    quiet, hit = run(0.2, 5), run(0.2, 5, [hog])
    target = "cgroup:vagus-app-social/text"

    def mean(seen: list[Seen], name: str, begin: int, end: int) -> float:
        return float(np.mean([s.signals[target][name] for s in seen[begin:end]]))

    assert mean(hit, "throttled_ratio", 41, 60) > 0.8 > 0.2 > mean(quiet, "throttled_ratio", 41, 60)
    assert mean(hit, "usage_cores", 41, 60) == pytest.approx(0.2, rel=0.05)
    slow, normal = ([s.objective["latency_s"] for s in seen[43:60]] for seen in (hit, quiet))
    assert (
        0.05 < np.mean(slow) - np.mean(normal) < 0.1
    )  # at most what is left of a period when the hog has had its fill
    assert hit[:40] == quiet[:40]
    assert mean(hit, "throttled_ratio", 70, 120) == pytest.approx(mean(quiet, "throttled_ratio", 70, 120), abs=0.02)


def test_more_quota_hurts_nobody() -> None:
    """On average over seeds, of the same requests."""
    late = [
        np.mean([sum(s.violations for s in run(limit, seed, steps=60)) for seed in range(3)])
        for limit in (0.06, 0.1, 0.15, 0.4)
    ]
    assert late == sorted(late, reverse=True)
    assert late[0] > 10 * (late[-1] + 1)
