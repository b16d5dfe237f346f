"""CSV, JSON, JSON lines: typed values, descriptors with spans, and nothing lost around what is broken."""

from __future__ import annotations

from typing import Any

import pytest

from vagus.errors import ConfigError, NoData
from vagus.feeds import Data, Descriptor, State
from vagus.feeds.formats.csv import MAX_ROW_LINES, Csv
from vagus.feeds.formats.json import Json
from vagus.feeds.formats.ndjson import NdJson

COLUMNS = {"name": "str", "load": "float", "users": "int?", "up": {"type": "bool"}}
BODY = b'name,load,users,up\nplab1,0.5,3,yes\n"plab, 2",1e1,,no\n'
ROWS = [
    {"name": "plab1", "load": 0.5, "users": 3, "up": True},
    {"name": "plab, 2", "load": 10.0, "users": None, "up": False},
]


def parts(found: Descriptor) -> dict[Any, Any]:
    """Of each broken part its code, or its own broken parts."""
    return {key: parts(part) if part.inside else part.code for key, part in found.inside}


def test_feature_9_csv_with_declared_columns() -> None:
    value, found = Csv(COLUMNS).parse(BODY)
    assert value == ROWS
    assert found == Descriptor(end=len(BODY))


def test_feature_9_csv_header_alone_gives_text() -> None:
    assert Csv().parse(b"a,b\r\n1,\r\n")[0] == [{"a": "1", "b": ""}]
    assert Csv(["b"]).parse(b"a,b\n1,2\n")[0] == [{"b": "2"}]
    assert Csv({"a": "int", "b": "int"}, header=False).parse(b"1,2\n3,4")[0] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert Csv().parse(b"\xef\xbb\xbfa\n1\n")[0] == [{"a": "1"}]


@pytest.mark.parametrize(
    ("options", "body", "rows"),
    [
        ({"delimiter": "\t"}, b"a\tb\n1\t2\n", [{"a": "1", "b": "2"}]),
        ({"delimiter": ";", "quote": "'"}, b"a;b\n'x;y';'it''s'\n", [{"a": "x;y", "b": "it's"}]),
        ({"escape": "\\"}, b'a,b\n"say \\"hi\\"",2\n', [{"a": 'say "hi"', "b": "2"}]),
        ({"quote": ""}, b'a,b\n"1,2"\n', [{"a": '"1', "b": '2"'}]),
        ({"skip_space": True}, b"a, b\n1 ,  2 \n", [{"a": "1", "b": "2"}]),
        ({"comment": "#"}, b"# x\na,b\n\n#1,2\n3,4\n", [{"a": "3", "b": "4"}]),
        ({"encoding": "latin-1"}, b"a\n\xfc\n", [{"a": "ü"}]),
        ({}, b'a,b\n"two\nlines",x\n', [{"a": "two\nlines", "b": "x"}]),
        ({}, b'a,b\n5" disk,x\n', [{"a": '5" disk', "b": "x"}]),
    ],
)
def test_feature_9_csv_dialects(options: dict[str, Any], body: bytes, rows: list[Any]) -> None:
    value, found = Csv(**options).parse(body)
    assert (value, found.errors) == (rows, 0)


def test_feature_10_csv_tells_each_cell_and_keeps_the_rest() -> None:
    body = b"name,load,users,up\nplab1,fast,-,yes\nplab2,1,2\nplab3,1,2,no,9\nplab4,nan,2,no\nplab5,1,2,no\n"
    value, found = Csv(COLUMNS).parse(body)
    assert value == [
        {"name": "plab1", "load": None, "users": None, "up": True},
        {"name": "plab2", "load": 1.0, "users": 2, "up": None},
        {"name": "plab3", "load": 1.0, "users": 2, "up": False},
        {"name": "plab4", "load": None, "users": 2, "up": False},
        {"name": "plab5", "load": 1.0, "users": 2, "up": False},
    ]
    assert (found.state, found.code, found.errors) == (State.PARTIAL, Data.NESTED, 5)
    assert parts(found) == {
        0: {"load": Data.SYNTAX, "users": Data.SYNTAX},
        1: {"up": Data.SYNTAX},
        2: Data.SYNTAX,
        3: {"load": Data.SEMANTIC},
    }
    row = found.part(2)
    assert body[row.start : row.end] == b"plab3,1,2,no,9"
    assert row.note == "5 cells in 4 columns"


def test_feature_10_csv_an_open_quote_takes_no_other_row_along() -> None:
    body = b'a,b\n1,2\n"3,4\n5,6\n7,"8\n9\n' + b"1,2\n" * (2 * MAX_ROW_LINES)
    value, found = Csv({"a": "int", "b": "str"}).parse(body)
    assert value is not None
    assert len(value) == 5 + 2 * MAX_ROW_LINES
    assert value[2] == {"a": 5, "b": "6"}
    assert value[5:] == [{"a": 1, "b": "2"}] * (2 * MAX_ROW_LINES)
    assert set(parts(found)) == {1, 3, 4}


