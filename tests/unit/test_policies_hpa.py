"""Kubernetes' autoscaler: its formula, tolerance, stabilisation, rates, and what it does about what it cannot see."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vagus.errors import ConfigError
from vagus.policies import Field
from vagus.policies.hpa import HorizontalAutoscaler

WEB = "cgroup:shop/web"
SCALED = "replicas:web"


class Cluster:
    """Plays a second a step: what is wished is what there is, at once."""

    def __init__(self, replicas: int, **options: Any) -> None:
        options = {"request_cores": 1.0, "target_ratio": 0.5, "low": 1, "high": 20, **options}
        self.policy = HorizontalAutoscaler(Field((WEB,), {"replicas": (1, 20)}), **options)
        self.replicas = replicas
        self.now_s = 0.0

    def run(self, usage: float, for_s: int, **more: float) -> list[int]:
        """The numbers at the end of each second."""
        numbers = []
        for _ in range(for_s):
            self.now_s += 1
            self.policy.in_force({(SCALED, "replicas"): float(self.replicas)})
            seen = {WEB: {"usage_cores": usage, "elapsed_s": 1.0, **more}}
            for wish in self.policy.step(seen, {}, self.now_s):
                assert (wish.target, wish.resource) == (SCALED, "replicas")
                self.replicas = int(wish.value)
            numbers.append(self.replicas)
        return numbers


@pytest.mark.parametrize(
    ("replicas", "usage", "expected"),
    [
        (3, 2.4, 5),  # 80 % of the request, target 50 %: ⌈3 · 1.6⌉
        (3, 1.5, 3),  # on target
        (3, 1.64, 3),  # 9.3 % over: tolerated
        (3, 1.67, 4),  # 11 % over
        (1, 0.1, 1),  # never below low
        (4, 3.0, 6),
        (4, 2.0, 4),
        (4, 100.0, 8),  # by 100 % at once at most
        (1, 100.0, 5),  # but by four pods in any case
    ],
)
def test_the_formula(replicas: int, usage: float, expected: int) -> None:
    assert Cluster(replicas).run(usage, 16)[-1] == expected


def test_it_syncs_every_15_seconds_upon_the_mean_since_the_last() -> None:
    cluster = Cluster(2)
    numbers = cluster.run(0.0, 8) + cluster.run(4.0, 8)
    assert numbers[:15] == [2] * 15
    assert numbers[15] == 4  # half of the time nothing, half of it 4 cores: 2 cores at 50 %
    assert cluster.run(2.5, 15) == [4] * 14 + [5]


def test_growth_is_limited_in_any_15_seconds() -> None:
    cluster = Cluster(2, high=100)
    assert [cluster.run(100.0, 16 if not at else 15)[-1] for at in range(5)] == [6, 12, 24, 48, 96]


def test_rates_are_of_their_own_time_not_of_a_sync() -> None:
    growing = Cluster(2, high=100, rate_s=60.0)
    assert [growing.run(100.0, 16 if not at else 15)[-1] for at in range(5)] == [6, 6, 6, 6, 12]
    shrinking = Cluster(5, stabilise_down_s=0.0, down_ratio=0.5)
    assert shrinking.run(0.0, 16)[-1] == 2  # ⌊5 · 0.5⌋


def test_it_shrinks_only_after_5_minutes_of_wanting_less() -> None:
    cluster = Cluster(8)
    numbers = cluster.run(1.0, 400)
    assert numbers[299] == 8
    assert numbers[-1] == 2
    first = next(at for at, number in enumerate(numbers) if number < 8)
    assert 300 <= first <= 330
    assert set(numbers) == {8, 2}  # then all at once


def test_a_peak_within_the_window_keeps_it_large() -> None:
    cluster = Cluster(8)
    cluster.run(1.0, 200)
    cluster.run(4.0, 31)
    assert cluster.run(1.0, 270)[-1] == 8
    assert cluster.run(1.0, 60)[-1] == 2


def test_stabilised_growth_waits_for_the_lowest_desire() -> None:
    cluster = Cluster(2, stabilise_up_s=60.0)
    cluster.run(1.0, 16)
    assert cluster.run(3.0, 45)[-1] == 2
    assert cluster.run(3.0, 31)[-1] == 6


def test_unknown_use_keeps_the_number() -> None:
    cluster = Cluster(5)
    assert set(cluster.run(math.nan, 400)) == {5}
    assert set(cluster.run(-1.0, 60)) == {5}
    assert cluster.run(4.0, 16)[-1] == 8


def test_out_of_bounds_it_is_brought_back_whatever_is_used() -> None:
    assert Cluster(30).run(math.nan, 16)[-1] == 20
    assert Cluster(1, low=3).run(0.0, 16)[-1] == 3


def test_who_was_scaled_to_zero_is_left_alone_until_there_is_one_again() -> None:
    """Kubernetes' implicit maintenance mode: a minimum above 0, and somebody set 0."""
    cluster = Cluster(0)
    assert cluster.run(1.0, 40)[-1] == 0
    cluster.replicas = 1
    assert cluster.run(1.0, 30)[-1] == 2


