"""The decision table: exact draws, hot swap, what it does with what it does not know, what it refuses."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import msgspec
import pytest

from vagus.controllers.decide.features import group_of
from vagus.controllers.decide.table import ArmSet, DecisionTable, TableSnapshot, decode_snapshot, encode_snapshot
from vagus.errors import ConfigError
from vagus.model import Decision, Scalar

NOW = 1_700_000_000_000_000_000
ABC = ("a", "b", "c")


def _drawn(table: DecisionTable, arms: tuple[str, ...], features: dict[str, Scalar], count: int = 4000) -> Counter[str]:
    """Arms drawn, after checking each propensity against the same draw's other answers."""
    counts: Counter[str] = Counter()
    propensities: dict[str, float] = {}
    for _ in range(count):
        decision = table.decide(features, arms, NOW)
        assert decision.arm in arms
        assert propensities.setdefault(decision.arm, decision.propensity) == decision.propensity
        counts[decision.arm] += 1
    for arm, propensity in propensities.items():
        assert counts[arm] / count == pytest.approx(propensity, abs=4 * math.sqrt(0.25 / count))
    return counts


def test_before_the_first_snapshot_all_arms_are_alike() -> None:
    decision = DecisionTable(Random(1)).decide({"city": "Pittsburgh"}, ["a", "b"], NOW)
    assert (decision.group, decision.version, decision.propensity, decision.t_ns) == ("", 0, 0.5, NOW)
    assert decision.arms == ("a", "b")
    assert decision.features == {"city": "Pittsburgh"}


def test_draws_follow_the_weights_of_the_group() -> None:
    table = DecisionTable(Random(1), ("isp",))
    table.replace(TableSnapshot(7, ("isp",), {"x": {"a": 0.7, "b": 0.3, "c": 0.0}, "y": {"c": 1.0}}))
    assert set(_drawn(table, ABC, {"isp": "x"})) == {"a", "b"}
    assert table.decide({"isp": "x"}, ["c", "b", "a"], NOW).version == 7
    assert _drawn(table, ("c",), {"isp": "y"})["c"] == 4000
    assert table.decide({"isp": "y"}, ["c"], NOW).propensity == 1.0


def test_an_unknown_group_is_answered_here_and_evenly() -> None:
    table = DecisionTable(Random(1), ("isp",))
    table.replace(TableSnapshot(1, ("isp",), {"x": {"a": 1.0}}))
    counts = _drawn(table, ABC, {"isp": "elsewhere"})
    assert set(counts) == set(ABC)
    assert table.decide({"isp": "elsewhere"}, ABC, NOW).group == "elsewhere"


def test_arms_that_the_table_does_not_know_get_an_even_share() -> None:
    table = DecisionTable(Random(2))
    table.replace(TableSnapshot(1, (), {"": {"a": 0.75, "b": 0.25}}))
    seen = {}
    for _ in range(200):
        decision = table.decide({}, ["a", "b", "new", "newer"], NOW)
        seen[decision.arm] = decision.propensity
    assert seen == {"a": 0.375, "b": 0.125, "new": 0.25, "newer": 0.25}


def test_a_subset_keeps_proportions_or_is_even_where_nothing_is_left() -> None:
    table = DecisionTable(Random(2))
    table.replace(TableSnapshot(1, (), {"": {"a": 0.6, "b": 0.2, "c": 0.2, "d": 0.0, "e": 0.0}}))
    seen = {decision.arm: decision.propensity for decision in (table.decide({}, ["a", "b"], NOW) for _ in range(50))}
    assert seen == pytest.approx({"a": 0.75, "b": 0.25})
    assert {table.decide({}, ["d", "e"], NOW).propensity for _ in range(9)} == {0.5}


def test_a_set_of_arms_in_the_snapshot_has_its_own_weights_in_any_order() -> None:
    table = DecisionTable(Random(2))
    sets = {"": (ArmSet(("b", "c"), (0.1, 0.9)),)}
    table.replace(TableSnapshot(1, (), {"": {"a": 1.0, "b": 0.0, "c": 0.0}}, sets))
    for arms in (["b", "c"], ["c", "b"]):
        seen = {}
        for _ in range(200):
            decision = table.decide({}, arms, NOW)
            seen[decision.arm] = decision.propensity
        assert seen == {"b": 0.1, "c": 0.9}


def test_a_swap_takes_effect_at_the_next_call_and_brings_its_grouping() -> None:
    table = DecisionTable(Random(1), ("isp",))
    table.replace(encode_snapshot(TableSnapshot(1, ("isp",), {"x": {"a": 1.0, "b": 0.0}})))
    assert table.decide({"isp": "x", "city": "y"}, ["a", "b"], NOW).arm == "a"
    table.replace(encode_snapshot(TableSnapshot(2, ("city",), {"y": {"a": 0.0, "b": 1.0}})))
    decision = table.decide({"isp": "x", "city": "y"}, ["a", "b"], NOW)
    assert (decision.arm, decision.group, decision.version) == ("b", "y", 2)
    assert table.version == 2


def test_ids_do_not_repeat_whatever_the_seed() -> None:
    tables = [DecisionTable(Random(1)), DecisionTable(Random(1))]
    ids = {table.decide({}, ["a"], NOW).decision_id for table in tables for _ in range(2000)}
    assert len(ids) == 4000
    assert all(len(decision_id) == 32 and int(decision_id, 16) >= 0 for decision_id in ids)


def test_the_seed_decides_the_arms() -> None:
    one, other = (DecisionTable(Random(5)) for _ in range(2))
    assert [one.decide({}, ABC, 0).arm for _ in range(50)] == [other.decide({}, ABC, 0).arm for _ in range(50)]


