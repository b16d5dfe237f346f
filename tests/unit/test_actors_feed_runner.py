"""The runner: batches, limits, the order of archive and items, faults of engines, sources and sinks, bad servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import unused_port

from vagus.actors import feed_runner
from vagus.actors.feed_archive import FeedArchive, Refusals
from vagus.actors.feed_runner import FeedRunner
from vagus.actors.feed_slots import Slots
from vagus.actors.feed_sources import FeedSources
from vagus.clock import NS, ManualClock
from vagus.errors import StoreError
from vagus.feeds import Fetched, Item, Meta, Net, Raw
from vagus.feeds.directives import Archive, Directive, Emit, Fetch
from vagus.feeds.sources.http_plain import HttpPlainSource


class Core:
    """Fetches each location at each tick of a second, once told; counts what is parsed."""

    max_bytes = 10_000

    def __init__(self, locations: Iterable[str]) -> None:
        self.locations = list(locations)
        self.more: list[Directive] = []
        self.due_ns = 1_700_000_000 * NS
        self.parsed = 0

    def timeout_s(self, location: str) -> float:
        return 0.05 if "/hang/" in location else 30.0

    def next_due(self) -> int | None:
        return self.due_ns

    def tick(self, now_ns: int) -> list[Directive]:
        told: list[Directive] = list(self.more)
        while self.due_ns <= now_ns:
            told += [Fetch("f", at, self.due_ns, self.timeout_s(at), self.max_bytes) for at in self.locations]
            self.due_ns += NS
        return told

    def fetched(self, fetch: Fetch, fetched: Fetched, now_ns: int) -> Iterator[Directive]:
        meta = Meta("f", fetch.location, fetch.due_ns, now_ns, fetched.net, note=fetched.note)
        yield Archive(Raw(meta, fetched.body))
        self.parsed += 1
        yield Emit("f", Item(meta, fetched.body))


class Awaited:
    """A source that answers when released, and notes how many are under way."""

    def __init__(self) -> None:
        self.going: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.release = asyncio.Event()
        self.closed = False

    async def fetch(self, location: str, timeout_s: float, max_bytes: int) -> Fetched:
        host = location.split("/")[2]
        for name in (host, ""):
            self.going[name] += 1
            self.most[name] = max(self.most[name], self.going[name])
        try:
            await self.release.wait()
            await asyncio.sleep(0)
        finally:
            for name in (host, ""):
                self.going[name] -= 1
        return Fetched(Net.OK, location.encode())

    async def close(self) -> None:
        self.closed = True


class Ran:
    """A runner with what it told."""

    def __init__(self, core: Any, source: Any, archive: Any = None, **more: Any) -> None:
        self.clock = ManualClock()
        self.items: list[Item[Any]] = []
        self.errors: list[str] = []
        self.ended: list[tuple[Fetch, Fetched, float, int]] = []
        self.runner = FeedRunner(
            core,
            {("", "http"): source},
            archive,
            emit=lambda emit: self.items.append(emit.item),
            failed=lambda where, error: self.errors.append(f"{where}: {error}"),
            fetched=lambda *found: self.ended.append(found),
            clock=self.clock,
            **more,
        )

    async def second(self) -> None:
        self.clock.advance(1.0)
        self.runner.tick()
        await self.runner.idle()


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[FeedArchive]:
    archive = FeedArchive(tmp_path / "a")
    await archive.open()
    yield archive
    await archive.close()


async def test_limits_of_each_host_and_of_all() -> None:
    source = Awaited()
    locations = [f"http://h{n % 5 if n < 20 else 0}/{n}" for n in range(60)]
    ran = Ran(Core(locations), source, max_fetches=12, max_per_host=4)
    ran.runner.tick()
    await asyncio.sleep(0)
    figures = ran.runner.figures()
    assert (figures["fetching"], figures["fetches_waiting"], source.going[""]) == (12, 48, 12)
    assert not ran.runner.is_idle
    source.release.set()
    await ran.runner.idle()
    assert source.most[""] == 12
    assert max(count for host, count in source.most.items() if host) == 4
    assert sorted(item.value for item in ran.items) == sorted(at.encode() for at in locations)
    assert ran.runner.is_idle
    assert len(ran.ended) == 60
    await ran.runner.stop()
    assert source.closed


def test_hosts_take_turns_and_none_is_forgotten() -> None:
    slots: Slots[str] = Slots(2, 1)
    assert slots.take("a", "a1")
    assert slots.take("b", "b1")
    assert not any([slots.take("a", "a2"), slots.take("c", "c1"), slots.take("c", "c2"), slots.take("d", "d1")])
    assert slots.free("b") == ["c1"]
    assert slots.free("a") == ["d1"]  # before a2: it waited for the total alone, and for longer
    assert slots.free("c") == ["a2"]
    assert slots.free("d") == ["c2"]
    assert (slots.free("a"), slots.free("c"), slots.going, slots.waiting, slots._hosts) == ([], [], 0, 0, {})


async def test_all_that_came_together_is_one_commit_and_archived_before_it_is_parsed(archive: FeedArchive) -> None:
    source, core = Awaited(), Core([f"http://h/{n}" for n in range(50)])
    ran = Ran(core, source, archive, max_per_host=50)
    ran.runner.tick()
    await asyncio.sleep(0)
    source.release.set()
    put = archive.put
    archived: list[int] = []

    def watched(raws: list[Raw], done: Callable[[Refusals], None]) -> None:
        assert core.parsed == len(archived) == 0
        put(raws, lambda refused: (archived.append(len(raws)), done(refused)))  # type: ignore[func-returns-value]

    archive.put = watched  # type: ignore[method-assign, assignment]
    await ran.runner.idle()
    assert archived == [50]
    assert len(ran.items) == core.parsed == 50
    assert {raw.body for raw in await archive.records()} == {item.value for item in ran.items}


async def test_items_come_although_the_archive_cannot_and_nothing_is_claimed() -> None:
    class Full:
        def put(self, raws: list[Raw], done: Callable[[Refusals], None]) -> None:
            done(dict.fromkeys(range(len(raws)), StoreError("disk full")))

        def figures(self) -> dict[str, float]:
            return {"archived": 0.0}

    source = Awaited()
    source.release.set()
    ran = Ran(Core(["http://h/1", "http://h/2"]), source, Full())
    await ran.second()
    assert len(ran.items) == 4  # two ticks
    assert set(ran.errors) == {"archive: disk full"}
    figures = ran.runner.figures()
    assert (figures["unarchived"], figures["archived"], figures["items"]) == (4, 0, 4)


async def test_misses_are_archived_and_told_also_without_any_fetch(archive: FeedArchive) -> None:
    core = Core([])
    metas = [Meta("f", f"l{n}", core.due_ns, core.due_ns, Net.MISSED) for n in range(3)]
    core.more = [
        d for meta in metas for d in (Archive(Raw(meta, b"")), Emit("f", Item(meta), 2), Emit("g", Item(meta), 2))
    ]
    ran = Ran(core, Awaited(), archive)
    ran.runner.tick()
    await ran.runner.idle()
    assert len(ran.items) == 6
    assert ran.runner.figures()["missed"] == 6  # two ticks of three locations, whoever tells of them
    assert len(await archive.records()) == 3
    assert archive.figures()["commits"] == 1


async def test_what_raises_stops_nothing_else() -> None:
    class Odd(Awaited):
        async def fetch(self, location: str, timeout_s: float, max_bytes: int) -> Fetched:
            if location.endswith("1"):
                raise RuntimeError("a source from outside")
            return Fetched(Net.OK)

        async def close(self) -> None:
            raise RuntimeError("closing too")

    class Begins:
        def begin(self, location: str, timeout_s: float, max_bytes: int, done: Any) -> None:
            raise RuntimeError("at once")

        async def close(self) -> None:
            pass

    class OddCore(Core):
        def fetched(self, fetch: Fetch, fetched: Fetched, now_ns: int) -> Iterator[Directive]:
            if fetch.location.endswith("2"):
                raise RuntimeError("an engine")
            return super().fetched(fetch, fetched, now_ns)

    core = OddCore(["http://h/1", "http://h/2", "http://h/3", "begins:1", "nobody:1"])
    ran = Ran(core, Odd())
    ran.runner._fetches._sources = {("", "http"): Odd(), ("f", "begins"): Begins()}
    await ran.second()
    assert Counter(item.meta.location for item in ran.items) == dict.fromkeys(
        ("http://h/1", "http://h/3", "begins:1", "nobody:1"), 2
    )
    assert {item.meta.net for item in ran.items if item.meta.location != "http://h/3"} == {Net.FAILED}
    assert sorted(set(ran.errors)) == [
        "feed f: an engine",
        "feed f: source begins: at once",
        "feed f: source http: a source from outside",
    ]
    ran.runner._emit = lambda emit: 1 // 0
    await ran.second()
    assert "feed f: item: integer division or modulo by zero" in ran.errors
    core.next_due = lambda: 1 // 0  # type: ignore[method-assign, assignment, return-value]
    assert ran.runner.tick() is None
    assert "tick: integer division or modulo by zero" in ran.errors
    await ran.runner.stop()
    assert "closing a source: closing too" in ran.errors


async def test_stopping_leaves_nothing_running_and_delivers_what_has_come(archive: FeedArchive) -> None:
    source = Awaited()
    ran = Ran(Core([f"http://h{n}/" for n in range(20)]), source, archive, max_fetches=10)
    ran.runner.start()
    while source.going[""] < 10:
        await asyncio.sleep(0)
    await ran.runner.stop()
    assert (source.going[""], source.closed, ran.items) == (0, True, [])
    assert ran.runner.figures()["fetching"] == 0
    ran.clock.advance(10.0)
    await asyncio.sleep(0.005)
    assert ran.ended == []
    again = Ran(Core(["http://h/"]), source, archive)
    source.release.set()
    again.runner.tick()
    while not again.runner._ended_runs:
        await asyncio.sleep(0)
    await again.runner.stop()
    assert len(again.items) == 1


async def test_it_ticks_by_itself() -> None:
    source = Awaited()
    source.release.set()
    ran = Ran(Core(["http://h/"]), source)
    came = asyncio.Event()
    ran.runner._emit = lambda _: came.set()
    ran.runner.start()
    await asyncio.wait_for(came.wait(), 5.0)
    await ran.runner.stop()


async def test_finishing_lets_what_is_under_way_end_and_begins_no_tick() -> None:
    source, core = Awaited(), Core(["http://a/", "http://b/"])
    ran = Ran(core, source)
    ran.runner.start()
    while source.going[""] < 2:
        await asyncio.sleep(0)
    finishing = asyncio.ensure_future(ran.runner.finish())
    core.due_ns = ran.clock.time_ns()  # the next tick is due already
    source.release.set()
    await asyncio.wait_for(finishing, 10.0)
    assert len(ran.items) == 2
    assert source.closed


async def test_what_came_may_make_something_due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_runner, "MAX_NAP_S", 1000.0)

    class Growing(Core):
        def tick(self, now_ns: int) -> list[Directive]:
            told = super().tick(now_ns)
            self.due_ns += 1000 * NS
            return told

        def fetched(self, fetch: Fetch, fetched: Fetched, now_ns: int) -> Iterator[Directive]:
            yield from super().fetched(fetch, fetched, now_ns)
            if fetch.location.endswith("list"):
                self.locations = ["http://h/more"]
                self.due_ns = now_ns

    source = Awaited()
    source.release.set()
    core = Growing(["http://h/list"])
    ran = Ran(core, source)
    more = asyncio.Event()
    ran.runner._emit = lambda emit: more.set() if emit.item.meta.location.endswith("more") else None
    ran.runner.start()
    await asyncio.wait_for(more.wait(), 10.0)
    await ran.runner.stop()


@contextlib.asynccontextmanager
async def bad_servers() -> AsyncIterator[int]:
    """One port; the path says what it does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
                if path.startswith(b"/ok"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))
                elif path.startswith(b"/garbage"):
                    writer.write(b"\0\1\2 this is no HTTP\r\n\r\n")
                elif path.startswith(b"/endless"):
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                    while True:
                        writer.write(b"x" * 1000)
                        await writer.drain()
        writer.close()

    tasks: list[Any] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_each_tick_and_location_has_one_item_whatever_the_servers_do(archive: FeedArchive) -> None:
    async with bad_servers() as port:
        kinds = {"ok": 73, "hang": 10, "garbage": 5, "endless": 2}
        nets = {
            "ok": Net.OK,
            "hang": Net.TIMEOUT,
            "garbage": Net.FAILED,
            "endless": Net.TOO_LARGE,
            "refuse": Net.REFUSED,
        }
        expected = {
            f"http://127.0.0.1:{port}/{kind}/{n}": nets[kind] for kind, count in kinds.items() for n in range(count)
        }
        expected |= {f"http://127.0.0.1:{unused_port()}/{n}": Net.REFUSED for n in range(10)}
        ran = Ran(Core(expected), HttpPlainSource(), archive, max_per_host=100)
        for _ in range(3):
            await ran.second()
        await ran.runner.stop()
    found = Counter((item.meta.location, item.meta.due_ns) for item in ran.items)
    assert len(found) == 4 * len(expected)  # the first tick counts
    assert set(found.values()) == {1}
    assert all(item.meta.net is expected[item.meta.location] for item in ran.items)
    for item in ran.items:
        if item.meta.net is Net.OK:
            assert item.meta.location.endswith(item.value.decode())
    stored = Counter((raw.meta.location, raw.meta.due_ns) for raw in await archive.records())
    assert stored == found


