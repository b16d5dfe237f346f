"""Feature 11, rss: RSS 2.0 that a reader takes, with stable GUIDs, whatever the texts hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from feed_items import at, context, item

from vagus.errors import ConfigError
from vagus.feeds.tools.rss import Rss

feedparser = pytest.importorskip("feedparser")
LOW_DISK: dict[str, Any] = {
    "title": "PlanetLab Disk Usage",
    "link": "http://comon.cs.princeton.edu/",
    "description": "This rss feed provides PlanetLab Disk usage info",
    "file": "rssdir/comon.rss",
    "path": "disk_free",
    "entry": "{location}: {disk_free} GB left",
    "when": "disk_free < 5",
    "every": "5m",
}


def read(path: Path) -> Any:
    found = feedparser.parse(path.read_bytes())
    assert not found.bozo, found.get("bozo_exception")
    assert found.version == "rss20"
    return found


def test_feature_11_rss_of_low_disk(tmp_path: Path) -> None:
    tool = Rss(context(tmp_path), **LOW_DISK)
    path = tmp_path / "rssdir/comon.rss"
    tool.tick(at(0))
    assert read(path).entries == []
    tool.take(item({"disk_free": 3}, 10, "http://a:3121/"))
    tool.take(item({"disk_free": 100}, 10, "http://b:3121/"))
    tool.take(item({"disk_free": 1.5}, 11, "http://c:3121/"))
    tool.tick(at(299))
    assert read(path).entries == []  # not before its schedule
    tool.tick(at(300))
    found = read(path)
    assert (found.feed.title, found.feed.link) == (LOW_DISK["title"], LOW_DISK["link"])
    assert found.feed.description == LOW_DISK["description"]
    assert found.feed.ttl == "5"
    assert [entry.title for entry in found.entries] == ["http://c:3121/: 1.5 GB left", "http://a:3121/: 3 GB left"]
    assert found.entries[1].link == "http://a:3121/"
    assert found.entries[1].published == "Tue, 14 Nov 2023 22:13:30 GMT"
    assert len({entry.id for entry in found.entries}) == 2
    assert not found.entries[0].guidislink


def test_feature_11_rss_tells_a_change_once_and_again_after_it_was_good(tmp_path: Path) -> None:
    tool = Rss(context(tmp_path), **LOW_DISK)
    for n, free in enumerate((3, 3, None, 3, 2, 100, 2)):
        tool.take(item(None if free is None else {"disk_free": free}, n, "http://a/"))
    tool.take(item({}, 8, "http://a/"))  # a missing field is no change
    tool.take(item({"disk_free": 2}, 9, "http://a/"))
    tool.finish(at(10))
    titles = [entry.title for entry in read(tmp_path / "rssdir/comon.rss").entries]
    assert titles == ["http://a/: 2 GB left", "http://a/: 2 GB left", "http://a/: 3 GB left"]


def test_feature_11_rss_guids_stay_over_restarts_and_replays(tmp_path: Path) -> None:
    items = [item({"disk_free": n % 5}, n, f"http://{n % 3}/") for n in range(20)]
    ids = []
    for run in range(3):
        if run == 2:
            (tmp_path / "rssdir/comon.rss").unlink()  # made anew from a replay
        tool = Rss(context(tmp_path), **LOW_DISK)
        for one in items:
            tool.take(one)
        tool.finish(at(30))
        ids.append(sorted(entry.id for entry in read(tmp_path / "rssdir/comon.rss").entries))
    assert len(ids[0]) == 20
    assert set(ids[0]) == set(ids[1]) == set(ids[2])


def test_feature_11_rss_after_a_restart_tells_nothing_twice(tmp_path: Path) -> None:
    first = Rss(context(tmp_path), **LOW_DISK)
    first.take(item({"disk_free": 3}, 0, "http://a/?<&>"))
    first.finish(at(1))
    before = read(tmp_path / "rssdir/comon.rss").entries
    second = Rss(context(tmp_path), **LOW_DISK)
    second.take(item({"disk_free": 3}, 600, "http://a/?<&>"))
    second.finish(at(601))
    assert read(tmp_path / "rssdir/comon.rss").entries == before


def test_feature_11_rss_each_item_and_a_bounded_number(tmp_path: Path) -> None:
    tool = Rss(context(tmp_path), file="x.rss", title="t", path="n", entries="item", max_entries=3)
    for n in range(10):
        tool.take(item({"n": 7}, n))
    tool.finish(at(11))
    found = read(tmp_path / "x.rss").entries
    assert [entry.title for entry in found] == ["7", "7", "7"]
    assert "22:13:29" in found[0].published


HOSTILE = "<script>alert(1)</script> ]]> &lt; \0\x1b\ufffe\ud800 </item></channel> \u2028 & é"


def test_feature_11_rss_hostile_texts_stay_texts(tmp_path: Path) -> None:
    tool = Rss(context(tmp_path), file="x.rss", title=HOSTILE[:20], path="name", detail="{name} {note}", key="name")
    tool.take(item({"name": HOSTILE}, 0, f"http://user:secret@a/{HOSTILE}"))
    tool.take(item({"name": "x" * 100_000}, 1, "proc:rm -rf '<b>'"))
    tool.finish(at(2))
    text = (tmp_path / "x.rss").read_text()
    assert "<script" not in text
    assert "secret" not in text
    assert len(text) < 10_000
    found = read(tmp_path / "x.rss")
    assert len(found.entries) == 2
    assert found.entries[1].summary.startswith("&lt;script&gt;alert(1)&lt;/script&gt; ")
    import xml.etree.ElementTree as ET

    title = ET.fromstring(text.encode()).find("channel/item[2]/title")
    assert title is not None
    assert title.text is not None
    assert title.text.startswith("<script>alert(1)</script> ]]> &lt;")


@pytest.mark.parametrize("content", [b"", b"no xml", b"<rss><channel><item><title>x</title></item></channel></rss>"])
def test_feature_11_rss_a_file_of_something_else_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.rss").write_bytes(content)
    tool = Rss(context(tmp_path), file="x.rss", title="t", path="n")
    tool.take(item({"n": 1}, 0))
    tool.tick(at(1))
    assert [entry.title for entry in read(tmp_path / "x.rss").entries] == ["1"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.rss"]


def test_feature_11_rss_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "dir").write_text("in the way")
    tool = Rss(context(tmp_path), file="dir/x.rss", title="t", path="n")
    tool.take(item({"n": 1}, 0))
    with pytest.raises(OSError, match="dir"):
        tool.tick(at(1))
    (tmp_path / "dir").unlink()
    tool.tick(at(2))
    assert len(read(tmp_path / "dir/x.rss").entries) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "x"}, "title"),
        ({"title": "x"}, "file"),
        ({"file": "x", "title": "t", "link": "javascript:alert(1)"}, "link"),
        ({"file": "x", "title": "t", "path": "a b"}, "path: expression"),
        ({"file": "x", "title": "t", "max_entries": 0}, "max_entries"),
        ({"file": "x", "title": "t", "every": "soon"}, "every"),
        ({"file": "x", "title": "t", "schedule": "5m"}, r"schedule.*options are file, title"),
        ({"file": "../x", "title": "t"}, "leaves its folder"),
    ],
)
def test_feature_11_rss_refuses_wrong_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rss(context(tmp_path), **options)


def test_whole_numbers_of_thousands_of_digits_cost_nothing_and_fail_nothing(tmp_path: Path) -> None:
    tool = Rss(context(tmp_path), file="a.rss", title="t", path="n")
    tool.take(item({"n": 10**5000}))  # what a function of map may make; Python refuses to print it
    tool.finish(at(1))
    assert read(tmp_path / "a.rss").entries[0].title == "an integer beyond 1e308"
