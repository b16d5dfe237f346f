"""Feeds of a YAML file: what each setting declares, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from vagus.clock import NS
from vagus.config import FeedSettings
from vagus.errors import ConfigError
from vagus.feeds import Feed, Fetched, Item, Net
from vagus.feeds.declared import feeds_of
from vagus.feeds.directives import Emit, Fetch
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Base, Foreach
from vagus.feeds.naming import tree

T0 = 1_700_000_000 * NS


def settings_of(text: str) -> list[FeedSettings]:
    return msgspec.convert(yaml.safe_load(text), list[FeedSettings])


def declared(text: str) -> dict[str, Feed[Any]]:
    return feeds_of(settings_of(text))


def run(feeds: dict[str, Feed[Any]], bodies: dict[str, bytes], lasting_s: int = 60) -> list[tuple[str, Item[Any]]]:
    """The items of so many seconds; what has no body fails."""
    engine = Engine(feeds, now_ns=T0)
    items: list[tuple[str, Item[Any]]] = []
    now_ns = T0
    waiting = list(engine.tick(now_ns))
    while True:
        while waiting:
            one = waiting.pop(0)
            if isinstance(one, Fetch):
                body = bodies.get(one.location)
                fetched = Fetched(Net.REFUSED) if body is None else Fetched(Net.OK, body)
                waiting += engine.fetched(one, fetched, now_ns)
            elif isinstance(one, Emit):
                items.append((one.feed, one.item))
        due_ns = engine.next_due()
        if due_ns is None or due_ns > T0 + lasting_s * NS:
            return items
        now_ns = max(due_ns, now_ns)
        waiting = list(engine.tick(now_ns))


def test_features_4_and_5_a_list_drives_reports() -> None:
    feeds = declared(
        """
        - name: nodes
          source: {all: ["file:nodes"]}
          every: 24h
          format: json
          flatten: hosts
          where: up == 1
        - name: reports
          foreach: nodes
          source: {all: ["http://{host}:3121/"]}
          every: 60s
          format: json
          where: load > 1
          select: [load, name]
        """
    )
    bodies = {
        "file:nodes": b'{"hosts": [{"host": "a", "up": 1}, {"host": "b", "up": 0}, {"host": "-f", "up": 1}]}',
        "http://a:3121/": b'{"load": 2, "name": "A", "more": 3}',
    }
    items = run(feeds, bodies)
    assert [(name, item.value) for name, item in items if item.value] == [
        ("nodes", {"host": "a", "up": 1}),
        ("nodes", {"host": "-f", "up": 1}),
        ("reports", {"load": 2, "name": "A"}),
        ("reports", {"load": 2, "name": "A"}),
    ]
    [refused] = {item.meta.note for name, item in items if name == "reports" and not item.value}
    assert "'-f' is not" in refused
    [(origin, *_)] = {item.meta.provenance for name, item in items if name == "reports" and item.value}
    assert (origin.feed, origin.part) == ("nodes", "0")


def test_features_6_and_7_what_is_made_of_several() -> None:
    feeds = declared(
        """
        - {name: a, source: {all: ["file:a"]}}
        - {name: p, pair: [a, {source: {all: ["file:b"]}}]}
        - {name: l, list: [a, a]}
        - {name: d, dict: {x: a, y: {source: {all: ["file:gone"]}}}}
        - {name: u, union: [a, p]}
        - {name: f, failover: [{source: {all: ["file:gone"]}}, a]}
        - {name: same, of: a}
        """
    )
    items = run(feeds, {"file:a": b"A", "file:b": b"B"}, 130)  # those of one due time find each other from the next on
    values = {(name, item.meta.feed): item.value for name, item in items}
    assert values == {
        ("a", "a"): "A",
        ("same", "a"): "A",
        ("p", "p"): ("A", "B"),
        ("l", "l"): ["A", "A"],
        ("d", "d"): {"x": "A", "y": None},
        ("u", "a"): "A",
        ("u", "p"): ("A", "B"),
        ("f", "a"): "A",
    }
    assert feeds["same"] is feeds["a"]


def test_feature_16_pairs_over_a_list_of_hosts_are_declared_in_one_file() -> None:
    feeds = declared(
        """
        - {name: hosts, source: {all: ["file:hosts"]}, every: 24h, format: json, flatten: true}
        - name: stats
          foreach: hosts
          pair:
          - {source: {all: ["proc:ping -c 2 {}"]}, once: true, timeout: 60s}
          - {name: up, source: {all: ["proc:ssh {} uptime"]}, once: true, timeout: 60s}
        """
    )
    items = run(feeds, {"file:hosts": b'["h"]', "proc:ping -c 2 h": b"P", "proc:ssh h uptime": b"U"})
    [item] = [item for name, item in items if name == "stats"]
    assert item.value == ("P", "U")
    assert [origin.feed for origin in item.meta.provenance] == ["stats.0", "hosts", "up"]


def test_feature_2_schedules() -> None:
    feeds = declared(
        """
        - {name: a, source: {all: ["file:a"]}, every: 5m, timeout: 7s, catch_up: none}
        - {name: b, source: {any: ["file:a", "file:b"]}, once: true}
        - {name: c, source: {all: ["file:a"]}, every: 1m, start: "2026-01-31T12:00:00Z", duration: 1h}
        - {name: d, source: {all: ["file:a"]}, every: 1m, duration: 1h, preprocess: [gzip], max_bytes: 10}
        """
    )
    a, b, c, d = (feed for feed in feeds.values() if isinstance(feed, Base))
    assert (a.when.period_s, a.when.timeout_s, a.when.catch_up, a.when.start_ns) == (300.0, 7.0, "none", 0)
    assert (b.any, b.when.period_s, b.when.start_ns) == (True, 0.0, None)
    assert (c.when.start_ns, c.when.duration_s) == (1_769_860_800 * NS, 3600.0)
    assert (d.when.start_ns, d.when.duration_s, len(d.steps), d.max_bytes) == (None, 3600.0, 1, 10)


def test_feature_7_refeed_of_a_feed_and_of_a_folder(tmp_path: Path) -> None:
    feeds = declared(
        f"""
        - {{name: a, source: {{all: ["file:a"]}}, format: json}}
        - {{name: again, refeed: a, flatten: true}}
        - {{name: old, refeed: {tmp_path}/store, format: json}}
        """
    )
    recalls = Engine(feeds, now_ns=T0).recalls()
    assert [(recall.feeds, recall.folder) for recall in recalls] == [(("a",), ""), (("old",), f"{tmp_path}/store")]


def test_foreach_of_a_foreach() -> None:
    feeds = declared(
        """
        - name: deep
          foreach:
            foreach: {source: {all: ["file:sites"]}, format: json, flatten: true}
            source: {all: ["http://{}/list"]}
            format: json
            flatten: true
          source: {all: ["http://{}/"]}
          every: 60s
        """
    )
    assert sum(isinstance(one, Foreach) for one in tree(feeds["deep"])) == 2
    items = run(feeds, {"file:sites": b'["s"]', "http://s/list": b'["h"]', "http://h/": b"H"}, 0)
    assert [item.value for _, item in items] == ["H"]
    assert len(items[0][1].meta.provenance) == 2


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[{name: a, of: a}]", "feed 'a' is made of itself: a → a"),
        ("[{name: a, of: b}, {name: b, pair: [c, c]}, {name: c, foreach: a, of: a}]", "made of itself: a → b → c → a"),
        ("[{name: nodes, source: {all: ['file:a']}}, {name: b, of: node}]", "feed 'b'.*no feed 'node'.*mean 'nodes'"),
        ("[{name: a, of: zzz}]", "there are: a"),
        ("[{name: a, refeed: zzz}]", "no feed 'zzz'"),
        ("[{name: a, refeed: a}]", "made of itself"),
        ("[{source: {all: ['file:a']}}]", "has no name"),
        ("[{name: a, source: {all: ['file:a']}}, {name: a, source: {all: ['file:a']}}]", "'a' is given twice"),
        ("[{name: a, source: {}}]", "feed 'a'.*one of 'all' and 'any'"),
        ("[{name: a, source: {all: ['gopher:a']}}]", "feed 'a'.*must begin with"),
        ("[{name: a, source: {all: ['file:a']}, format: cobol}]", "feed 'a'.*cobol"),
        ("[{name: a, source: {all: ['file:a']}, preprocess: [zap]}]", "feed 'a'.*zap"),
        ("[{name: a, source: {all: ['file:a']}, every: 0s}]", "feed 'a'.*period"),
        ("[{name: a, source: {all: ['file:a']}, timeout: 0s}]", "feed 'a'.*timeout"),
        ("[{name: a, source: {all: ['file:a']}, start: soon}]", "feed 'a'.*neither `now` nor a time"),
        ("[{name: a, source: {all: ['file:a']}, once: true, duration: 1h}]", "feed 'a'.*no duration"),
        ("[{name: a, source: {all: ['file:a']}, where: 'x >'}]", "feed 'a'"),
        ("[{name: a, source: {all: ['file:a']}, select: ['x +']}]", "feed 'a'"),
        ("[{name: a, source: {all: ['file:a']}, options: {source: {ftp: {}}}}]", "feed 'a'.*ftp"),
        (
            "[{name: a, source: {all: ['file:a']}}, {name: b, of: a, every: 5m}]",
            "feed 'b'.*every belongs to a feed with",
        ),
        ("[{name: a, source: {all: ['file:a']}}, {name: b, of: a, format: json}]", "feed 'b'.*format belongs to"),
        (
            "[{name: a, source: {all: ['file:a']}}, {name: b, foreach: a, source: {all: ['{}']}}]",
            "feed 'b'.*before any",
        ),
        (
            "[{name: a, source: {all: ['file:a']}}, {name: b, foreach: a, source: {all: ['http://{']}}]",
            "feed 'b'.*brace",
        ),
        ("[{name: a, pair: [{source: {all: ['file:a']}, tools: [print]}, b]}]", "feed 'a'.*tools"),
        (
            "[{name: a, source: {all: ['file:a']}}, {name: b, pair: [a, {name: a, source: {all: ['file:b']}}]}]",
            "feed 'b'.*'a'",
        ),
        (
            "[{name: a, pair: [{name: x, source: {all: ['file:a']}}, {name: x, source: {all: ['file:b']}}]}]",
            "called 'x'",
        ),
        (
            "[{name: a, source: {all: ['file:a']}}, {name: f, failover: [{foreach: a, source: {all: ['http://{}/']}}, a]}]",
            "foreach",
        ),
    ],
)
def test_mistakes_name_the_feed_and_say_what_to_write(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Engine(declared(text), now_ns=T0)
