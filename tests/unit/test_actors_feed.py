"""The feed actor: a real server and real processes, a real archive, links that only remember."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from vagus.actors.base import Seat
from vagus.actors.feed import FeedActor
from vagus.clock import ManualClock
from vagus.config import Config, FeedSettings, SourceSettings
from vagus.errors import NoData, PeerUnreachable, StoreError
from vagus.feeds import Data, Item, Net, Raw
from vagus.feeds.formats.uptime import UptimeLine
from vagus.model import Report, Sample, Status
from vagus.store import Store


class Neighbours:
    """Links to a collector and an observer that remember what they are told."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.reports: list[Report] = []
        self.told = asyncio.Event()
        self.away = False

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if self.away:
            raise PeerUnreachable(actor)
        kept: Any = {"vagus:collector@n1.ingest": self.samples, "vagus:observer@n1.report": self.reports}
        kept[f"{actor}.{method}"].extend(*args)
        self.told.set()

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


def declared(name: str, *locations: str, **more: Any) -> FeedSettings:
    return FeedSettings(name=name, source=SourceSettings(all=locations), **{"every": "10s", "timeout": "5s", **more})


Sit = Callable[..., Any]


@pytest.fixture
def sit(tmp_path: Path) -> Sit:
    """An actor with a hand-turned clock, started; its loops sleep in real time, tests turn the clock and tick."""

    @asynccontextmanager
    async def sitting(*feeds: FeedSettings, **options: Any) -> AsyncIterator[tuple[FeedActor, ManualClock, Neighbours]]:
        clock, links = options.pop("clock", None) or ManualClock(), Neighbours()
        seat = Seat("feed", "n1", str(tmp_path), Config(feeds=feeds), options=options)
        actor = FeedActor(seat, links, clock)
        await actor.begin()
        try:
            yield actor, clock, links
        finally:
            await actor.end()

    return sitting


async def run(actor: FeedActor, clock: ManualClock, seconds: float = 10.0) -> None:
    clock.advance(seconds)
    actor.tick()
    await actor.idle()