def test_feature_10_csv_spans_count_bytes_not_characters() -> None:
    body = "a,b\nüü,1\nü,x\n".encode()
    found = Csv({"b": "int"}).parse(body)[1].part(1)
    assert body[found.start : found.end].decode() == "ü,x"


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (b"", "there is no header"),
        (b"\n\n", "there is no header"),
        (b"a,a\n1,2\n", "the header names a column twice: 'a'"),
        (b"x,y\n1,2\n", "the header names none of the columns, but x, y"),
    ],
)
def test_feature_10_csv_headers_that_will_not_do(body: bytes, note: str) -> None:
    value, found = Csv({"a": "int"}).parse(body)
    assert value is None
    assert (found.code, found.errors, found.note) == (Data.SYNTAX, 1, note)


def test_feature_10_csv_a_column_that_is_absent_is_told_once() -> None:
    value, found = Csv({"a": "int", "b": "int", "c": "int?"}).parse(b"a\n1\n2\n")
    assert value == [{"a": 1, "b": None, "c": None}, {"a": 2, "b": None, "c": None}]
    assert (found.code, found.errors, found.note) == (Data.SYNTAX, 1, "there is no column 'b'")


def test_feature_9_csv_prints_and_refuses_what_it_cannot() -> None:
    fmt = Csv(COLUMNS)
    assert fmt.parse(fmt.print(ROWS))[0] == ROWS
    assert fmt.parse(fmt.print([]))[0] == []
    for value in ([{**ROWS[0], "load": None}], [{"name": "x"}], [[1]], {"name": "x"}, [{**ROWS[0], "more": 1}]):
        with pytest.raises(NoData):
            fmt.print(value)  # type: ignore[arg-type]
    with pytest.raises(NoData):
        Csv(["a"], encoding="ascii").print([{"a": "ü"}])


@pytest.mark.parametrize(
    "options",
    [
        {"columns": {"a": "number"}},
        {"columns": {"a": {"type": "int", "least": 1}}},
        {"columns": {"a": {"type": "int", "min": "x"}}},
        {"columns": "a,b"},
        {"columns": 5},
        {"header": False},
        {"delimiter": ""},
        {"delimiter": "ab"},
        {"delimiter": "\n"},
        {"quote": "''"},
        {"encoding": "utf-16"},
        {"comment": "\n"},
    ],
)
def test_feature_9_csv_refuses_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Csv(**options)


def test_feature_9_csv_bounds() -> None:
    value, found = Csv({"a": {"type": "int", "min": 0, "max": 9}}).parse(b"a\n5\n10\n")
    assert value == [{"a": 5}, {"a": None}]
    assert parts(found) == {1: {"a": Data.SEMANTIC}}


def test_feature_10_json_tells_where() -> None:
    value, found = Json().parse(b'{"a": [1, }')
    assert value is None
    assert (found.state, found.code, found.start, found.end) == (State.PANIC, Data.SYNTAX, 10, 11)
    value, found = Json().parse(b'{"a": [1, 18446744073709551616]}')
    assert value == {"a": [1, 2.0**64]}
    assert parts(found) == {"a": {1: Data.SEMANTIC}}
    assert (found.start, found.end) == (0, 32)


@pytest.mark.parametrize("value", [{1: 2}, float("nan"), {"a": float("inf")}, b"x", object(), [(1,)], {"a": 2**70}])
def test_feature_9_json_prints_only_what_is_read_back(value: Any) -> None:
    with pytest.raises(NoData):
        Json().print(value)


def test_feature_10_a_broken_line_loses_only_itself() -> None:
    body = b'{"a": 1}\r\n\n{"a": \n18446744073709551616\nnull\n[2]'
    value, found = NdJson().parse(body)
    assert value == [{"a": 1}, None, 2.0**64, None, [2]]
    assert found.errors == 2
    assert parts(found) == {1: Data.SYNTAX, 2: Data.SEMANTIC}
    assert body[found.part(1).start : found.part(1).end] == b'{"a": '
    deep = NdJson(max_depth=2).parse(b"[[1]]\n[[[1]]]\n[]")
    assert deep[0] == [[[1]], None, []]


def test_feature_9_ndjson_prints() -> None:
    value = [{"a": 1}, [1.5, None], "x\ny"]
    assert NdJson().print(value) == b'{"a":1}\n[1.5,null]\n"x\\ny"\n'
    assert NdJson().parse(NdJson().print(value))[0] == value
    for wrong in ({"a": 1}, [float("nan")]):
        with pytest.raises(NoData):
            NdJson().print(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        NdJson(max_depth=0)
