"""The history that groups are learned from: a ring of columns, bounded, refusing what cannot name groups."""

from __future__ import annotations

import pytest

from vagus.controllers.decide import history as module
from vagus.controllers.decide.grouping import compile_grouping, rules_of
from vagus.controllers.decide.history import History
from vagus.controllers.decide.records import Grouping, Outcome
from vagus.model import Scalar


def outcome(reward: float, arms: tuple[str, ...] = (), **features: Scalar) -> Outcome:
    return Outcome("", f"arm{int(reward) % 2}", reward, 0.5, features, arms)


def test_the_oldest_go_and_the_order_stays() -> None:
    history = History(("a", "b", "a"), 5)
    for first in range(0, 12, 3):
        history.add([outcome(at, a=at, b=f"b{at % 2}") for at in range(first, first + 3)])
    assert history.features == ("a", "b")
    assert len(history) == 5
    assert history.came == 12
    rewards, propensities = history.numbers()
    assert rewards.tolist() == [7.0, 8.0, 9.0, 10.0, 11.0]
    assert set(propensities.tolist()) == {0.5}
    codes, texts = history.column("a")
    assert [texts[code] for code in codes] == ["7", "8", "9", "10", "11"]
    arms, names = history.arms()
    assert [names[arm] for arm in arms] == ["arm1", "arm0", "arm1", "arm0", "arm1"]


def test_more_at_once_than_fit_leaves_the_newest() -> None:
    history = History(("a",), 4)
    history.add([outcome(at, a=at) for at in range(11)])
    assert history.numbers()[0].tolist() == [7.0, 8.0, 9.0, 10.0]


def test_sets_of_arms_are_kept_where_they_were_told() -> None:
    history = History((), 10)
    history.add([outcome(0, ("x", "y")), outcome(1), outcome(2, ("x", "y")), outcome(3, ("y",))])
    codes, sets = history.sets()
    assert [sets[code] if code > 1 else None for code in codes] == [("x", "y"), None, ("x", "y"), ("y",)]


def test_sessions_and_groups_are_those_of_the_grouping() -> None:
    history = History(("isp", "city", "os"), 100)
    sent: list[dict[str, Scalar]] = [{"isp": at % 3, "city": "x" if at % 2 else "y:z"} for at in range(40)] + [
        {"os": True}
    ]
    history.add([outcome(0, **features) for features in sent])
    counted = {tuple(sorted(features.items())): count for features, count in history.sessions()}
    assert sum(counted.values()) == 41
    assert counted[("os", "true"),] == 1
    assert {count for _, count in history.sessions(["os"])} == {40, 1}
    tree = rules_of({"field": "isp", "values": {1: {"field": "city", "values": {"x": "one-x"}}}})
    for grouping in (
        Grouping(),
        Grouping(0, ("isp", "city")),
        Grouping(0, (), tree, "city"),
        Grouping(0, ("nowhere",)),
    ):
        numbers, names = history.groups(grouping)
        assert [names[number] for number in numbers] == [compile_grouping(grouping)(features) for features in sent]


def test_fractions_cannot_name_groups() -> None:
    history = History(("load", "city"), 100)
    history.add([outcome(0, load=1.0, city="x")])
    assert not history.refused
    history.add([outcome(0, load=0.25, city="x"), outcome(0, load=2, city="x")])
    assert "feature 'load' has numbers with fractions (0.25)" in history.refused["load"]
    assert "decide.context" in history.refused["load"]
    assert set(history.column("load")[0].tolist()) == {module.MISSING}
    assert len(set(history.column("city")[0].tolist())) == 1


def test_values_are_bounded_and_old_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VALUES", 12)
    history = History(("id",), 4)
    for at in range(9):
        history.add([outcome(0, id=f"v{at}")])
    history.forget()
    for at in range(9, 13):
        history.add([outcome(0, id=f"v{at}")])
    codes, texts = history.column("id")
    assert [texts[code] for code in codes] == ["v9", "v10", "v11", "v12"]
    assert not history.refused
    for at in range(13, 40):
        history.add([outcome(0, id=f"v{at}")])
    assert set(history.column("id")[0].tolist()) == {module.OTHER}
    assert "too many to name groups" in history.refused["id"]
    assert len(texts) <= 12
