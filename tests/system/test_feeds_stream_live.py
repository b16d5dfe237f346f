"""`vagus.stream`: a feed at work in this process, read by a program; the talk's program; archives; clean ends."""

from __future__ import annotations

import asyncio
import gc
import heapq
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import PATIENCE

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from feed_server import REPORT, FeedServer, serve_feeds

import vagus
from vagus.actors import feed_local, feed_stream
from vagus.errors import ConfigError, NoData, StoreError
from vagus.feeds import Feed, Meta, Net, Raw, all_, base, every, later_than, once, refeed
from vagus.feeds.directives import Emit, Recall
from vagus.feeds.formats.comon import CoMon
from vagus.feeds.formats.text import Text

pytestmark = pytest.mark.system


@pytest.fixture
def server() -> Iterator[FeedServer]:
    with serve_feeds() as served:
        yield served


def comon(server: FeedServer, period: str = "0.1s", count: int = 3) -> Feed[CoMon]:
    """Nodes n0, n1 … with loads 0.0, 0.5 …"""
    for n in range(count):
        server.bodies[f"/n{n}"] = REPORT.format(load=n / 2).encode()
    places = all_(f"{server.url}/n{n}" for n in range(count))
    return base(places, every(period, timeout="5s"), CoMon, name="comon")


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("feed ")}


def least_loaded(feed: Feed[CoMon], every_s: float, times: int) -> list[list[str]]:
    """The talk's program: the 10 nodes with the least load, every so many seconds."""
    printed = []
    with vagus.stream(feed) as nodes:
        for _ in range(times):
            part, nodes = nodes.slice_until(later_than(time.time() + every_s))
            loads = {
                node.meta.location: node.value for node in part.map(lambda node: node.load1) if node.value is not None
            }
            printed.append(heapq.nsmallest(10, loads, key=lambda location: loads[location]))
    return printed


def test_the_talks_program(server: FeedServer) -> None:
    printed = least_loaded(comon(server, count=12), 0.5, 3)
    nodes = [f"{server.url}/n{n}" for n in range(12)]
    assert nodes[:10] in printed
    assert all(least == sorted(least, key=nodes.index) and len(least) <= 10 for least in printed)
    assert not threads()


def test_a_file_is_enough(server: FeedServer, tmp_path: Path) -> None:
    feed = {
        "name": "comon",
        "source": {"all": [f"{server.url}/a"]},
        "every": "0.1s",
        "timeout": "5s",
        "format": "comon",
    }
    busy = {"name": "busy", "of": "comon", "where": "load1 > 0.1"}
    path = tmp_path / "comon.yaml"
    path.write_text(yaml.safe_dump({"feeds": [feed, busy]}))
    with vagus.stream(path, "busy", folder=tmp_path / "kept") as stream:
        assert next(stream.contents()).load1 == 0.5
    again = vagus.stream(path, "busy", archive=tmp_path / "kept")
    assert [item.value.load1 for item in again if item.value][:1] == [0.5]
    with pytest.raises(NoData, match="which feed is meant"):
        vagus.stream(path)
    with pytest.raises(NoData, match="no feed 'bus'"):
        vagus.stream(path, "bus")


def test_an_archive_gives_the_same_items_and_a_span_of_them(server: FeedServer, tmp_path: Path) -> None:
    feed = comon(server)
    with vagus.stream(feed, folder=tmp_path) as stream:
        live = [item for item, _ in zip(stream, range(9), strict=False)]
    again = list(vagus.stream(feed, archive=tmp_path))
    assert set(map(str, live)) <= set(map(str, again))
    assert [item.meta.arrived_ns for item in again] == sorted(item.meta.arrived_ns for item in again)
    middle_s = again[4].meta.arrived_ns / 1e9  # as a float coarser than a nanosecond
    middle_ns = round(middle_s * 1e9)
    later = vagus.stream(feed, archive=tmp_path, since=middle_s)
    assert list(map(str, later)) == [str(item) for item in again if item.meta.arrived_ns >= middle_ns]
    before = vagus.stream(feed, archive=tmp_path, until=middle_s)
    assert list(map(str, before)) == [str(item) for item in again if item.meta.arrived_ns < middle_ns]


