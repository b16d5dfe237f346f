"""The core of a feed: exactly one item for each tick and location, failing over, raw bytes before their parse."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from vagus.clock import NS
from vagus.config import FeedSettings, SourceSettings
from vagus.errors import ConfigError
from vagus.feeds import Data, Descriptor, Fetched, Item, Meta, Net, Raw
from vagus.feeds.declared import feeds_of
from vagus.feeds.directives import Archive, Emit, Fetch
from vagus.feeds.engine import Engine
from vagus.feeds.formats.uptime import UptimeLine
from vagus.feeds.location import host, shown
from vagus.feeds.signals import MAX_LEAVES, Signals, leaves, word
from vagus.model import Status

T0 = 1_700_000_000 * NS
SECOND = T0 + 10 * NS - 1  # when all locations of the tick at T0 have begun


def make(format: str = "text", last_due_ns: Any = None, **places: tuple[str, ...]) -> Engine:
    feeds = feeds_of([FeedSettings(name="f", source=SourceSettings(**places), every="10s", format=format)])
    return Engine(feeds, now_ns=T0, last_due_ns=last_due_ns)


def fetches(feed: Engine, now_ns: int) -> list[Fetch]:
    return [told for told in feed.tick(now_ns) if isinstance(told, Fetch)]


def test_one_item_for_each_location() -> None:
    feed = make(all=("http://a/", "http://b/"), format="json")
    items = []
    for fetch in fetches(feed, SECOND):
        fetched = Fetched(Net.OK, b"[1]") if "a" in fetch.location[7:] else Fetched(Net.TIMEOUT, note="late")
        archive, emit = feed.fetched(fetch, fetched, SECOND)
        assert isinstance(archive, Archive)
        assert isinstance(emit, Emit)
        assert archive.raw.body == fetched.body
        items.append(emit.item)
    assert {item.meta.location: item for item in items} == {
        "http://a/": Item(Meta("f", "http://a/", T0, SECOND, Net.OK, Data.GOOD, 0, 3, "", SECOND), [1]),
        "http://b/": Item(Meta("f", "http://b/", T0, SECOND, Net.TIMEOUT, note="late", started_ns=SECOND), None),
    }


def test_raw_bytes_come_before_their_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = make(all=("http://a/",))
    parsed: list[bytes] = []

    def parse(body: bytes) -> tuple[Any, Descriptor]:
        parsed.append(body)
        return body.decode(), Descriptor()

    base = feed.base("f")
    monkeypatch.setattr(base.format, "parse", parse)
    directives = feed.fetched(fetches(feed, SECOND)[0], Fetched(Net.OK, b"x"), SECOND)
    assert isinstance(next(directives), Archive)
    assert parsed == []
    assert isinstance(next(directives), Emit)
    assert parsed == [b"x"]


def test_a_missed_tick_is_an_item() -> None:
    feed = make(all=("http://a/",))
    [fetch] = fetches(feed, SECOND)
    assert feed.tick(SECOND + 10 * NS) == []
    *_, archive, emit = feed.fetched(fetch, Fetched(Net.OK, b"x"), SECOND + 10 * NS)
    assert isinstance(emit, Emit)
    assert (emit.item.meta.net, emit.item.meta.due_ns, emit.item.value) == (Net.MISSED, T0 + 10 * NS, None)
    assert archive == Archive(Raw(emit.item.meta, b""))


def test_any_fails_over_in_order_to_one_item() -> None:
    feed = make(any=("http://u:secret@a/", "http://b/", "http://c/"))
    [first] = fetches(feed, SECOND)
    [second] = feed.fetched(first, Fetched(Net.REFUSED, note="no"), SECOND)
    assert isinstance(second, Fetch)
    assert (second.location, second.due_ns) == ("http://b/", T0)
    _, emit = feed.fetched(second, Fetched(Net.OK, b"x"), SECOND)
    assert isinstance(emit, Emit)
    assert (emit.item.value, emit.item.meta.location) == ("x", "http://b/")
    assert emit.item.meta.note == "http://a/: refused no"
    [again] = fetches(feed, SECOND + 10 * NS)
    assert again.location == "http://u:secret@a/"


def test_any_that_fails_everywhere_is_one_failed_item() -> None:
    feed = make(any=("http://a/", "http://b/"))
    [first] = fetches(feed, SECOND)
    [second] = feed.fetched(first, Fetched(Net.TIMEOUT), SECOND)
    assert isinstance(second, Fetch)
    _, emit = feed.fetched(second, Fetched(Net.STATUS, b"err", "HTTP 500"), SECOND)
    assert isinstance(emit, Emit)
    assert (emit.item.value, emit.item.meta.net, emit.item.meta.data) == (None, Net.STATUS, Data.NONE)
    assert emit.item.meta.note == "http://a/: timeout; HTTP 500"


def test_parse_errors_keep_value_and_code() -> None:
    feed = make(all=("proc:uptime",), format="uptime")
    [fetch] = fetches(feed, SECOND)
    _, emit = feed.fetched(fetch, Fetched(Net.OK, b" 10:00:00 up ?, load average: 1.0, 2.0, 3.0"), SECOND)
    assert isinstance(emit, Emit)
    assert emit.item.value == UptimeLine("10:00:00", None, None, 1.0, 2.0, 3.0)
    assert (emit.item.meta.data, emit.item.meta.errors) == (Data.NESTED, 1)


def test_replay_gives_the_same_item() -> None:
    feed = make(all=("http://a/",), format="json")
    for number, body in enumerate((b"[1]", b"[", b"")):
        [fetch] = fetches(feed, SECOND + number * 10 * NS)
        archive, emit = feed.fetched(fetch, Fetched(Net.OK, body), SECOND + number * 10 * NS)
        assert isinstance(archive, Archive)
        assert isinstance(emit, Emit)
        archived = msgspec.msgpack.encode(archive.raw)
        assert [again.item for again in feed.replay([msgspec.msgpack.decode(archived, type=Raw)])] == [emit.item]


def test_restart_continues_after_the_last_tick() -> None:
    assert make(any=("http://a/", "http://b/"), last_due_ns={("f", "http://b/"): T0}).tick(SECOND) == []
    assert make(all=("http://u:p@a/",), last_due_ns={("f", "http://a/"): T0}).tick(SECOND) == []


class Raising:
    name = "raising"

    def parse(self, body: bytes) -> tuple[Any, Data, int]:
        raise RuntimeError("broken contract")


def test_a_format_from_outside_cannot_stop_a_feed() -> None:
    feed = make(all=("http://a/",), format=f"{__name__}:Raising")
    [emit] = feed.replay([Raw(Meta("f", "http://a/", T0, T0, Net.OK), b"x")])
    item = emit.item
    assert (item.value, item.meta.data) == (None, Data.SYNTAX)
    assert "broken contract" in item.meta.note


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"source": SourceSettings()}, "one of 'all' and 'any'"),
        ({"source": SourceSettings(all=("http://a/",), any=("http://b/",))}, "one of 'all' and 'any'"),
        ({"source": SourceSettings(all=("gopher://a/",))}, "must begin with one of"),
        ({"source": SourceSettings(all=("uptime",))}, "must begin with one of"),
        ({"source": SourceSettings(all=("http://a/", "http://a/"))}, "named twice"),
        ({"source": SourceSettings(all=("http://u@a/", "http://v@a/"))}, "named twice"),
        ({"format": "cobol"}, "has no 'cobol'"),
        ({"format": "no_such_module:Thing"}, "no_such_module"),
        ({"format": "json", "options": {"depth": 3}}, "depth"),
        ({"every": 0.0}, "period"),
        ({"timeout": 0.0}, "timeout"),
        ({"name": ""}, "name"),
    ],
)
def test_wrong_settings_name_the_feed(change: dict[str, Any], match: str) -> None:
    good: dict[str, Any] = {"name": "f", "source": SourceSettings(all=("http://a/",))}
    with pytest.raises(ConfigError, match=match):
        feeds_of([FeedSettings(**{**good, **change})])


@pytest.mark.parametrize(
    "options",
    [
        {"ftp": {}},
        {"http": {"color": 1}},
        {"http": {"headers": {"nowhere": {}}}},
        {"file": {"headers": {}}},
        "x",
        {"http": 3},
    ],
)
def test_wrong_source_options_are_refused(options: Any) -> None:
    source = SourceSettings(all=("http://a/", "file:/a"))
    with pytest.raises(ConfigError, match="feed 'f'"):
        feeds_of([FeedSettings(name="f", source=source, options={"source": options})])


def test_locations_are_shown_without_secrets() -> None:
    assert shown("https://user:p@ss@host:1/x?y") == "https://host:1/x?y"
    assert shown("proc:mail me@host\n") == "proc:mail me@host "
    long = [shown("http://host/" + "x" * 1000 + end, 100) for end in "ab"]
    assert long[0] != long[1]
    assert max(map(len, long)) == 100
    assert host("http://u@h:1/x") == host("http://h:1/y") != host("https://h:1/")
    assert (host("proc:a"), host("http://[::")) == ("proc", "http")


# --- what a feed says to the rest of the node ------------------------------------------------------------------------


def test_leaves_of_a_value() -> None:
    value = {"a": {"b-c": [1, 2.5, "x"]}, "ok": True, "none": None, "9": 9, "big": 10**400, "nan": math.nan}
    found = leaves(value)
    assert {name: x for name, x in found.items() if x == x} == {"a_b_c_0": 1, "a_b_c_1": 2.5, "ok": 1, "_9": 9}
    assert leaves(UptimeLine("1", 5.0, None, 1.0, 2.0, 3.0)) == {"up_s": 5, "load1": 1, "load5": 2, "load15": 3}
    assert leaves(7) == {"value": 7.0}
    assert leaves("text") == leaves(None) == {}
    assert len(leaves(list(range(10_000)))) == MAX_LEAVES
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert leaves(deep) == {}
    assert word("9 lives") == "_9_lives"
    assert word("") == "_"


def item(value: Any, location: str = "http://a/", arrived_ns: int = T0) -> Item:
    return Item(Meta("my feed", location, T0, arrived_ns, Net.OK), value)


def test_values_keep_their_stream_when_shapes_change() -> None:
    signals = Signals("my feed", "n1")
    first, more, less = (signals.values(item(v)) for v in ({"a": 1}, {"a": 2, "b_s": 3}, {"b_s": 4}))
    assert first is not None
    assert more is not None
    assert less is not None
    assert first.stream.series("a") == 'feed.my_feed.a{feed="my feed",location="http://a/",node="n1"}'
    assert [f.unit for f in more.stream.fields] == ["", "s"]
    assert less.stream is more.stream
    assert math.isnan(less.values[0])
    assert less.values[1] == 4.0
    assert signals.values(item("text only")) is None


def test_fetches_become_samples() -> None:
    sample = Signals("f", "n1").fetch("http://u:p@a/", Fetched(Net.STATUS, b"xyz"), 0.5, 2, T0)
    assert sample.stream.key == 'feed.fetch{feed="f",location="http://a/",node="n1"}'
    assert sample.values == (0.5, 3.0, 0.0, 2.0)


def test_health_is_reported_on_change_and_each_failure() -> None:
    signals = Signals("f", "n1")
    good, bad = Fetched(Net.OK), Fetched(Net.TIMEOUT)
    told = []
    for second, fetched in enumerate((good, good, bad, bad, good, good)):
        report = signals.report("http://a/", fetched, T0 + second * NS)
        told.append(report and tuple(report.contexts["fetch"].__getattribute__(n) for n in ("status", "score")))
    assert told == [(Status.HEALTHY, 0), None, (Status.UNHEALTHY, 1), (Status.UNHEALTHY, 2), (Status.HEALTHY, 0), None]
    again = signals.report("http://a/", good, T0 + 60 * NS)
    assert again is not None
    assert (again.observer, again.subject) == ("feed:f@n1", "http://a/")


def test_what_only_this_node_knows_is_named_with_it() -> None:
    signals = Signals("f", "n1")
    assert signals.subject("proc:uptime") == "proc:uptime@n1"
    assert signals.subject("gateway:/healthz") == "gateway:/healthz@n1"
    assert len(signals.subject("file:/" + "x" * 1000)) == 200
