"""Subscriptions to a real collector: archive and present joined, restarts, other nodes, events, a store that fails."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from vagus.actors.arrivals import Position
from vagus.actors.base import Seat
from vagus.actors.collector import CollectorActor
from vagus.actors.following import LinkedSource, subscribe
from vagus.client.connection import Connection
from vagus.config import CollectSettings, Config, ForecastSettings, GatewaySettings, ProbeSettings
from vagus.errors import ConfigError, PeerUnreachable, StoreError
from vagus.model import Event, Field, Page, Sample, Stream

TOKEN = "t" * 32
T0 = time.time_ns() - 3600 * 10**9
CONFIG = Config(
    gateway=GatewaySettings(port=0),
    collect=CollectSettings(collectors=()),
    probes=ProbeSettings(enabled=False),
    forecast=ForecastSettings(enabled=False),
)


class Cluster:
    """Collectors of one process, linked; a node can be away."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self.folder = folder
        self.names = names
        self.actors: dict[str, CollectorActor] = {}
        self.away: set[str] = set()

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        node = actor.rpartition("@")[2]
        if not actor.startswith("vagus:collector@"):
            return [] if method == "inferences" else None
        if node in self.away or node not in self.actors:
            raise PeerUnreachable(f"{actor} is away")
        return await asyncio.wait_for(getattr(self.actors[node], method)(*args), timeout_s)

    def nodes(self) -> tuple[str, ...]:
        return self.names

    @asynccontextmanager
    async def sitting(self, name: str) -> Any:
        seat = Seat("collector", name, str(self.folder), CONFIG, options={"token": TOKEN, "head": name})
        actor = self.actors[name] = CollectorActor(seat, self)
        await actor.begin()
        try:
            yield actor
        finally:
            del self.actors[name]
            await actor.end()


def stream(node: str = "a", kind: str = "feed.x") -> Stream:
    return Stream(node, kind, (Field("value"), Field("other", dtype="u8")))


def sample(number: int, t_s: float | None = None, node: str = "a", kind: str = "feed.x") -> Sample:
    t_ns = T0 + round((number if t_s is None else t_s) * 1e9)
    return Sample(stream(node, kind), t_ns, (float(number), 2**60 + number))


async def take(source: Any, selector: str, after: str, since_ns: int = 0, events: str = "") -> tuple[list[Any], str]:
    """All there is now, and where that ends."""
    got: list[Any] = []
    while True:
        page: Page = await source.follow(selector, events, after, since_ns, "", 0.0)
        assert not page.gap
        got += [record for _, record in page.items]
        if page.after == after and not page.behind:
            return got, after
        after = page.after


def numbers(records: list[Any]) -> list[int]:
    return [int(r.values[0]) for r in records]


async def test_past_then_present_with_late_samples_once(tmp_path):
    async with Cluster(tmp_path, ("a",)).sitting("a") as actor:
        await actor.ingest([sample(n) for n in range(10)])
        got, after = await take(actor, "feed.x.value", "", T0 + 3 * 10**9)
        assert numbers(got) == list(range(3, 10))
        assert got[0].stream.fields == (Field("value"),)
        await actor.ingest([sample(10), sample(11, 2.5), sample(12, 0.5, kind="feed.y")])  # one of them late
        got, after = await take(actor, "feed.x.value", after)
        assert numbers(got) == [10, 11]
        assert await take(actor, "feed.x.value", after) == ([], after)
        again, _ = await take(actor, "feed.x", "", T0)
        assert numbers(again) == [0, 1, 2, 11, 3, 4, 5, 6, 7, 8, 9, 10]


async def test_what_arrives_while_the_past_is_read_comes_once(tmp_path, monkeypatch):
    monkeypatch.setattr("vagus.actors.following.MOST", 3)
    async with Cluster(tmp_path, ("a",)).sitting("a") as actor:
        actor._sensing.following._most = 7
        await actor.ingest([sample(n) for n in range(100)])
        got: list[int] = []
        page = await actor.follow("feed.x", "", "", T0, "", 0.0)
        for round_ in range(200):
            page = await actor.follow("feed.x", "", page.after, 0, "", 0.0)
            got += numbers([record for _, record in page.items])
            if round_ < 20:  # late ones before and after where the past is read, and new ones
                await actor.ingest([sample(1000 + round_, 50.5 + round_), sample(2000 + round_, 0.01 + round_)])
        assert sorted(got) == sorted([*range(100), *range(1000, 1020), *range(2000, 2020)])
        assert [n for n in got if n < 1000] == list(range(100))
        assert [n for n in got if n >= 2000] == list(range(2000, 2020))