def test_a_stream_ends_with_its_feed(server: FeedServer) -> None:
    stream = vagus.stream(base(all_(f"{server.url}/a", f"{server.url}/none"), once("5s"), CoMon))
    items = list(stream)
    assert sorted(item.meta.net.value for item in items) == [Net.OK.value, Net.STATUS.value]
    assert stream.ended


def test_what_came_before_the_end_can_be_read_after_it(server: FeedServer) -> None:
    stream = vagus.stream(comon(server))
    first = next(iter(stream))
    server.wait_for(6)
    stream.close()
    stream.close()
    rest = list(stream)
    assert rest
    assert first not in rest
    assert not threads()


def test_a_stream_that_nobody_has_any_more_ends(server: FeedServer) -> None:
    stream = vagus.stream(comon(server))
    part, rest = stream.slice_until(later_than(time.time() + 100))
    del stream
    gc.collect()
    assert next(part.contents()).rwfs == 221
    assert threads() == {"feed comon"}
    del part, rest
    gc.collect()
    assert not threads()


def test_a_quiet_feed_ends_a_slice_on_time(server: FeedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_stream, "QUIET_S", 0.05)
    with vagus.stream(comon(server, period="1h", count=1)) as nodes:
        part, nodes = nodes.slice_until(later_than(time.time() + 0.4))
        assert len(list(part)) <= 1
        part, nodes = nodes.slice_until(later_than(time.time() + 0.1))
        assert list(part) == []
        assert not nodes.ended


async def test_it_can_be_read_by_async_for(server: FeedServer) -> None:
    seen = []
    with vagus.stream(comon(server)) as stream:
        async for item in stream:
            seen.append(item.meta.location)
            if len(seen) == 6:
                break
        counted = asyncio.ensure_future(stream.__aiter__().__anext__())
        assert (await counted).meta.feed == "comon"
    assert set(seen) == {f"{server.url}/n{n}" for n in range(3)}


def test_who_reads_too_slowly_loses_the_oldest_and_is_told(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feed_stream, "MAX_WAITING", 4)
    stream = vagus.stream(comon(server, period="0.05s"))
    server.wait_for(15)
    stream.close()
    assert len(list(stream)) == 4
    assert "items were dropped" in caplog.text


def test_wrong_uses_are_errors_at_once(server: FeedServer, tmp_path: Path) -> None:
    feed = comon(server)
    with pytest.raises(NoData, match="there is no archive of feeds"):
        vagus.stream(feed, archive=tmp_path)
    with pytest.raises(ConfigError, match="for an archive"):
        vagus.stream(feed, since=1.0)
    with vagus.stream(feed, folder=tmp_path), pytest.raises(StoreError):
        vagus.stream(feed, folder=tmp_path)
    with pytest.raises(ConfigError):
        vagus.stream(tmp_path / "none.yaml")
    assert not threads()


def test_a_program_that_just_ends_leaves_a_whole_archive(server: FeedServer, tmp_path: Path) -> None:
    program = (
        "import vagus; from vagus.feeds import all_, base, every\n"
        f"feed = base(all_('{server.url}/a'), every('0.1s', timeout='5s'), 'comon', name='comon')\n"
        f"stream = vagus.stream(feed, folder={str(tmp_path)!r})\n"
        "print(next(stream.contents()).load1)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60 * PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.5\n", "")
    assert next(vagus.stream(comon(server), archive=tmp_path).contents()).load1 == 0.5


async def test_a_refeed_hands_on_what_it_has_read_before_it_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive may be larger than memory."""
    emits: list[Emit] = []
    behind: list[int] = []

    def read(recall: Recall) -> Iterator[Raw]:
        for number in range(1000):
            behind.append(number - len(emits))
            yield Raw(Meta("b", "http://a/", number, number, Net.OK), b"x")

    monkeypatch.setattr(feed_local, "refed", read)
    plain = base(all_("http://a/"), once("1s", start="2099-01-01"), Text(), name="b")
    local = feed_local.LocalFeeds({"r": refeed(plain, "/no/such/folder")}, emit=emits.append, failed=lambda *_: None)
    await local.start()
    await local.stop()
    assert (len(emits), max(behind)) == (1000, 0)
