"""Who fetches what: every node computes the same, little moves, what must be seen together is at one node."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from vagus.config import Config, FeedSettings, SourceSettings, hash_text
from vagus.feeds.shares import (
    HOME,
    MANY,
    Ring,
    drivers,
    feed_of,
    fetches_here,
    groups,
    is_spread,
    owner_of,
    works_in_parts,
)

NODES = ("n1", "n2", "n3", "n4")


def web(name: str = "", *paths: str, **more: Any) -> FeedSettings:
    return FeedSettings(
        name=name, source=SourceSettings(all=tuple(f"http://{path}/" for path in paths or (name,))), **more
    )


def command(name: str, **more: Any) -> FeedSettings:
    return FeedSettings(name=name, source=SourceSettings(all=("proc:uptime",)), **more)


def no_tool(tool: str) -> bool:
    return tool == "alert"


def test_shares_are_even_and_only_what_a_lost_node_had_moves() -> None:
    keys = [f"http://host{n}:3121/" for n in range(4000)]
    before, after = Ring(NODES), Ring(NODES[:3])
    owners = [before.owner(key) for key in keys]
    counts = Counter(owners)
    assert set(counts) == set(NODES)
    assert max(counts.values()) < 1.15 * min(counts.values())
    moved = [owner for key, owner in zip(keys, owners, strict=True) if after.owner(key) != owner]
    assert set(moved) == {"n4"}
    assert Ring(("b", "a", "b")).owner("x") == Ring(("a", "b")).owner("x"), "in whatever order nodes are told"
    assert (Ring().owner("x"), Ring(("a",)).owner("x")) == ("", "a")


@pytest.mark.parametrize("count", [MANY - 1, MANY, 300])
def test_many_nodes_share_as_few_do(count: int) -> None:
    names = [f"node-{n:03}" for n in range(count)]
    ring, keys = Ring(names), [f"http://host{n}/" for n in range(200)]
    duels = {key: max(names, key=lambda name, key=key: (_duel(name, key), name)) for key in keys}
    assert {key: ring.owner(key) for key in keys} == duels, "whatever computes it: nodes of different sizes agree"


def _duel(node: str, key: str) -> int:
    """splitmix64's finisher of both hashes, written out."""
    word = hash_text(key) ^ hash_text(node)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ (word >> shift)) * factor % 2**64
    return word ^ (word >> 31)


@pytest.mark.parametrize(
    ("feed", "key"),
    [
        (web("f", "a", "b"), None),
        (web("f", "a", flatten=True, where="load1 > 2", tools=("alert",)), None),
        (web("f", "a", tools=("alert", "rss")), "f"),
        (web("f", "a", tools=("my.module:Tool",)), "f"),
        (FeedSettings(name="f", source=SourceSettings(any=("http://a/", "http://b/"))), "f"),
        (FeedSettings(name="f", pair=(web("", "a"), web("", "b"))), "f"),
        (FeedSettings(name="f", keyed={"x": web("", "a")}), "f"),
        (FeedSettings(name="f", failover=(web("", "a"), command(""))), HOME),
        (FeedSettings(name="f", union=(web("", "a"), web("", "b"))), None),
        (FeedSettings(name="f", of=FeedSettings(many=(web("", "a"),))), "f"),
        (FeedSettings(name="f", refeed="other"), "f"),
    ],
)
def test_what_must_be_seen_together(feed: FeedSettings, key: str | None) -> None:
    assert groups((feed,), no_tool).get("f") == key


def test_a_list_that_only_the_head_has_keeps_what_hangs_on_it_there() -> None:
    feeds = (
        command("hosts"),
        FeedSettings(name="live", of="hosts", flatten=True),
        web("reports", "{host}", foreach="live"),
        web("urls", "u"),
        web("pages", "{}", foreach="urls"),
        FeedSettings(name="inline", foreach=command(""), pair=(web("", "a"), web("", "b"))),
    )
    assert groups(feeds, no_tool) == {"reports": HOME, "inline": HOME}


