"""Rule trees: read from both forms, checked, compiled; swapped while decisions are drawn."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from random import Random
from typing import Any

import pytest

from vagus.config import Config, DecideSettings, decode
from vagus.controllers.decide.features import MAX_GROUP
from vagus.controllers.decide.grouping import (
    MAX_DEPTH,
    MAX_ENTRIES,
    compile_grouping,
    fields_of,
    grouping_of,
    leaves,
    rules_of,
)
from vagus.controllers.decide.records import Grouping, Row, Rule, TableUpdate
from vagus.controllers.decide.table import DecisionTable
from vagus.errors import ConfigError

PUBLISHED = {
    "Field": "4",
    "Table": [
        {
            "Key": "7922",
            "Rule": {
                "Field": "City",
                "Table": [{"Key": "Boston", "Rule": {"GroupName": "g1"}}, {"Key": "New York", "GroupName": "g2"}],
            },
        },
        {"Key": "7018", "Rule": {"GroupName": "g1"}},
    ],
}
OURS = {"field": "4", "values": {7922: {"field": "City", "values": {"Boston": "g1", "New York": "g2"}}, "7018": "g1"}}


def test_both_forms_are_the_same_tree() -> None:
    tree = rules_of(PUBLISHED)
    assert tree == rules_of(OURS) == rules_of(json.loads(json.dumps(PUBLISHED)))
    assert sorted(leaves(tree)) == ["g1", "g1", "g2"]
    assert fields_of(Grouping(rules=tree, fallback="Asn")) == {"4", "City", "Asn"}


def test_a_session_goes_down_the_tree_or_falls_back() -> None:
    group = compile_grouping(Grouping(1, (), rules_of(PUBLISHED), "Asn"))
    assert group({"4": "7922", "City": "Boston"}) == "g1"
    assert group({"4": 7922, "City": "New York"}) == "g2"
    assert group({"4": 7018.0}) == "g1"
    assert group({"4": "7922", "City": "Rome", "Asn": 3320}) == "Asn=3320"
    assert group({"4": "1", "Asn": "a:b\\"}) == "Asn=a\\:b\\\\"
    assert group({}) == "Asn=\\?"
    assert group({"Asn": "\\?"}) == "Asn=\\\\?"
    without = compile_grouping(Grouping(1, (), rules_of(PUBLISHED)))
    assert without({"4": "no"}) == ""


def test_the_nearest_rest_above_takes_what_no_table_has() -> None:
    tree = {"field": "a", "values": {1: {"field": "b", "values": {True: "yes"}}, 2: "two"}, "rest": "others"}
    inner = {
        **tree,
        "values": {
            **tree["values"],
            3: {"field": "b", "values": {"x": "bx"}, "rest": {"field": "c", "values": {1: "c1"}}},
        },
    }
    group = compile_grouping(Grouping(1, (), rules_of(inner), "c"))
    assert group({"a": 1, "b": True}) == group({"a": "1", "b": "true"}) == "yes"
    assert group({"a": 1, "b": False}) == group({"a": 1}) == group({"a": 9}) == group({}) == "others"
    assert group({"a": 3, "b": "x"}) == "bx"
    assert group({"a": 3, "b": "y", "c": 1.0}) == "c1"
    assert group({"a": 3, "b": "y", "c": 2}) == "others"


def test_without_rules_values_name_groups() -> None:
    assert compile_grouping(Grouping())({"a": 1}) == ""
    assert compile_grouping(Grouping(0, ("a",)))({"a": "x:y"}) == "x\\:y"
    assert compile_grouping(Grouping(0, ("a",)))({}) == "\\?"
    assert compile_grouping(Grouping(0, ("a", "b")))({"b": 1.0, "a": True}) == "true:1"
    long = compile_grouping(Grouping(0, ("a",)))({"a": "x" * 500})
    assert len(long) == MAX_GROUP


def _deep(depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"field": "a", "values": {"x": "g"}}
    for _ in range(depth - 1):
        tree = {"field": "a", "values": {"x": tree}}
    return tree


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ([], "rules: a rule is an object with field and values, not an empty one"),
        ({"Field": "4"}, r"rules\.Table: must be a list of Key and Rule, not nothing"),
        ({"Field": "", "Table": [{"Key": "1", "GroupName": "g"}]}, r"rules\.Field: feature name ''"),
        ({"Field": "4", "Table": [{"Key": "1"}]}, r"rules\.Table\[0\]: needs either Rule or GroupName"),
        ({"Field": "4", "Table": [{"Key": "1", "GroupName": "g"}, 7]}, r"rules\.Table\[1\]: must be an object"),
        ({"Field": "4", "Table": [{"Kee": "1", "GroupName": "g"}]}, r"Table\[0\]: unknown key 'Kee'; there are Key"),
        ({"Field": "4", "Table": [{"Key": None, "GroupName": "g"}]}, r"Table\[0\]\.Key: must be a value, not nothing"),
        ({"Field": "4", "Table": [{"Key": "1", "Rule": {"GroupName": ""}}]}, r"Table\[0\]\.Rule: group ''"),
        ({"Field": "4", "Table": [{"Key": 1, "GroupName": "g"}, {"Key": "1", "GroupName": "h"}]}, "twice"),
        ({"GroupName": "g"}, "begins with Field and Table"),
        ({"field": "a", "value": {}}, "unknown key 'value'; there are field, values, rest"),
        ({"field": "a", "values": {}}, r"rules\.values: must be an object of values and their groups, not an empty"),
        (
            {"field": "a", "values": {"x": {"field": "b", "values": {"y": []}}}},
            r"values\['x'\]\.values\['y'\]: must be",
        ),
        ({"field": "a", "values": {1: "g", 1.5: "h", "1": "i"}}, r"values\['1'\]: the value '1' stands there twice"),
        ({"field": "a", "values": {"x" * 501: "g"}}, "501 characters"),
        ({"field": "a" * 201, "values": {"x": "g"}}, r"rules\.field: feature name"),
        ({"field": "a", "values": {"x": "g\n"}}, "printable"),
        ({"field": "a", "values": {"x": "g" * (MAX_GROUP + 1)}}, "1 to 400"),
        ({"field": "a", "values": {"x\ud800": "g"}}, "not valid Unicode"),
        ({"field": "a", "values": {10**5000: "g"}}, "64 bits"),
        (_deep(MAX_DEPTH + 1), f"deeper than {MAX_DEPTH} rules"),
    ],
)
def test_a_wrong_tree_is_told_with_its_place(tree: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        rules_of(tree)


def test_deep_and_wide_trees_have_limits() -> None:
    assert compile_grouping(Grouping(rules=rules_of(_deep(MAX_DEPTH))))({"a": "x"}) == "g"
    wide = Rule("a", dict.fromkeys(map(str, range(MAX_ENTRIES // 4)), "g"))
    many = Rule("b", dict.fromkeys("wxyz", wide))
    with pytest.raises(ConfigError, match="at most 200000 values"):
        compile_grouping(Grouping(rules=many))
    shared: Any = {"field": "a", "values": {"x": "g", "y": "h"}}
    for _ in range(25):  # as YAML's aliases can make it: 2^25 leaves in 26 objects
        shared = {"field": "a", "values": {"x": shared, "y": shared}}
    with pytest.raises(ConfigError, match="at most 200000 values"):
        rules_of(shared)


def test_no_group_is_called_like_the_fallback_makes_them() -> None:
    with pytest.raises(ConfigError, match="called like those that the fallback 'Asn' makes"):
        compile_grouping(Grouping(1, (), Rule("a", {"x": "Asn=1"}), "Asn"))


def test_settings_name_rules_or_their_file(tmp_path: Path) -> None:
    text = "decide:\n  fallback: asn\n  rules: {field: city, values: {Bern: be, 3: three}, rest: others}\n"
    grouping = grouping_of(decode(text.encode(), Config, "x").decide)
    assert grouping == Grouping(0, (), Rule("city", {"Bern": "be", "3": "three"}, "others"), "asn")
    published = tmp_path / "rules.json"
    published.write_text(json.dumps(PUBLISHED))
    assert grouping_of(DecideSettings(rules=str(published))).rules == rules_of(PUBLISHED)
    ours = tmp_path / "rules.yaml"
    ours.write_text("field: city\nvalues:\n  Bern: be\n  on: {field: isp, values: {1: x}}\n")
    assert grouping_of(DecideSettings(rules=str(ours))).rules == Rule(
        "city", {"Bern": "be", "on": Rule("isp", {"1": "x"})}
    )
    assert grouping_of(DecideSettings(group_by=("a",))) == Grouping(0, ("a",))
    asked: list[str] = []
    grouping_of(
        DecideSettings(rules="far.json"), read=lambda path: (asked.append(path), b'{"field":"a","values":{"1":"g"}}')[1]
    )
    assert asked == ["far.json"]


@pytest.mark.parametrize(
    ("settings", "content", "says"),
    [
        (DecideSettings(rules="r.json"), b"{", "r.json: not JSON"),
        (DecideSettings(rules="r.json"), b"[" * 100_000, "r.json: not JSON"),
        (DecideSettings(rules="r.json"), b'{"Field":"a","Table":[{"Key":"1","Rule":{}}]}', r"r.json.Table\[0\].Rule"),
        (DecideSettings(rules="r.yaml"), b"a: [", "r.yaml: not YAML"),
        (DecideSettings(rules="r.yaml"), b"", r"r\.yaml\.field: must be a feature's name, not nothing"),
        (DecideSettings(rules={"field": "a"}), b"", r"decide\.rules\.values: must be"),
        (DecideSettings(fallback="asn"), b"", "decide.fallback: names the group where no rule matches"),
        (DecideSettings(rules="r.json", group_by=("a",)), b"", "one of them"),
    ],
)
def test_wrong_settings_are_told(settings: DecideSettings, content: bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        grouping_of(settings, read=lambda path: content)


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match=r"decide\.rules: cannot read /none/rules\.json: No such file"):
        grouping_of(DecideSettings(rules="/none/rules.json"))


def test_a_grouping_is_swapped_while_decisions_are_drawn() -> None:
    """At no time is there an answer without a group of the old or the new rules, or with a wrong propensity."""
    arms = ("a", "b")
    weights = {"old": (1.0, 0.0), "new": (0.0, 1.0)}
    table = DecisionTable(Random(1), Grouping(1, (), Rule("isp", {"x": "old"}), "isp"))
    made: list[Any] = []
    errors: list[BaseException] = []
    begun, over = threading.Event(), threading.Event()

    def draw() -> None:
        try:
            while not over.is_set():
                made.append(table.decide({"isp": "x"}, arms, 0))
                if len(made) == 1000:
                    begun.set()
        except BaseException as error:
            errors.append(error)
            begun.set()

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        assert begun.wait(60)
        for version in range(1, 200):
            name = ("old", "new")[version % 2]
            grouping = Grouping(version + 1, (), Rule("isp", {"x": name}), "isp")
            row = Row(arms, weights[name])
            table.apply(TableUpdate(version, 0 if version == 1 else version - 1, grouping, {name: row}))
    finally:
        over.set()
        thread.join()
    assert not errors
    assert {one.group for one in made} <= {"old", "new"}
    assert {one.group for one in made} >= {"old"}
    for one in made:
        if one.propensity != 0.5:  # before the first update nothing is known
            assert (one.group, one.arm, one.propensity) in {("old", "a", 1.0), ("new", "b", 1.0)}
