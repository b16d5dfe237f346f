"""What log filters share: times, filter files, ensemble files, the journal's forms, what is news."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.health.ensemble import Ensemble
from vagus.health.filter_journald import JournaldFilter
from vagus.health.filter_kernel import KernelFilter
from vagus.health.filter_tree import FilterTree
from vagus.health.filter_zookeeper import ZooKeeperFilter
from vagus.health.log_time import LogTimes, zone_of
from vagus.health.log_window import LogWindow
from vagus.model import Metric, Report, Status

NOW = 1_700_000_000_000_000_000
CANNOT = (
    "2017-05-26 17:26:04,937 [myid:0] - WARN  [WorkerSender[myid=0]:QuorumCnxManager@382] - "
    "Cannot open channel to 1 at election address pano1/10.0.0.5:3888"
)


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6) * 1000


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_defect_log_times_were_taken_as_utc_now_of_the_machine_or_of_the_zone_told(new_york: None) -> None:
    """Panorama's defect: log times are taken as UTC."""
    for zone in (None, ZoneInfo("America/New_York"), timezone(timedelta(hours=-4))):
        report = ZooKeeperFilter(zone=zone).read(CANNOT, "z.out", NOW)
        assert report == Report(
            "peer@0", "peer@1", 1_495_833_964_937_000_000, {"WorkerSender": Metric(Status.MAYBE_UNHEALTHY, 40)}
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2017-05-26 17:26:04,937", "2017-05-26T17:26:04.937+02:00"),
        ("2024-05-01T10:00:00.123456+00:00", "2024-05-01T10:00:00.123456+00:00"),
        ("2024-05-01T10:00:00Z", "2024-05-01T10:00:00+00:00"),
        ("2024-05-01T10:00:00-0530", "2024-05-01T10:00:00-05:30"),
        ("16/03/30 08:33:32", "2016-03-30T08:33:32+02:00"),
        ("081109 203615", "2008-11-09T20:36:15+01:00"),
        ("Wed Dec 19 03:36:07 2018", "2018-12-19T03:36:07+01:00"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59+00:00"),
    ],
)
def test_times_of_all_forms(text: str, expected: str) -> None:
    assert LogTimes(ZoneInfo("Europe/Zurich")).parse(text, "p", NOW) == ns(expected)


@pytest.mark.parametrize("text", ["", "soon", "2017-13-39 10:00:00,000", "Foo 31 10:00:00", "Feb 30 10:00:00"])
def test_what_is_no_time_is_when_it_was_read(text: str) -> None:
    assert LogTimes(timezone.utc).parse(text, "p", NOW) == NOW


@pytest.mark.parametrize(
    ("text", "read", "expected"),
    [
        ("Dec 31 23:59:58", "2026-01-01T00:00:03", "2025-12-31T23:59:58"),
        ("Dec 31 23:59:58", "2026-12-31T23:59:59", "2026-12-31T23:59:58"),
        ("Jan  1 00:00:01", "2025-12-31T23:59:59", "2026-01-01T00:00:01"),  # a clock that is ahead
        ("Mar  3 10:00:00", "2026-03-02T09:00:00", "2025-03-03T10:00:00"),
        ("Feb 29 12:00:00", "2026-03-01T00:00:00", "2024-02-29T12:00:00"),
        ("Nov 21 20:00:00.123456", "2026-11-22T00:00:00", "2026-11-21T20:00:00.123456"),
    ],
)
def test_a_missing_year_is_the_one_that_makes_it_newest(text: str, read: str, expected: str) -> None:
    assert LogTimes(timezone.utc).parse(text, "p", ns(read + "+00:00")) == ns(expected + "+00:00")


