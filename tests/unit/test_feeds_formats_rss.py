"""RSS and Atom: entries with their times; not well-formed, hostile, or something else."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from vagus.errors import ConfigError, NoData
from vagus.feeds import Data
from vagus.feeds.formats.rss import MAX_WORD, Enclosure, Rss, RssEntry

RSS = b"""<?xml version="1.0" encoding="utf-8"?>
<rss version="2.0"><channel><title>Low disk</title><link>http://a/</link><description>nodes</description>
<lastBuildDate>Mon, 06 Sep 2021 00:01:00 GMT</lastBuildDate>
<item><title>plab1 &amp; plab2</title><link>http://a/1</link><guid isPermaLink="false">one</guid>
<pubDate>Mon, 06 Sep 2021 00:01:00 +0100</pubDate><description>&lt;b&gt;1 GB&lt;/b&gt;</description>
<category>disk</category><enclosure url="http://a/1.png" length="12" type="image/png"/></item>
<item><title>two</title><link>http://a/2</link></item>
</channel></rss>
"""
ATOM = b"""<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>A</title><link href="http://a/"/>
<updated>2003-12-13T18:30:02Z</updated><entry><title>one</title><link href="http://a/1"/><id>urn:1</id>
<published>2003-12-13T08:29:29-04:00</published><updated>2003-12-13T18:30:02Z</updated><author><name>J</name></author>
<summary>s</summary><content type="html">&lt;p&gt;c&lt;/p&gt;</content></entry></feed>"""


def test_feature_9_rss() -> None:
    value, found = Rss().parse(RSS)
    assert found.errors == 0
    assert value is not None
    assert (value.title, value.link, value.description, value.version) == ("Low disk", "http://a/", "nodes", "rss20")
    assert value.updated_s == 1630886460.0
    assert value.entries == [
        RssEntry(
            "plab1 & plab2",
            "http://a/1",
            "one",
            "<b>1 GB</b>",
            "",
            "",
            1630882860.0,
            None,
            ["disk"],
            [Enclosure("http://a/1.png", "image/png", 12)],
        ),
        RssEntry("two", "http://a/2", "", "", "", "", None, None, [], []),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_feature_9_atom(encoding: str) -> None:
    value, found = Rss().parse(ATOM.decode().encode(encoding))
    assert found.errors == 0
    assert value is not None
    assert (value.title, value.version, value.updated_s) == ("A", "atom10", 1071340202.0)
    assert value.entries == [
        RssEntry("one", "http://a/1", "urn:1", "s", "<p>c</p>", "J", 1071318569.0, 1071340202.0, [], [])
    ]


def test_feature_9_other_encodings() -> None:
    body = RSS.replace(b"utf-8", b"iso-8859-1").replace(b"two", b"d\xfcnn")
    value, found = Rss().parse(body)
    assert value is not None
    assert (value.entries[1].title, found.errors) == ("dünn", 0)
    value, found = Rss().parse(RSS.replace(b"utf-8", b"utf-7"))
    assert value is not None
    assert (len(value.entries), found.errors) == (2, 1)
    assert "'utf-7' is not known here" in found.note


def test_feature_10_what_is_not_well_formed_is_read_as_far_as_it_goes() -> None:
    value, found = Rss().parse(RSS.replace(b"</channel></rss>", b"").replace(b"nodes", b"n & m &nosuch;"))
    assert value is not None
    assert [entry.title for entry in value.entries] == ["plab1 & plab2", "two"]
    assert (found.code, found.errors) == (Data.SYNTAX, 1)
    assert "not well-formed" in found.note


def test_feature_10_a_broken_time_is_told_at_its_entry() -> None:
    value, found = Rss().parse(RSS.replace(b"Mon, 06 Sep 2021 00:01:00 +0100", b"some day"))
    assert value is not None
    assert value.entries[0].published_s is None
    assert (found.code, found.errors) == (Data.NESTED, 1)
    assert found.part("entries").part(0).part("published_s").note == "not a time: 'some day'"


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"<html><title>x</title></html>", b"{}", b"\0" * 100, b"<rss", b"&" * 99]
)
def test_feature_10_something_else(body: bytes) -> None:
    value, found = Rss().parse(body)
    assert value is None
    assert (found.code, found.errors) == (Data.SYNTAX, 1)
    assert found.note


def test_nothing_is_fetched_or_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("<rss version='2.0'><channel><title>secret</title></channel></rss>")

    def no_network(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", no_network)
    for body in (str(secret).encode(), f"file://{secret}".encode(), b"http://127.0.0.1:1/feed"):
        assert Rss().parse(body)[0] is None
    doctype = f'<!DOCTYPE rss SYSTEM "http://127.0.0.1:1/x.dtd" [<!ENTITY s SYSTEM "file://{secret}">]>'
    value, found = Rss().parse(RSS.replace(b"<rss", f"{doctype}<rss".encode()).replace(b"two", b"&s;"))
    assert found.errors
    assert value is not None
    assert value.entries[1].title == "&s;"
    assert "secret" not in str(value)


def test_hostile_bodies_cost_no_more_than_their_size() -> None:
    laughs = b'<!DOCTYPE r [<!ENTITY a "' + b"ha" * 10_000 + b'">]><rss version="2.0"><channel><title>'
    for head in (b"", b"\xff\xfe"):
        body = laughs + b"&a;" * 20_000
        value, found = Rss().parse(head + body.decode().encode("utf-16-le") if head else body)
        assert found.errors
        assert value is None or len(value.title) < 100_000
    author = b'<rss version="2.0"><channel><item><title>t</title><author>' + b"a." * 50_000
    value, found = Rss().parse(author + b"</author></item></channel></rss>")
    assert value is not None
    assert (value.entries[0].title, found.code) == ("t", Data.SEMANTIC)
    assert f"more than {MAX_WORD} characters" in found.note
    for run in (b"\n" * 200_000, b"\n<!DOCTYPE a" * 20_000, b" " * 200_000, b"<!ENTITY" * 20_000):
        value, found = Rss().parse(run + b"<rss version='2.0'><channel><item><title>t</title></item></channel></rss>")
        assert value is None or value.entries[0].title == "t"
    value, found = Rss().parse(RSS.replace(b"two", b"&#xD800;&#0;&#99999999999999999999;"))
    assert value is not None
    assert len(value.entries) == 2


def test_limits() -> None:
    assert Rss(max_bytes=10).parse(RSS)[1].code is Data.SEMANTIC
    with pytest.raises(ConfigError):
        Rss(max_bytes=0)
    value = Rss().parse(RSS)[0]
    assert value is not None
    with pytest.raises(NoData, match="the tool rss"):
        Rss().print(value)
