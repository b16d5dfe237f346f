"""Every registered policy: what is known of an arm goes with it when its place changes, and nothing else does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from vagus.errors import ConfigError
from vagus.policies import BANDITS

WIDTH = 6


def _learned(name: str) -> Any:
    bank = BANDITS.make(name, np.random.default_rng(1))
    bank.resize(3, WIDTH)
    for tick in range(30):
        rng = np.random.default_rng(tick)
        places = rng.integers(4, size=20)
        bank.learn(np.zeros(20, np.int64), places, rng.normal(places, 0.1))
        bank.tick()
    return bank


@pytest.mark.parametrize("name", list(BANDITS))
def test_arms_in_another_order_are_the_same_arms(name: str) -> None:
    bank = _learned(name)
    places = [5, 0, 3, 1]
    moved = bank.moved(bank.row(0), places)
    assert json.loads(json.dumps(moved, allow_nan=False)) == moved
    bank.set_row(1, moved)
    before, after = bank.explain(0, WIDTH), bank.explain(1, WIDTH)
    for at, place in enumerate(places):
        assert after[place]["mean"] == pytest.approx(before[at]["mean"])
        assert after[place]["evidence"] == pytest.approx(before[at]["evidence"])
    assert after[2]["evidence"] == after[4]["evidence"] == 0.0
    back = bank.moved(bank.row(1), [1, 3, 4, 2, 5, 0])
    assert back.keys() == bank.row(0).keys()
    bank.set_row(2, back)
    assert bank.explain(2, 4) == before[:4]


@pytest.mark.parametrize("name", list(BANDITS))
def test_an_arm_left_out_is_forgotten(name: str) -> None:
    bank = _learned(name)
    before = bank.explain(0, 4)
    bank.set_row(1, bank.moved(bank.row(0), [0, -1, 1, -1]))
    after = bank.explain(1, 4)
    assert [one["evidence"] for one in after] == pytest.approx([before[0]["evidence"], before[2]["evidence"], 0.0, 0.0])
    bank.set_row(2, bank.moved(bank.row(0), [-1] * 4))
    assert {one["evidence"] for one in bank.explain(2, 4)} == {0.0}


@pytest.mark.parametrize("name", list(BANDITS))
def test_other_states_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="saved state"):
        _learned(name).moved({"count": "x"}, [0])