@pytest.fixture
async def web_url() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/bad":
            return web.Response(body=b'{"load": ')
        if request.path == "/500":
            raise web.HTTPInternalServerError
        return web.json_response({"load": 0.5, "disks": [1, 2], "name": "x"})

    app = web.Application()
    app.router.add_get("/{_:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    yield f"http://127.0.0.1:{server.port}"
    await server.close()


async def test_items_samples_and_reports(sit: Sit, web_url: str) -> None:
    web_feed = declared("web", f"{web_url}/ok", f"{web_url}/500", f"{web_url}/bad", format="json")
    async with sit(web_feed, declared("up", "proc:uptime", format="uptime")) as (actor, clock, links):
        await run(actor, clock)
        items = {item.meta.location: item for item in await actor.items("web")}
        assert items[f"{web_url}/ok"].value == {"load": 0.5, "disks": [1, 2], "name": "x"}
        assert items[f"{web_url}/500"].meta.net is Net.STATUS
        assert items[f"{web_url}/bad"].meta.data is Data.SYNTAX
        [up] = await actor.items("up")
        assert isinstance(up.value, UptimeLine)
        assert up.meta.data is Data.GOOD
        await actor._signals.flush_samples()
        await actor._signals.flush_reports()
        series = {
            s.stream.series(f.name): v for s in links.samples for f, v in zip(s.stream.fields, s.values, strict=True)
        }
        assert series[f'feed.web.disks_1{{location="{web_url}/ok",node="n1"}}'] == 2.0
        assert series['feed.up.up_s{location="proc:uptime",node="n1"}'] == up.value.up_s
        assert series[f'feed.fetch.ok{{feed="web",location="{web_url}/500",node="n1"}}'] == 0.0
        assert series[f'feed.fetch.errors{{feed="web",location="{web_url}/bad",node="n1"}}'] == 1.0
        told = {(r.observer, r.subject): r.contexts["fetch"].status for r in links.reports}
        assert told == {
            ("feed:web@n1", f"{web_url}/ok"): Status.HEALTHY,
            ("feed:web@n1", f"{web_url}/bad"): Status.HEALTHY,  # it answers; what it says is the data code's matter
            ("feed:web@n1", f"{web_url}/500"): Status.UNHEALTHY,
            ("feed:up@n1", "proc:uptime@n1"): Status.HEALTHY,
        }
        figures = actor.figures()
        assert (figures["fetches"], figures["failures"], figures["missed"], figures["feeds"]) == (4, 1, 0, 2)
        assert figures["bytes"] > 100
        assert actor.notes() == (f"feed web: {web_url}/500: status HTTP 500 Internal Server Error",)
        assert actor.errors == 0


async def test_replay_is_identical_also_after_a_restart(sit: Sit, web_url: str) -> None:
    settings = declared("web", f"{web_url}/ok", f"{web_url}/bad", "file:/no/such", format="json")
    async with sit(settings) as (actor, clock, _):
        for _ in range(3):
            await run(actor, clock)
        live = await actor.items("web")
        end = clock.time_ns() + 1
        assert len(live) == 9
        assert _same(await actor.replay("web", 0, end), live)
    later = ManualClock(clock.time_ns())
    async with sit(settings, clock=later) as (again, clock, _):
        assert _same(await again.replay("web", 0, end), live)
        assert [i.meta.arrived_ns for i in await again.replay("web", 0, end, limit=3)] == [live[0].meta.arrived_ns] * 3
        again.tick()
        await again.idle()
        assert await again.items("web") == []  # those ticks had their items before the restart
        await run(again, clock, 40.0)
        nets = [item.meta.net for item in await again.items("web")]
        assert nets.count(Net.MISSED) == 9  # three ticks of three locations; the latest is caught up
        assert len(nets) == 12


async def test_refed_items_come_once_more_and_their_archive_is_untouched(sit: Sit, web_url: str) -> None:
    settings = declared("web", f"{web_url}/ok", f"{web_url}/500", format="json")
    async with sit(settings) as (actor, clock, _):
        for _ in range(2):
            await run(actor, clock)
        live = await actor.items("web")
    again = FeedSettings(name="again", refeed="web")
    async with sit(settings, again, clock=ManualClock(clock.time_ns())) as (actor, clock, _):
        while len(await actor.items("again")) < len(live):
            await asyncio.sleep(0.005)
        assert _same(await actor.items("again"), live)
        assert len(await actor.replay("web", 0, clock.time_ns() + 1)) == len(live)


async def test_a_tool_that_does_not_load_leaves_its_feed_running(sit: Sit) -> None:
    settings = declared("load", "file:/proc/loadavg", tools=({"alert": {"no": 1}}, "accum"))
    async with sit(settings, declared("other", "file:/proc/uptime", tools=("accum",))) as (actor, clock, _):
        await run(actor, clock)
        assert len(await actor.items("load")) == 1
        assert any("feed load runs without its tools" in note for note in actor.notes())
        [broken, whole] = await actor.statuses()
        assert "alert" in broken.error
        assert (whole.error, actor.figures()["tools"]) == ("", 1)
        folder = actor.seat.folder
    assert (folder / "feeds" / "other" / "accum.xml").exists(), "tools are finished at the end"


def _same(some: list[Item], others: list[Item]) -> bool:
    def key(item: Item) -> tuple[int, str]:
        return item.meta.due_ns, item.meta.location

    return sorted(some, key=key) == sorted(others, key=key)


async def test_a_run_still_going_is_counted_as_missed(sit: Sit, tmp_path: Path) -> None:
    release = tmp_path / "release"
    os.mkfifo(release)
    async with sit(declared("slow", f"proc:cat {release}", timeout="60s")) as (actor, clock, _):
        clock.advance(10.0)
        actor.tick()
        for _ in range(2):
            clock.advance(10.0)
            actor.tick()
        await asyncio.to_thread(release.write_text, "done")
        await actor.idle()
        items = await actor.items("slow")
        assert sorted(i.meta.net.value for i in items) == ["missed", "missed", "ok"]
        assert len({i.meta.due_ns for i in items}) == 3
        assert actor.figures()["missed"] == 2


async def test_feeds_that_do_not_load_are_noted_and_the_others_run(sit: Sit) -> None:
    broken = [
        declared("a", "proc:uptime", format="cobol"),
        declared("b", "gopher://x"),
        declared("c", "http://a/", options={"source": {"http": {"colour": 1}}}),
        declared("ok", "file:/proc/loadavg"),
    ]
    async with sit(*broken) as (actor, clock, _):
        await run(actor, clock)
        assert [i.meta.net for i in await actor.items("ok")] == [Net.OK]
        assert [line.split()[1] for line in actor.notes()] == ["a", "b", "c"]
        assert actor.errors == 3
        with pytest.raises(NoData, match="cobol"):
            await actor.items("a")
        with pytest.raises(NoData, match="not configured"):
            await actor.replay("z", 0, 1)
        assert (await actor.describe()).state == "HEALTHY"


async def test_gateway_locations_go_to_this_nodes_gateway(sit: Sit, web_url: str) -> None:
    settings = declared("gateway", "gateway:/healthz", format="json")
    async with sit(settings, gateway={"url": web_url, "token": "t"}) as (actor, clock, _):
        await run(actor, clock)
        [item] = await actor.items("gateway")
        assert item.value["load"] == 0.5
    async with sit(declared("later", "gateway:/healthz", format="json", timeout="0.3s")) as (actor, clock, _):
        await run(actor, clock)
        [item] = await actor.items("later")
        assert (item.meta.net, item.value) == (Net.REFUSED, None)


async def test_neighbours_that_are_away_get_it_later(sit: Sit) -> None:
    async with sit(declared("load", "file:/proc/loadavg")) as (actor, clock, links):
        links.away = True
        await run(actor, clock)
        await actor._signals.flush_samples()
        assert actor.figures()["samples_waiting"] == 1
        links.away = False
        await actor._signals.flush_samples()
        assert (len(links.samples), actor.figures()["samples_waiting"]) == (1, 0)


async def test_an_archive_that_fails_is_counted_and_items_still_come(sit: Sit, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **more: Any) -> None:
        raise StoreError("disk full")

    async with sit(declared("load", "file:/proc/loadavg")) as (actor, clock, _):
        monkeypatch.setattr(Store, "put", full)
        await run(actor, clock)
        assert len(await actor.items("load")) == 1
        assert "disk full" in actor.last_error


async def test_the_archive_is_committed_before_the_item_is_out(sit: Sit) -> None:
    async with sit(declared("load", "file:/proc/loadavg")) as (actor, clock, _):
        seen: list[int] = []
        emit = actor._emit

        def emitting(*args: Any) -> None:
            with Store.open(actor.seat.store_path, readonly=True) as other:
                seen.extend(len(raw.body) for raw in other.records("raw", Raw))
            emit(*args)

        actor._emit = emitting  # type: ignore[method-assign]
        await run(actor, clock)
        assert len(seen) == 1
        assert seen[0] > 10


async def test_live_on_the_real_clock_until_stopped(tmp_path: Path) -> None:
    links = Neighbours()
    feeds = (
        declared("fast", "file:/proc/loadavg", every="0.02s"),
        declared("hung", f"proc:sh -c 'echo $$ >{tmp_path}/pid; sleep 1000'", every="0.02s", timeout="1000s"),
    )
    actor = FeedActor(Seat("feed", "n1", str(tmp_path), Config(feeds=feeds)), links)
    await actor.begin()
    pid = tmp_path / "pid"
    async with asyncio.timeout(60.0):
        while len(links.samples) < 5 or not (pid.exists() and pid.read_text()):
            links.told.clear()
            await links.told.wait()
    await actor.end()
    assert len(await actor.items("fast")) >= 5
    assert await actor.items("hung") == []  # what it held up is told when it has ended, here by the next start
    assert not Path(f"/proc/{int(pid.read_text())}").exists()
    assert actor.figures()["fetching"] == 0
    await actor.end()


async def test_a_place_that_no_list_has_any_more_fails_no_more(sit: Sit, tmp_path: Path) -> None:
    listed = tmp_path / "list"
    hosts = declared("hosts", f"file:{listed}", format="json")
    each = declared("each", f"file:{tmp_path}/{{}}", foreach=FeedSettings(of="hosts", flatten=True))
    listed.write_text('["gone", "there"]')
    (tmp_path / "there").write_text("x")
    async with sit(hosts, each) as (actor, clock, _):
        for _ in range(3):
            await run(actor, clock)
        assert [note for note in actor.notes() if "gone" in note]
        listed.write_text('["there"]')
        for _ in range(3):
            await run(actor, clock)
        [status] = [status for status in await actor.statuses() if status.name == "each"]
        assert status.failing == {}
        assert actor.notes() == ()
