"""The simulated application as a world: what is seen and set, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vagus.environments.applications import (
    APPLICATIONS,
    MAX_FILE_BYTES,
    Call,
    RequestType,
    SimulatedApplication,
    SimulatedService,
    read_demands,
    social_network,
)
from vagus.environments.arrivals import Arrivals
from vagus.environments.ingress import GIVEN_UP_S
from vagus.environments.simulated import Injection, SimulatedWorld
from vagus.errors import ConfigError

WEB, STORE = "cgroup:shop/web", "cgroup:shop/store"


def shop(**more: Any) -> SimulatedApplication:
    """Two services: web calls store, and tells the log in the background."""
    get = Call("web", ((Call("store"), Call("store")),), later=(Call("store"),), shares=(0.5, 0.5))
    services = (SimulatedService("web"), SimulatedService("store", **more))
    return SimulatedApplication(
        "shop", services, (RequestType("get", get),), {"web": {"get": 4}, "store": {"get": 6}}, 0.0
    )


def test_a_request_takes_what_its_calls_take() -> None:
    """Two stores at once in one process: one after the other; what is done in the background nobody waits for."""
    world = SimulatedWorld(shop(), [1.0] * 20, once=True, start=math.inf, period_s=0.01)
    world.reset(0)
    world.ingress.log = []
    for _ in range(3000):
        world.step({})
    assert world.ingress.came == world.ingress.ended > 10
    hop_s = world.application.hop_s
    assert min(request.latency_s for request in world.ingress.log) == pytest.approx(
        0.002 + hop_s + 2 * 0.002 + 0.002 + hop_s
    )
    used_s = {name: service.usage_s() for name, service in world.services.items()}
    assert used_s == pytest.approx({"web": 0.004 * world.ingress.came, "store": 0.006 * world.ingress.came})


def test_violations_are_the_requests_that_took_longer_than_owed() -> None:
    world = SimulatedWorld(shop(), [80.0], slo_s=0.1, start=0.55)
    world.reset(2)
    world.ingress.log = log = []
    told = [world.step({}) for _ in range(30)]
    late = sum(request.latency_s > 0.1 for request in log)
    assert 0.05 * len(log) < late < 0.95 * len(log), "some are, some are not"
    assert (sum(seen.violations for seen in told), sum(seen.requests for seen in told)) == (late, len(log))


def test_signals_are_those_of_a_real_controller() -> None:
    world = SimulatedWorld(shop(), [50.0], period_s=1.0, start={"cpu_cores": 0.3}, slo_s=0.1)
    assert world.field.targets == (WEB, STORE)
    seen = world.reset(1)
    for _ in range(9):
        seen = world.step({})
    assert set(seen.signals) == {WEB, STORE}
    web = seen.signals[WEB]
    assert set(web) == {
        *("usage_cores", "limit_cores", "throttled_ratio", "elapsed_s", "memory_bytes"),
        *("use_cpu_cores", "limit_cpu_cores"),
    }
    assert web["limit_cores"] == web["limit_cpu_cores"] == 0.3
    assert web["usage_cores"] == pytest.approx(50 * 0.004, rel=0.3)
    assert web["elapsed_s"] == 1.0
    assert seen.now_s == pytest.approx(10.0)
    assert set(seen.objective) == {"latency_s", "slo_s", "rate_hz", "mix_0"}
    assert seen.objective["slo_s"] == 0.1
    assert seen.objective["rate_hz"] == pytest.approx(50.0, rel=0.3)
    assert seen.objective["mix_0"] == seen.objective["rate_hz"]
    assert 0.01 < seen.objective["latency_s"] < 0.5


def test_limits_stay_within_their_bounds_and_until_the_next_one() -> None:
    world = SimulatedWorld(shop(), [50.0], bounds={"cpu_cores": (0.1, 1.0)}, start=math.inf)
    assert math.isnan(world.reset(1).signals[WEB]["limit_cores"])
    seen = world.step({(WEB, "cpu_cores"): 5.0, (STORE, "cpu_cores"): 0.001})
    assert [seen.signals[t]["limit_cores"] for t in (WEB, STORE)] == [1.0, 0.1]
    for _ in range(10):
        seen = world.step({})
    assert [seen.signals[t]["limit_cores"] for t in (WEB, STORE)] == [1.0, 0.1]
    assert seen.signals[STORE]["throttled_ratio"] > 0.9
    assert seen.signals[STORE]["usage_cores"] == pytest.approx(0.1, rel=0.1)
    assert seen.violations > 0.9 * seen.requests > 0


def test_what_is_given_up_is_late_and_costs_nothing_further() -> None:
    world = SimulatedWorld(shop(), [50.0], start=0.05, slo_s=0.2)
    world.reset(1)
    seen = [world.step({}) for _ in range(40)]
    assert max(s.objective["latency_s"] for s in seen) == pytest.approx(GIVEN_UP_S, abs=0.6)
    assert world.ingress.failures > 500
    assert world.ingress.waiting < 50 * (GIVEN_UP_S + 1)
    world.step({(WEB, "cpu_cores"): 2.0, (STORE, "cpu_cores"): 2.0})
    for _ in range(20):
        last = world.step({})
    assert last.violations == 0


def test_who_waits_counts_with_its_age() -> None:
    """Nothing is answered, and yet the latency rises from window to window."""
    world = SimulatedWorld(shop(), [20.0], start=0.05, period_s=0.5, bounds={"cpu_cores": (1e-6, 1.0)})
    world.reset(1)
    seen = [world.step({(WEB, "cpu_cores"): 1e-6}) for _ in range(10)]
    latencies = [s.objective["latency_s"] for s in seen[2:]]
    assert latencies == sorted(latencies)
    assert latencies[-1] > 3.0


def test_a_replica_takes_at_most_512_calls() -> None:
    world = SimulatedWorld(shop(), [1500.0], period_s=1.0, start=0.05)
    seen = world.reset(1)
    assert world.ingress.failures > 500
    assert seen.violations >= world.ingress.failures


def test_replicas_of_a_fixed_size_start_in_a_while_and_are_all_used() -> None:
    world = SimulatedWorld(
        shop(), [60.0], replica_cores=0.2, bounds={"cpu_cores": (0.05, 2.0), "replicas": (1, 4)}, period_s=0.1
    )
    seen = world.reset(1)
    assert seen.signals[STORE]["limit_replicas"] == 1.0
    for _ in range(50):
        seen = world.step({})
    assert seen.objective["latency_s"] > 1.0  # 0.36 cores are wanted of store's 0.2
    seen = world.step({("replicas:store", "replicas"): 9.0, ("replicas:web", "replicas"): 3.0})
    assert seen.signals[STORE]["limit_replicas"] == 4.0
    assert seen.signals[STORE]["limit_cores"] == pytest.approx(0.2)  # they start
    for _ in range(400):
        seen = world.step({(STORE, "cpu_cores"): 0.05})  # of no consequence: replicas have their size
    assert seen.signals[STORE]["limit_cores"] == pytest.approx(0.8)
    assert seen.objective["latency_s"] < 0.3
    used = [group.usage_s() for group in world.services["store"].groups]
    assert len(used) == 4
    assert min(used[1:]) > 0.8 * max(used[1:])
    before_s = world.services["store"].usage_s()
    world.step({("replicas:store", "replicas"): 2.0})
    for _ in range(50):
        seen = world.step({("replicas:store", "replicas"): 2.0})
    assert len(world.services["store"].groups) == 2
    assert world.services["store"].usage_s() > before_s  # what the others used is not forgotten
    assert seen.signals[STORE]["limit_cores"] == pytest.approx(0.4)
    assert world.ingress.failures == 0


def test_replicas_without_a_size_share_the_limit_of_the_service() -> None:
    world = SimulatedWorld(shop(), [60.0], bounds={"cpu_cores": (0.05, 2.0), "replicas": (1, 4)}, start=2.0)
    world.reset(1)
    for _ in range(10):
        seen = world.step({("replicas:store", "replicas"): 3.0})
    assert seen.signals[STORE]["limit_cores"] == 2.0
    assert len(world.services["store"].groups) == 1
    assert len(world.services["store"].groups[0].processes) == 3
    for _ in range(3):
        world.step({("replicas:store", "replicas"): 1.0})
    assert len(world.services["store"].groups[0].processes) == 1


def test_what_does_not_scale_keeps_its_replicas() -> None:
    world = SimulatedWorld(shop(scales=False), [5.0], bounds={"replicas": (1, 4)}, replica_cores=0.2)
    world.reset(1)
    assert world.step({("replicas:store", "replicas"): 3.0}).signals[STORE]["limit_replicas"] == 1.0


def test_the_load_is_the_same_whoever_steers() -> None:
    came = []
    for limit in (0.1, 1.0):
        world = SimulatedWorld(shop(), [40.0, 60.0], start=limit)
        seen = [world.reset(9), *(world.step({}) for _ in range(30))]
        came.append(world.ingress.came)
        assert np.mean([s.objective["rate_hz"] for s in seen[3:]]) == pytest.approx(50, rel=0.1)
    assert came[0] == came[1]
    one, other = (Arrivals(shop(), [40.0], 3) for _ in range(2))
    for _ in range(2000):
        a, b = one.next(), other.next()
        assert a is not None
        assert b is not None
        assert (a.due_s, a.type, a.factors) == (b.due_s, b.type, b.factors)


def test_the_mix_sways() -> None:
    arrivals = Arrivals(social_network(), [200.0], 3)
    shares = []
    for _ in range(10):
        types = [request.type for request in (arrivals.next() for _ in range(4000)) if request is not None]
        shares.append(types.count(0) / 4000)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
    assert max(shares) - min(shares) > 0.08


def test_noise_and_delay_are_of_what_is_told_only() -> None:
    plain, noisy, late = (
        SimulatedWorld(shop(), [50.0], start=0.5, **options) for options in ({}, {"noise": 0.2}, {"delay_steps": 1})
    )
    seen = [[w.reset(1), *(w.step({}) for _ in range(20))] for w in (plain, noisy, late)]
    usages = [[s.signals[WEB]["usage_cores"] for s in run] for run in seen]
    assert np.std(np.divide(usages[1], usages[0])) == pytest.approx(0.2, rel=0.5)
    assert usages[2][1:] == usages[0][:-1]
    assert (
        [s.objective for s in seen[0][5:]] == [s.objective for s in seen[1][5:]] == [s.objective for s in seen[2][5:]]
    )


def test_a_window_is_known_after_a_while() -> None:
    world = SimulatedWorld(shop(), [50.0], period_s=0.1, delay_s=0.3)
    seen = [world.reset(1), *(world.step({}) for _ in range(30))]
    known = [not math.isnan(s.objective["latency_s"]) for s in seen]
    assert known.index(True) == pytest.approx(8, abs=1)  # half a second and the delay
    changed = sum(a.objective["rate_hz"] != b.objective["rate_hz"] for a, b in itertools.pairwise(seen[10:]))
    assert 2 <= changed <= 5  # every half second


def test_further_resources_slow_down_who_lacks_them() -> None:
    amounts = {"memory_bandwidth_percent": 40.0, "llc_ways": 4.0, "io_read_bytes_s": 1e7, "net_bytes_s": 1e6}
    bounds = {
        "cpu_cores": (0.05, 2.0),
        "memory_bandwidth_percent": (10.0, 100.0),
        "llc_ways": (1.0, 11.0),
        "io_read_bytes_s": (1e5, 1e8),
        "net_bytes_s": (1e4, 1e8),
    }

    def latency(limits: dict[str, float], injections: tuple[Injection, ...] = ()) -> tuple[float, dict[str, float]]:
        world = SimulatedWorld(shop(amounts=amounts), [30.0], bounds=bounds, start=2.0, injections=injections)
        world.reset(1)
        for _ in range(20):
            seen = world.step({(STORE, resource): value for resource, value in limits.items()})
        return seen.objective["latency_s"], dict(seen.signals[STORE])

    plenty, signals = latency({})
    assert {name for name in signals if name.startswith("use_")} == {f"use_{resource}" for resource in bounds}
    assert signals["use_io_read_bytes_s"] == pytest.approx(30 * 0.006 * 1e7, rel=0.3)
    assert signals["limit_llc_ways"] == 11.0
    for limits in (
        {"memory_bandwidth_percent": 10.0},
        {"llc_ways": 1.0},
        {"io_read_bytes_s": 1.9e6},
        {"net_bytes_s": 1.9e5},
    ):
        found, told = latency(limits)
        assert found > 1.2 * plenty
        (resource,) = limits
        assert told[f"use_{resource}"] <= told[f"limit_{resource}"]
    strained, _ = latency({}, (Injection(5.0, 30.0, "store", 95.0, "memory_bandwidth_percent"),))
    assert strained > 1.2 * plenty


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"trace": []}, "trace"),
        ({"trace": [-1.0]}, "trace"),
        ({"trace": [math.nan]}, "trace"),
        ({"period_s": 0.0}, "above 0"),
        ({"slo_s": -1.0}, "above 0"),
        ({"bounds": {"cpu_cores": (0.5, 0.1)}}, "bounds"),
        ({"bounds": {"cpu_cores": (math.nan, 0.1)}}, "bounds"),
        ({"bounds": {"pids": (1.0, 2.0)}}, "bounds"),
        ({"injections": [(0.0, 1.0, "nobody", 0.5)]}, "web"),
        ({"injections": [(-1.0, 1.0, "web", 0.5)]}, "injection"),
        ({"injections": [(1.0, 1.0, "web", math.nan)]}, "injection"),
        ({"injections": [(1.0, 1.0, "web")]}, "injection"),
        ({"start": 0.0}, "start"),
        ({"start": {"pids": 3.0}}, "start"),
    ],
)
def test_a_world_that_cannot_be_is_refused(options: dict[str, Any], why: str) -> None:
    trace = options.pop("trace", [10.0])
    with pytest.raises(ConfigError, match=why):
        SimulatedWorld(shop(), trace, **options)


def test_limits_of_nothing_are_refused() -> None:
    world = SimulatedWorld(shop(), [10.0])
    world.reset(0)
    for key, value in (
        ((WEB, "pids"), 1.0),
        (("cgroup:shop/nobody", "cpu_cores"), 1.0),
        ((WEB, "cpu_cores"), math.nan),
    ):
        with pytest.raises(ConfigError):
            world.step({key: value})


def test_the_social_network_is_as_it_was_built() -> None:
    application = APPLICATIONS["social_network"]()
    assert len(application.services) == 10
    assert [request.name for request in application.requests] == ["home", "user", "compose"]
    called = {call.service for request in application.requests for call in request.call.all()}
    assert called == {service.name for service in application.services}
    costs = {s: {t for t, ms in found.items() if ms > 0} for s, found in application.demands_ms.items()}
    for request in application.requests:  # what a type calls costs something, and nothing else does
        assert {s for s, types in costs.items() if request.name in types} == {c.service for c in request.call.all()}
    assert application.scaled(2.0).demands_ms["text"]["compose"] == 2 * application.demands_ms["text"]["compose"]


def test_the_social_network_has_the_services_of_the_example() -> None:
    from vagus.cli.application import load

    example = load(Path(__file__).parents[2] / "examples/social_network/app.yaml")
    simulated = social_network()
    assert simulated.name == f"vagus-app-{example.name}"
    assert {(s.name, s.scales, s.replicas) for s in simulated.services} == {
        (s.name, s.scales, s.replicas) for s in example.services
    }
    assert [(r.name, r.weight, r.sway) for r in simulated.requests] == [
        (r.name, r.weight, r.sway) for r in example.requests
    ]


def test_demands_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "demands.json"
    file.write_text(json.dumps({"text": {"compose": 9.0}, "user": {"home": -0.01}}))
    assert read_demands(file)["text"]["compose"] == 9.0
    world = SimulatedWorld(social_network(file), [20.0])
    world.reset(0)
    assert world.step({}).signals["cgroup:vagus-app-social/user"]["usage_cores"] == 0.0
    for text in ("{", "[]", '{"a": 1}', '{"a": {"b": "c"}}', '{"a": {"b": true}}', " " * (MAX_FILE_BYTES + 1)):
        file.write_text(text)
        with pytest.raises(ConfigError, match="demands"):
            read_demands(file)
    with pytest.raises(ConfigError, match="cannot read"):
        read_demands(tmp_path / "none.json")


@pytest.mark.parametrize(
    "application",
    [
        shop()._replace(services=()),
        shop()._replace(services=(SimulatedService("web"), SimulatedService("web"))),
        shop()._replace(requests=()),
        shop()._replace(requests=(RequestType("get", Call("web"), weight=0.0),)),
        shop()._replace(requests=(RequestType("get", Call("web"), sway=1.5),)),
        shop()._replace(requests=(RequestType("get", Call("elsewhere")),)),
        shop()._replace(requests=(RequestType("get", Call("web", shares=(0.5, 0.5))),)),
        shop()._replace(requests=(RequestType("get", Call("web", shares=(0.0,))),)),
        shop()._replace(demands_ms={"web": {"get": math.nan}}),
    ],
)
def test_an_application_that_does_not_fit_is_refused(application: SimulatedApplication) -> None:
    with pytest.raises(ConfigError, match="application shop"):
        SimulatedWorld(application, [10.0])
