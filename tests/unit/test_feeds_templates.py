"""Data from outside in locations: it stays one word, one host, one part of a path, or is refused."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.errors import ConfigError
from vagus.feeds.template import Template

HOSTILE = (
    "-f",
    "--help",
    "; rm -rf /",
    "a b",
    "http://evil/",
    "../",
    "..",
    "a\nb",
    "$(id)",
    "`id`",
    "a|b",
    "a;b",
    "a\0",
    "",
)


class Host(msgspec.Struct):
    host: str
    port: int = 3121
    inside: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("text", "value", "location"),
    [
        ("http://{}:3121/", "planet-lab1.example.org", "http://planet-lab1.example.org:3121/"),
        ("http://{host}:{port}/x", Host("a.b"), "http://a.b:3121/x"),
        ("http://{}/", "a.b:80", "http://a.b:80/"),
        ("http://{}/", "[::1]:80", "http://[::1]:80/"),
        ("http://node{}.example.org/", 7, "http://node7.example.org/"),
        ("https://u:p@{}/q?x={}#{}", "a", "https://u:p@a/q?x=a#a"),
        ("http://h/{}/x", "a/b c?d#e%2e", "http://h/a%2Fb%20c%3Fd%23e%252e/x"),
        ("http://h?{}", "a&b=c", "http://h?a%26b%3Dc"),
        ("http://h/{{}}", "a", "http://h/{}"),
        ("http://h/{inside.k.0}", Host("a", inside={"k": ["v"]}), "http://h/v"),
        ("proc:ping -c 2 {}", "10.0.0.1", "proc:ping -c 2 10.0.0.1"),
        ("proc:ssh {host} uptime", {"host": "root@a"}, "proc:ssh root@a uptime"),
        ("proc:df '{}'", "/mnt/a", "proc:df /mnt/a"),
        ("proc:awk '{{print}}' {}", "f", "proc:awk '{print}' f"),
        ("file:logs/{}.txt", "a b/c", "file:logs/a b/c.txt"),
        ("gateway:/v1/{}", "a/b", "gateway:/v1/a%2Fb"),
        ("file:x", object(), "file:x"),
    ],
)
def test_feature_5_places_are_filled(text: str, value: Any, location: str) -> None:
    assert Template(text).fill(value) == location


@pytest.mark.parametrize(
    "value", [*HOSTILE, "a/b", "a@b", "a#b", "a?b", "a\\b", "a:b:c", "é.example", "a:99999999", "."]
)
@pytest.mark.parametrize(
    "text", ["http://{}/", "http://{}:80/", "http://x{}/", "http://u@{}", "https://{}.example.org/x"]
)
def test_data_is_never_another_host(text: str, value: str) -> None:
    with pytest.raises(ConfigError, match="location"):
        Template(text).fill(value)


@pytest.mark.parametrize("value", [*HOSTILE, "a'b", 'a"b', "a*", "~", "a&", "a>b", "#a", "a/../b", "\u2028"])
@pytest.mark.parametrize("text", ["proc:ping {}", "proc:ssh {} uptime", "proc:sh -c 'x {}'", "proc:cat x/{}"])
def test_data_is_never_an_option_or_a_further_word(text: str, value: str) -> None:
    with pytest.raises(ConfigError, match="location"):
        Template(text).fill(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("file:{}", "/etc/passwd"),
        ("file:{}", "~/x"),
        ("file:logs/{}", "../x"),
        ("file:logs/{}", "a/../../x"),
        ("file:logs/{}/x", ".."),
        ("file:logs/.{}", "./x"),
        ("file:logs/{a}{b}", {"a": ".", "b": "./x"}),
        ("file:/{}", "/host/x"),
        ("file:logs/{}", "a\nb"),
        ("http://h/{}/x", ".."),
        ("http://h/{}", "."),
        ("http://h/{a}{b}/x", {"a": ".", "b": ".x/"}),
        ("gateway:/v1/{}", ".."),
    ],
)
def test_data_never_leads_out_of_a_folder(text: str, value: Any) -> None:
    template = Template(text)
    try:
        location = template.fill(value)
    except ConfigError:
        return
    assert not {".", ".."} & set(location.partition(":")[2].split("/")), location


@pytest.mark.parametrize("value", [None, True, [], {}, object(), "x" * 1001])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="location"):
        Template("http://h/{}").fill(value)
    with pytest.raises(ConfigError, match="field is NoneType"):
        Template("http://h/{field}").fill({"other": 1})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{}", "before any"),
        ("{}://h/", "before any"),
        ("htt{}://h/", "before any"),
        ("gopher://{}", "must begin with one of"),
        ("http:{}", "the address of a host begins with"),
        ("http://{", "for a brace"),
        ("http://}", "for a brace"),
        ("http://{a b}/", "for a brace"),
        ("http://{a[0]}/", "for a brace"),
        ("proc:{} -c", "cannot come from data"),
        ("proc:", "cannot come from data"),
        ("proc:x 'y {}", "quotation"),
    ],
)
def test_what_is_no_template_is_refused(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Template(text)


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=20))
def test_whatever_comes_words_stay_words_and_hosts_hosts(value: str) -> None:
    for text in ("proc:ping -c 2 {} end", "http://{}:3121/a/{}?q={}", "http://h/{}/x"):
        try:
            location = Template(text).fill(value)
        except ConfigError:
            continue
        if text.startswith("proc"):
            words = shlex.split(location.partition(":")[2])
            assert words == ["ping", "-c", "2", value, "end"]
            assert not value.startswith("-")
        else:
            parts = urlsplit(location)
            assert (parts.hostname, parts.path.count("/")) == ((value.lower(), 2) if "3121" in text else ("h", 2))
            assert "@" not in parts.netloc