def test_what_a_whole_feed_is_made_of_is_with_it() -> None:
    feeds = (
        web("a"),
        web("b"),
        web("c"),
        FeedSettings(name="ab", pair=("a", "b")),
        FeedSettings(name="table", of="c", tools=("rss",)),
        FeedSettings(name="bc", of="ab"),
    )
    assert groups(feeds, no_tool) == {"a": "a", "b": "a", "ab": "a", "c": "c", "table": "c"}
    with_local = (*feeds[:3], command("d"), FeedSettings(name="ad", pair=("a", "d")), *feeds[3:])
    assert groups(with_local, no_tool) == {
        "a": HOME,
        "ad": HOME,
        "d": HOME,
        "b": HOME,
        "ab": HOME,
        "c": "c",
        "table": "c",
    }
    named_inside = FeedSettings(name="p", pair=(web("left", "x"), web("right", "y")))
    assert groups((named_inside,), no_tool) == {"left": "p", "right": "p", "p": "p"}


def test_owners() -> None:
    ring, together = Ring(NODES), {"whole": "whole", "local": HOME}
    places = [f"http://h{n}/" for n in range(50)]
    assert {owner_of("f", place, together, ring, "n1") for place in places} == set(NODES)
    assert {owner_of("f", host, together, ring, "n1") for host in map(str, range(50))} == set(NODES), "elements"
    assert len({owner_of("whole", place, together, ring, "n1") for place in places}) == 1
    assert {owner_of("local", place, together, ring, "n1") for place in places} == {"n1"}
    assert owner_of("f", "proc:uptime", together, ring, "n2") == "n2"
    assert owner_of("f", "file:/etc/hosts", together, Ring(), "n2") == "n2"
    assert owner_of("f", "http://a/", together, Ring(), "n2") == "", "nobody yet"


def test_bases_inside_a_feed() -> None:
    known = {"a": 1, "a.0": 1}
    assert [feed_of(base, known) for base in ("a", "a.0", "a.1", "a.1.0", "b.0", "a.x")] == [
        "a",
        "a.0",
        "a",
        "a",
        "b.0",
        "a.x",
    ]


def test_what_drives_others() -> None:
    feeds = (
        web("list"),
        FeedSettings(name="live", of="list", flatten=True),
        web("reports", "{host}", foreach="live"),
        web("inline", "{}", foreach=command("")),
        web("nested", "{}", foreach=FeedSettings(of="other")),
        web("named", "{}", foreach=web("hosts", "h")),
        web("other"),
        web("alone"),
    )
    assert drivers(feeds) == {"list", "live", "inline", "nested", "other", "named", "hosts"}


def test_who_fetches() -> None:
    few, many = Config(), Config(feeds=(web("many", *map(str, range(1001))),))
    assert [fetches_here(few, node, "n1") for node in ("n1", "n2")] == [True, False]
    assert [fetches_here(many, node, "n1") for node in ("n1", "n2")] == [True, True]
    assert not fetches_here(Config(feeds=()), "n1", "n1")
    driven = (web("l"), web("each", "{}", foreach="l"))
    assert is_spread(driven, "auto")
    assert not is_spread((command("l"), driven[1]), "auto"), "the list is at the head"
    assert not is_spread(driven, "head")
    assert not is_spread((web("l"), command("each", foreach="l")), "auto")
    pairs = FeedSettings(name="p", foreach="l", pair=(web("", "{}"), web("", "{}")))
    assert is_spread((web("l"), pairs), "auto")
    assert not is_spread((FeedSettings(name="x", foreach=web("", "a"), pair=(command(""), command(""))),), "auto")


def test_a_tool_that_does_not_load_keeps_its_feed_at_one_node() -> None:
    assert not works_in_parts("no-such-tool")
    assert not works_in_parts("no.such.module:Tool")


def test_alerts_are_at_each_node_with_the_items_there() -> None:
    assert works_in_parts("alert")
    assert not works_in_parts("rss"), "a feed of all items is one file"
    assert groups((web("f", "a", tools=({"alert": {"field": "x", "maximum": 1}},)),)) == {}
