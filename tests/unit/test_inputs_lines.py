"""NetLogger's two forms: the examples of their documents, types, what is wrong with a line, durations of actions."""

import pytest

from vagus.errors import ConfigError
from vagus.inputs.lines import MAX_ACTIONS, Actions, Splitter, read_at, read_line
from vagus.model import Level
from vagus.netlogger import MAX_LINE_BYTES, MAX_PAIRS, write_cedps, write_ulm

ULM = b"DATE=20020329210355.443568 HOST=10.1.1.10 PROG=nliperf NL.EVNT=SlowStart ID=2746 DST=10.1.1.11 VAL=2 DELTA=3"
CEDPS = (
    b"ts=2006-12-08T18:48:27.598448Z event=org.globus.gridFTP.end prog=GridFTP-4.0.2 host=134.79.23.1 "
    b'guid=BF13-8A5F level=Info status=-2 msg="no such file" file=/tmp/a size=12345678901 rate=1.5e6 ok=false'
)


def test_the_seeds_ulm_line():
    event = read_line(ULM)
    assert (event.t_ns, event.node, event.source, event.event) == (
        1017435835_443568000,
        "10.1.1.10",
        "nliperf",
        "SlowStart",
    )
    assert event.fields == {"ID": 2746, "DST": "10.1.1.11", "VAL": 2, "DELTA": 3}
    assert write_ulm(event) == ULM.decode().replace(" NL.EVNT", " LVL=Usage NL.EVNT")


def test_a_cedps_line_whose_end_failed():
    event = read_line(CEDPS)
    assert (event.level, event.source, event.node) == (Level.ERROR, "GridFTP-4.0.2", "134.79.23.1")
    assert event.fields == {
        "guid": "BF13-8A5F",
        "status": -2,
        "msg": "no such file",
        "file": "/tmp/a",
        "size": 12345678901,
        "rate": 1.5e6,
        "ok": False,
    }
    assert read_line(write_cedps(event).encode()) == event


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("7", 7), ("-7", -7), ("0", 0), ("18446744073709551615", 2**64 - 1), ("18446744073709551616", None)),
        *(("007", None), ("+1", None), ("-0", None), ("1_0", None), ("0x10", None), ("٣", None), ("1.5.2", None)),
        *(("2.", 2.0), (".5", 0.5), ("1e3", 1000.0), ("-1E-3", -0.001), ("inf", float("inf")), ("infra", None)),
        *(("true", True), ("True", None), ('"7"', "7"), ('"a \\"b\\" \\\\ \\n"', 'a "b" \\ \n'), ("", "")),
    ],
)
def test_the_text_of_a_value_says_its_type(text, value):
    found = read_line(f"ts=2006-12-08T18:48:27Z event=x v={text} w=1".encode()).fields["v"]
    assert found == (text if value is None else value)
    assert type(found) is type(text if value is None else value)


@pytest.mark.parametrize(
    ("ts", "t_ns"),
    [
        *(("1970-01-01T00:00:00Z", 0), ("1970-01-01t00:00:01.5z", 1_500_000_000), ("1970-01-01T00:00:00", 0)),
        *(("1970-01-01T02:00:00+01:30", 1800 * 10**9), ("1970-01-01T00:00:00-0100", 3600 * 10**9)),
        *(("1165604907.598", 1165604907_598000000), ("1998-12-31T23:59:60Z", 915148800 * 10**9)),
    ],
)
def test_times(ts, t_ns):
    assert read_line(f"ts={ts} event=x".encode()).t_ns == t_ns


def test_unknown_levels_are_kept_and_lines_without_a_name_take_the_programs():
    event = read_line(b"DATE=20020329210355 HOST=h PROG=p LVL=Odd")
    assert (event.event, event.level, event.fields) == ("p", Level.INFO, {"LVL": "Odd"})
    assert read_line(b"ts=1970-01-01T00:00:00Z event=x level=WARN").level is Level.WARNING


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "needs DATE="),
        (b"hello world", "column 1: expected name=value, got 'hello world'"),
        (b"DATE=20020329210355 HOST=h", "needs PROG="),
        (b"ts=2006-12-08T18:48:27Z", "needs event="),
        (b"DATE=2002 HOST=h PROG=p", "not YYYYMMDDhhmmss"),
        (b"DATE=20021329210355 HOST=h PROG=p", "is not a time: month"),
        (b"ts=yesterday event=x", "not ISO 8601"),
        (b"ts=1969-12-31T23:59:59Z event=x", "1970"),
        (b"ts=2006-12-08T18:48:27Z event=x a=1 a=2", "'a' is given twice"),
        (b'ts=2006-12-08T18:48:27Z event=x a="open', "column 33"),
        (b'ts=2006-12-08T18:48:27Z event=x a="b"c', "column 33"),
        (b"x" * (MAX_LINE_BYTES + 1), "at most"),
        (b" ".join(b"a%d=1" % i for i in range(MAX_PAIRS + 1)), "more than"),
    ],
)
def test_what_is_wrong_with_a_line(line, message):
    with pytest.raises(ConfigError, match=message):
        read_line(line)


def test_what_cannot_be_written():
    event = read_line(ULM)
    for name in ("a b", "HOST", ""):
        event.fields[name] = 1
        with pytest.raises(ConfigError):
            write_ulm(event)
        del event.fields[name]


def test_lines_of_a_stream():
    splitter = Splitter(10)
    assert splitter.feed(b"one\r\ntw") == [b"one"]
    assert splitter.feed(b"o\n\n0123456789\r\nx") == [b"two", b"0123456789"]
    assert splitter.feed(b"x" * 20) == []
    assert splitter.feed(b"xx\nend") == []
    assert splitter.oversize == 1
    assert splitter.end() == [b"end"]


def test_the_end_of_an_action_gets_its_duration():
    actions = Actions()

    def line(second, name, guid="g", more=""):
        text = f"ts=2006-12-08T18:48:{second:02d}Z event={name} guid={guid} {more}"
        return read_at(text.encode(), "n1", actions)

    line(1, "a.start")
    line(2, "b.start")
    assert line(4, "a.end").fields["duration_s"] == 3.0
    assert "duration_s" not in line(5, "a.end").fields
    assert line(6, "b.end", more="duration_s=1.5").fields["duration_s"] == 1.5
    line(1, "old.start")
    for i in range(MAX_ACTIONS):
        line(2, "new.start", f"g{i}x")
    assert "duration_s" not in line(3, "old.end").fields


def test_the_host_of_a_line_is_a_field_and_the_node_is_ours():
    event = read_at(ULM, "n1", Actions())
    assert (event.node, event.fields["host"]) == ("n1", "10.1.1.10")
