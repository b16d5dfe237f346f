"""Weights that grow instead of evidence that fades, several rewards of a cell at once: as the plain way of counting."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.policies import fading
from vagus.policies.fading import Fading
from vagus.policies.summed import absorb_means, add_rewards

ROWS, WIDTH = 3, 4
REWARDS = st.floats(-100.0, 100.0).map(lambda value: round(value, 3))
BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, WIDTH - 1), REWARDS), max_size=12), max_size=12
)


class Plain:
    """Every reward with its age."""

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma
        self.seen: list[list[tuple[float, float]]] = [[] for _ in range(ROWS * WIDTH)]

    def tick(self) -> None:
        self.seen = [[(weight * self.gamma, reward) for weight, reward in cell] for cell in self.seen]

    def count(self, cell: int) -> float:
        return math.fsum(weight for weight, _ in self.seen[cell])

    def mean(self, cell: int) -> float:
        return math.fsum(weight * reward for weight, reward in self.seen[cell]) / self.count(cell)


@given(
    batches=BATCHES,
    gamma=st.sampled_from([0.5, 0.9, 1.0]),
    offset=st.sampled_from([0.0, 1e9]),
    before=st.sampled_from([0, 90, 200]),
)
@settings(deadline=None, max_examples=40)
def test_counts_and_means(
    batches: list[list[tuple[int, int, float]]], gamma: float, offset: float, before: int
) -> None:
    bank, plain = Fading(np.random.default_rng(1), gamma), Plain(gamma)
    bank.resize(ROWS, WIDTH)
    for _ in range(before):  # what is known by then does not matter: new rewards weigh more already
        bank.tick()
    for batch in batches:
        bank.learn(
            np.array([row for row, _, _ in batch], np.int64),
            np.array([place for _, place, _ in batch], np.int64),
            np.array([reward + offset for _, _, reward in batch]),
        )
        for row, place, reward in batch:
            plain.seen[row * WIDTH + place].append((1.0, reward))
        bank.tick()
        plain.tick()
    assert bank.grown <= fading.TOO_GROWN
    for row in range(ROWS):
        counts, means, squares = (column[0] for column in bank.evidence(np.array([row])))
        around = 0.0
        for place in range(WIDTH):
            cell = row * WIDTH + place
            assert math.isclose(counts[place], plain.count(cell), rel_tol=1e-9, abs_tol=1e-12)
            if plain.seen[cell] and counts[place]:
                assert math.isclose(means[place] - offset, plain.mean(cell), rel_tol=1e-6, abs_tol=1e-5)
                around += math.fsum(weight * (x - plain.mean(cell)) ** 2 for weight, x in plain.seen[cell])
        assert math.isclose(squares, around, rel_tol=1e-4, abs_tol=1e-2)


@given(
    parts=st.lists(st.lists(st.tuples(st.integers(0, WIDTH - 1), REWARDS), max_size=10), min_size=1, max_size=5),
    offset=st.sampled_from([0.0, 1e9]),
)
@settings(deadline=None, max_examples=40)
def test_parts_absorbed_are_as_if_learned_at_one_place(parts: list[list[tuple[int, float]]], offset: float) -> None:
    whole, count = (np.zeros(WIDTH), np.zeros(WIDTH)), (np.zeros(WIDTH), np.zeros(WIDTH))
    squares = [0.0, 0.0]
    for part in parts:
        at = np.array([place for place, _ in part], np.int64)
        rewards = np.array([reward + offset for _, reward in part])
        squares[0] += float(add_rewards(*whole, at, rewards, news=np.zeros(WIDTH)).sum())
        one = np.zeros(WIDTH), np.zeros(WIDTH)
        squares[1] += float(add_rewards(*one, at, rewards, news=np.zeros(WIDTH)).sum())
        squares[1] += absorb_means(*count, *one)
    assert np.allclose(whole[0], count[0])
    assert np.allclose(whole[1], count[1], rtol=1e-12, atol=1e-9)
    assert math.isclose(squares[0], squares[1], rel_tol=1e-4, abs_tol=1e-2)
