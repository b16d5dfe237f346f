"""The decision table: exact draws, hot swap, what it does with what it does not know, what it refuses."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from random import Random

import msgspec
import pytest

from vagus.controllers.decide.features import group_of
from vagus.controllers.decide.records import ArmSet, Grouping, Row, TableUpdate
from vagus.controllers.decide.table import MAX_UNUSED, DecisionTable, Model, Stale, decode_update, encode_update
from vagus.errors import ConfigError
from vagus.model import Decision, Scalar
from vagus.policies import CONTEXTUAL

NOW = 1_700_000_000_000_000_000
ABC = ("a", "b", "c")


def _update(
    version: int,
    group_by: tuple[str, ...] = (),
    groups: Mapping[str, Mapping[str, float]] | None = None,
    sets: Mapping[str, tuple[ArmSet, ...]] | None = None,
    base: int = 0,
    gone: tuple[str, ...] = (),
) -> TableUpdate:
    rows = {
        name: Row(tuple(weights), tuple(weights.values()), (sets or {}).get(name, ()))
        for name, weights in (groups or {}).items()
    }
    return TableUpdate(version, base, Grouping(group_by=group_by), rows, gone)


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


def test_before_the_first_update_all_arms_are_alike() -> None:
    decision = DecisionTable(Random(1)).decide({"city": "Pittsburgh"}, ["a", "b"], NOW)
    assert (decision.group, decision.version, decision.propensity, decision.t_ns) == ("", 0, 0.5, NOW)
    assert decision.arms == ("a", "b")
    assert decision.features == {"city": "Pittsburgh"}


def test_draws_follow_the_weights_of_the_group() -> None:
    table = DecisionTable(Random(1), ("isp",))
    table.apply(_update(7, ("isp",), {"x": {"a": 0.7, "b": 0.3, "c": 0.0}, "y": {"c": 1.0}}))
    assert set(_drawn(table, ABC, {"isp": "x"})) == {"a", "b"}
    assert table.decide({"isp": "x"}, ["c", "b", "a"], NOW).version == 7
    assert _drawn(table, ("c",), {"isp": "y"})["c"] == 4000
    assert table.decide({"isp": "y"}, ["c"], NOW).propensity == 1.0


def test_an_unknown_group_is_answered_here_and_evenly() -> None:
    table = DecisionTable(Random(1), ("isp",))
    table.apply(_update(1, ("isp",), {"x": {"a": 1.0}}))
    counts = _drawn(table, ABC, {"isp": "elsewhere"})
    assert set(counts) == set(ABC)
    assert table.decide({"isp": "elsewhere"}, ABC, NOW).group == "elsewhere"


def test_arms_that_the_table_does_not_know_get_an_even_share() -> None:
    table = DecisionTable(Random(2))
    table.apply(_update(1, (), {"": {"a": 0.75, "b": 0.25}}))
    seen = {}
    for _ in range(200):
        decision = table.decide({}, ["a", "b", "new", "newer"], NOW)
        seen[decision.arm] = decision.propensity
    assert seen == {"a": 0.375, "b": 0.125, "new": 0.25, "newer": 0.25}


def test_a_subset_keeps_proportions_or_is_even_where_nothing_is_left() -> None:
    table = DecisionTable(Random(2))
    table.apply(_update(1, (), {"": {"a": 0.6, "b": 0.2, "c": 0.2, "d": 0.0, "e": 0.0}}))
    seen = {decision.arm: decision.propensity for decision in (table.decide({}, ["a", "b"], NOW) for _ in range(50))}
    assert seen == pytest.approx({"a": 0.75, "b": 0.25})
    assert {table.decide({}, ["d", "e"], NOW).propensity for _ in range(9)} == {0.5}


def test_a_set_of_arms_in_the_table_has_its_own_weights_in_any_order() -> None:
    table = DecisionTable(Random(2))
    sets = {"": (ArmSet(("b", "c"), (0.1, 0.9)),)}
    table.apply(_update(1, (), {"": {"a": 1.0, "b": 0.0, "c": 0.0}}, sets))
    for arms in (["b", "c"], ["c", "b"]):
        seen = {}
        for _ in range(200):
            decision = table.decide({}, arms, NOW)
            seen[decision.arm] = decision.propensity
        assert seen == {"b": 0.1, "c": 0.9}


def test_a_swap_takes_effect_at_the_next_call_and_brings_its_grouping() -> None:
    table = DecisionTable(Random(1), ("isp",))
    table.apply(encode_update(_update(1, ("isp",), {"x": {"a": 1.0, "b": 0.0}})))
    assert table.decide({"isp": "x", "city": "y"}, ["a", "b"], NOW).arm == "a"
    table.apply(encode_update(_update(2, ("city",), {"y": {"a": 0.0, "b": 1.0}})))
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
    ("update", "match"),
    [
        (b"", "not a decision table"),
        (b"\xc1", "not a decision table"),
        (msgspec.msgpack.encode(["one"]), "not a decision table"),
        (msgspec.msgpack.encode([1, 0, None, {"g": [["a"], ["much"]]}]), "not a decision table"),
        (_update(4, (), {"g": {"a": math.nan}}), "'g'"),
        (_update(4, (), {"g": {"a": 0.5, "b": math.nan}}), "'g'"),
        (_update(4, (), {"g": {"a": math.inf}}), "'g'"),
        (_update(4, (), {"g": {"a": -0.1, "b": 1.1}}), "'g'"),
        (_update(4, (), {"g": {"a": 0.0}}), "'g'"),
        (_update(4, (), {"g": {}}), "'g'"),
        (TableUpdate(4, 0, None, {"g": Row(("a", "b"), (1.0,))}), "'g'"),
        (TableUpdate(4, 0, None, {"g": Row(("a", "a"), (0.5, 0.5))}), "'g'"),
        (_update(4, (), {"g": {"a": 1.0}}, {"g": (ArmSet(("a",), ()),)}), "'g'"),
        (_update(4, (), {"g": {"a": 1.0}}, {"g": (ArmSet(("a",), (0.0,)),)}), "'g'"),
        (TableUpdate(4, 0, Grouping(group_by=("",))), "feature name"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_update_is_refused_and_nothing_changes(update: bytes | TableUpdate, match: str, packed: bool) -> None:
    table = DecisionTable(Random(1))
    table.apply(_update(3, (), {"": {"a": 1.0, "b": 0.0}}))
    with pytest.raises(ConfigError, match=match):
        table.apply(encode_update(update) if packed and isinstance(update, TableUpdate) else update)
    assert table.version == 3
    assert table.decide({}, ["a", "b"], NOW).arm == "a"


def test_an_update_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.controllers.decide.table.MAX_UPDATE_BYTES", 10)
    with pytest.raises(ConfigError, match="at most 10"):
        decode_update(encode_update(_update(1, (), {"group": {"a": 1.0}})))


def test_a_delta_changes_what_it_names_and_nothing_else() -> None:
    table = DecisionTable(Random(1))
    table.apply(_update(1, ("isp",), {"x": {"a": 1.0, "b": 0.0}, "y": {"a": 1.0, "b": 0.0}, "z": {"a": 1.0, "b": 0.0}}))
    before = {group: table.decide({"isp": group}, ["a", "b"], NOW).arm for group in "xyz"}
    table.apply(TableUpdate(2, 1, None, {"x": Row(("a", "b"), (0.0, 1.0))}, ("z",)))
    assert before == {"x": "a", "y": "a", "z": "a"}
    assert [table.decide({"isp": group}, ["a", "b"], NOW).arm for group in "xy"] == ["b", "a"]
    assert table.decide({"isp": "z"}, ["a", "b"], NOW).propensity == 0.5  # unknown again
    assert (table.version, len(table), table.decide({"isp": "x"}, ["a"], NOW).version) == (2, 2, 2)


def test_a_delta_on_another_version_is_stale_and_all_of_it_heals() -> None:
    leader, table = DecisionTable(Random(1)), DecisionTable(Random(1))
    leader.apply(_update(7, ("isp",), {"x": {"a": 0.3, "b": 0.7}}, {"x": (ArmSet(("a",), (1.0,)),)}))
    table.apply(_update(5))
    with pytest.raises(Stale, match="based on 7, and this table has 5"):
        table.apply(TableUpdate(8, 7, None, {"x": Row(("a",), (1.0,))}))
    assert (table.version, len(table)) == (5, 0)
    table.apply(encode_update(leader.full()))
    assert table.full() == leader.full()
    assert table.grouping == Grouping(group_by=("isp",))


def test_all_of_it_forgets_what_was_before() -> None:
    table = DecisionTable(Random(1))
    table.apply(_update(9, (), {"x": {"a": 1.0}, "": {"a": 1.0, "b": 0.0}}))
    table.apply(TableUpdate(2, 0, None, {"y": Row(("a",), (1.0,))}))
    assert set(table.full().groups) == {"y"}
    assert table.decide({}, ["a", "b"], NOW).propensity == 0.5


def test_groups_with_the_same_arms_share_them() -> None:
    table = DecisionTable(Random(1))
    table.apply(encode_update(_update(1, (), {"x": {"a": 1.0, "b": 0.0}, "y": {"a": 0.5, "b": 0.5}})))
    rows = table.full().groups
    assert rows["x"].arms is rows["y"].arms


def test_arms_that_no_group_has_any_more_are_forgotten() -> None:
    table = DecisionTable(Random(1))
    for version in range(5000):
        arms = (f"a{version}", "b")
        table.apply(TableUpdate(version + 1, version, None, {"g": Row(arms, (0.5, 0.5))}))
    assert len(table._arms) <= MAX_UNUSED + 3
    assert table.shared(("a4999", "b")) is table.full().groups["g"].arms


def test_slots_are_drawn_with_their_exact_share() -> None:
    table = DecisionTable(Random(3))
    table.apply(_update(1, (), {"": {"a": 0.7, "b": 0.2, "c": 0.1, "d": 0.0}}))
    seen = {made.arm: made.propensity for made in (table.decide({}, [*"abcd"], NOW) for _ in range(300))}
    assert seen == {"a": 0.7, "b": 0.2, "c": 0.1}


def test_whole_sets_are_answered_in_any_order_and_by_list_or_tuple() -> None:
    table = DecisionTable(Random(3))
    table.apply(_update(1, (), {"": {"a": 0.0, "b": 0.0, "c": 1.0}}))
    for arms in (["a", "b", "c"], ("c", "b", "a"), ["b", "c", "a"]):
        made = table.decide({}, arms, NOW)
        assert (made.arm, made.propensity, made.arms) == ("c", 1.0, tuple(arms))


def test_a_prefix_stands_in_the_ids_and_the_rest_is_random() -> None:
    table = DecisionTable(Random(1), prefix="ab12")
    ids = [table.decide({}, ["a"], NOW).decision_id for _ in range(3000)]
    assert len({*ids}) == 3000
    assert all(len(one) == 32 and one.startswith("ab12") for one in ids)
    assert len(DecisionTable(Random(1), prefix="x" * 20).decide({}, ["a"], NOW).decision_id) == 44
    with pytest.raises(ConfigError, match="prefix"):
        DecisionTable(Random(1), prefix="é")


def test_a_forked_child_makes_ids_of_its_own() -> None:
    table = DecisionTable(Random(1))
    table.decide({}, ["a"], NOW)
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os.write(writable, table.decide({}, ["a"], NOW).decision_id.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(readable, 100).decode() != table.decide({}, ["a"], NOW).decision_id
    os.close(readable)
    os.close(writable)


def test_decisions_keep_the_labels_asked_for() -> None:
    table = DecisionTable(Random(1), ("isp",), labels=("city", "isp2"))
    made = table.decide({"isp": "x", "city": "y", "os": "z"}, ["a"], NOW)
    assert (made.group, made.features) == ("x", {"city": "y"})


def test_separators_in_names_of_groups_and_arms_are_harmless() -> None:
    table = DecisionTable(Random(1), ("isp", "city"))
    names = [("a:b", "c"), ("a", "b:c"), ("a;b", ":"), ("\\", ";")]
    rows = {group_of({"isp": isp, "city": city}, ("isp", "city")): f"arm:{at};" for at, (isp, city) in enumerate(names)}
    arms = [*rows.values(), "x:y;z"]
    table.apply(
        encode_update(
            _update(
                1, ("isp", "city"), {group: {one: float(one == arm) for one in arms} for group, arm in rows.items()}
            )
        )
    )
    assert len(rows) == 4
    for (isp, city), arm in zip(names, rows.values(), strict=True):
        assert table.decide({"isp": isp, "city": city}, arms, NOW).arm == arm


def test_a_contextual_row_weighs_each_request_by_its_features() -> None:
    policy = CONTEXTUAL.make("linear")
    for _ in range(300):
        for speed in (0.0, 1.0):
            policy.learn({"speed": speed}, "fast", speed)
            policy.learn({"speed": speed}, "slow", 1.0 - speed)
        policy.tick()
    row = Row((), (), (), msgspec.msgpack.encode(Model("linear", {}, policy.model())))
    table = DecisionTable(Random(1))
    table.apply(encode_update(TableUpdate(1, 0, None, {"": row})))
    for speed, best in ((0.0, "slow"), (1.0, "fast")):
        counts = _drawn(table, ("fast", "slow"), {"speed": speed}, 500)
        assert counts[best] > 400
    assert table.explain("") == {"group": "", "version": 1, "arms": {}, "sets": [], "contextual": True}


@pytest.mark.parametrize(
    "model", [b"x", msgspec.msgpack.encode(Model("nobody", {}, b"")), b"\x93\xa6linear\x80\xc4\x01x"]
)
def test_a_broken_model_is_counted_and_drawn_evenly(model: bytes) -> None:
    table = DecisionTable(Random(1))
    table.apply(TableUpdate(1, 0, None, {"": Row((), (), (), model)}))
    assert table.decide({}, ["a", "b"], NOW).propensity == 0.5
    assert table.policy_errors == 1
    assert table.last_policy_error


def test_explain_says_what_is_drawn_from() -> None:
    table = DecisionTable(Random(1))
    table.apply(_update(4, (), {"x": {"a": 0.75, "b": 0.25}}, {"x": (ArmSet(("b",), (1.0,)),)}))
    assert table.explain("x") == {
        "group": "x",
        "version": 4,
        "arms": {"a": 0.75, "b": 0.25},
        "sets": [{"b": 1.0}],
        "contextual": False,
    }
    assert table.explain("y") is None


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
