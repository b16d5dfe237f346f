"""What every registered policy over many groups keeps."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from vagus.errors import ConfigError
from vagus.policies import BANDITS, Bandit
from vagus.policies.bank import Bank, Bools, Floats, Ints

NAMES = list(BANDITS)
LEARNING = [name for name in NAMES if name != "uniform"]
FADING = [name for name in LEARNING if name != "static"]
ROWS, WIDTH, ARMS = 12, 8, 6


def made(name: str, seed: int = 1, rows: int = ROWS, width: int = WIDTH) -> Bandit:
    bank = BANDITS.make(name, np.random.default_rng(seed))
    bank.resize(rows, width)
    return bank


def rewards(seed: int, count: int = 400, arms: int = ARMS) -> tuple[Ints, Ints, Floats]:
    rng = np.random.default_rng(seed)
    places = rng.integers(arms, size=count)
    return rng.integers(ROWS, size=count), places, rng.normal(places, 2.0)


def learned(name: str, seed: int = 1, *, ticks: int = 150, offset: float = 0.0, scale: float = 1.0) -> Bandit:
    bank = made(name, seed)
    for tick in range(ticks):
        rows, places, values = rewards(tick, 60)
        bank.learn(rows, places, values * scale + offset)
        bank.tick()
    return bank


def everywhere(rows: int = ROWS, places: int = ARMS, width: int = WIDTH) -> tuple[Ints, Bools]:
    feasible = np.zeros((rows, width), bool)
    feasible[:, :places] = True
    return np.arange(rows), feasible


def is_distribution(weights: Floats, feasible: Bools) -> bool:
    return (
        weights.shape == feasible.shape
        and bool((weights >= 0.0).all())
        and not weights[~feasible].any()
        and bool((np.abs(weights.sum(axis=1) - 1.0) < 1e-9).all())
    )


def states(bank: Bandit, rows: int = ROWS) -> list[str]:
    return [json.dumps(bank.row(row), allow_nan=False) for row in range(rows)]


def numbers(state: object) -> list[float]:
    """All numbers of a state, in order."""
    if isinstance(state, dict):
        return [number for key in sorted(state) for number in numbers(state[key])]
    if isinstance(state, list):
        return [number for part in state for number in numbers(part)]
    return [float(state)] if isinstance(state, (int, float)) else []


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_probabilities_of_whatever_is_feasible(name: str) -> None:
    rng = np.random.default_rng(5)
    for bank in (made(name), learned(name)):
        for share in (1.0, 0.5, 0.0):
            feasible = rng.random((ROWS, WIDTH)) < share
            feasible[np.arange(ROWS), rng.integers(WIDTH, size=ROWS)] = True
            assert is_distribution(bank.weights(np.arange(ROWS), feasible), feasible)
            some = np.array([7, 2, 2])  # any rows, in any order, also twice: for several sets of arms
            assert is_distribution(bank.weights(some, feasible[some]), feasible[some])


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_no_rewards(name: str) -> None:
    bank = learned(name)
    before = states(bank)
    bank.learn(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    assert states(bank) == before
    assert bank.weights(np.empty(0, np.int64), np.empty((0, WIDTH), bool)).shape == (0, WIDTH)


@pytest.mark.parametrize("name", FADING)
def test_an_arm_never_seen_is_explored_once_others_are_known(name: str) -> None:
    bank = learned(name)
    rows, feasible = everywhere(places=ARMS + 1)
    assert (bank.weights(rows, feasible)[:, ARMS] > 0.0).all()


@pytest.mark.parametrize("name", FADING)
def test_constant_rewards_leave_no_arm_out(name: str) -> None:
    bank = made(name)
    bank.learn(np.zeros(50, np.int64), np.zeros(50, np.int64), np.zeros(50))
    bank.tick()
    assert bank.weights(np.array([0]), everywhere(1, 2)[1])[0, 1] > 0.0


@pytest.mark.parametrize("name", FADING)
def test_evidence_fades_with_or_without_rewards(name: str) -> None:
    bank = learned(name)
    before = [bank.explain(row, ARMS)[5]["evidence"] for row in (0, 1)]
    bank.learn(np.zeros(5, np.int64), np.zeros(5, np.int64), np.ones(5))
    for _ in range(200):
        bank.tick()
    for row in (0, 1):  # also of an arm without rewards, and of a group without any
        assert bank.explain(row, ARMS)[5]["evidence"] < before[row]


@pytest.mark.parametrize("name", NAMES)
def test_state_round_trips_through_json(name: str) -> None:
    bank, other = learned(name, seed=3), learned(name, seed=4)
    for row in range(ROWS):
        other.set_row(row, json.loads(json.dumps(bank.row(row), allow_nan=False)))
    for row in range(ROWS):
        assert numbers(other.row(row)) == pytest.approx(numbers(bank.row(row)), rel=1e-9, abs=1e-12)
    # the same goes on from there, also in a row of its own and between places that others use
    new = made(name, rows=1, width=WIDTH + 3)
    new.set_row(0, other.row(5))
    assert numbers(new.row(0)) == pytest.approx(numbers(bank.row(5)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_other_states_are_refused_with_nothing_changed(name: str) -> None:
    bank = learned(name)
    before, row = states(bank), bank.row(0)
    column = next(key for key, value in row.items() if isinstance(value, list) and value)
    wide = {key: [1.0] * (WIDTH + 1) if isinstance(value, list) else value for key, value in row.items()}
    for broken in (
        {},
        {key: value for key, value in row.items() if key != column},
        {**row, column: "text"},
        {**row, column: [math.nan] * ARMS},
        {**row, column: [[1.0]]},
        {**row, column: None},
        wide,
    ):
        with pytest.raises(ConfigError):
            bank.set_row(0, broken)
        with pytest.raises(ConfigError):
            bank.absorb(0, broken, 0.5)
    assert states(bank) == before


@pytest.mark.parametrize("name", NAMES)
def test_two_halves_are_the_whole(name: str) -> None:
    bank, other = learned(name), made(name)
    other.absorb(0, bank.row(3), 0.5)
    other.absorb(0, bank.row(3), 0.5)
    whole, merged = bank.explain(3, ARMS), other.explain(0, ARMS)
    for one, two in zip(whole, merged, strict=True):
        assert two["mean"] == pytest.approx(one["mean"])
        assert two["evidence"] == pytest.approx(one["evidence"])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "auto"])  # by precision: test_policies_auto.py
def test_merged_means_weigh_by_their_evidence(name: str) -> None:
    one, two = learned(name, 1), learned(name, 2)
    rows = np.zeros(40, np.int64)
    two.learn(rows, rows + 1, np.full(40, 7.0))
    mine, theirs = one.explain(0, ARMS)[1], two.explain(0, ARMS)[1]
    one.absorb(0, two.row(0), 0.25)
    merged = one.explain(0, ARMS)[1]
    evidence = mine["evidence"] + 0.25 * theirs["evidence"]
    mean = (mine["evidence"] * mine["mean"] + 0.25 * theirs["evidence"] * theirs["mean"]) / evidence
    assert merged["evidence"] == pytest.approx(evidence)
    assert merged["mean"] == pytest.approx(mean)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name: str) -> None:
    rows, feasible = everywhere()
    one, two = learned(name, 5), learned(name, 5)
    assert states(one) == states(two)
    for _ in range(3):
        assert (one.weights(rows, feasible) == two.weights(rows, feasible)).all()


@pytest.mark.parametrize("name", NAMES)
def test_rows_know_nothing_of_each_other_unless_it_is_said(name: str) -> None:
    """`together` says it: then a replay of several seeds must not share a bank."""
    bank = made(name)
    alone = [made(name, rows=1) for _ in range(ROWS)]
    for row, single in enumerate(alone):
        single.set_row(0, bank.row(row))
    for tick in range(100):
        rows, places, values = rewards(tick, 30)
        values = values * np.array([1.0, 100.0])[rows % 2] + 5.0 * ((tick // 10 + places) % 3)
        bank.learn(rows, places, values)
        bank.tick()
        for row, single in enumerate(alone):
            of_it = rows == row
            single.learn(np.zeros(int(of_it.sum()), np.int64), places[of_it], values[of_it])
            single.tick()
    same = all(
        numbers(single.explain(0, ARMS)) == pytest.approx(numbers(bank.explain(row, ARMS)))
        for row, single in enumerate(alone)
    )
    assert isinstance(bank, Bank)
    assert same is not bank.together


@pytest.mark.parametrize("name", NAMES)
def test_growing_keeps_all(name: str) -> None:
    bank, same = learned(name), learned(name)
    bank.resize(ROWS * 3, 40)
    assert states(bank) == states(same)
    wide = np.zeros((ROWS * 3, 40), bool)
    wide[:, :ARMS] = True
    assert is_distribution(bank.weights(np.arange(ROWS * 3), wide), wide)
    bank.learn(np.array([ROWS * 3 - 1]), np.array([39]), np.array([1.0]))
    assert bank.explain(ROWS * 3 - 1, 40)[39]["mean"] == 1.0
    assert states(bank) == states(same)
    bank.resize(1, 1)  # at least: never smaller
    assert states(bank) == states(same)


@pytest.mark.parametrize("name", NAMES)
def test_a_cleared_row_is_empty_and_the_others_are_not(name: str) -> None:
    bank, same = learned(name), learned(name)
    bank.clear(4)
    assert [one["evidence"] for one in bank.explain(4, ARMS)] == [0.0] * ARMS
    assert [state for row, state in enumerate(states(bank)) if row != 4] == [
        state for row, state in enumerate(states(same)) if row != 4
    ]
    feasible = everywhere()[1][:1]
    assert bank.weights(np.array([4]), feasible)[0, :ARMS] == pytest.approx([1 / ARMS] * ARMS)


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_may_come_several_times_and_in_any_order(name: str) -> None:
    together, single, shuffled = made(name), made(name), made(name)
    rows, places, values = rewards(8, 300)
    together.learn(rows, places, values)
    for at in range(len(rows)):
        single.learn(rows[at : at + 1], places[at : at + 1], values[at : at + 1])
    order = np.random.default_rng(1).permutation(len(rows))
    if name != "static":  # what is among the first rewards counts there
        shuffled.learn(rows[order], places[order], values[order])
    else:
        shuffled = together
    for row in range(ROWS):
        for one, two, three in zip(
            together.explain(row, ARMS), single.explain(row, ARMS), shuffled.explain(row, ARMS), strict=True
        ):
            for key in ("mean", "evidence"):
                assert two[key] == pytest.approx(one[key])
                assert three[key] == pytest.approx(one[key])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("offset", "scale"), [(1e9, 1.0), (-1e9, 1.0), (0.0, 1e-9), (0.0, 1e9)], ids=["1e9", "-1e9", "tiny", "large"]
)
def test_the_unit_of_rewards_does_not_matter(name: str, offset: float, scale: float) -> None:
    if name == "pytheas" and scale != 1.0:
        pytest.skip("its constant bonus is what is published; that it depends on the unit is its defect")
    rows, feasible = everywhere()
    plain, other = learned(name), learned(name, offset=offset, scale=scale)
    weights, found = plain.weights(rows, feasible), other.weights(rows, feasible)
    # rounding may turn a slot that two arms are alike near to
    assert np.abs(weights - found).sum(axis=1).mean() < 0.05
    assert (np.abs(weights - found).max(axis=1) < 1e-6).mean() >= 0.8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pair", [(1e100, -1e100), (1e-300, -1e-300), (1e15, 1e15 + 1), (0.0, -0.0), (1e100, 1e-100)])
def test_extreme_rewards_stay_finite(name: str, pair: tuple[float, float]) -> None:
    bank = made(name)
    for _ in range(60):
        bank.learn(np.zeros(2, np.int64), np.array([0, 1]), np.array(pair))
        bank.tick()
        feasible = everywhere(1, 3)[1]
        assert is_distribution(bank.weights(np.array([0]), feasible), feasible)
    states(bank)
    json.dumps(bank.explain(0, 3), allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_an_adversary_gets_no_more_than_bad_choices(name: str) -> None:
    bank = made(name)
    rows, feasible = everywhere()
    for tick in range(120):
        weights = bank.weights(rows, feasible)
        assert is_distribution(weights, feasible)
        punished = weights.argmax(axis=1)
        bank.learn(rows, punished, np.full(ROWS, -(10.0 ** (tick % 60))))
        bank.tick()
    states(bank)


@pytest.mark.parametrize("name", NAMES)
def test_a_long_silence_does_no_harm(name: str) -> None:
    bank = learned(name)
    for _ in range(5000):
        bank.tick()
    rows, feasible = everywhere()
    assert is_distribution(bank.weights(rows, feasible), feasible)
    states(bank)
    bank.learn(rows, rows % ARMS, np.ones(ROWS))
    assert is_distribution(bank.weights(rows, feasible), feasible)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf, 1e101])
def test_a_reward_that_is_no_number_is_refused(name: str, reward: float) -> None:
    bank = learned(name)
    before = states(bank)
    with pytest.raises(ConfigError, match="finite"):
        bank.learn(np.array([0, 1]), np.array([0, 0]), np.array([1.0, reward]))
    assert states(bank) == before


@pytest.mark.parametrize("name", NAMES)
def test_thousands_of_arms(name: str) -> None:
    bank = made(name, rows=3, width=2000)
    rows, feasible = everywhere(3, 2000, 2000)
    places = np.arange(1500)
    for row in range(3):
        bank.learn(np.full(1500, row), places, np.sin(places))
    bank.tick()
    weights = bank.weights(rows, feasible)
    assert is_distribution(weights, feasible)
    bank.named(0, [f"arm{at}" for at in range(2000)])
    assert len(bank.explain(0, 2000)) == 2000


@pytest.mark.parametrize("name", NAMES)
def test_explained_in_numbers(name: str) -> None:
    bank = learned(name)
    for row in range(ROWS):
        explained = bank.explain(row, ARMS + 1)
        assert len(explained) == ARMS + 1
        assert all({"mean", "evidence"} <= set(one) for one in explained)
        assert explained[ARMS]["evidence"] == 0.0
        json.dumps(explained, allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_options_that_are_not_there_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="options"):
        BANDITS.make(name, np.random.default_rng(1), no_such_option=1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ucb", {"gamma": 0.0}),
        ("ucb", {"gamma": 1.1}),
        ("ucb", {"gamma": math.nan}),
        ("ucb", {"gamma": "much"}),
        ("ucb", {"bonus": -1}),
        ("ucb", {"bonus": math.inf}),
        ("ucb", {"slots": 0}),
        ("ucb", {"slots": 1.5}),
        ("ucb", {"slots": True}),
        ("ucb", {"floor": 1.5}),
        ("thompson", {"prior": 0.0}),
        ("thompson", {"gamma": True}),
        ("epsilon", {"epsilon": -0.1}),
        ("epsilon", {"window": 1}),
        ("restarted", {"period": 0}),
        ("pytheas", {"gamma": 2}),
        ("pytheas", {"slots": 0}),
        ("pytheas", {"verbatim": "yes"}),
        ("static", {"shares": {}}),
        ("static", {"shares": {"a": -1}}),
        ("static", {"shares": {"a": 0}}),
        ("static", {"shares": {"a": math.nan}}),
        ("static", {"shares": ["a"]}),
        ("static", {"first": 0}),
        ("prediction", {"refresh": 0}),
        ("prediction", {"window": 0}),
        ("prediction", {"epsilon": 2}),
    ],
)
def test_options_that_cannot_be_are_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=name):
        BANDITS.make(name, np.random.default_rng(1), **options)
