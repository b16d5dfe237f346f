"""Split, merge, move: nothing that was learned is lost or counted twice, whatever the order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.controllers.decide.carry import carry, moves
from vagus.controllers.decide.grouping import compile_grouping
from vagus.controllers.decide.learner import Learner
from vagus.controllers.decide.records import Grouping, Move, Outcome, Rule

ARMS = ("a", "b", "c")
NAMES = st.sampled_from(["g", "h", "i", "j", "k"])


@st.composite
def changes(draw: st.DrawFn) -> list[Move]:
    """What one change of groups moves: each source to one, two or three targets, with shares that add up to 1."""
    made = []
    for source in draw(st.sets(NAMES, min_size=1, max_size=3)):
        targets = sorted(draw(st.sets(NAMES, min_size=1, max_size=3)))
        parts = [draw(st.integers(1, 100)) for _ in targets]
        made += [Move(source, target, part / sum(parts)) for target, part in zip(targets, parts, strict=True)]
    return made


def knowledge(learner: Learner) -> dict[str, tuple[float, float]]:
    """By arm, over all groups: evidence and the sum of rewards behind it."""
    found = dict.fromkeys(ARMS, (0.0, 0.0))
    learner.changed()  # takes in what waits
    for name in learner:
        for told in learner.explain(name):
            count, total = found[told["arm"]]
            found[told["arm"]] = (count + told["evidence"], total + told["evidence"] * told["mean"])
    return found


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["ucb", "thompson", "uniform"]),
    st.lists(st.tuples(NAMES, st.sampled_from(ARMS), st.floats(-5, 5)), min_size=1, max_size=30),
    st.lists(changes(), max_size=6),
)
def test_evidence_is_conserved(policy: str, rewards: list[tuple[str, str, float]], sequence: list[list[Move]]) -> None:
    learner = Learner(policy, {}, np.random.default_rng(0))
    learner.learn([Outcome(group, arm, reward) for group, arm, reward in rewards])
    before = knowledge(learner)
    assert sum(count for count, _ in before.values()) == pytest.approx(len(rewards))
    for moved in sequence:
        carry(moved, learner)
    after = knowledge(learner)
    for arm in ARMS:
        assert after[arm] == pytest.approx(before[arm], rel=1e-9, abs=1e-9)


FEATURES = st.fixed_dictionaries({"x": st.sampled_from(["1", "2", "3"]), "y": st.sampled_from(["u", "v"])})
GROUPINGS = st.sampled_from(
    [
        Grouping(),
        Grouping(1, ("x",)),
        Grouping(1, ("y", "x")),
        Grouping(1, (), Rule("x", {"1": "one", "2": Rule("y", {"u": "two-u"})}, "rest")),
        Grouping(1, (), Rule("y", {"u": "one"}), "x"),
    ]
)


@settings(deadline=None, max_examples=60)
@given(GROUPINGS, GROUPINGS, st.lists(st.tuples(FEATURES, st.integers(1, 50)), max_size=12))
def test_moves_are_the_shares_of_sessions(
    old: Grouping, new: Grouping, sessions: list[tuple[dict[str, str], int]]
) -> None:
    found = moves(old, new, sessions)
    before, after = compile_grouping(old), compile_grouping(new)
    stays = {before(features) for features, _ in sessions} - {move.source for move in found}
    for features, _ in sessions:
        if before(features) in stays:
            assert after(features) == before(features)
    for source in {move.source for move in found}:
        shares = {move.target: move.share for move in found if move.source == source}
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-12)
        mine = [(features, count) for features, count in sessions if before(features) == source]
        for target, share in shares.items():
            there = sum(count for features, count in mine if after(features) == target)
            assert share == pytest.approx(there / sum(count for _, count in mine))
    assert old != new or not found


def test_a_split_knows_what_the_whole_knew_and_a_merge_what_both_did() -> None:
    learner = Learner("ucb", {}, np.random.default_rng(0))
    learner.learn(
        [Outcome("whole", "a", 1.0)] * 30 + [Outcome("whole", "b", 3.0)] * 10 + [Outcome("other", "b", 7.0)] * 5
    )
    carry([Move("whole", "left", 0.75), Move("whole", "right", 0.25)], learner)
    assert sorted(learner) == ["left", "other", "right"]
    left = {told["arm"]: (told["mean"], told["evidence"]) for told in learner.explain("left")}
    assert left["a"] == (1.0, pytest.approx(22.5))
    assert left["b"] == (3.0, pytest.approx(7.5))
    carry([Move("right", "other", 1.0)], learner)
    both = {told["arm"]: (told["mean"], told["evidence"]) for told in learner.explain("other")}
    assert both["b"] == (pytest.approx((2.5 * 3.0 + 5 * 7.0) / 7.5), pytest.approx(7.5))
    carry([Move("left", "other", 1.0), Move("other", "left", 1.0)], learner)  # all at once: they change places
    assert {told["arm"]: told["evidence"] for told in learner.explain("left")}["b"] == pytest.approx(7.5)
    assert {told["arm"]: told["evidence"] for told in learner.explain("other")}["a"] == pytest.approx(22.5)
    carry([Move("nobody", "left", 1.0)], learner)
    assert sorted(learner) == ["left", "other"]
