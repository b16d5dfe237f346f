"""Expressions: compiled ones equal an evaluator of the tree that was written separately; no text breaks the compiler."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.errors import ConfigError
from vagus.feeds.expression import compile_expression

FAST = settings(max_examples=40, deadline=None)


class Rec(msgspec.Struct):
    a: Any = None
    b: Any = None


names = st.sampled_from(["a", "b", "5minload", "no"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), 1 << 64),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["a", "ab", ""]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names, inner, max_size=3)
        | st.builds(Rec, inner, inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)

# a tree is a tuple; its text has parentheses everywhere, so that the evaluator below needs no grammar
leaves = st.one_of(
    st.tuples(st.just("number"), st.integers(0, 5) | st.floats(0, 1e6).filter(lambda x: "e" not in repr(x))),
    st.tuples(st.just("text"), st.sampled_from(["", "a", "ab", "it's", 'q"\\'])),
    st.tuples(st.just("word"), st.sampled_from(["true", "false", "null"])),
    st.tuples(st.just("path"), st.lists(names | st.integers(-2, 2), max_size=3).map(tuple)),
)
BINARY = ["<", "<=", ">", ">=", "==", "!=", "+", "-", "*", "/", "%", "&&", "||"]
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(BINARY), inner, inner),
        st.tuples(st.sampled_from(["!", "neg"]), inner),
        st.tuples(st.sampled_from(["=~", "!~"]), inner, st.sampled_from(["a", "a.*", "[^b]*", ""])),
    ),
    max_leaves=12,
)


def text_of(tree: Any) -> str:
    kind = tree[0]
    if kind == "number":
        return repr(tree[1])
    if kind == "text":
        return "'" + tree[1].replace("\\", "\\\\").replace("'", "\\'") + "'"
    if kind == "word":
        return str(tree[1])
    if kind == "path":
        return "$" + "".join(f".{key}" if isinstance(key, str) else f"[{key}]" for key in tree[1])
    if kind in ("!", "neg"):
        return f"{'!' if kind == '!' else '-'}({text_of(tree[1])})"
    if kind in ("=~", "!~"):
        return f"(({text_of(tree[1])}) {kind} '{tree[2]}')"
    return f"(({text_of(tree[1])}) {kind} ({text_of(tree[2])}))"


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not missing(value)


def slow(tree: Any, value: Any) -> Any:
    kind = tree[0]
    if kind in ("number", "text"):
        return tree[1]
    if kind == "word":
        return {"true": True, "false": False, "null": None}[tree[1]]
    if kind == "path":
        for key in tree[1]:
            if isinstance(value, Rec):
                value = msgspec.structs.asdict(value)
            if not isinstance(value, dict if isinstance(key, str) else (list, tuple)):
                return None
            try:
                value = value[key]
            except LookupError:
                return None
        return value
    left = slow(tree[1], value)
    if kind == "!":
        return not true(left)
    if kind == "neg":
        return -left if number(left) else None
    if kind in ("=~", "!~"):
        return isinstance(left, str) and (re.fullmatch(tree[2], left) is not None) is (kind == "=~")
    right = slow(tree[2], value)
    if kind == "&&":
        return true(left) and true(right)
    if kind == "||":
        return true(left) or true(right)
    if kind in ("+", "-", "*", "/", "%"):
        return arithmetic(kind, left, right)
    if kind in ("==", "!=") and ("word", "null") in (tree[1], tree[2]):
        other = right if tree[1] == ("word", "null") else left
        return missing(other) is (kind == "==")
    if not (number(left) and number(right)) and not (isinstance(left, str) and isinstance(right, str)):
        return False
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right, "==": left == right}.get(
        kind, left != right
    )


def true(value: Any) -> bool:
    return bool(value) and not missing(value) if not isinstance(value, Rec) else True


def arithmetic(kind: str, left: Any, right: Any) -> Any:
    if not number(left) or not number(right):
        return None
    try:
        found = {
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "/": lambda: left / right,
            "%": lambda: left % right,
        }[kind]()
    except ArithmeticError:
        return None
    return found if isinstance(found, int) or math.isfinite(found) else None


@FAST
@given(trees, values)
def test_feature_15_compiled_equals_the_slow_evaluator(tree: Any, value: Any) -> None:
    compiled = compile_expression(text_of(tree))
    found, wanted = compiled.evaluate(value), slow(tree, value)
    assert repr(found) == repr(wanted)
    assert compiled.test(value) is true(wanted)


@FAST
@given(st.text(max_size=60) | st.text("ab5m$.[]()<>=!&|~+-*/%'\"` \\0", max_size=60), values)
def test_feature_15_no_text_raises_but_a_config_error(text: str, value: Any) -> None:
    try:
        compiled = compile_expression(text)
    except ConfigError as error:
        said = str(error)
    else:
        said = str(compiled.test(value))
    assert all(part.isprintable() for part in said.split("\n"))
