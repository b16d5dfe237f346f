"""The default policy on real bandwidth traces reaches its bars; the peers' side is benchmarks/decide_score.py."""

from __future__ import annotations

import pytest

from benchmarks.decide_score import DATA, FAMILIES, OURS, SETUP, SLACK, sets
from vagus.controllers.decide.replay import replay

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no traces at {DATA}"),
]
PEERS = {"fcc": 0.803, "norway": 0.959}  # the best of 28 configurations of theirs, ten seeds, seen in hindsight


@pytest.mark.timeout(600)  # some 40 s of a core at rest
@pytest.mark.parametrize("family", FAMILIES)
def test_one_configuration_is_as_good_as_the_best_hand_set_one(family: str) -> None:
    traces = sets(family)
    assert len(traces) == {"fcc": 7, "norway": 1}[family]
    seeds = range(4 if family == "fcc" else 20)
    found = {
        name: replay(traces, policy, options=options, setup=SETUP, seeds=seeds).score
        for name, (policy, options) in OURS.items()
    }
    auto = found.pop("auto")
    assert auto >= FAMILIES[family]
    assert auto >= max(found.values()) - SLACK
    assert auto >= PEERS[family] - SLACK


def test_sets_that_begin_at_any_file() -> None:
    """Nothing was fitted to where the fives begin."""
    assert replay(sets("fcc", overlapping=True), "auto", setup=SETUP, seeds=(1,)).score >= 0.79
    assert replay(sets("norway", overlapping=True), "auto", setup=SETUP, seeds=(1, 2)).score >= 0.82