def test_in_the_hour_that_comes_twice_the_order_of_lines_tells() -> None:
    times = LogTimes(ZoneInfo("Europe/Zurich"))
    day, late = "2026-10-25 ", ns("2026-10-26T00:00:00+00:00")
    got = [times.parse(day + t, "p", late) for t in ("01:59:00", "02:30:00", "02:59:59", "02:00:01", "02:30:00")]
    got.append(times.parse(day + "03:00:00", "p", late))
    assert got == [
        ns(f"2026-10-{t}+00:00")
        for t in ("24T23:59:00", "25T00:30:00", "25T00:59:59", "25T01:00:01", "25T01:30:00", "25T02:00:00")
    ]
    assert times.parse(day + "02:30:00", "other", late) == ns("2026-10-25T00:30:00+00:00"), "another file begins anew"


def test_in_the_hour_that_comes_twice_a_line_just_written_is_of_now() -> None:
    read = ns("2026-10-25T01:30:02+00:00")
    assert LogTimes(ZoneInfo("Europe/Zurich")).parse("2026-10-25 02:30:00", "p", read) == read - 2 * NS


def test_a_time_that_the_clock_jumped_over_is_near_it() -> None:
    got = LogTimes(ZoneInfo("Europe/Zurich")).parse("2026-03-29 02:30:00", "p", NOW)
    assert got == ns("2026-03-29T01:30:00+00:00")


def test_zones_by_name() -> None:
    assert zone_of("") is None
    assert zone_of("utc") is timezone.utc
    for bad in ("Mars/Olympus", "../../etc/passwd", "a" * 300, "\0"):
        with pytest.raises(ConfigError, match="no time zone"):
            zone_of(bad)


# --- ensemble files --------------------------------------------------------------------------------------------------


