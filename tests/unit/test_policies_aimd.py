"""Additive increase, multiplicative decrease: by the objective, and by throttling where nothing is owed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vagus.errors import ConfigError
from vagus.policies import Field, Wish
from vagus.policies.aimd import Aimd

WEB, CART = "cgroup:web", "cgroup:cart"
FIELD = Field((WEB, CART), {"cpu_cores": (0.1, 2.0)})


def seen(limit: float = 1.0, throttled: float = 0.0, **more: float) -> dict[str, float]:
    return {"limit_cores": limit, "limit_cpu_cores": limit, "throttled_ratio": throttled, "elapsed_s": 1.0, **more}


def owed(latency_s: float, slo_s: float = 0.2) -> dict[str, float]:
    return {"latency_s": latency_s, "slo_s": slo_s}


def play(policy: Aimd, latencies: list[float], **limits: float) -> list[list[Wish]]:
    limits = limits or {WEB: 1.0, CART: 1.0}
    return [
        list(policy.step({t: seen(limit) for t, limit in limits.items()}, owed(latency), float(at)))
        for at, latency in enumerate(latencies)
    ]


def test_a_missed_objective_raises_all_by_a_step() -> None:
    wishes = play(Aimd(FIELD, step=0.2), [0.3])[0]
    assert {(w.target, w.resource): w.value for w in wishes} == {
        (WEB, "cpu_cores"): pytest.approx(1.2),
        (CART, "cpu_cores"): pytest.approx(1.2),
    }


def test_a_met_objective_lowers_all_by_a_factor_after_patience() -> None:
    found = play(Aimd(FIELD, factor=0.8, patience_s=3.0), [0.1] * 5)
    assert [len(wishes) for wishes in found] == [0, 0, 0, 2, 2]
    assert found[3][0].value == pytest.approx(0.8)


def test_a_miss_begins_patience_anew() -> None:
    found = play(Aimd(FIELD, patience_s=3.0), [0.1, 0.1, 0.3, 0.1, 0.1, 0.1, 0.1])
    assert [wishes[0].reason if wishes else "" for wishes in found] == [
        "",
        "",
        "objective missed",
        "",
        "",
        "",
        "objective met",
    ]


def test_it_acts_once_a_period() -> None:
    policy = Aimd(FIELD, period_s=2.0)
    assert [bool(wishes) for wishes in play(policy, [0.3] * 5)] == [True, False, True, False, True]


def test_a_clock_that_was_set_back_does_not_stop_it() -> None:
    policy = Aimd(FIELD)
    assert list(policy.step({WEB: seen()}, owed(0.3), 1000.0))
    assert list(policy.step({WEB: seen()}, owed(0.3), 5.0))


def test_within_the_bounds() -> None:
    assert not play(Aimd(FIELD), [0.3], **{WEB: 2.0})[0]
    assert play(Aimd(FIELD, step=0.5), [0.3], **{WEB: 1.8})[0][0].value == 2.0
    assert play(Aimd(FIELD, factor=0.5, patience_s=0.0), [0.1], **{WEB: 0.15})[0][0].value == 0.1
    assert not play(Aimd(FIELD, patience_s=0.0), [0.1], **{WEB: 0.1})[0]


def test_slack_is_how_far_below_the_objective_is_met() -> None:
    assert play(Aimd(FIELD, slack=0.8), [0.17])[0][0].reason == "objective missed"
    assert not play(Aimd(FIELD), [0.17])[0]


def test_only_those_throttled_most_rise() -> None:
    policy = Aimd(FIELD, which="throttled")
    wishes = list(policy.step({WEB: seen(throttled=0.9), CART: seen(throttled=0.1)}, owed(0.3), 0.0))
    assert [wish.target for wish in wishes] == [WEB]
    near = Aimd(FIELD, which="throttled").step({WEB: seen(throttled=0.9), CART: seen(throttled=0.5)}, owed(0.3), 0.0)
    assert len(list(near)) == 2  # more than half as much
    both = list(Aimd(FIELD, which="throttled").step({WEB: seen(), CART: seen()}, owed(0.3), 0.0))
    assert len(both) == 2  # none is worse than the other


def test_without_an_objective_each_is_judged_by_its_throttling() -> None:
    policy = Aimd(FIELD, patience_s=0.0, throttled=0.2)
    wishes = policy.step({WEB: seen(throttled=0.5), CART: seen(throttled=0.1)}, {}, 0.0)
    assert {wish.target: wish.value > 1.0 for wish in wishes} == {WEB: True, CART: False}
    assert not list(policy.step({WEB: seen(throttled=math.nan)}, owed(math.nan), 1.0))


def test_a_target_without_a_limit_gets_the_highest() -> None:
    wishes = list(Aimd(FIELD).step({WEB: seen(math.nan)}, owed(0.1), 0.0))
    assert [(wish.target, wish.value) for wish in wishes] == [(WEB, 2.0)]


def test_limits_in_force_stand_in_where_signals_do_not_tell() -> None:
    policy = Aimd(FIELD)
    policy.in_force({(WEB, "cpu_cores"): 0.5})
    wishes = list(policy.step({WEB: {"usage_cores": 0.1}}, owed(0.3), 0.0))
    assert [wish.value for wish in wishes] == [pytest.approx(0.6)]


def test_other_resources_move_by_their_own_steps() -> None:
    field = Field((WEB,), {"cpu_cores": (0.1, 2.0), "net_bytes_s": (1e6, 1e8)})
    signals = {WEB: seen(limit_net_bytes_s=1e7)}
    by_default = {w.resource: w.value for w in Aimd(field, step=0.2).step(signals, owed(0.3), 0.0)}
    assert by_default == {"cpu_cores": pytest.approx(1.2), "net_bytes_s": pytest.approx(1.5e7)}
    named = {w.resource: w.value for w in Aimd(field, step={"net_bytes_s": 1e6}).step(signals, owed(0.3), 0.0)}
    assert named == {"cpu_cores": pytest.approx(1.1), "net_bytes_s": pytest.approx(1.1e7)}


@pytest.mark.parametrize(
    "options",
    [{"which": "none"}, {"factor": 1.5}, {"step": 0}, {"step": {"llc_ways": 1}}, {"patience_s": -1}, {"slack": "x"}],
)
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Aimd(FIELD, **options)


def test_it_finds_the_limit_a_service_needs() -> None:
    """In closed loop, with a service that needs a core: the sawtooth of Chiu and Jain."""
    policy, limit, limits = Aimd(Field((WEB,), FIELD.bounds), step=0.1, factor=0.9, patience_s=2.0), 2.0, []
    for at in range(400):
        latency_s = 0.1 if limit > 1.0 else 0.5
        for wish in policy.step({WEB: seen(limit)}, owed(latency_s), float(at)):
            limit = wish.value
        limits.append(limit)
    assert min(limits[50:]) > 0.85
    assert max(limits[50:]) < 1.3