async def test_a_position_outlives_the_process_and_is_exact(tmp_path):
    cluster = Cluster(tmp_path, ("a",))
    async with cluster.sitting("a") as actor:
        await actor.ingest([sample(n) for n in range(5)])
        _, after = await take(actor, "feed.x", "", T0)
        await actor.ingest([sample(5), sample(6, 1.5)])  # not yet read: the subscriber is away
    async with cluster.sitting("a") as actor:
        await actor.ingest([sample(7), sample(8, 0.25)])
        got, after = await take(actor, "feed.x", after)
        assert numbers(got) == [5, 6, 7, 8]
    async with cluster.sitting("a") as actor:
        assert (await take(actor, "feed.x", after))[0] == []
        half = (await actor.follow("feed.x", "", "", T0, "", 0.0)).after
        page = await actor.follow("feed.x", "", half, 0, "", 0.0)
        middle = page.items[3][0]  # a position in the middle of the past
    async with cluster.sitting("a") as actor:
        got, _ = await take(actor, "feed.x", middle)
        assert numbers(page_records(page))[:4] + numbers(got) == [0, 8, 1, 6, 2, 3, 4, 5, 7]


def page_records(page: Page) -> list[Any]:
    return [record for _, record in page.items]


async def test_events_are_joined_with_their_past_and_of_equal_times_none_is_lost(tmp_path):
    async with Cluster(tmp_path, ("a",)).sitting("a") as actor:
        put = actor._sensing.put
        made = [Event(T0 + n // 3, f"log.{'line' if n % 2 else 'other'}", "a", fields={"n": n}) for n in range(12)]
        await put((), made[:7])
        got, after = await take(actor, "", "", T0 - 1, "log.line,nothing")
        assert [e.fields["n"] for e in got] == [1, 3, 5]
        await put([sample(1)], made[7:])
        got, after = await take(actor, "", after, events="log.line,nothing")
        assert [e.fields["n"] for e in got] == [7, 9, 11]
        got, _ = await take(actor, "*", "", T0 - 1, "*")
        assert [r.fields["n"] for r in got if isinstance(r, Event)] == list(range(12))
        assert numbers([r for r in got if isinstance(r, Sample)]) == [1]


async def test_more_than_memory_holds_is_replayed_from_the_archive(tmp_path, monkeypatch):
    monkeypatch.setattr("vagus.actors.live.MAX_TICKS", 2)
    async with Cluster(tmp_path, ("a",)).sitting("a") as actor:
        after = (await actor.follow("feed.x", "log.*", "", 0, "", 0.0)).after
        for n in range(30):
            await actor._sensing.put([sample(n, n * 700.0)], [Event(T0 + n % 2, "log.x", "a", fields={"n": n})])
        got, _ = await take(actor, "feed.x", after, events="log.*")
        assert numbers([r for r in got if isinstance(r, Sample)]) == list(range(30))
        assert [r.fields["n"] for r in got if isinstance(r, Event)] == list(range(30))
        assert len(actor._sensing.live.ticks) == 2


async def test_a_position_that_nobody_remembers_is_a_gap_that_is_told(tmp_path):
    async with Cluster(tmp_path, ("a",)).sitting("a") as actor:
        await actor.ingest([sample(n) for n in range(5)])
        strange = str(Position("elsewhere", 3, 4, t_ns=T0 + 2 * 10**9))
        page = await actor.follow("feed.x", "", strange, 0, "", 0.0)
        assert "resumed by time" in page.gap
        got, _ = await take(actor, "feed.x", page.after)
        assert numbers(got) == [3, 4]
        for wrong in ("x", "a.1.2", "a.1.2.3@zz.1", "a.-1.0.0.0", "a/b.1.1.1.1", "a.1.1.1." + "f" * 200):
            with pytest.raises(ConfigError, match="no position"):
                await actor.follow("feed.x", "", wrong, 0, "", 0.0)
        with pytest.raises(ConfigError):
            await actor.follow("{", "", "", 0, "", 0.0)


async def test_what_a_failed_flush_held_back_is_told_when_it_is_committed(tmp_path, monkeypatch):
    async with Cluster(tmp_path, ("a",)).sitting("a") as actor:
        after = (await actor.follow("feed.x", "", "", 0, "", 0.0)).after
        store = actor._sensing.store
        flush = store.flush

        def failing() -> None:
            raise OSError("no space")

        monkeypatch.setattr(store, "flush", failing)
        with pytest.raises(OSError):
            await actor.ingest([sample(1)])
        with pytest.raises(ConfigError):
            await actor.ingest([sample(2), Sample(stream(), T0, (0.5, -1))])  # no u8: the rest of it is not taken
        monkeypatch.setattr(store, "flush", flush)
        await actor.ingest([sample(3)])
        got, _ = await take(actor, "feed.x", after)
        assert numbers(got) == [1, 2, 3]
        got, _ = await take(actor, "feed.x", "", T0)
        assert numbers(got) == [1, 2, 3]


async def test_what_a_sync_commits_after_a_failed_flush_is_told_at_once_and_comes_once(tmp_path, monkeypatch):
    """The archive shows it from then on: were it told later, who reads the past would get events twice."""
    async with Cluster(tmp_path, ("a",)).sitting("a") as actor:
        after = (await actor.follow("feed.x", "*", "", 0, "", 0.0)).after
        with monkeypatch.context() as patch:
            patch.setattr(actor._sensing.store, "flush", lambda: (_ for _ in ()).throw(StoreError("no space")))
            with pytest.raises(StoreError):
                await actor._sensing.put([sample(1)], [Event(T0, "late", "a")])
        await actor._sensing.sync()
        assert actor._sensing._journal.committed == actor._sensing._journal.begun
        for position, since_ns in ((after, 0), ("", T0)):
            got, _ = await take(actor, "feed.x", position, since_ns, "*")
            assert [r.event if isinstance(r, Event) else r.values[0] for r in got if r.t_ns <= T0 + 10**9] in (
                [1.0, "late"],
                ["late", 1.0],
            )


async def test_a_store_that_stays_full_costs_no_memory(tmp_path, monkeypatch):
    async with Cluster(tmp_path, ("a",)).sitting("a") as actor:
        store = actor._sensing.store
        await actor.ingest([sample(-1)])
        after = (await actor.follow("feed.x", "", "", 0, "", 0.0)).after
        with monkeypatch.context() as patch:
            patch.setattr(store, "flush", lambda: (_ for _ in ()).throw(StoreError("no space")))
            patch.setattr(store, "_max_rows", 10)
            for n in range(40):
                with pytest.raises(StoreError):
                    await actor.ingest([sample(n)])
        kept = len(store._rows)
        assert 10 <= len(actor._sensing._untold) == kept < 15
        await actor.ingest([sample(100)])
        got, _ = await take(actor, "feed.x", after)
        assert numbers(got) == [*range(kept), 100]


async def test_events_of_the_store_itself_are_live_like_all_others(tmp_path, monkeypatch):
    async with Cluster(tmp_path, ("a",)).sitting("a") as actor:
        after = (await actor.follow("", "store.*", "", 0, "", 0.0)).after
        stale = Event(time.time_ns(), "store.reader_stale", "a")
        monkeypatch.setattr(actor._sensing.store._upkeep, "look", lambda: ([stale], []))
        await actor._sensing.sync()
        monkeypatch.undo()
        await actor._sensing.sync()
        assert [e.event for e in (await take(actor, "", after, 0, "store.*"))[0]] == ["store.reader_stale"]
        assert [e.event for e in (await take(actor, "", "", T0, "store.*"))[0]] == ["store.reader_stale"]


async def test_actors_subscribe_in_process_and_through_links_and_survive_absence(tmp_path):
    cluster = Cluster(tmp_path, ("a",))
    async with AsyncExitStack() as stack:
        actor = await stack.enter_async_context(cluster.sitting("a"))
        await actor.ingest([sample(n) for n in range(3)])
        own = actor.subscribe("feed.x", T0)
        assert numbers(page_records(await anext(own))) == [0, 1, 2]
        linked = subscribe(LinkedSource(cluster, "a"), "feed.x", since_ns=T0, retry_s=0.01)
        assert numbers(page_records(await anext(linked))) == [0, 1, 2]
        waiting = asyncio.ensure_future(anext(linked))
        cluster.away.add("a")
        await actor.ingest([sample(3)])
        assert numbers(page_records(await anext(own))) == [3]
        cluster.away.clear()
        assert numbers(page_records(await waiting)) == [3]
        await own.aclose()
        await linked.aclose()
    with pytest.raises(ConfigError):
        await anext(subscribe(actor, "{"))


async def test_the_gateway_pushes_all_nodes_and_resumes_one_that_was_away(tmp_path, monkeypatch):
    monkeypatch.setattr("vagus.gateway.hub.RETRY_S", (0.01,))
    cluster = Cluster(tmp_path, ("a", "b"))
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(cluster.sitting("a"))
        b = await stack.enter_async_context(cluster.sitting("b"))
        await a.ingest([sample(n) for n in range(3)])
        await b.ingest([sample(n, node="b") for n in range(10, 13)])
        with await asyncio.to_thread(Connection, a._url, TOKEN, 10.0) as client:
            tail = await asyncio.to_thread(client.subscribe, "feed.x", since="2h")
            ticks = tail.ticks()

            def read(count: int) -> list[int]:
                return [int(next(ticks).values["value"]) for _ in range(count)]

            first = await asyncio.to_thread(read, 6)
            assert [n for n in first if n < 10] == [0, 1, 2]
            assert [n for n in first if n >= 10] == [10, 11, 12]
            cluster.away.add("b")
            await b.ingest([sample(20, node="b")])  # ends the question that is under way
            of_a = []
            while "b" not in tail.missing:  # told in-band, while a goes on
                of_a.append(len(of_a) + 3)
                await a.ingest([sample(of_a[-1])])
                first += await asyncio.to_thread(read, 1)
            await b.ingest([sample(13, node="b"), sample(14, 10.5, node="b")])
            cluster.away.clear()
            while 14 not in first:
                first += await asyncio.to_thread(read, 1)
            assert [n for n in first if n in of_a] == of_a[: sum(n in of_a for n in first)]
            assert [n for n in first if n in (13, 14, 20)] == [20, 13, 14]
            assert tail.missing == {}
            direct = await asyncio.to_thread(client.subscribe, 'feed.x{node="b"}', since="2h", direct=True)
            assert direct._url == b._url
            found = [int((await asyncio.to_thread(next, direct.ticks())).values["value"]) for _ in range(6)]
            assert found == [10, 14, 11, 12, 13, 20]
            with pytest.raises(ConfigError, match="2 nodes"):
                await asyncio.to_thread(client.subscribe, "feed.x", direct=True)
            direct.close()
            tail.close()


async def test_a_client_goes_on_after_the_gateway_was_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr("vagus.client.tail.FIRST_RETRY_S", 0.01)
    cluster = Cluster(tmp_path, ("a",))
    async with AsyncExitStack() as stack:
        actor = await stack.enter_async_context(cluster.sitting("a"))
        await actor.ingest([sample(n) for n in range(3)])
        port = int(actor._url.rpartition(":")[2])
        client = Connection(actor._url, TOKEN, 10.0)
        tail = await asyncio.to_thread(client.subscribe, "feed.x", since="2h")
        ticks = tail.ticks()
        assert [int((await asyncio.to_thread(next, ticks)).values["value"]) for _ in range(3)] == [0, 1, 2]
        await stack.aclose()
    monkeypatch.setattr(f"{__name__}.CONFIG", CONFIG_ON(port))
    async with cluster.sitting("a") as actor:
        await actor.ingest([sample(3), sample(4, 0.5)])
        assert [int((await asyncio.to_thread(next, ticks)).values["value"]) for _ in range(2)] == [3, 4]
        assert tail.reconnects >= 1
        assert (tail.gaps, tail.dropped) == ({}, 0)
        tail.close()


def CONFIG_ON(port: int) -> Config:
    from msgspec.structs import replace

    return replace(CONFIG, gateway=GatewaySettings(port=port))