async def test_misses_after_an_item_are_one_commit_more_and_come_in_order(archive: FeedArchive) -> None:
    class Dependent(Core):
        """What came says that more was missed, and what else to fetch."""

        def fetched(self, fetch: Fetch, fetched: Fetched, now_ns: int) -> Iterator[Directive]:
            yield from super().fetched(fetch, fetched, now_ns)
            if fetch.location.endswith("list"):
                for n in range(20):
                    meta = Meta("f", f"missed{n}", fetch.due_ns, now_ns, Net.MISSED)
                    yield Archive(Raw(meta, b""))
                    yield Emit("f", Item(meta))
                yield Fetch("f", "http://h/more", fetch.due_ns, 5.0, 100)

    source = Awaited()
    source.release.set()
    ran = Ran(Dependent(["http://h/list"]), source, archive)
    ran.runner.tick()
    await ran.runner.idle()
    told = [item.meta.location for item in ran.items]
    assert told[:21] == ["http://h/list", *(f"missed{n}" for n in range(20))]
    assert told[21:] == ["http://h/more"]
    assert len(await archive.records()) == 22
    assert archive.figures()["commits"] <= 3
    assert [fetch.location for fetch, *_ in ran.ended] == ["http://h/list", "http://h/more"]


async def test_sources_are_made_when_needed_and_shared() -> None:
    told: list[str] = []
    options = {"a": {}, "b": {"http": {"max_redirects": 1}}, "c": {"http": {"colour": 1}}}
    sources = FeedSources(
        lambda base: options.get(base, {}),
        always={"gateway": {"url": "http://127.0.0.1:1"}},
        failed=lambda where, error: told.append(f"{where}: {type(error).__name__}"),
    )
    assert sources["a", "http"] is sources["a", "http"]
    assert sources["a", "http"]._pool is sources["z", "http"]._pool  # type: ignore[attr-defined]
    assert sources["b", "http"] is not sources["a", "http"]
    assert (await sources["a", "gateway"].fetch("gateway:/", 5.0, 10)).net is Net.REFUSED
    fetched = await sources["c", "http"].fetch("http://a/", 5.0, 10)
    assert (fetched.net, "colour" in fetched.note) == (Net.FAILED, True)
    assert told == ["feed c: source http: TypeError"]
    assert sources.get(("a", "gopher")) is None
    assert sorted(sources) == [("a", "gateway"), ("a", "http"), ("b", "http"), ("c", "http"), ("z", "http")]
    assert len(sources) == 5
    for source in sources.values():
        await source.close()
