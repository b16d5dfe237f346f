"""The archive of feeds: group commits, last ticks after a crash, what it refuses and what that costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from vagus.actors import feed_archive
from vagus.actors.feed_archive import FeedArchive, Refusals
from vagus.clock import NS, ManualClock
from vagus.config import StoreSettings
from vagus.errors import StoreError
from vagus.feeds import Meta, Net, Raw
from vagus.store import Store

T0 = 1_700_000_000 * NS


def raw(second: int, location: str = "http://a/", feed: str = "f", body: bytes = b"body", arrived: int = 0) -> Raw:
    due_ns = T0 + second * NS
    return Raw(Meta(feed, location, due_ns, T0 + arrived * NS if arrived else due_ns + 5, Net.OK), body)


class Ended:
    """A store whose process ends without closing it: what is committed is there for the next one."""

    def __init__(self, archive: FeedArchive) -> None:
        self.archive = archive

    async def crash(self) -> None:
        store = self.archive._store
        assert store is not None
        for task in self.archive._upkeep:
            task.cancel()
        store._env.close()
        store._open = False
        self.archive._store = None


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[FeedArchive]:
    archive = FeedArchive(tmp_path / "a", StoreSettings(map_bytes=64 << 20))
    await archive.open()
    yield archive
    await archive.close()


async def test_what_is_stored_is_committed_and_read_again(archive: FeedArchive) -> None:
    raws = [raw(n, f"http://{n % 2}/", "fg"[n % 2]) for n in range(10)]
    assert await archive.stored(raws) == {}
    with Store.open(archive.path, readonly=True) as other:
        assert list(other.records("raw", Raw, newest_first=False)) == raws
    assert await archive.records() == raws
    assert await archive.records("g") == raws[1::2]
    assert await archive.records("f", limit=2, newest_first=True) == [raws[8], raws[6]]
    assert await archive.records("f", raws[2].meta.arrived_ns, raws[6].meta.arrived_ns) == raws[2:6:2]
    assert archive.figures()["archived"] == 10


async def test_what_comes_during_a_commit_is_committed_together(
    archive: FeedArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release = threading.Event(), threading.Event()
    flush = Store.flush

    def slow(store: Store) -> None:
        entered.set()
        release.wait(10.0)
        flush(store)

    monkeypatch.setattr(Store, "flush", slow)
    stored = [asyncio.ensure_future(archive.stored([raw(0)]))]
    await asyncio.to_thread(entered.wait, 10.0)
    stored += [asyncio.ensure_future(archive.stored([raw(n)])) for n in range(1, 50)]
    await asyncio.sleep(0)
    release.set()
    assert await asyncio.gather(*stored) == [{}] * 50
    assert archive.figures()["commits"] == 2


@pytest.mark.parametrize("closed", [True, False])
async def test_last_ticks_after_a_restart_and_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    clock = ManualClock(T0)
    first = FeedArchive(tmp_path / "a", StoreSettings(map_bytes=64 << 20), clock=clock)
    await first.open()
    assert await first.last_due() == {}
    for second in range(60):
        await first.stored([raw(second, f"http://{n}/") for n in range(5)])
        clock.advance(1.0)
    await first.stored([raw(12, "http://old/", arrived=61), raw(61, "http://new/"), raw(30, "any", "g", arrived=61)])
    await (first.close() if closed else Ended(first).crash())

    read = 0
    records = Store.records

    def counted(store: Store, *args: Any, **more: Any) -> Any:
        nonlocal read
        for record in records(store, *args, **more):
            read += 1
            yield record

    monkeypatch.setattr(Store, "records", counted)
    second = FeedArchive(tmp_path / "a", StoreSettings(map_bytes=64 << 20), clock=clock)
    await second.open()
    last = await second.last_due()
    assert last == {
        **{("f", f"http://{n}/"): T0 + 59 * NS for n in range(5)},
        ("f", "http://old/"): T0 + 12 * NS,
        ("f", "http://new/"): T0 + 61 * NS,
        ("g", "any"): T0 + 30 * NS,
    }
    assert read < 150  # of 303: what came since the last mark
    assert ("f", "http://old/") not in await second.last_due(T0 + 20 * NS)
    await second.close()


async def test_an_archive_of_before_the_marks_and_a_damaged_mark(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a", map_bytes=64 << 20) as store:
        for second in range(3):
            store.put("raw", raw(second), t_ns=raw(second).meta.arrived_ns, index={"feed": "f"})
        store.save(feed_archive.STATE, b"\xff\xff")
        store.flush()
    archive = FeedArchive(tmp_path / "a")
    await archive.open()
    assert await archive.last_due() == {("f", "http://a/"): T0 + 2 * NS}
    await archive.close()


async def test_many_locations_are_bounded(archive: FeedArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_archive, "MAX_LOCATIONS", 10)
    await archive.stored([raw(n, f"http://{n}/") for n in range(30)])
    archive._save_mark()
    assert sorted(await archive.last_due()) == sorted(("f", f"http://{n}/") for n in range(20, 30))


async def test_a_body_that_the_store_cannot_take_costs_only_itself(tmp_path: Path) -> None:
    archive = FeedArchive(tmp_path / "a", StoreSettings(map_bytes=8 << 20))
    await archive.open()
    refused = await archive.stored([raw(0), raw(1, body=bytes(2 << 20)), raw(2)])
    assert list(refused) == [1]
    assert "an eighth of store.map_bytes" in str(refused[1])
    assert await archive.records() == [raw(0), raw(2)]
    counts = {"archived": 2, "unarchived": 1, "commits": 1, "archive_waiting_bytes": 0}
    assert counts.items() <= archive.figures().items()
    assert (await archive.last_due())[("f", "http://a/")] == T0 + 2 * NS
    await archive.close()


async def test_a_store_that_fails_is_told_and_goes_on_once_it_can(
    archive: FeedArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = Store.flush

    def full(store: Store) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(Store, "flush", full)
    refused = await archive.stored([raw(0), raw(1)])
    assert [str(error) for error in refused.values()] == ["disk full"] * 2
    assert archive.figures()["unarchived"] == 2
    monkeypatch.setattr(Store, "put", lambda *_, **__: 1 // 0)
    assert "ZeroDivisionError" in str((await archive.stored([raw(2)]))[0])
    monkeypatch.undo()
    assert Store.flush is flush
    assert await archive.stored([raw(3)]) == {}


async def test_what_waits_for_a_hung_disk_is_bounded(archive: FeedArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    flush = Store.flush
    monkeypatch.setattr(Store, "flush", lambda store: (release.wait(10.0), flush(store)))
    monkeypatch.setattr(feed_archive, "MAX_WAITING_BYTES", 1500)
    first = [asyncio.ensure_future(archive.stored([raw(n, body=bytes(900))])) for n in range(2)]
    await asyncio.sleep(0)
    refused = await archive.stored([raw(9)])
    assert "wait for the disk" in str(refused[0])
    release.set()
    assert await asyncio.gather(*first) == [{}, {}]
    assert archive.figures()["archive_waiting_bytes"] == 0


async def test_upkeep_syncs_retains_and_tells_of_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []
    came = asyncio.Event()

    def failed(where: str, error: BaseException) -> None:
        told.append((where, str(error)))
        if len({where for where, _ in told}) == 2:
            came.set()

    def broken(*_: Any) -> None:
        raise StoreError("no")

    monkeypatch.setattr(feed_archive, "RETAIN_S", 0.01)
    monkeypatch.setattr(Store, "retain", broken)
    archive = FeedArchive(tmp_path / "a", StoreSettings(map_bytes=8 << 20, sync="0.01s"), failed=failed)
    await archive.open()
    monkeypatch.setattr(Store, "sync", broken)
    await asyncio.wait_for(came.wait(), 10.0)
    monkeypatch.undo()
    assert set(told) == {("retain", "no"), ("sync", "no")}
    await archive.stored([raw(0), raw(1, body=bytes(500_000)), raw(2)])
    archive.settings = StoreSettings(map_bytes=8 << 20, retain="1s")
    await archive.retain()
    assert await archive.records() == []  # two years old; its own upkeep may have been first
    await archive.close()


async def test_closing_commits_what_waits_and_nothing_is_taken_after(tmp_path: Path) -> None:
    archive = FeedArchive(tmp_path / "a")
    with pytest.raises(StoreError, match="not open"):
        await archive.sync()
    await archive.open()
    answers: list[Refusals] = []
    done: Callable[[Refusals], None] = answers.append
    for second in range(5):
        archive.put([raw(second)], done)
    await archive.close()
    assert answers == [{}] * 5
    assert "not open" in str((await archive.stored([raw(9)]))[0])
    await archive.close()
    again = FeedArchive(tmp_path / "a")
    await again.open()
    assert len(await again.records()) == 5
    await again.close()
