"""The way that is explained leads where the request path leads, whatever the rules and features."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.controllers.decide.grouping import compile_grouping
from vagus.controllers.decide.records import Grouping, Rule
from vagus.controllers.decide.way import way

FIELDS, VALUES = st.sampled_from("abc"), st.sampled_from(["1", "2", "true", "x:y"])
GROUPS = st.sampled_from(["g1", "g2", "g3"])
RULES = st.recursive(
    st.builds(Rule, FIELDS, st.dictionaries(VALUES, GROUPS, min_size=1, max_size=3), st.none() | GROUPS),
    lambda inner: st.builds(
        Rule, FIELDS, st.dictionaries(VALUES, GROUPS | inner, min_size=1, max_size=3), st.none() | GROUPS | inner
    ),
    max_leaves=6,
)
FEATURES = st.dictionaries(FIELDS, st.sampled_from(["1", "2", "x:y", 1, 2.0, True]), max_size=3)


@settings(deadline=None, max_examples=100)
@given(RULES, st.sampled_from(["", "asn"]), FEATURES)
def test_the_last_step_says_how_it_ended(
    rules: Rule, fallback: str, features: dict[str, str | int | float | bool]
) -> None:
    grouping = Grouping(1, (), rules, fallback)
    group, steps = way(grouping, features)
    assert group == compile_grouping(grouping)(features)
    assert steps[0].startswith(f"{rules.field}=")
    fell = group not in ("g1", "g2", "g3")
    assert fell == (steps[-1].endswith((": fallback", ": no rule")))
    assert fell == (not group or group.startswith("asn="))


@settings(deadline=None, max_examples=50)
@given(st.lists(FIELDS, unique=True, max_size=3), FEATURES)
def test_without_rules_each_feature_is_a_step(
    group_by: list[str], features: dict[str, str | int | float | bool]
) -> None:
    group, steps = way(Grouping(0, tuple(group_by)), features)
    assert [step.partition("=")[0] for step in steps] == group_by
    assert bool(group) == bool(group_by)