def test_a_decision_is_a_record_that_keeps_its_features() -> None:
    features: dict[str, Scalar] = {"isp": "x", "n": 3, "ratio": 0.5, "live": True}
    decision = DecisionTable(Random(1)).decide(features, ["a"], NOW)
    features["isp"] = "changed"
    assert decision.features["isp"] == "x"
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(decision), type=Decision) == decision


def test_the_cache_of_ready_lists_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.controllers.decide.table.MAX_CACHED_CELLS", 100)
    monkeypatch.setattr("vagus.controllers.decide.arms.Feasible.MOST", 100)
    table = DecisionTable(Random(1))
    for at in range(500):
        assert table.decide({}, [f"a{at}", "b", "c"], NOW).propensity == pytest.approx(1 / 3)
    assert len(table._mixed) <= 34


@pytest.mark.parametrize(
    ("arms", "match"),
    [
        ([], "0 arms"),
        ([f"a{at}" for at in range(1001)], "1001 arms"),
        (["a", "b", "a"], "'a' is listed twice"),
        (["a", ""], "arm must be 1 to 200"),
        (["a" * 201], "arm must be 1 to 200"),
        (["a\nb"], "printable"),
        (["\ud800"], "printable"),
        ("abc", "not str"),
        (b"abc", "not bytes"),
        (["a", 1], "must be text"),
        ([["a"]], "arms must be a list"),
        (None, "arms must be a list"),
        ({"a": 1}, "not dict"),
    ],
)
def test_wrong_arms_are_refused(arms: object, match: str) -> None:
    table = DecisionTable(Random(1))
    table.decide({}, ["a", "b", "c"], NOW)
    with pytest.raises(ConfigError, match=match):
        table.decide({}, arms, NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("features", "match"),
    [
        ({f"f{at}": 1 for at in range(101)}, "101 features"),
        ({"": 1}, "feature name"),
        ({"x" * 201: 1}, "feature name"),
        ({1: 1}, "feature name"),
        ({"isp": "x" * 501}, "'isp' has 501"),
        ({"isp": None}, "'isp' must be text"),
        ({"isp": ["x"]}, "not list"),
        ({"isp": 1 << 63}, "64 bits"),
        ({"isp": "\ud800"}, "Unicode"),
        ({"\ud800": "x"}, "Unicode"),
    ],
)
def test_wrong_features_are_refused(features: dict[str, Scalar], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        DecisionTable(Random(1), ("isp",)).decide(features, ["a"], NOW)


@pytest.mark.parametrize(
    ("snapshot", "match"),
    [
        (b"", "not a decision table"),
        (b"\xc1", "not a decision table"),
        (msgspec.msgpack.encode(["one"]), "not a decision table"),
        (msgspec.msgpack.encode([1, [], {"g": {"a": "much"}}]), "not a decision table"),
        (TableSnapshot(1, (), {"g": {"a": math.nan}}), "'g'"),
        (TableSnapshot(1, (), {"g": {"a": math.inf}}), "'g'"),
        (TableSnapshot(1, (), {"g": {"a": -0.1, "b": 1.1}}), "'g'"),
        (TableSnapshot(1, (), {"g": {"a": 0.0}}), "'g'"),
        (TableSnapshot(1, (), {"g": {}}), "'g'"),
        (TableSnapshot(1, (), {}, {"g": ()}), "'g'"),
        (TableSnapshot(1, (), {"g": {"a": 1.0}}, {"g": (ArmSet(("a",), ()),)}), "'g'"),
        (TableSnapshot(1, (), {"g": {"a": 1.0}}, {"g": (ArmSet(("a",), (0.0,)),)}), "'g'"),
    ],
)
def test_a_broken_snapshot_is_refused_and_the_old_one_stays(snapshot: bytes | TableSnapshot, match: str) -> None:
    table = DecisionTable(Random(1))
    table.replace(TableSnapshot(3, (), {"": {"a": 1.0, "b": 0.0}}))
    with pytest.raises(ConfigError, match=match):
        table.replace(snapshot)
    assert table.version == 3
    assert table.decide({}, ["a", "b"], NOW).arm == "a"


def test_a_snapshot_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.controllers.decide.snapshot.MAX_SNAPSHOT_BYTES", 10)
    with pytest.raises(ConfigError, match="at most 10"):
        decode_snapshot(encode_snapshot(TableSnapshot(1, (), {"group": {"a": 1.0}})))


@pytest.mark.parametrize(
    ("features", "name"),
    [
        ({"isp": "x", "city": "y"}, "x:y"),
        ({"city": "y"}, "\\?:y"),
        ({"isp": "", "city": ""}, ":"),
        ({"isp": "a:b", "city": "c\\d;e"}, "a\\:b:c\\\\d;e"),
        ({"isp": "\\?", "city": "?"}, "\\\\?:?"),
        ({"isp": 7922, "city": True}, "7922:true"),
        ({"isp": 7922.0, "city": 0.5}, "7922:0.5"),
        ({"isp": "7922", "city": math.inf}, "7922:inf"),
    ],
)
def test_group_names(features: dict[str, Scalar], name: str) -> None:
    assert group_of(features, ("isp", "city")) == name


def test_no_critical_features_are_one_group() -> None:
    assert group_of({"isp": "x"}, ()) == ""


def test_long_group_names_are_cut_and_stay_apart() -> None:
    long = {f"f{at}": "x" * 500 for at in range(10)}
    other = {**long, "f9": "x" * 499 + "y"}
    names = [group_of(features, sorted(long)) for features in (long, other)]
    assert names[0] != names[1]
    assert all(len(name) == 400 for name in names)
