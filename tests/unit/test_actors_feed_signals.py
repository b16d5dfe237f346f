"""What feeds say to their node: numbers as streams, fetches and alerts as evidence, every notice an event."""

from __future__ import annotations

import math
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from observers import observer, statuses

from vagus.actors import feed_signals
from vagus.actors.base import Seat
from vagus.actors.feed_signals import REPEAT_NS, FeedSignals
from vagus.clock import NS
from vagus.config import Config
from vagus.errors import PeerUnreachable
from vagus.feeds import Data, Fetched, Item, Meta, Net, Notice, Raw, Shape
from vagus.feeds import signals as streams
from vagus.feeds.directives import Emit, Fetch
from vagus.feeds.signals import Signals, kind_of, leaves, units_of
from vagus.model import Event, Level, Metric, Report, Status

T0 = 1_700_000_000 * NS


class Links:
    """A collector and an observer that remember, or are away."""

    def __init__(self) -> None:
        self.told: dict[str, list[Any]] = {"ingest": [], "report": [], "told": []}
        self.away = False

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if self.away:
            raise PeerUnreachable(actor)
        self.told[method] += args[0]

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


@pytest.fixture
def links() -> Links:
    return Links()


@pytest.fixture
def said(links: Links) -> FeedSignals:
    return FeedSignals(Seat("feed", "n1", "", Config()), links)


def item(value: Any, location: str = "http://a/", part: str = "", t_ns: int = T0, errors: int = 0) -> Item[Any]:
    return Item(Meta("f", location, T0, t_ns, Net.OK, Data.GOOD, errors, part=part), value)


def notice(status: Status = Status.UNHEALTHY, rule: str = "load1 > 5", **more: Any) -> Notice:
    given = {"subject": "db@2", "report": True, "value": 7.5, "text": "load1 is 7.5", **more}
    return Notice("alert", "comon", rule=rule, status=status, t_ns=T0, since_ns=T0 - NS, **given)


# --- streams ---------------------------------------------------------------------------------------------------------


class Comment(msgspec.Struct):
    text: str


class Data_(msgspec.Struct):
    load1: float
    disks: list[int]


def test_every_kind_of_value_has_its_numbers() -> None:
    assert leaves(Data_(1.5, [3, 4])) == {"load1": 1.5, "disks_0": 3, "disks_1": 4}, (
        "the branch of a union that matched"
    )
    assert leaves(Comment("# none")) == {}
    assert leaves((Data_(1.0, []), {"up": True})) == {"_0_load1": 1.0, "_1_up": 1.0}, "a pair"
    assert leaves({"at": datetime(2026, 1, 1, tzinfo=timezone.utc)}) == {"at": 1767225600.0}
    assert leaves({"a": math.inf, "b": Status.DEAD}).keys() == {"a"}


def test_parts_are_streams_of_their_own_and_shapes_give_units() -> None:
    shape = Shape("record", "R", (("delay", Shape("optional", parts=(("", Shape("float", unit="ms")),))),))
    assert units_of(shape) == {"delay": "ms"}
    assert units_of(
        Shape("union", parts=(("Data_", Shape("record", parts=(("x", Shape("int", unit="bytes")),))),))
    ) == {"x": "bytes"}
    signals = Signals("rtt", "n1", shape)
    sample = signals.values(item({"delay": 3.0}, part="7"))
    assert sample is not None
    assert sample.stream.key == 'feed.rtt{location="http://a/",node="n1",part="7"}'
    assert [(f.name, f.unit) for f in sample.stream.fields] == [("delay", "ms")]


def test_two_names_are_never_one_stream() -> None:
    assert [kind_of(name) for name in ("a.b", "a-b", "9x", "a..b")] == [
        "feed.a.b",
        "feed.a_b",
        "feed._9x",
        "feed.a._.b",
    ]
    keys = set()
    for name in ("a-b", "a_b", "a.b"):
        sample = Signals(name, "n1").values(item(1))
        assert sample is not None
        keys.add(sample.stream.key)
    assert len(keys) == 3


def test_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS", 3)
    signals = Signals("f", "n1")
    assert all(signals.values(item(n, f"http://{n}/", t_ns=T0 + n)) for n in range(3))
    assert signals.values(item(9, "http://9/", t_ns=T0 + NS)) is None
    assert signals.unstreamed == 1
    assert signals.values(item(0, "http://0/", t_ns=T0 + 3600 * NS)) is not None, "those that are there go on"
    assert signals.values(item(9, "http://9/", t_ns=T0 + 3601 * NS)) is not None, "one was silent for an hour"
    assert {location for location, _ in signals._streams} == {"http://2/", "http://0/", "http://9/"}


def test_labels_are_bounded() -> None:
    sample = Signals("f", "n1").values(item(1, "http://a/" + "x" * 5000, part="1." * 1000))
    assert sample is not None
    assert max(map(len, sample.stream.labels.values())) == 500


# --- fetches ---------------------------------------------------------------------------------------------------------


async def test_a_fetch_tells_of_the_errors_that_its_parse_found(said: FeedSignals, links: Links) -> None:
    raw = Raw(Meta("f.0", "http://a/", T0, T0, Net.OK), b"x")
    said.emitted(Emit("f", item({"x": 1}, errors=3), raw=raw))
    said.fetched(Fetch("f.0", "http://u:secret@a/", T0, 1.0, 10), Fetched(Net.OK, b"x"), 0.25, T0)
    await said.flush_samples()
    await said.flush_reports()
    [value, fetched] = links.told["ingest"]
    assert (value.stream.kind, value.values) == ("feed.f", (1.0,))
    assert (fetched.stream.labels["feed"], fetched.values) == ("f.0", (0.25, 1.0, 1.0, 3.0))
    [report] = links.told["report"]
    assert (report.observer, report.subject) == ("feed:f.0@n1", "http://a/")


