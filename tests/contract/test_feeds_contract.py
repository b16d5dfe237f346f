"""What every registered source and format promises."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vagus.config import Config, FeedSettings, SourceSettings, load
from vagus.errors import ConfigError
from vagus.feeds import FORMATS, SOURCES, Data, Fetched, Net
from vagus.feeds.declared import feeds_of
from vagus.feeds.engine import Engine
from vagus.feeds.load import load_format

NEEDED = {"record": {"fields": {"line": "str"}}}  # options without which a format is none
BODIES = [b"", b"\0", b"\xff" * 100, b"{" * 5000, b"a: b\n" * 100, b"1" * 5000, "\u2028é".encode()]


def parsed(fmt: Any, body: bytes) -> tuple[Any, Data, int]:
    value, found = fmt.parse(body)
    return value, found.code, found.errors


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_formats_answer_everything(name: str, body: bytes) -> None:
    fmt = FORMATS.make(name, **NEEDED.get(name, {}))
    value, data, errors = parsed(fmt, body)
    assert fmt.name == name
    assert isinstance(data, Data)
    assert (errors == 0) == (data is Data.GOOD)
    msgspec.json.encode(value)
    assert parsed(fmt, body) == (value, data, errors)


@pytest.mark.parametrize("name", list(FORMATS))
def test_formats_refuse_unknown_options(name: str) -> None:
    settings = FeedSettings(name="f", source=SourceSettings(all=("file:/x",)), format=name, options={"no_such": 1})
    with pytest.raises(ConfigError, match="'f'"):
        load_format(settings)


@pytest.mark.parametrize("name", list(SOURCES))
async def test_sources_never_raise_for_the_far_side(name: str) -> None:
    source = SOURCES.make(name)
    for rest in ("", "//", "/no/such/thing", "//[::1", "'", "\0"):
        # a gateway that is not there yet is waited for, as long as the time-out allows
        fetched = await source.fetch(f"{name}:{rest}", 0.1 if name == "gateway" else 1.0, 10)
        assert isinstance(fetched, Fetched)
        assert fetched.net not in (Net.OK, Net.MISSED), rest
        assert 0 < len(fetched.note) <= 400
        assert fetched.body == b""
    await source.close()
    await source.close()


@pytest.mark.parametrize("name", list(SOURCES))
def test_sources_load_for_a_feed_and_refuse_unknown_options(name: str) -> None:
    source = SourceSettings(all=(f"{name}:x",))
    feeds = feeds_of([FeedSettings(name="f", source=source, options={"source": {name: {}}})])
    assert list(Engine(feeds, now_ns=0).schemes()) == [("f", name)]
    with pytest.raises(ConfigError, match="'f'"):
        feeds_of([FeedSettings(name="f", source=source, options={"source": {name: {"no_such": 1}}})])


async def test_locations_at_hand_give_their_bytes_within_the_limit() -> None:
    for location in ("file:/proc/sys/kernel/ostype", "proc:cat /proc/sys/kernel/ostype"):
        source = SOURCES.make(location.partition(":")[0])
        exact, short = await asyncio.gather(source.fetch(location, 5.0, 6), source.fetch(location, 5.0, 5))
        assert exact == Fetched(Net.OK, b"Linux\n")
        assert short.net is Net.TOO_LARGE
        await source.close()


def test_the_default_and_the_example_feeds_load() -> None:
    example = load(Path(__file__).parents[2] / "examples" / "feeds" / "vagus.yaml", Config)
    for feeds in (Config().feeds, example.feeds):
        assert Engine(feeds_of(feeds), now_ns=0).next_due() is not None