def test_an_ensemble_file_maps_addresses_to_ids() -> None:
    text = b"""tickTime=2000\ndataDir=/var/zk\nserver.0=10.0.0.4:2888:3888
 server.1 = zoo1:2888:3888:participant;0.0.0.0:2181
server.2=[2001:db8::2]:2888:3888|10.0.0.6:2888:3888\n# server.9=10.9.9.9:1:1\nserver.3=0.0.0.0:2888:3888\n"""
    ensemble = Ensemble.parse(text, "zoo.cfg", lambda host: ["10.0.0.5"] if host == "zoo1" else [])
    known = {"10.0.0.4": "0", "zoo1": "1", "ZOO1": "1", "10.0.0.5": "1", "2001:db8::2": "2", "[2001:db8::2]": "2"}
    known |= {"10.0.0.6": "2", "10.9.9.9": "", "0.0.0.0": "", "nobody": ""}
    assert {host: ensemble.id_of(host) for host in known} == known


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"", "no line server.ID"),
        (b"tickTime=2000", "no line server.ID"),
        (b"server.1=a:1:1\nserver.2=a:1:1", "both are a"),
        (b"server.1=|", "is not server.ID"),
        (b"x" * (1 << 20) + b"x", "at most"),
    ],
)
def test_a_broken_ensemble_file_is_named(text: bytes, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as error:
        Ensemble.parse(text, "zoo.cfg")
    assert "zoo.cfg" in str(error.value)


# --- filter files ----------------------------------------------------------------------------------------------------


def tree(*chains: tuple[list[tuple], dict], fields: tuple[str, ...] = ZooKeeperFilter.fields) -> FilterTree:
    document = {
        "FilterTree": [
            {
                "Chain": [dict(zip(("Field", "Operator", "Pattern", "CaptureResult"), c, strict=False)) for c in chain],
                "Classifier": {"Status": "unhealthy", "Score": "20", **classifier},
            }
            for chain, classifier in chains
        ]
    }
    return FilterTree.parse(json.dumps(document).encode(), fields, "f.json")


@pytest.mark.parametrize(
    ("operator", "pattern", "holds", "not_holds"),
    [
        ("==", "a$b", ["a$b"], ["a", "", "a$bc"]),
        ("!=", "a", ["b", ""], ["a"]),
        ("~", "^x+(y|z)$", ["xy", "xxz"], ["axy", "x"]),
        ("~", "b", ["abc"], ["ac"]),
        ("~", "(?i)WARN", ["warning"], ["wan"]),
        ("~", r"^\pL+$", ["größe"], ["a1"]),
        ("(-", "['a', 'can''t', 'c d']", ["a", "can''t", "c d"], ["b", "", "c"]),
        ("(-", ["a", "b"], ["a", "b"], ["ab"]),
        ("(-", '["a", "b"]', ["a", "b"], ["c"]),
        ("(-", "[a, b c]", ["a", "b c"], ["c"]),
        ("(~", "['^Unexpected .*$', '.* GOODBYE .*$']", ["Unexpected end", "*** GOODBYE /x ***"], ["GOODBYE", "x"]),
        ("(~", "['can\\'t', \"b,{1,2}\"]", ["b,", "b,,"], ["b"]),
    ],
)
def test_defect_the_operator_in_panicked_now_the_operators_of_filter_files(
    operator: str, pattern: object, holds: list[str], not_holds: list[str]
) -> None:
    """Panorama's defect: the operator (- panics."""
    for field in ("content", "tag"):  # what fields other than the content hold is remembered
        made = tree(([(field, operator, pattern)], {}))
        for _ in range(2):
            assert [made.find({field: value}) is not None for value in holds] == [True] * len(holds)
            assert [made.find({field: value}) for value in not_holds] == [None] * len(not_holds)


def test_captures_are_named_field_group_and_fill_the_classifier() -> None:
    made = tree(
        (
            [
                ("content", "~", r"to (?P<id>\d+) at .*/(?P<host>[^:]+):(?P<port>\d+)?", True),
                ("content_host", "!=", "10.0.0.9"),
                ("tag", "~", "(?P<unused>.)"),
            ],
            {"Context": "<class>:<content_id><content_port>", "Subject": "<content_host>", "Score": 1.5},
        )
    )
    found = made.find({"content": "open to 1 at x/10.0.0.5:", "tag": "t", "class": "C"})
    assert found is not None
    assert found[:4] == ("C:1", "10.0.0.5", Status.UNHEALTHY, 1.5)
    assert made.find({"content": "open to 1 at x/10.0.0.9:1", "tag": "t", "class": "C"}) is None


def test_feature_11_identical_first_clauses_share_a_branch_and_the_first_that_matches_ends_the_search() -> None:
    head = ("tag", "~", "^L")
    made = tree(
        ([head, ("content", "==", "a")], {"Context": "1"}),
        ([("tag", "~", "^Lx")], {"Context": "2"}),
        ([head, ("content", "==", "b")], {"Context": "3"}),
        ([("tag", "==", "M")], {"Context": "4"}),
    )

    def context(tag: str, content: str) -> str | None:
        found = made.find({"tag": tag, "content": content})
        return found.context if found else None

    assert [context("Lx", c) for c in "abc"] == ["1", "3", None], "the branch of ^Lx is never reached"
    assert context("M", "a") == "4"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"{", "not a filter file"),
        (b"\xff", "not a filter file"),
        (b'{"FilterTree": []}', "0 chains"),
        (b'{"FilterTree": [{"Chain": [], "Classifier": {"Status": "h"}}]}', "0 clauses"),
        (b'{"FilterTree": [{"Classifier": {"Status": "h"}}]}', "Chain"),
        (b"[" * 10_000, "not a filter file"),
        (b" " * ((1 << 20) + 1), "at most"),
    ],
)
def test_a_broken_filter_file_is_named(data: bytes, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as error:
        FilterTree.parse(data, ("content",), "f.json")
    assert str(error.value).startswith("f.json")


@pytest.mark.parametrize(
    ("clause", "classifier", "match"),
    [
        (("nosuch", "==", "a"), {}, r"FilterTree\[0\].Chain\[0\].*no field 'nosuch'.*tag_context"),
        (("content", "=~", "a"), {}, "operator '=~' is none of"),
        (("content", "~", "(?=a)"), {}, "not a regular expression of RE2.*invalid perl operator"),
        (("content", "~", r"(a)\1"), {}, "not a regular expression of RE2"),
        (("content", "~", "(a"), {}, r"missing \)"),
        (("content", "~", "a{1001}"), {}, "invalid repetition size"),
        (("content", "~", "a" * 5000), {}, "at most 4096"),
        (("content", "~", ["a"]), {}, "takes one regular expression"),
        (("content", "==", ["a"]), {}, "one text"),
        (("content", "(-", "[]"), {}, "empty"),
        (("content", "(~", "['a', '(']"), {}, "not a regular expression"),
        (("content", "(-", "['a' 'b"), {}, "not a list"),
        (("content", "==", "a"), {"Status": "fine"}, "status 'fine'"),
        (("content", "==", "a"), {"Score": "much"}, "much"),
        (("content", "==", "a"), {"Score": "nan"}, "finite"),
        (("content", "~", "(?P<h>a)"), {"Subject": "<content_h>"}, "nothing is called <content_h>.*CaptureResult"),
    ],
)
def test_what_is_wrong_in_a_filter_file_is_told_with_its_place(clause: tuple, classifier: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        tree(([clause], classifier))


def test_an_expression_that_would_backtrack_for_ever_takes_linear_time() -> None:
    made = ZooKeeperFilter(tree=tree(([("content", "~", "(a+)+$"), ("content", "~", "(.*.*)*x")], {})))
    line = CANNOT.partition(" - Cannot")[0] + " - " + "a" * 60_000 + "b"
    began = time.process_time()
    for _ in range(20):
        assert made.read(line, "p", NOW) is None
    assert time.process_time() - began < 2  # with backtracking: longer than the world will last


@pytest.mark.parametrize(
    ("tag", "subject"),
    [
        ("RecvWorker:1", "peer@1"),
        ("SendWorker:5", "peer@5"),
        ("/10.0.0.4:3888", "peer@4"),
        ("pano4/10.0.0.4:3888", "peer@4"),
        ("LearnerHandler-/10.0.0.9:33894", "peer@10.0.0.9"),
        ("QuorumPeer[myid=0]/0:0:0:0:0:0:0:0:2181", "peer@0"),
        ("NIOServerCxn.Factory:0.0.0.0/0.0.0.0:2181", "peer@0"),
        ("WorkerSender[myid=0]", "peer@0"),
        ("Snapshot Thread", "peer@0"),
        ("SendWorker:188978561024", None),
    ],
)
def test_whom_a_tag_is_about(tag: str, subject: str | None) -> None:
    ensemble = Ensemble.parse(b"server.4=10.0.0.4:2888:3888", "zoo.cfg")
    made = ZooKeeperFilter("n1", tree=tree(([("level", "==", "WARN")], {})), ensemble=ensemble)
    report = made.read(f"2017-05-26 17:26:04,937 [myid:0] - WARN  [{tag}:X$Y@1] - c", "p", NOW)
    assert (report.subject if report else None) == subject


def test_a_subject_in_a_filter_file_is_a_name_or_a_captured_address() -> None:
    literal = tree(([("level", "==", "WARN")], {"Subject": "storage", "Context": "disk"}))
    report = ZooKeeperFilter(tree=literal, observer="me").read(CANNOT, "p", NOW)
    assert report is not None
    assert (report.observer, report.subject, set(report.contexts)) == ("me", "storage", {"disk"})
    captured = tree(([("content", "~", "/(?P<host>[^:]+):", True)], {"Subject": "<content_host>"}))
    own = CANNOT.replace("10.0.0.5", "0.0.0.0")
    assert [ZooKeeperFilter(tree=captured).read(line, "p", NOW).subject for line in (CANNOT, own)] == [
        "peer@10.0.0.5",
        "peer@0",
    ]
    kinds = tree(([("content", "~", "/(?P<host>[^:]+):", True)], {"Subject": "storage@<content_host>"}))
    known = Ensemble.parse(b"server.4=10.0.0.5:2888:3888", "zoo.cfg")
    assert ZooKeeperFilter(tree=kinds, ensemble=known).read(CANNOT, "p", NOW).subject == "storage@4"


# --- single filters --------------------------------------------------------------------------------------------------


def test_zookeeper_an_impossible_date_is_when_it_was_read() -> None:
    report = ZooKeeperFilter().read(CANNOT.replace("2017-05-26", "2017-13-39"), "z.out", NOW)
    assert report is not None
    assert report.t_ns == NOW
    assert ZooKeeperFilter().read(CANNOT.replace("2017", "9999"), "z.out", NOW) is None


def test_a_filter_names_this_machine_unless_told_and_refuses_a_bad_name() -> None:
    line = "[  123.456789] Out of memory: Killed process 4711 (java) total-vm:8123456kB"
    report = KernelFilter().read(line, "kern.log", NOW)
    assert report is not None
    assert report.subject.startswith("host@")
    assert len(report.subject) > len("host@")
    for bad in ({"node": "a\nb"}, {"observer": "x" * 300}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            KernelFilter(**bad)
    assert KernelFilter("n" * 200).read(line, "kern.log", NOW) is None, "a name that is too long is no report"


# fields as https://systemd.io/JOURNAL_EXPORT_FORMATS/ and systemd.journal-fields(7) describe them
OOM = "Out of memory: Killed process 4242 (chrome) total-vm:1kB"
ENTRY = {"__REALTIME_TIMESTAMP": "1700000000123456", "_TRANSPORT": "kernel", "MESSAGE": OOM, "_HOSTNAME": "n1"}


def journal(*entries: str, node: str = "n1") -> list[Report]:
    made = JournaldFilter(node)
    return [r for text in entries for line in text.split("\n") if (r := made.read(line, "-", NOW)) is not None]


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({}, "host@n1"),
        ({"MESSAGE": list(OOM.encode())}, "host@n1"),
        ({"MESSAGE": [*OOM.encode(), 255]}, "host@n1"),
        ({"MESSAGE": [OOM, "again"]}, "host@n1"),
        ({"_TRANSPORT": "syslog", "SYSLOG_IDENTIFIER": "kernel"}, None),  # anybody may call himself that
        ({"_TRANSPORT": "syslog", "_COMM": "kernel"}, None),
        ({"MESSAGE": None}, None),
        ({"MESSAGE": [300]}, None),
        ({"MESSAGE": "usb 1-1: new device"}, None),
        (
            {
                "_TRANSPORT": "journal",
                "SYSLOG_IDENTIFIER": "systemd",
                "_PID": "1",
                "MESSAGE": "a.service: Failed with result 'x'.",
            },
            "a.service@n1",
        ),
        (
            {
                "_TRANSPORT": "journal",
                "SYSLOG_IDENTIFIER": "systemd",
                "_PID": "77",
                "MESSAGE": "a.service: Failed with result 'x'.",
            },
            None,
        ),
    ],
)
def test_the_journal_as_json(change: dict, subject: str | None) -> None:
    (report,) = journal(json.dumps(ENTRY | change, separators=(",", ":"))) or (None,)
    assert (report.subject if report else None) == subject
    assert report is None or report.t_ns == 1_700_000_000_123_456_000
    assert journal("{", '{"MESSAGE":[', "{" + "[" * 5000, '{"MESSAGE":"Kill"') == []


CURSOR = "__CURSOR=s=739ad463348b4ceca5a9e69c95a3c93f;i=4ece7;b=6c7c6013a26343b29e964691ff25d04c;m=4f;t=4c;x=d3\n"
# https://systemd.io/JOURNAL_EXPORT_FORMATS/
PUBLISHED = (
    CURSOR + "__REALTIME_TIMESTAMP=1342540861416409\n_TRANSPORT=kernel\nPRIORITY=4\nSYSLOG_IDENTIFIER=kernel\n"
    "_HOSTNAME=n1\nMESSAGE={}\n\n"
)


def binary(name: str, value: str) -> str:
    size = len(value.encode()).to_bytes(8, "little").decode("utf-8", "surrogateescape")
    return f"{name}\n{size}{value}\n"


def test_the_journal_in_export_form() -> None:
    healthy, bad = PUBLISHED.format("all is well"), PUBLISHED.format(OOM)
    assert [(r.subject, r.t_ns) for r in journal(healthy, bad, healthy)] == [("host@n1", 1_342_540_861_416_409_000)]
    longer = bad.replace(f"MESSAGE={OOM}\n", binary("MESSAGE", OOM + "\nwith more lines"))
    assert [r.subject for r in journal(longer)] == ["host@n1"]


@pytest.mark.parametrize("pad", [0, 1, 57, 73, 128, 200, 1000])
def test_a_message_cannot_pretend_to_be_an_entry(pad: int) -> None:
    """A program may log text that looks like the kernel's entries; its length says that it is none. Each byte of the
    length may itself be a newline, or not UTF-8."""
    forged = "hello" + "x" * pad + "\n\n" + PUBLISHED.format(OOM).replace(CURSOR, "__CURSOR=s=guess\n")
    entry = CURSOR + "_TRANSPORT=syslog\nSYSLOG_IDENTIFIER=evil\n" + binary("MESSAGE", forged) + "\n"
    assert journal(entry, PUBLISHED.format("ok")) == []
    assert [r.subject for r in journal(entry, PUBLISHED.format(OOM))] == ["host@n1"], "and the next one is read"


def test_an_export_that_was_cut_is_skipped_to_the_next_entry_of_the_same_journal() -> None:
    cut = CURSOR + "MESSAGE\n\ufffd\ufffd\0\0\0\0\0\0text\n\n" + PUBLISHED.format(OOM).replace("739ad", "00000")
    assert journal(cut) == []
    assert len(journal(cut, PUBLISHED.format(OOM))) == 1


# --- what is news ----------------------------------------------------------------------------------------------------


def report(t_s: float = 0.0, subject: str = "s", score: float = 1.0, status: Status = Status.UNHEALTHY) -> Report:
    return Report("o", subject, NOW + round(t_s * NS), {"c": Metric(status, score)})


def test_feature_11_stale_lines_and_lines_of_the_future_are_no_events() -> None:
    window = LogWindow(stale_s=300)
    assert [window.fresh(report(t), NOW) for t in (-301, -300, 0, 60, 61)] == [False, True, True, True, False]
    assert (window.stale, window.ahead) == (1, 1)
    assert LogWindow(stale_s=-1).fresh(report(-1e8), NOW)
    assert not LogWindow(stale_s=0).fresh(report(-0.1), NOW)


def test_feature_11_the_same_again_within_the_window_is_merged() -> None:
    window = LogWindow(merge_s=1)
    same = [report(0), report(0.5), report(0.999), report(1.0), report(0.7), report(2.0)]
    assert [window.news(r) for r in same] == [True, False, False, True, False, True]
    others = [report(2.1, "t"), report(2.1, score=2.0), report(2.1, status=Status.DEAD)]
    assert [window.news(r) for r in others] == [True, True, True]
    assert window.merged == 3
    every = LogWindow(merge_s=0)
    assert every.news(report())
    assert every.news(report())


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.health.log_window.MAX_REMEMBERED", 3)
    window = LogWindow(merge_s=100)
    assert all(window.news(report(subject=f"s{i}")) for i in range(10))
    assert [window.news(report(subject=f"s{i}")) for i in (9, 0)] == [False, True]
