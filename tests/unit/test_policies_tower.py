"""Autothrottle's tower: groups, decisions, what it does at once, and what it costs itself to be wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vagus.environments.applications import social_network
from vagus.environments.rates import Rates, made
from vagus.environments.simulated import Injection, SimulatedWorld
from vagus.errors import ConfigError, PolicyError
from vagus.policies import Field, Wish
from vagus.policies.throttle_costs import FEATURES, Regression, ThrottleCosts, features
from vagus.policies.tower import TARGETS, Tower

NAMES = ("cgroup:a", "cgroup:b", "cgroup:c", "cgroup:d")
FIELD = Field(NAMES, {"cpu_cores": (0.05, 2.0)})
LAST = len(TARGETS) - 1


def tower(**options: Any) -> Tower:
    return Tower(FIELD, np.random.default_rng(0), **options)


def seen(use: float = 0.2, limit: float = 0.3, throttled: float = 0.0, elapsed_s: float = 0.2) -> dict[str, float]:
    return {"usage_cores": use, "limit_cores": limit, "throttled_ratio": throttled, "elapsed_s": elapsed_s}


def owed(ratio: float, rate_hz: float = 40.0) -> dict[str, float]:
    return {"latency_s": 0.2 * ratio, "slo_s": 0.2, "rate_hz": rate_hz}


def run(
    policy: Tower, for_s: float, signals: dict[str, dict[str, float]], ratio: float, at_s: float = 0.0
) -> list[Wish]:
    return [
        wish for at in range(round(for_s / 0.2)) for wish in policy.step(signals, owed(ratio), at_s + (at + 1) * 0.2)
    ]


# --- groups ------------------------------------------------------------------------------------------------------------


def test_services_are_grouped_by_their_use() -> None:
    policy = tower(explore=0.0)
    run(policy, 11, {t: seen(use) for t, use in zip(NAMES, (0.1, 0.9, 0.15, 0.8), strict=True)}, 0.5)
    policy.pair = (1, 4)
    list(policy.step({t: seen() for t in NAMES}, owed(0.5), 11.4))
    targets = {t: policy._followers[t].captain.target for t in NAMES}
    assert targets == {"cgroup:a": 0.02, "cgroup:b": 0.1, "cgroup:c": 0.02, "cgroup:d": 0.1}


def test_equal_services_and_a_single_one_are_one_group() -> None:
    for names in (NAMES, NAMES[:1]):
        policy = tower(explore=0.0)
        run(policy, 11, {t: seen() for t in names}, 0.5)
        policy.pair = (2, LAST)
        list(policy.step({t: seen() for t in names}, owed(0.5), 11.4))
        assert {policy._followers[t].captain.target for t in names} == {TARGETS[2]}


# --- at once -----------------------------------------------------------------------------------------------------------


def test_a_missed_objective_raises_who_is_throttled_and_stands_no_throttling() -> None:
    policy = tower(begin=LAST, explore=0.0, calm_s=3.0)
    signals = {**{t: seen(limit=0.22) for t in NAMES}, NAMES[0]: seen(0.3, 0.3, 0.5)}
    assert not run(policy, 0.8, signals, 0.5)  # half of the periods are within three targets of 0.3
    wishes = list(policy.step(signals, owed(1.5), 1.0))
    assert [wish.target for wish in wishes] == [NAMES[0]]
    assert wishes[0].value >= 0.3 * 1.4
    assert policy._followers[NAMES[1]].captain.target == 0.0
    list(policy.step(signals, owed(0.5), 3.8))
    assert policy._followers[NAMES[1]].captain.target == 0.0
    list(policy.step(signals, owed(0.5), 4.2))
    assert policy._followers[NAMES[1]].captain.target == TARGETS[LAST]


def test_a_burst_is_answered_within_a_step() -> None:
    policy = tower(begin=1)
    calm = {t: seen() for t in NAMES}
    run(policy, 3, calm, 0.5)
    wishes = list(policy.step({**calm, NAMES[2]: seen(0.3, 0.3, 1.0)}, owed(0.5), 3.2))
    assert [(wish.target, round(wish.value, 3)) for wish in wishes] == [(NAMES[2], round(0.3 * (2 - 3 * 0.02), 3))]


def test_wishes_are_within_the_bounds_and_only_where_something_changes() -> None:
    policy = tower()
    wishes = run(policy, 5, {t: seen(2.0, 2.0, 1.0) for t in NAMES}, 2.0)
    assert not wishes  # more than the highest there is not
    assert {w.value for w in run(tower(), 5, {t: seen(0.0, 0.06) for t in NAMES}, 0.1)} == {0.05}


def test_without_any_use_it_cannot_decide() -> None:
    with pytest.raises(PolicyError, match="usage_cores"):
        list(tower().step({NAMES[0]: {"usage_cores": math.nan}}, owed(0.5), 1.0))
    assert not list(tower().step({}, owed(0.5), 1.0))


# --- decisions ---------------------------------------------------------------------------------------------------------


def test_a_decision_a_period_if_something_is_owed() -> None:
    policy = tower(period_s=10.0)
    run(policy, 9.8, {t: seen() for t in NAMES}, 0.5)
    assert policy.costs.samples == 0
    run(policy, 31, {t: seen() for t in NAMES}, 0.5, 9.8)
    assert policy.costs.samples == 4
    blind = tower()
    run(blind, 40, {t: seen() for t in NAMES}, math.nan)
    assert (blind.costs.samples, blind.pair) == (0, (1, 1))


def test_it_begins_safely_and_gives_way_where_there_is_room() -> None:
    fresh = ThrottleCosts(len(TARGETS), 5.0, 1.0)
    cost, missed = fresh.foretell(math.nan)
    first = np.unravel_index(int(cost.argmin()), cost.shape)
    assert max(first) <= 2
    assert missed[0, 0] < 0.05 < missed[LAST, LAST]
    for at in range(40):  # twice the time that requests take, wherever it is tried
        pair = (at % 9, (at * 5) % 9)
        fresh.learn(pair, 40.0, 0.3, 2.0 * math.exp(-0.05 * sum(pair)))
    roomy = np.unravel_index(int(fresh.foretell(40.0)[0].argmin()), cost.shape)
    assert min(roomy) >= 5


def test_it_learns_where_the_objective_is_missed() -> None:
    """Latency rises with the second target alone; cores fall with both: the best is (highest, low)."""
    costs = ThrottleCosts(len(TARGETS), 5.0, 1.0)
    rng = np.random.default_rng(1)
    for _ in range(300):
        pair = (int(rng.integers(9)), int(rng.integers(9)))
        latency = 0.35 * math.exp(0.35 * pair[1] + 0.1 * rng.standard_normal())
        costs.learn(pair, float(rng.uniform(20, 60)), latency, 2.0 * math.exp(-0.04 * sum(pair)))
    cost, missed = costs.foretell(40.0)
    first, second = np.unravel_index(int(cost.argmin()), cost.shape)
    assert first >= 7
    assert second <= 2
    assert missed[8, 0] < 0.1
    assert missed[0, 8] > 0.9


def test_more_requests_make_it_more_careful() -> None:
    costs = ThrottleCosts(len(TARGETS), 5.0, 1.0)
    rng = np.random.default_rng(2)
    for _ in range(300):
        pair, rate_hz = (int(rng.integers(9)), int(rng.integers(9))), float(rng.uniform(20, 80))
        latency = 0.35 * (rate_hz / 40) ** 1.5 * math.exp(0.07 * sum(pair))
        costs.learn(pair, rate_hz, latency, 2.0 * math.exp(-0.04 * sum(pair)))
    places = [sum(np.unravel_index(int(costs.foretell(hz)[0].argmin()), (9, 9))) for hz in (20.0, 40.0, 80.0)]
    assert places[0] > places[1] > places[2]


def test_a_miss_halves_the_ceiling_and_each_success_lifts_it() -> None:
    policy, signals = tower(explore=0.0), {t: seen() for t in NAMES}
    run(policy, 101, signals, 0.1)
    assert policy.ceiling == LAST
    before = max(policy.pair)
    assert before >= 2
    run(policy, 10, signals, 1.2, 101.0)
    assert policy.ceiling == before // 2
    assert max(policy.pair) <= before // 2
    run(policy, 10, signals, 0.1, 111.0)
    assert policy.ceiling == before // 2 + 1


def test_it_explores_neighbours_only_and_none_that_is_likely_to_miss() -> None:
    policy = tower(explore=1.0)
    cost, missed = policy.costs.foretell(math.nan)
    first, second = np.unravel_index(int(cost.argmin()), cost.shape)
    chosen = {policy._chosen() for _ in range(200)}
    assert policy.ceiling == 2
    assert chosen <= {(first + a, second + b) for a, b in ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))}
    assert all(missed[pair] <= 0.05 for pair in chosen - {(first, second)})
    assert len(chosen) > 1
    for place in range(LAST + 1):  # only a little throttling has ever been in time: next to it is a risk
        policy.costs.learn((place, place), 40.0, 0.3 if place < 2 else 3.0, 2.0)
    policy.ceiling = LAST
    cost, missed = policy.costs.foretell(math.nan)
    first, second = np.unravel_index(int(cost.argmin()), cost.shape)
    assert max(missed[first + 1, second], missed[first, second + 1]) > 0.05
    for pair in {policy._chosen() for _ in range(200)} - {(first, second)}:
        assert missed[pair] <= 0.05


def test_what_is_sure_to_miss_costs_the_miss_and_no_cores_besides() -> None:
    costs = ThrottleCosts(3, 5.0, 1.0)
    for _ in range(100):
        for pair in ((0, 0), (0, 2), (2, 0), (2, 2)):
            costs.learn(pair, 40.0, 10.0, 2.0)
    cost, missed = costs.foretell(40.0)
    assert missed.min() > 0.99
    assert cost.min() == pytest.approx(6.0, abs=0.1)
    assert cost.max() <= 6.0


# --- regression --------------------------------------------------------------------------------------------------------


def test_the_regression_is_ridge_regression_around_its_prior() -> None:
    rng = np.random.default_rng(3)
    prior, deviation = rng.normal(size=FEATURES), rng.uniform(0.3, 1, FEATURES)
    model = Regression(prior, deviation, 0.5, 1.0)
    x = features(rng.uniform(size=50), rng.uniform(size=50), 0.3)
    truth = prior + 0.3 * rng.normal(size=FEATURES)
    y = x @ truth + 0.1 * rng.normal(size=50)
    for row, value in zip(x, y, strict=True):
        model.learn(row, float(value))
    variance = model.errors[1] / model.errors[0]
    precision = np.diag(1 / deviation**2) + x.T @ x / variance
    mean = np.linalg.solve(precision, np.diag(1 / deviation**2) @ prior + x.T @ y / variance)
    found, spread = model.foretell(x)
    assert found == pytest.approx(x @ mean)
    assert spread**2 - variance == pytest.approx(np.einsum("ij,jk,ik->i", x, np.linalg.inv(precision), x))
    assert np.abs(found - y).mean() < 0.2


def test_old_samples_fade() -> None:
    fading, keeping = (Regression([0.0] * FEATURES, [1.0] * FEATURES, 0.4, fade) for fade in (0.9, 1.0))
    x = features(np.zeros(1), np.zeros(1), 0.0)
    for y in [0.0] * 200 + [1.0] * 30:
        fading.learn(x[0], y)
        keeping.learn(x[0], y)
    assert fading.foretell(x)[0][0] > 0.85
    assert keeping.foretell(x)[0][0] < 0.3
    assert fading.squares[0, 0] < 10.01, "and so does their weight: it is never surer than ten samples make it"


def test_what_sways_a_sample_is_learned() -> None:
    calm, wild = (Regression([0.0] * FEATURES, [1.0] * FEATURES, 0.4, 1.0) for _ in range(2))
    rng, x = np.random.default_rng(4), features(np.zeros(1), np.zeros(1), 0.0)
    for _ in range(200):
        calm.learn(x[0], 0.1)
        wild.learn(x[0], float(rng.normal()))
    assert calm.foretell(x)[1][0] < 0.25
    assert wild.foretell(x)[1][0] > 0.8


# --- what is kept ------------------------------------------------------------------------------------------------------


def trained(tmp_path: Path) -> tuple[Tower, Path]:
    policy = tower()
    run(policy, 61, {t: seen(0.1 * (at + 1)) for at, t in enumerate(NAMES)}, 0.6)
    file = tmp_path / "tower.json"
    file.write_text(json.dumps(policy.state()))
    return policy, file


def test_it_begins_with_a_trained_state(tmp_path: Path) -> None:
    policy, file = trained(tmp_path)
    assert tower(trained=str(file)).costs.state() == policy.costs.state()
    again = tower()
    again.restore(json.loads(file.read_text()))
    assert again.state() == policy.state()
    other = Tower(Field(("cgroup:else",), {}), np.random.default_rng(0), trained=str(file))  # costs, without captains
    assert other.costs.state() == policy.costs.state()


def test_what_was_learned_elsewhere_gives_way_to_what_is_seen_here(tmp_path: Path) -> None:
    """Trained where there was plenty of room; here requests are late as soon as much is throttled."""
    policy, file = tower(fade=1.0), tmp_path / "tower.json"
    for _ in range(3000):
        policy.costs.learn((4, 4), 40.0, 0.2, 2.0)
    file.write_text(json.dumps(policy.state()))
    again, kept = tower(trained=str(file)), tower()
    kept.restore(policy.state())
    assert (again.pair, again.ceiling) == ((1, 1), 2)  # it begins as ever, and climbs to where it was good
    for costs in (again.costs, kept.costs):
        assert costs.foretell(40.0)[1][4, 4] < 0.01
        for _ in range(40):
            costs.learn((4, 4), 40.0, 1.6, 2.0)
    assert again.costs.foretell(40.0)[1][4, 4] > 0.3
    assert kept.costs.foretell(40.0)[1][4, 4] < 0.1  # its own past: 3000 decisions


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"pair": [0, 99], "captains": {}, "costs": {}}', "\xff", "[" * 9999]
)
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tower.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"tower\.json"):
        tower(trained=str(file))
    with pytest.raises(ConfigError, match="nowhere"):
        tower(trained=str(tmp_path / "nowhere"))


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "tower.json"
    with file.open("wb") as out:
        out.truncate(1 << 30)
    with pytest.raises(ConfigError, match="bytes"):
        tower(trained=str(file))


@pytest.mark.parametrize(
    "options",
    [
        {"period_s": 0},
        {"explore": 2},
        {"begin": 9},
        {"violation": -1},
        {"fade": 0},
        {"captain": {"x": 1}},
        {"judged": 0},
    ],
)
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        tower(**options)


# --- in closed loop ----------------------------------------------------------------------------------------------------


def play(policy: Tower | None, seed: int, for_s: int = 60, start: float = 0.5) -> tuple[float, float]:
    """Share of requests late, and cores requested, of a run with a burst and a hog, behind ten seconds to settle."""
    world = SimulatedWorld(
        social_network(),
        made(Rates(between_s=20.0), for_s, seed),
        period_s=0.2,
        start=start,
        injections=[Injection(25.0, 15.0, "home-timeline", 1.0)],
    )
    shown, late, ended, requested, steps = world.reset(seed), 0.0, 0.0, 0.0, 0
    while shown.now_s < for_s:
        wishes = policy.step(shown.signals, shown.objective, shown.now_s) if policy is not None else ()
        shown = world.step({(wish.target, wish.resource): wish.value for wish in wishes})
        if shown.now_s > 10:
            late, ended, steps = late + shown.violations, ended + shown.requests, steps + 1
            requested += sum(signals["limit_cores"] for signals in shown.signals.values())
    return late / ended, requested / steps


def test_it_keeps_requests_in_time_with_little_from_the_first_second() -> None:
    field = SimulatedWorld(social_network(), (1.0,)).field
    steered = [play(Tower(field, np.random.default_rng(seed)), seed) for seed in (1, 2)]
    requested = float(np.mean([cores for _, cores in steered]))
    fixed = [play(None, seed, start=requested / len(field.targets)) for seed in (1, 2)]  # as much, evenly
    assert np.mean([late for late, _ in steered]) < 0.01
    assert np.mean([late for late, _ in fixed]) > 5 * np.mean([late for late, _ in steered])
    assert requested < 3.0
