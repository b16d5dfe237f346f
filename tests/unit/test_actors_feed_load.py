"""Which feeds of a configuration run, and how each is described; its newest items, bounded, as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vagus.actors import feed_items
from vagus.actors.feed_items import FeedItems, shown
from vagus.actors.feed_load import load, shape_text
from vagus.config import FeedSettings, SourceSettings
from vagus.feeds import Data, Item, Meta, Net, Shape
from vagus.feeds.directives import Emit


def web(name: str, *more: str, **settings: Any) -> FeedSettings:
    return FeedSettings(name=name, source=SourceSettings(all=(f"http://{name or 'x'}/", *more)), **settings)


def test_a_broken_feed_takes_only_those_with_it_that_need_it() -> None:
    loaded = load(
        (
            web("a"),
            web("broken", format="cobol"),
            FeedSettings(name="uses", of="broken"),
            FeedSettings(name="driven", foreach="broken", source=SourceSettings(all=("http://{}/",))),
            FeedSettings(name="ring", of="ring2"),
            FeedSettings(name="ring2", of="ring"),
            FeedSettings(
                name="options", source=SourceSettings(all=("http://a/",)), options={"source": {"http": {"x": 1}}}
            ),
            FeedSettings(name="good", pair=("a", web("", "http://b/"))),
        )
    )
    assert set(loaded.feeds) == {"a", "good"}
    assert set(loaded.broken) == {"broken", "uses", "driven", "ring", "ring2", "options"}
    assert "cobol" in loaded.broken["uses"]
    assert "made of itself" in loaded.broken["ring"]
    assert "source 'http'" in loaded.broken["options"]


def test_of_two_that_contradict_each_other_the_first_runs() -> None:
    loaded = load((web("x", format="json"), web("y"), FeedSettings(name="z", pair=(web("p"), web("q"))), web("z.0")))
    assert set(loaded.feeds) == {"x", "y", "z", "z.0"}, "sides that have names of their own leave z.0 free"
    loaded = load((web("y"), FeedSettings(name="z", union=(web(""), web(""))), web("z.0")))
    assert set(loaded.feeds) == {"y", "z"}
    assert "z.0" in loaded.broken["z.0"]


def test_bases_belong_to_the_feed_that_is_made_of_them() -> None:
    driven = FeedSettings(name="each", foreach="hosts", source=SourceSettings(all=("http://{}/",)))
    loaded = load((web("hosts", format="json"), driven, FeedSettings(name="both", pair=(web(""), web("right")))))
    assert [loaded.is_part(base, "each") for base in ("each", "each.3", "hosts", "both.0")] == [
        True,
        True,
        False,
        False,
    ]
    assert [loaded.is_part(base, "both") for base in ("both.0", "right", "both.1", "each")] == [
        True,
        True,
        False,
        False,
    ]
    assert set(loaded.bases) == {"hosts", "both.0", "right"}


@pytest.mark.parametrize(
    ("settings", "schedule", "kind"),
    [
        (web("a", every="5m"), "every 5m", "source"),
        (web("a", once=True), "once", "source"),
        (FeedSettings(name="a", pair=(web("", every="7s"), web("", "http://b/"))), "every 7s", "pair"),
        (FeedSettings(name="a", of="b"), "", "of"),
        (
            FeedSettings(name="a", foreach="b", source=SourceSettings(all=("http://{}/",)), every="9s"),
            "every 9s",
            "source",
        ),
    ],
)
def test_what_is_said_of_a_declaration(settings: FeedSettings, schedule: str, kind: str) -> None:
    loaded = load((web("b"), settings))
    assert not loaded.broken
    status = loaded.status(settings, "n1", locations=3)
    assert (status.name, status.node, status.kind, status.schedule, status.locations) == ("a", "n1", kind, schedule, 3)


def test_shapes_in_words() -> None:
    number = Shape("float", unit="ratio")
    record = Shape("record", "Node", (("load", number), ("disks", Shape("list", parts=(("", Shape("int")),)))))
    assert shape_text(record) == "Node {load: float [ratio], disks: list of int}"
    assert shape_text(Shape("union", parts=(("Node", record), ("Comment", Shape("record", "Comment"))))) == (
        "Node {load: float [ratio], disks: list of int} | Comment"
    )
    assert shape_text(Shape("optional", parts=(("", number),))) == "float [ratio]?"
    assert shape_text(Shape("any")) == "any"
    deep = number
    for n in range(20):
        deep = Shape("record", f"R{n}", (("x", deep),))
    assert len(shape_text(deep)) < 100


def emit(value: Any, n: int = 0, net: Net = Net.OK, ticks: int = 1, size: int = 10) -> Emit:
    return Emit("f", Item(Meta("f", "http://a/", n, n, net, Data.GOOD, size_bytes=size), value), ticks)


def test_the_newest_are_kept_within_bounds_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_items, "MAX_ITEMS", 5)
    items = FeedItems()
    for n in range(8):
        items.take(emit(n, n))
    items.take(emit(None, 8, Net.MISSED, ticks=40))
    assert [item.value for item in items.newest(10)] == [4, 5, 6, 7, None]
    assert [item.value for item in items.newest(2)] == [7, None]
    assert items.newest(0) == []
    assert items.codes == {"ok/Good": 8, "missed/Good": 40}
    small = FeedItems(max_bytes=3000)
    for n in range(5):
        small.take(emit(n, n, size=1000))
    assert [item.value for item in small.newest(10)] == [3, 4]


def test_items_as_json_whatever_a_function_made_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown([emit({"x": float("nan"), "b": b"\x00"}, 1).item, emit(1j, 2).item, emit({1: {2}}, 3).item])
    assert [t_ns for t_ns, _ in found] == [1, 2, 3]
    values = [json.loads(text)["value"] for _, text in found]
    assert values[0]["x"] is None
    assert values[1] == "1j"
    assert values[2] == {"1": [2]}
    monkeypatch.setattr(feed_items, "ANSWER_BYTES", 1000)
    assert len(shown(emit("y" * 400, n).item for n in range(10))) == 1
