"""Banks beside a plain reading of their papers, one group at a time; defects of the published loop not repeated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from vagus.policies import BANDITS, Bandit
from vagus.policies.discount import FIRST, GAMMAS, Discount
from vagus.policies.fading import TOO_GROWN
from vagus.policies.pytheas import Pytheas
from vagus.policies.thompson import win_slots
from vagus.policies.ucb import DiscountedUCB, fill_slots


def bank(name: str, rows: int = 1, width: int = 8, **options: Any) -> Bandit:
    made = BANDITS.make(name, np.random.default_rng(1), **options)
    made.resize(rows, width)
    return made


def learn(policy: Bandit, pairs: list[tuple[int, float]], row: int = 0) -> None:
    policy.learn(np.full(len(pairs), row), np.array([at for at, _ in pairs]), np.array([reward for _, reward in pairs]))


def weigh(policy: Bandit, places: list[int], row: int = 0, width: int = 8) -> list[float]:
    feasible = np.zeros((1, width), bool)
    feasible[0, places] = True
    return [float(share) for share in policy.weights(np.array([row]), feasible)[0, places]]


def slot_by_slot(means: list[float], counts: list[float], reach: float, each: float, slots: int) -> list[int]:
    """The rule of the paper, for one list."""
    counts, taken = list(counts), [0] * len(means)
    for _ in range(slots):
        index = [mean + reach / math.sqrt(count) for mean, count in zip(means, counts, strict=True)]
        best = index.index(max(index))
        taken[best] += 1
        counts[best] += each
    return taken


@pytest.mark.parametrize("width", [1, 2, 5, 64, 65, 300])
def test_many_lists_at_once_are_as_one_at_a_time(width: int) -> None:
    rng = np.random.default_rng(width)
    means, counts = rng.normal(size=(width, 40)), rng.gamma(1.0, 20.0, size=(width, 40)) + 0.01
    reach, each = rng.gamma(1.0, 1.0, size=40), rng.gamma(1.0, 3.0, size=40) + 1.0
    every = np.ones((width, 40), bool)
    taken = fill_slots(rng, 10, means, counts, reach, each, every, every)
    for at in range(40):
        alone = slot_by_slot(means[:, at].tolist(), counts[:, at].tolist(), reach[at], each[at], 10)
        # near ties may fall otherwise in single precision
        assert np.abs(taken[:, at] - alone).sum() <= (2 if width > 20 else 0)


def test_shares_are_tenths() -> None:
    policy = bank("ucb", rows=50, gamma=0.98)
    rng = np.random.default_rng(3)
    policy.learn(rng.integers(50, size=2000), rng.integers(5, size=2000), rng.normal(size=2000))
    weights = policy.weights(np.arange(50), np.ones((50, 8), bool))
    assert set(np.unique(weights)) <= {count / 10 for count in range(11)}


def test_arms_never_seen_lead_the_list() -> None:
    policy = bank("ucb", gamma=0.98)
    learn(policy, [(0, 5.0)] * 20 + [(1, 1.0)] * 20)
    weights = weigh(policy, [0, 1, 2, 3])
    assert weights[2:] == [0.1, 0.1]
    assert sum(weights[:2]) == pytest.approx(0.8)


def test_more_arms_never_seen_than_slots_take_turns() -> None:
    policy = bank("ucb", width=100, gamma=0.98)
    learn(policy, [(0, 5.0)] * 20)
    found = set()
    for _ in range(200):
        weights = np.array(weigh(policy, list(range(100)), width=100))
        assert (weights[weights > 0.0] == 0.1).all()
        found |= set(np.flatnonzero(weights))
    assert found == set(range(1, 100))


def test_ties_fall_to_anybody() -> None:
    policy = bank("ucb", gamma=0.98, slots=1)
    learn(policy, [(at, 1.0) for at in range(5)] + [(5, 0.0)])
    counts = np.sum([weigh(policy, list(range(6))) for _ in range(300)], axis=0)
    assert (counts[:5] > 20).all()
    assert counts[5] == 0


def test_a_slot_stands_for_its_part_of_the_rewards_to_come() -> None:
    policy = bank("ucb", gamma=0.9)
    learn(policy, [(0, 0.0), (0, 1.0)] * 1000 + [(1, 0.0), (1, 1.0)] * 950)
    # of 3900 a tenth is to come, 39 a slot: as good an arm, 100 behind, needs three slots more; by ones it took all
    assert weigh(policy, [0, 1]) == pytest.approx([0.4, 0.6])
    rare = bank("ucb", gamma=0.9)
    learn(rare, [(0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0)])
    assert weigh(rare, [0, 1]) == [0.5, 0.5]


def test_scaling_back_is_exact() -> None:
    one, other = bank("ucb", gamma=0.5), bank("ucb", gamma=0.5)
    assert isinstance(one, DiscountedUCB)
    for _ in range(95):
        one.tick()
    for policy in (one, other):
        learn(policy, [(0, 3.0), (1, 1.0), (1, 2.0)])
        for _ in range(9):  # beyond 2**100 in one of them
            policy.tick()
    assert one.row(0) == other.row(0)
    assert one.grown < TOO_GROWN / 2**90


def test_thompson_wins_as_often_as_chance_would() -> None:
    rng = np.random.default_rng(5)
    centres, widths = np.array([[0.0], [0.5]]), np.array([[1.0], [0.5]])
    taken = win_slots(rng, 20_000, centres, widths, np.ones((2, 1), bool))
    expected = 0.5 * (1.0 + math.erf(0.5 / math.sqrt(1.25) / math.sqrt(2.0)))  # P(normal(.5, 1.25) > 0)
    assert taken[1, 0] / 20_000 == pytest.approx(expected, abs=0.015)


def test_thompson_shares_are_rounds_and_the_floor() -> None:
    policy = bank("thompson", rows=30, gamma=0.98, slots=20, floor=0.1)
    rng = np.random.default_rng(3)
    policy.learn(rng.integers(30, size=2000), rng.integers(4, size=2000), rng.normal(size=2000))
    feasible = np.zeros((30, 8), bool)
    feasible[:, :4] = True
    rounds = (policy.weights(np.arange(30), feasible)[:, :4] - 0.025) / 0.9 * 20
    assert rounds == pytest.approx(np.round(rounds), abs=1e-9)


def test_epsilon_exploits() -> None:  # the published one always chose at random
    policy = bank("epsilon", epsilon=0.1)
    learn(policy, [(0, 1.0), (1, 3.0), (2, 2.0)] * 5)
    assert weigh(policy, [0, 1, 2, 3]) == pytest.approx([0.025, 0.925, 0.025, 0.025])
    assert weigh(policy, [0, 2]) == pytest.approx([0.05, 0.95])
    tied = bank("epsilon", epsilon=0.1)
    learn(tied, [(0, 1.0), (1, 1.0), (2, 0.0)])
    assert weigh(tied, [0, 1, 2]) == pytest.approx([0.45 + 0.1 / 3, 0.45 + 0.1 / 3, 0.1 / 3])


def test_the_window_slides_by_quarters() -> None:
    policy = bank("epsilon", epsilon=0.0, window=40)
    learn(policy, [(0, 1.0)])
    for _ in range(10):
        policy.tick()
    learn(policy, [(1, 0.5)])
    for _ in range(29):
        policy.tick()
    assert weigh(policy, [0, 1]) == [1.0, 0.0]
    state = policy.row(0)
    policy.tick()
    assert weigh(policy, [0, 1]) == [0.0, 1.0]
    again = bank("epsilon", epsilon=0.0, window=40)  # elsewhere the quarters turn at other ticks; their ages stay
    for _ in range(17):
        again.tick()
    again.set_row(0, state)
    assert weigh(again, [0, 1]) == [1.0, 0.0]
    for _ in range(10):
        again.tick()
    assert weigh(again, [0, 1]) == [0.0, 1.0]


def test_restarts_are_staggered_and_periodic() -> None:
    policy = bank("restarted", rows=200, period=50)
    rows = np.arange(200)
    empty = []
    for _ in range(100):
        policy.learn(rows, rows % 5, np.ones(200))
        policy.tick()
        empty.append([row for row in range(200) if not policy.explain(row, 5)[row % 5]["evidence"]])
    assert max(len(now) for now in empty) < 20
    assert empty[:50] == empty[50:]
    assert sorted(row for now in empty[:50] for row in now) == list(range(200))


def test_given_shares_never_change() -> None:
    policy = bank("static", shares={"a": 3, "b": 1, "z": 6})
    policy.named(0, ["b", "a", "c"])
    before = weigh(policy, [0, 1, 2])
    assert before == pytest.approx([0.25, 0.75, 0.0])
    learn(policy, [(2, 100.0)] * 500)
    policy.tick()
    assert weigh(policy, [0, 1, 2]) == before
    assert weigh(policy, [2, 3]) == [0.5, 0.5]  # neither has a share
    policy.set_row(0, policy.row(0))
    assert weigh(policy, [0, 1, 2]) == before
    policy.named(0, ["b", "a", "c", "z"])
    assert weigh(policy, [0, 1, 2, 3]) == pytest.approx([0.1, 0.3, 0.0, 0.6])
    policy.clear(0)
    assert weigh(policy, [0, 1, 2, 3]) == [0.25] * 4


def test_explore_then_commit() -> None:
    policy = bank("static", first=6)
    learn(policy, [(0, 1.0), (1, 2.0), (0, 1.0), (1, 2.0), (2, 0.0)])
    assert weigh(policy, [0, 1, 2]) == pytest.approx([1 / 3] * 3)
    learn(policy, [(2, 0.5)])
    assert weigh(policy, [0, 1, 2]) == [0.0, 1.0, 0.0]
    learn(policy, [(0, 1000.0)] * 100)
    assert weigh(policy, [0, 1, 2]) == [0.0, 1.0, 0.0]
    assert weigh(policy, [0, 2]) == [1.0, 0.0]
    assert weigh(policy, [5, 6]) == [0.5, 0.5]


def test_predictions_are_refreshed_now_and_then() -> None:
    policy = bank("prediction", refresh=10, window=1000, epsilon=0.1)
    learn(policy, [(0, 1.0), (1, 2.0)] * 10)
    for _ in range(9):
        policy.tick()
    assert weigh(policy, [0, 1]) == [0.5, 0.5]
    policy.tick()
    assert weigh(policy, [0, 1, 2]) == pytest.approx([0.1 / 3, 0.9 + 0.1 / 3, 0.1 / 3])
    learn(policy, [(0, 9.0)] * 100)
    for _ in range(9):
        policy.tick()
    assert weigh(policy, [0, 1]) == pytest.approx([0.05, 0.95])
    policy.tick()
    assert weigh(policy, [0, 1]) == pytest.approx([0.95, 0.05])


def published(sums: list[float], counts: list[float], bonus: float = 1000.0, gamma: float = 0.8) -> list[int]:
    """The published list, as its code has it."""
    counts, total, taken = list(counts), sum(counts), [0] * len(counts)
    means = [one / count for one, count in zip(sums, counts, strict=True)]
    for _ in range(10):
        reach = bonus * math.sqrt(2.0 * math.log(total)) if total > 1.0 else 0.0
        index = [mean + reach / math.sqrt(count) for mean, count in zip(means, counts, strict=True)]
        best = index.index(max(index))
        taken[best] += 1
        counts[best] += 1
        total = (total + 1) * gamma
        counts = [count * gamma for count in counts]
    return taken


@pytest.mark.parametrize("verbatim", [True, False])
def test_the_published_loop(verbatim: bool) -> None:
    policy = bank("pytheas", verbatim=verbatim)
    rng = np.random.default_rng(2)
    sums, counts = [0.0] * 5, [0.0] * 5
    for _ in range(30):
        batch = [(int(at), float(rng.normal(200.0 * at, 600.0))) for at in rng.integers(5, size=40)]
        sums, counts = [0.8 * one for one in sums], [0.8 * one for one in counts]
        for at, reward in batch:
            sums[at] += reward
            counts[at] += 1.0
        if verbatim:
            learn(policy, batch[:17])
            learn(policy, batch[17:])  # the same batch: fades once
            assert weigh(policy, list(range(5))) == [one / 10 for one in published(sums, counts)]
            policy.tick()
        else:
            policy.tick()
            learn(policy, batch)
            assert weigh(policy, list(range(5))) == [one / 10 for one in published(sums, counts)]


def test_absent_arms_fade_but_verbatim() -> None:
    for verbatim, left in ((False, 10 * 0.8**3), (True, 10.0)):
        policy = bank("pytheas", verbatim=verbatim)
        learn(policy, [(0, 1.0), (1, 1.0)] * 10)
        policy.tick()
        for _ in range(2):
            learn(policy, [(0, 1.0)])
            policy.tick()
        assert policy.explain(0, 2)[1]["evidence"] == pytest.approx(left)


def test_new_arms_are_tried_but_verbatim() -> None:
    for verbatim, share in ((False, 0.1), (True, 0.0)):
        policy = bank("pytheas", verbatim=verbatim)
        learn(policy, [(0, 1.0), (1, 1.0)] * 10)
        assert weigh(policy, [0, 1, 2])[2] == share
        assert weigh(policy, [2, 3]) == [0.5, 0.5]


def test_a_verbatim_batch_survives_growth() -> None:
    policy, same = bank("pytheas", verbatim=True), bank("pytheas", verbatim=True)
    assert isinstance(policy, Pytheas)
    for one in (policy, same):
        learn(one, [(0, 1.0), (3, 2.0)])
        one.tick()
        learn(one, [(0, 1.0)])
        if one is policy:
            one.resize(4, 20)
        learn(one, [(0, 1.0), (3, 2.0)])
    assert policy.row(0) == same.row(0)


def test_little_evidence_divides_by_nothing() -> None:
    policy = bank("pytheas")
    learn(policy, [(0, 1.0)])
    for _ in range(100):
        assert sum(weigh(policy, [0, 1])) == pytest.approx(1.0)
        policy.tick()


def world(discount: Discount, period: int, ticks: int = 1500) -> float:
    """Ten groups of four arms, whose means are drawn anew every `period` ticks."""
    rng = np.random.default_rng(4)
    discount.resize(10, 4)
    means = rng.normal(size=(10, 4))
    for tick in range(ticks):
        if tick % period == 0:
            means = rng.normal(size=(10, 4))
        rows, places = rng.integers(10, size=40), rng.integers(4, size=40)
        discount.learn(rows, places, 1e6 + 100.0 * (means[rows, places] + rng.normal(0.0, 0.5, size=40)))
        discount.tick()
    return discount.gamma


def test_the_discount_follows_how_fast_the_world_changes() -> None:
    assert Discount().gamma == FIRST
    found = [world(Discount(), period) for period in (10, 200, 10_000)]
    assert found == sorted(found)
    assert found[0] == GAMMAS[0]
    assert found[2] == GAMMAS[-1]


def test_the_discount_looks_at_few_groups_only() -> None:
    discount = Discount()
    discount.resize(100_000, 4)
    assert discount.rows <= 256
    discount.resize(100_000, 10_000)
    assert discount.rows * discount.width <= 10_000
    discount.learn(np.array([5, 99_999]), np.array([0, 0]), np.array([1.0, 1.0]))
    discount.tick()
    assert discount.gamma == FIRST
