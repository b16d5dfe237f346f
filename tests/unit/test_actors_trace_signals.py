"""Resource signals of components: which streams are theirs, and what is usual for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vagus.actors.trace_signals import GAUGES, SELECTORS, Signals, keys_of
from vagus.errors import ConfigError
from vagus.model import Field, Sample, Stream

NS = 10**9
ID = "4c01db0b339ca50b5e9a7b3f8d4a9f6e0c1b2a39485766778899aabbccddeeff"
CPU = (Field("usage_us", "us", "u8", True), Field("throttled_us", "us", "u8", True))
MEMORY = (Field("anon_bytes", "bytes", "u8"), Field("active_file_bytes", "bytes", "u8"))
L3 = (Field("llc_occupancy_bytes", "bytes"), Field("mbm_total_bytes", "bytes", "f8", True))
NET = tuple(Field(f"{way}_bytes", "bytes", "u8", True) for way in ("rx", "tx"))


def cpu(at_s: int, usage_s: float, throttled_s: float = 0.0, node: str = "n", **labels: str) -> Sample:
    return Sample(Stream(node, "cgroup.cpu", CPU, labels), at_s * NS, (round(usage_s * 1e6), round(throttled_s * 1e6)))


class World:
    """A component whose groups are read every 10 s."""

    def __init__(self, places: dict[str, str] | None = None) -> None:
        self.signals = Signals(places or {}, 10.0, 600.0)
        self.at_s = 0
        self.used_s = 0.0

    def read(self, cores: float, healthy: bool = True, **labels: str) -> dict[str, dict[str, float]]:
        self.at_s += 10
        self.used_s += 10 * cores
        labels = labels or {"cgroup": "vagus/web"}
        found = self.signals.read([cpu(self.at_s, self.used_s, **labels)], {"web-1": "web"})
        if healthy:
            self.signals.healthy()
        return found


def test_nothing_is_said_before_something_is_usual() -> None:
    world = World({"web": "cgroup:vagus/web"})
    assert [world.read(0.5) for _ in range(4)] == [{}] * 4  # the first reading has no rate yet
    assert world.read(0.5)["web-1"]["cpu"] == pytest.approx(1.0)


def test_three_times_as_much_is_a_ratio_of_three_and_does_not_become_usual_while_unhealthy() -> None:
    world = World({"web-1": "cgroup:/vagus/web/"})
    for _ in range(5):
        world.read(0.5)
    for _ in range(20):
        assert world.read(1.5, healthy=False)["web-1"]["cpu"] == pytest.approx(1.55 / 0.55, rel=1e-3)
    for _ in range(200):
        world.read(1.5)
    assert world.read(1.5)["web-1"]["cpu"] == pytest.approx(1.0, abs=0.1)


def test_throttling_tells_what_use_does_not() -> None:
    signals = Signals({"web": "cgroup:web"}, 10.0, 600.0)
    for at in range(1, 6):
        signals.read([cpu(10 * at, 5.0 * at, 0.0, cgroup="web")], {"web": "web"})
        signals.healthy()
    found = signals.read([cpu(60, 30.0, 8.0, cgroup="web")], {"web": "web"})
    assert found["web"]["cpu"] == pytest.approx((0.8 + 0.02) / 0.02)


def test_an_idle_groups_first_work_is_no_alarm() -> None:
    world = World({"web": "cgroup:vagus/web"})
    for _ in range(5):
        world.read(0.0)
    assert world.read(0.01)["web-1"]["cpu"] < 1.5


def test_a_cache_that_is_taken_away_counts_as_one_that_grows() -> None:
    signals = Signals({"web": "resctrl:web"}, 10.0, 600.0)

    def read(at: int, occupancy: int, moved: int) -> dict[str, dict[str, float]]:
        caches = [Stream("n", "resctrl.l3", L3, {"group": "web", "mon_group": "", "cache": c}) for c in ("0", "1")]
        found = signals.read([Sample(c, at * NS, (float(occupancy), float(moved))) for c in caches], {"web": ""})
        signals.healthy()
        return found

    for at in range(1, 6):
        read(at, 8 << 20, at * (100 << 20))
    found = read(6, 1 << 20, 6 * (100 << 20))["web"]
    assert found["llc"] == pytest.approx(17 / 3)  # both caches together, and the floor
    assert found["memory_bandwidth"] == pytest.approx(1.0)


def test_a_counter_that_was_reset_gives_no_rate() -> None:
    world = World({"web": "cgroup:vagus/web"})
    for _ in range(5):
        world.read(0.5)
    world.used_s = -10.0
    assert world.read(1.0)["web-1"]["cpu"] == 1.0  # of the throttling, which has gone on being nothing


@pytest.mark.parametrize(
    ("component", "service", "labels"),
    [
        ("web-7d9f-x2x", "web", {"hostname": "web-7d9f-x2x", "container": ID}),
        ("nginx", "nginx", {"service": "nginx.service"}),
        ("host-1", "nginx", {"service": "nginx.service"}),
        (ID[:12], "web", {"container": ID}),
        (ID, "web", {"container": ID}),
        ("3b0b6a1c-8f2e-4f3a-9c57-0d1e2f3a4b5c", "web", {"pod": "3b0b6a1c-8f2e-4f3a-9c57-0d1e2f3a4b5c"}),
    ],
)
def test_streams_with_the_components_name_are_found_by_themselves(component, service, labels) -> None:
    signals = Signals({}, 10.0, 600.0)
    for at in range(1, 7):
        samples = [cpu(10 * at, 5.0 * at, cgroup="g", **labels), cpu(10 * at, 50.0 * at, cgroup="other")]
        found = signals.read(samples, {component: service, "unknown": "unknown"})
        signals.healthy()
    assert set(found) == {component}


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("cgroup:/vagus/web/", ("cgroup", "vagus/web")),
        ("systemd:nginx.service", ("service", "nginx.service")),
        (f"container:{ID}", ("container", ID[:12])),
        ("pod:shop/cart-0", ("hostname", "cart-0")),
        ("resctrl:web", ("group", "web")),
    ],
)
def test_places(place: str, key: tuple[str, str]) -> None:
    assert keys_of("a", "b", {"b": place}) == (key,)
    assert keys_of("a", "b", {"b": "cgroup:other", "a": place}) == (key,)


@pytest.mark.parametrize("place", ["pid:5", "nonsense", "net:eth0/1"])
def test_a_place_without_signals_is_refused_at_the_start(place: str) -> None:
    with pytest.raises(ConfigError):
        Signals({"a": place}, 10.0, 600.0)


def test_what_is_usual_survives_as_json() -> None:
    world = World({"web": "cgroup:vagus/web"})
    for _ in range(5):
        world.read(0.5)
    other = World({"web": "cgroup:vagus/web"})
    other.signals.restore(json.loads(json.dumps(world.signals.state())))
    other.read(0.5)
    assert other.read(1.5)["web-1"]["cpu"] > 2


@pytest.mark.parametrize("state", [None, [], {"a": 5}, {"a": {GAUGES[0].name: "x"}}, {"a": {GAUGES[0].name: [-1, 2]}}])
def test_a_damaged_state_is_refused_whole(state: Any) -> None:
    signals = Signals({}, 10.0, 600.0)
    with pytest.raises(ConfigError, match="resource signals"):
        signals.restore(state)
    assert signals.state() == {}


def test_what_is_kept_is_bounded() -> None:
    signals = Signals({}, 10.0, 600.0)
    for part in range(3):
        names = {f"c{part}-{i}": "" for i in range(600)}
        signals.read([Sample(Stream("n", "cgroup.memory", MEMORY, {"hostname": n}), 5, (1, 1)) for n in names], names)
        signals.healthy()
    assert len(signals.state()) == 1000
    assert "c2-599" in signals.state()


def test_every_gauge_is_asked_for() -> None:
    assert {gauge.kind for gauge in GAUGES} == set(SELECTORS)
    assert {gauge.resource for gauge in GAUGES} == {"cpu", "memory", "llc", "memory_bandwidth", "disk", "network"}
