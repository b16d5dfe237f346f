"""CoMon's select expressions: what they mean, and what is said of a wrong one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vagus.errors import ConfigError
from vagus.feeds import Meta, Net, Shape
from vagus.feeds.expression import compile_expression
from vagus.feeds.expression_grammar import compiled_pattern

TALK = "resptime>0 && (drift>1m || sshstatus>2h)==0"
PLANETLAB = "(resptime > 0 && 1minload < 5 && liveslices <= 5) && ((drift > 1m || (dns1udp > 80 && dns2udp > 80) || gbfree < 5 || sshstatus > 2h) == 0)"
GOOD = {"resptime": 0.2, "drift": 3, "sshstatus": 60, "1minload": 2.5, "liveslices": 5, "dns1udp": 90, "gbfree": 20}


class Line(msgspec.Struct):
    host: str
    load: list[float]
    rwfs: int | None = None


def run(text: str, value: Any = None) -> Any:
    return compile_expression(text).evaluate(value)


@pytest.mark.parametrize(
    ("changed", "selected"),
    [
        ({}, True),
        ({"resptime": 0}, False),
        ({"drift": 61}, False),
        ({"drift": 60}, True),
        ({"sshstatus": 7201}, False),
        ({"resptime": None}, False),
        ({"drift": None}, True),  # missing is not above
        ({"sshstatus": "never"}, True),
    ],
)
def test_feature_15_the_talks_query(changed: dict[str, Any], selected: bool) -> None:
    assert compile_expression(TALK).test({**GOOD, **changed}) is selected


def test_feature_15_a_query_that_planetlab_used() -> None:
    query = compile_expression(PLANETLAB)
    assert query.test(GOOD)  # dns2udp is missing
    assert not query.test({**GOOD, "dns2udp": 81})
    assert not query.test({**GOOD, "1minload": 5})
    assert query.names == {*GOOD, "dns2udp"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5m", 300),
        ("2h", 7200),
        ("1.5d", 129600),
        ("250ms", 0.25),
        ("1w", 604800),
        ("5K", 5120),
        ("3M", 3 << 20),
        ("1G", 1 << 30),
        ("1T", 1 << 40),
        ("1e3", 1000),
        ("-2h", -7200),
        ("1+2*3", 7),
        ("(1+2)*3", 9),
        ("7-2-1", 4),
        ("8/4/2", 1),
        ("7%4", 3),
        ("1 < 2 == 1", True),
        ("3 > 2 > 1", False),  # as in C: (3 > 2) > 1
        ("1 == 2 < 3", True),
        ("0 && 0 || 1", True),
        ("1 || 0 && 0", True),
        ("!1 == 0", True),
        ("!(1 == 0)", True),
        ("- - 3", 3),
        ("true + true", 2),
        ("'a' < \"b\"", True),
        ("'it\\'s'", "it's"),
        ("'a' == 'a'", True),
        ("'a' == 1", False),
        ("'a' != 1", False),
        ("1 / 0", None),
        ("1 % 0", None),
        ("1e300 * 1e300", None),
        ("9999999999999999999 " + "* 9999999999999999999 " * 20, None),  # whole numbers do not grow without end
        ("'a' + 'b'", None),
        ("-'a'", None),
        ("null", None),
        ("null == null", True),
        ("null != null", False),
        ("1 != null", True),
        ("null < 1", False),
        ("'planet1.example' =~ 'planet.*'", True),
        ("'a planet' =~ 'planet.*'", False),
        ("'a planet' !~ 'planet.*'", True),
        ("1 =~ '1'", False),
        ("1 !~ '2'", False),
    ],
)
def test_feature_15_operators_and_units(text: str, value: Any) -> None:
    found = run(text)
    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)


def test_feature_15_names_and_paths() -> None:
    value = {
        "5minload": 1.5,
        "5m": 7,
        "a": {"b": [10, {"c": "x"}]},
        "live-slices": 3,
        "true": "yes",
        "meta": {"location": "own"},
        "line": Line("h", [0.1, 0.2]),
        "": 9,
    }
    assert run("5minload", value) == 1.5
    assert run("`5m`", value) == 7
    assert run("a.b[0]", value) == 10
    assert run("a.b[-1].c", value) == "x"
    assert run("a['b'][1]['c']", value) == "x"
    assert run("`live-slices` + 1", value) == 4
    assert run("`true`", value) == "yes"
    assert run("`meta`.location", value) == "own"
    assert run("line.load[1]", value) == 0.2
    assert run("$['']", value) == 9
    assert run("$", value) is value
    assert run("$[1] > 1", (1, 2)) is True
    assert run("$ =~ 'h.*'", "host") is True


@pytest.mark.parametrize(
    "path",
    ["x", "a.x", "a[0]", "a.b[2]", "a.b[-3]", "a.b.c", "$[0]", "a['x']", "a.__class__", "line.__class__", "line.nope"],
)
def test_feature_15_what_is_not_there_is_null_and_compares_as_false(path: str) -> None:
    value = {"a": {"b": [1, 2]}, "line": Line("h", [])}
    for comparison in ("< 1", "<= 1", "> 1", ">= 1", "== 1", "!= 1", "=~ '.*'", "!~ '.*'", f"== {path}", "== ''"):
        assert run(f"{path} {comparison}", value) is False, comparison
        assert run(f"!({path} {comparison})", value) is True
    assert run(path, value) is None
    assert run(f"{path} == null", value) is True
    assert run(f"{path} + 1", value) is None
    assert compile_expression(path).test(value) is False


@pytest.mark.parametrize(
    ("value", "true"),
    [(0, 0), (0.0, 0), ("", 0), ([], 0), ({}, 0), (None, 0), (float("nan"), 0), (False, 0), (2, 1), ("0", 1), ([0], 1)],
)
def test_feature_15_what_counts_as_true(value: Any, true: int) -> None:
    assert compile_expression("$").test(value) is bool(true)
    assert run("!$", value) is not bool(true)
    assert run("$ && 1", value) is bool(true)
    assert run("0 || $", value) is bool(true)


def test_feature_15_nan_is_missing() -> None:
    nan = float("nan")
    for text in ("$ < 1", "$ >= 1", "$ == $", "$ != 1", "$ != null"):
        assert run(text, nan) is False, text
    assert run("$ == null", nan) is True
    assert run("-$", nan) is None


def test_feature_15_meta_is_asked_by_its_own_name() -> None:
    meta = Meta("comon", "http://a:3121", 5, 6, Net.TIMEOUT)
    assert compile_expression("meta.location =~ '.*:3121' && meta.net == 'timeout'").test(None, meta)
    assert not compile_expression("meta.location == ''").test({"location": ""})
    assert compile_expression("meta.location").names == frozenset()


def test_feature_15_a_shape_tells_which_names_are_unknown() -> None:
    record = Shape(
        "record", "Line", (("host", Shape("string")), ("load", Shape("list", parts=(("", Shape("float")),))))
    )
    other = Shape("record", "Other", (("error", Shape("string")),))
    query = compile_expression("host == 'a' && laod > 1 && meta.net == 'ok'")
    assert query.unknown(record) == ("laod",)
    assert query.unknown(Shape("union", parts=(("Line", record), ("Other", other)))) == ("laod",)
    assert compile_expression("error == 'x'").unknown(Shape("union", parts=(("L", record), ("O", other)))) == ()
    assert query.unknown(Shape("any")) == ()
    assert query.unknown(Shape("optional", parts=(("", record),))) == ("laod",)


@pytest.mark.parametrize(
    ("text", "why", "column"),
    [
        ("", "expected a name", 1),
        ("load >", "expected a name", 7),
        ("[0] > 1", "the value itself is $", 1),
        ("load = 5", "write ==", 6),
        ("a & b", "write &&", 3),
        ("a | b", "write ||", 3),
        ("a ~ 'x'", "no meaning", 3),
        ("(a", "expected )", 3),
        ("a)", "expected an operator or the end", 2),
        ("a b", "expected an operator or the end", 3),
        ("a =~ b", "in quotes", 6),
        ("a =~ '('", "RE2", 6),
        ("'x", "not closed", 1),
        ("a.", "after the dot", 3),
        ("a[b]", "index", 3),
        ("a[1m]", "index", 3),
        ("a[1.5]", "index", 3),
        ("a['x'", "expected ]", 6),
        ("1" * 41, "40 digits", 1),
        ("1e301", "too large", 1),
        ("a" + ".b" * 17, "16 steps", 34),
        ("(" * 40 + "a" + ")" * 40, "in each other", 32),
        ("1" + "+1" * 40, "in each other", 64),
        ("é > 1", "no meaning", 1),
        ("a\n> \x1b", "no meaning", 5),
    ],
)
def test_feature_15_a_mistake_is_shown_where_it_is(text: str, why: str, column: int) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_expression(text)
    said = str(caught.value)
    assert why in said
    assert f"at character {column}\n" in said
    _, line, caret = said.split("\n")
    at = caret.index("^")
    if column > 1:
        assert line[at - 1] == text[column - 2].replace("\n", " ")
    assert all(part.isprintable() for part in said.split("\n"))


def test_feature_15_what_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 2000"):
        compile_expression("a||" * 700 + "a")
    assert compile_expression("a||" * 600 + "b").test({"b": 1})
    with pytest.raises(ConfigError, match="a text, got int"):
        compile_expression(5)  # type: ignore[arg-type]


def test_feature_15_a_regular_expression_takes_linear_time() -> None:
    assert compile_expression("$ =~ '(a*)*b'").test("a" * 200_000) is False
    assert compile_expression("$ =~ '.*'").test("\ud800") is False


def test_feature_15_groups_of_a_regular_expression_are_not_kept() -> None:
    """What they hold costs seconds: 300 groups on a text of 100,000 characters took five, and takes half a millisecond."""
    assert compiled_pattern("(a*)*" * 300).groups == 0
    assert compile_expression(f"a =~ '{'(a*)*' * 300}'").test({"a": "a" * 100_000})