def test_a_clock_that_was_set_back_leaves_a_state_that_can_be_restored() -> None:
    cluster = Cluster(2)
    cluster.run(4.0, 40)
    cluster.now_s = 3.0
    cluster.run(4.0, 1)
    HorizontalAutoscaler(Field((WEB,), {"replicas": (1, 20)})).restore(cluster.policy.state())


def test_the_signals_tell_the_number_of_replicas() -> None:
    policy = HorizontalAutoscaler(Field((WEB,), {}), request_cores=1.0, target_ratio=0.5)
    policy.in_force({(SCALED, "replicas"): 1.0})
    for now_s in range(20):
        seen = {WEB: {"usage_cores": 2.0, "elapsed_s": 1.0, "limit_replicas": 4.0}}
        assert not list(policy.step(seen, {}, float(now_s)))  # 4 at 50 %


def test_what_is_scaled_is_named_by_template_or_by_target() -> None:
    field = Field((WEB, "cgroup:shop/cart", "systemd:db.service"), {"replicas": (1, 4)})
    assert HorizontalAutoscaler(field).acts_on == ("replicas:web", "replicas:cart", "replicas:db.service")
    assert HorizontalAutoscaler(field, replicas={WEB: "replicas:front"}).acts_on == ("replicas:front",)
    by_target = HorizontalAutoscaler(field, replicas={WEB: SCALED}, request_cores={WEB: 0.25})
    wishes = [
        wish
        for now_s in range(20)
        for wish in by_target.step(
            {t: {"usage_cores": 0.3, "elapsed_s": 1.0, "limit_replicas": 1.0} for t in field.targets}, {}, float(now_s)
        )
    ]
    assert [(wish.target, wish.value) for wish in wishes] == [(SCALED, 2.0)]


@pytest.mark.parametrize(
    "options",
    [
        {"target_ratio": 0},
        {"request_cores": {}},
        {"request_cores": "much"},
        {"low": 5, "high": 2},
        {"high": 0},
        {"replicas": {"cgroup:other": "replicas:x"}},
        {"replicas": "web"},
        {"replicas": 3},
        {"sync_s": math.nan},
        {"up_pods": 1.5},
    ],
)
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        HorizontalAutoscaler(Field((WEB,), {}), **options)


def test_one_template_may_not_scale_two_by_one_name() -> None:
    with pytest.raises(ConfigError, match="two targets"):
        HorizontalAutoscaler(Field(("cgroup:a/web", "cgroup:b/web"), {}))


def test_its_memory_of_peaks_survives_a_restart() -> None:
    first = Cluster(8)
    first.run(4.0, 31)
    first.run(1.0, 100)
    second = Cluster(8)
    second.now_s = 5000.0  # another clock
    second.policy.restore(first.policy.state())
    assert second.run(1.0, 150)[-1] == 8
    assert second.run(1.0, 120)[-1] == 2
