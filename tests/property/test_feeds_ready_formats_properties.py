"""Printing is the inverse of parsing, for values that hypothesis makes of each ready format."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.errors import NoData
from vagus.feeds import FORMATS
from vagus.feeds.formats.comon import CoMon
from vagus.feeds.formats.comon_slices import Slice, SliceDump
from vagus.feeds.formats.csv import Csv
from vagus.feeds.formats.hosts import Comment
from vagus.feeds.formats.hosts import Data as Host
from vagus.feeds.formats.openmetrics import Exemplar, Metric, MetricSample
from vagus.feeds.formats.ping import Ping, Reply
from vagus.feeds.formats.syslog import SyslogLine
from vagus.feeds.formats.uptime import UptimeLine
from vagus.feeds.formats.weblog import CombinedLog, Request

examples = settings(deadline=None, max_examples=30)

word = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
line = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)  # what can stand in a line of text
real = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(0, 10**9)
ms = st.integers(0, 10**9).map(lambda n: n / 1000)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def check(name: str, value: Any) -> bytes:
    fmt = FORMATS.make(name)
    body = fmt.print(value)
    again, found = fmt.parse(body)
    assert (again, found.errors) == (value, 0)
    return body


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | real | line,
    lambda one: st.lists(one, max_size=3) | st.dictionaries(line, one, max_size=3),
    max_leaves=8,
)


@examples
@given(st.lists(json_values, max_size=5))
def test_feature_9_json_and_ndjson(values: list[Any]) -> None:
    check("json", values)
    check("ndjson", values)


cells = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
rows = st.lists(
    st.fixed_dictionaries({"a": st.integers(-(2**63), 2**64 - 1), "b": optional(real), "c": cells, "d": st.booleans()}),
    max_size=5,
)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"delimiter": ";"},
        {"escape": "\\"},
        {"header": False},
        {"quote": "'"},
        {"comment": "#"},
        {"delimiter": "\t"},
    ],
    ids=str,
)
@examples
@given(rows)
def test_feature_9_csv(options: dict[str, Any], value: list[Any]) -> None:
    fmt = Csv({"a": "int", "b": "float?", "c": "str", "d": "bool"}, **options)
    try:
        body = fmt.print(value)
    except NoData:
        assert any(char in row["c"] for row in value for char in "\r\n\0")  # csv cannot hold every line end everywhere
        return
    again, found = fmt.parse(body)
    assert (again, found.errors) == (value, 0)


labels = st.dictionaries(word, line | st.just('"\\\n'), max_size=3)
metrics = st.lists(
    st.builds(
        lambda name, kind, text, samples: Metric(
            name, kind, text.strip(), "", [MetricSample(name, *sample) for sample in samples]
        ),
        word,
        st.sampled_from(("gauge", "unknown", "counter")),
        line,
        st.lists(
            st.tuples(
                labels, optional(real), optional(real), optional(st.builds(Exemplar, labels, real, optional(real)))
            ),
            max_size=3,
        ),
    ),
    max_size=3,
    unique_by=lambda metric: metric.name,
)


@examples
@given(metrics)
def test_feature_9_openmetrics(value: list[Metric]) -> None:
    check("openmetrics", value)


replies = st.lists(
    st.builds(Reply, st.integers(0, 65535), count, optional(st.integers(0, 255)), optional(ms)), max_size=4
)


@examples
@given(word, word, count, st.integers(1, 1000), st.data(), replies, optional(count))
def test_feature_16_ping(
    host: str, address: str, size: int, sent: int, data: st.DataObject, replies: list[Reply], time_ms: int | None
) -> None:
    received = data.draw(st.integers(0, sent))
    timed = received > 0 and any(reply.time_ms is not None for reply in replies)
    rtt = data.draw(st.tuples(ms, ms, ms, optional(ms))) if timed else (None,) * 4
    loss = max(0.0, 1 - received / sent)
    errors, duplicates = data.draw(count), data.draw(count)
    value = Ping(host, address, size, sent, received, loss, duplicates, errors, *rtt, time_ms, replies)
    check("ping", value)


@examples
@given(
    st.integers(0, 10**6),
    optional(st.integers(0, 10**9 - 1)),
    st.tuples(*[st.integers(0, 10**8).map(lambda n: n / 100)] * 3),
)
def test_feature_16_uptime(minutes: int, users: int | None, loads: tuple[float, ...]) -> None:
    check("uptime", UptimeLine("01:02:03", minutes * 60.0, users, *loads))


numbers = st.integers(-(2**63), 2**63 - 1)


@examples
@given(st.data())
def test_feature_14_comon(data: st.DataObject) -> None:
    numbers_of = st.lists(numbers, min_size=1, max_size=16)
    singles = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=3)
    parts = (real, numbers_of, numbers_of, singles, numbers, optional(word), *[optional(real)] * 9, optional(numbers))
    check("comon", CoMon(*(data.draw(part) for part in parts)))


slices = st.builds(
    Slice,
    *[count] * 6,
    *[ms] * 4,
    *[count] * 2,
    word,
)


@examples
@given(
    st.lists(st.builds(SliceDump, count, word, word, optional(st.lists(slices, min_size=1, max_size=4))), max_size=4)
)
def test_feature_15_comon_slices(value: list[SliceDump]) -> None:
    check("comon_slices", value)


@examples
@given(st.lists(st.builds(Host, word) | st.builds(Comment, line), max_size=6))
def test_feature_9_hosts(value: list[Any]) -> None:
    check("hosts", value)


moments = st.sampled_from(
    [("2003-10-11T22:14:15.003Z", 1065910455.003), ("2003-08-24T05:14:15.000003-07:00", 1061727255.000003)]
)
sd = st.dictionaries(word, st.dictionaries(word, line, max_size=2), max_size=2)
new_lines = st.builds(
    lambda moment, *rest: SyslogLine(1, 4, 2, *moment, *rest),
    moments, optional(word), optional(word), optional(word), optional(word), sd, line.map(str.strip),
)  # fmt: skip
old_lines = st.builds(
    lambda facility, severity, host, app, pid, text: SyslogLine(
        0, facility, severity, "Oct  1 22:14:15", None, host, app, pid, None, {}, text
    ),
    st.integers(0, 23), st.integers(0, 7), word, word, optional(word), line.map(str.strip),
)  # fmt: skip


@examples
@given(st.lists(new_lines | old_lines, max_size=4))
def test_feature_9_syslog(value: list[SyslogLine]) -> None:
    if any("\ufeff" in one.message[:1] for one in value):
        return
    check("syslog", value)


quoted = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='"\\'), max_size=12)
agents = optional(quoted.filter(lambda text: text not in ("-", "")))
requests = st.builds(Request, st.sampled_from(("GET", "POST")), word, st.just("HTTP/1.1")) | quoted.filter(
    lambda text: " HTTP/" not in text
)


@examples
@given(
    st.lists(
        st.builds(
            CombinedLog, word, st.none(), optional(word), st.integers(0, 2**32).map(float), requests,
            st.integers(0, 999), optional(count), agents, agents,
        ),
        max_size=4,
    )
)  # fmt: skip
def test_feature_9_combined_log(value: list[CombinedLog]) -> None:
    check("combined_log", value)
