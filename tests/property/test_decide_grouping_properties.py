"""Groups of a rule tree: as a slow reading of the rules says, and two sessions share a name only if the tree says so."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.controllers.decide.features import MAX_GROUP
from vagus.controllers.decide.grouping import compile_grouping, leaves
from vagus.controllers.decide.records import Grouping, Rule
from vagus.model import Scalar

FIELDS = ("a", "b", "fb")
TEXTS = st.sampled_from(["x", "y", ":", "\\", "\\?", "x:y", "1", "true", "z" * 450])
SCALARS = st.one_of(TEXTS, st.sampled_from([1, 1.0, True, 2.5, -0.0]))
FEATURES = st.dictionaries(st.sampled_from(FIELDS), SCALARS)
GROUPS = st.sampled_from(["g", "h", "a=x", "fb", "fb:x", "x:y"])
RULES = st.recursive(
    GROUPS,
    lambda below: st.builds(
        Rule, st.sampled_from(FIELDS), st.dictionaries(TEXTS, below, min_size=1, max_size=4), st.none() | below
    ),
    max_leaves=12,
).filter(lambda made: isinstance(made, Rule))


def text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def read(tree: Rule | str, features: Mapping[str, Scalar], above: tuple[Rule | str, ...] = ()) -> str | None:
    """The group by the rules' words; above: the rests met on the way, the nearest last. None: no rule matches."""
    if isinstance(tree, str):
        return tree
    inner = above if tree.rest is None else (*above, tree.rest)
    if tree.field in features and text(features[tree.field]) in tree.table:
        return read(tree.table[text(features[tree.field])], features, inner)
    return read(inner[-1], features, inner[:-1]) if inner else None


@settings(deadline=None, max_examples=100)
@given(RULES, FEATURES, FEATURES)
def test_names_are_the_trees_or_the_fallbacks_and_no_others(
    rule: Rule, one: dict[str, Scalar], two: dict[str, Scalar]
) -> None:
    grouping = Grouping(1, (), rule, "fb")
    group = compile_grouping(grouping)
    names = set(leaves(rule))
    for features in (one, two):
        name = group(features)
        expected = read(rule, features)
        assert name == expected if expected is not None else name.startswith("fb=")
        assert len(name) <= MAX_GROUP
        assert name in names or name.startswith("fb=")
    if group(one) == group(two) and group(one) not in names:
        assert ("fb" in one) == ("fb" in two)
        assert "fb" not in one or text(one["fb"]) == text(two["fb"])