async def test_what_waits_is_bounded_and_kept_while_neighbours_are_away(
    said: FeedSignals, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_signals, "MAX_PENDING", 3)
    links.away = True
    for n in range(5):
        said.emitted(Emit("f", item(n)))
    await said.flush_samples()
    assert (said.figures()["samples_waiting"], said.figures()["dropped"]) == (3, 2)
    links.away = False
    await said.flush_samples()
    assert [sample.values for sample in links.told["ingest"]] == [(2.0,), (3.0,), (4.0,)]


# --- alerts ----------------------------------------------------------------------------------------------------------


async def test_every_notice_is_an_event_unless_it_is_not_to_be(said: FeedSignals, links: Links) -> None:
    said.notice(notice(report=False))
    said.notice(notice(Status.HEALTHY, report=False, value=None))
    said.notice(notice(event=False))
    await said.flush_events()
    began, ended = links.told["told"]
    assert isinstance(began, Event)
    assert (began.event, began.level, began.source) == ("feed.alert", Level.WARNING, "vagus:feed@n1")
    assert began.fields == {
        "feed": "comon",
        "tool": "alert",
        "subject": "db@2",
        "rule": "load1 > 5",
        "status": "UNHEALTHY",
        "text": "load1 is 7.5",
        "since_ns": T0 - NS,
        "again": False,
        "value": 7.5,
    }
    assert (ended.level, "value" in ended.fields) == (Level.INFO, False)
    assert [report.contexts for report in said.reports] == [{"load1 > 5": Metric(Status.UNHEALTHY, 7.5)}]


async def test_an_alert_is_a_verdict_on_its_subject_until_it_ends(tmp_path: Path) -> None:
    actor = observer(tmp_path)
    await actor.begin()

    class ToObserver(Links):
        async def call(self, to: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
            assert (to, method) == ("vagus:observer@n1", "report")
            return await actor.report(*args)

    said = FeedSignals(Seat("feed", "n1", "", Config()), ToObserver())
    try:
        now_ns = time.time_ns()
        said.notice(msgspec.structs.replace(notice(), t_ns=now_ns))
        await said.flush_reports()
        assert statuses(actor) == {"db@2": Status.UNHEALTHY}
        [inference] = await actor.inferences("db@2")
        assert inference.contexts["load1 > 5"].accusers == ("feed:comon@n1",)
        said.notice(msgspec.structs.replace(notice(Status.HEALTHY), t_ns=now_ns + 100))
        await said.flush_reports()
        [inference] = await actor.inferences("db@2")
        assert inference.contexts["load1 > 5"].status is Status.HEALTHY
    finally:
        await actor.end()


def test_fetches_do_not_push_a_standing_alert_out(said: FeedSignals) -> None:
    said.notice(notice(subject="http://a/"))
    for n in range(12):
        said.fetched(Fetch("comon", "http://a/", T0, 1.0, 10), Fetched(Net.TIMEOUT), 0.1, T0 + n)
    assert all(report.subject == "http://a/" for report in said.reports)
    assert set(said.reports[-1].contexts) == {"fetch", "load1 > 5"}


def test_what_stands_is_reported_again_until_it_ends(said: FeedSignals) -> None:
    said.notice(notice(rule="a"))
    said.notice(notice(rule="b"))
    assert set(said.reports[-1].contexts) == {"a", "b"}
    said.reports.clear()
    said.repeat(T0)
    said.repeat(T0 + REPEAT_NS - 1)
    assert [set(report.contexts) for report in said.reports] == [{"a", "b"}]
    said.notice(notice(Status.HEALTHY, rule="a"))
    said.notice(notice(Status.HEALTHY, rule="b"))
    said.reports.clear()
    said.repeat(T0 + REPEAT_NS)
    assert not said.reports
    assert (said.figures()["alerts"], said.figures()["alerts_standing"]) == (2, 0)


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        ("gateway:/v1/comon?node=n1@n1", "gateway:/v1/comon?node=n1@n1"),
        ("db@2", "db@2"),
        ("http://u:secret@a/x", "http://a/x"),
        ("proc:uptime", "proc:uptime@n1"),
        ("line\nbreak", "line break"),
        ("x" * 500, "x" * 200),
        ("", "comon"),
    ],
)
def test_subjects(said: FeedSignals, subject: str, shown: str) -> None:
    said.notice(notice(subject=subject, rule="\n" * 3 if subject == "db@2" else "r"))
    [report] = said.reports
    assert isinstance(report, Report)
    assert report.subject == shown


def test_memory_of_alerts_is_bounded(said: FeedSignals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_signals, "MAX_STANDING", 5)
    for n in range(20):
        said.notice(notice(subject=f"s{n}"))
    assert said.figures()["alerts_standing"] == 5
    assert len(said.reports) == 20
    many = FeedSignals(Seat("feed", "n1", "", Config()), Links())
    for n in range(150):
        many.notice(notice(rule=f"r{n}"))
    assert len(many.reports[-1].contexts) == 100
