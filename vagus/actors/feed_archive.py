"""The archive of feeds: raw bytes with their meta in a store of their own, committed in groups by one thread.

`put` takes what came together and calls back once it is committed: it survives `kill -9` from then on, and a power cut
after the next sync. Which tick each location had last is saved with the bytes every few seconds, so that a restart
reads that and the few records since, however many feeds there are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from vagus.clock import NS, Clock, SystemClock
from vagus.config import StoreSettings, seconds
from vagus.errors import StoreError, VagusError
from vagus.feeds import Raw
from vagus.model import MAX_T_NS
from vagus.store import Store

T = TypeVar("T")

KIND = "raw"
STATE = "feeds.last_due"
MAX_WAITING_BYTES = 64 << 20  # beyond this a hung disk costs the archive, not the node's memory
RECORD_BYTES = 300  # of a record, beside its body
RETAIN_S = 60.0
MARK_S = 10.0  # how often the last ticks are saved; the records since then are read after a crash
MARK_S_EACH = 0.001  # with many locations less often
MARK_OVERLAP_NS = 10 * NS
MAX_LOCATIONS = 200_000  # whose last tick is known

Refusals = Mapping[int, VagusError]
"""Which of the records that were put together are not archived, by their place, and why."""


class _Mark(msgspec.Struct, array_like=True):
    """The last tick of each location of each feed, of all records up to about `t_ns`."""

    t_ns: int = 0
    last_due_ns: dict[str, dict[str, int]] = {}


class _Put(NamedTuple):
    raws: Sequence[Raw]
    done: Callable[[Refusals], None]
    size: int


class FeedArchive:
    """A store in the folder `path` that this process alone writes; `open` first, `close` at the end.

    failed: told what goes wrong in the background (sync, retention).
    """

    def __init__(
        self,
        path: str | Path,
        settings: StoreSettings | None = None,
        *,
        clock: Clock | None = None,
        failed: Callable[[str, BaseException], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self.settings = settings or StoreSettings()
        self._clock = clock or SystemClock()
        self._failed = failed or (lambda _where, _error: None)
        self._store: Store | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer = ThreadPoolExecutor(1, "archive")  # one thread owns all writes
        self._reader = ThreadPoolExecutor(1, "archive-read")  # a long replay holds up no commit
        self._syncer = ThreadPoolExecutor(1, "archive-sync")  # nor does a slow disk
        self._upkeep: list[asyncio.Task[None]] = []
        self._waiting: list[_Put] = []
        self._waiting_bytes = 0
        self._writing = False
        self._counts = {"archived": 0, "unarchived": 0, "commits": 0}
        self._mark = _Mark()
        self._marked_ns = 0  # monotonic

    async def open(self) -> None:
        """Opens the store, made if missing, and begins to sync and to retain. Raises StoreError."""
        self._loop = asyncio.get_running_loop()
        await self._in(self._writer, self._open)
        self._upkeep = [
            asyncio.ensure_future(self._every(max(seconds(self.settings.sync), 0.1), self.sync, "sync")),
            asyncio.ensure_future(self._every(RETAIN_S, self.retain, "retain")),
        ]

    def _open(self) -> None:
        self._store = Store.open(self.path, create=True, map_bytes=self.settings.map_bytes)
        self._marked_ns = self._clock.monotonic_ns()

    async def close(self) -> None:
        """Commits what waits, syncs, closes. Idempotent. Raises StoreError when the last commit fails."""
        for task in self._upkeep:
            task.cancel()
        await asyncio.gather(*self._upkeep, return_exceptions=True)
        self._upkeep = []
        while self._writing or self._waiting:
            await self._in(self._writer, lambda: None)
            await asyncio.sleep(0)
        try:
            if self._store is not None:
                await self._in(self._writer, self._close)
        finally:
            self._store = None
            for threads in (self._writer, self._reader, self._syncer):
                threads.shutdown(wait=False)

    def _close(self) -> None:
        try:
            self._save_mark()
        finally:
            self._opened.close()

    @property
    def _opened(self) -> Store:
        if self._store is None:
            raise StoreError(f"the archive {self.path} is not open: it has not started, or has stopped")
        return self._store

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    async def _every(self, period_s: float, step: Callable[[], Any], name: str) -> None:
        while True:
            await asyncio.sleep(period_s)
            try:
                await step()
            except VagusError as error:
                self._failed(name, error)

    # --- in ----------------------------------------------------------------------------------------------------------

    def put(self, raws: Sequence[Raw], done: Callable[[Refusals], None]) -> None:
        """Takes records in; `done` is called in the loop once they are committed, with those that were refused.

        What comes while a commit is under way is committed together next. While more than 64 MiB wait, all is refused.
        """
        size = sum([len(raw.body) for raw in raws]) + RECORD_BYTES * len(raws)
        if self._loop is None or self._store is None or self._waiting_bytes > MAX_WAITING_BYTES:
            why = f"{self._waiting_bytes >> 20} MiB wait for the disk" if self._store else "it is not open"
            error: VagusError = StoreError(f"the archive {self.path} takes nothing at present: {why}")
            asyncio.get_running_loop().call_soon(
                self._answer, [_Put(raws, done, 0)], [dict.fromkeys(range(len(raws)), error)]
            )
            return
        self._waiting.append(_Put(raws, done, size))
        self._waiting_bytes += size
        if not self._writing:
            self._write_next()

    async def stored(self, raws: Sequence[Raw]) -> Refusals:
        """As `put`, awaited."""
        answer: asyncio.Future[Refusals] = asyncio.get_running_loop().create_future()
        self.put(raws, lambda refused: None if answer.done() else answer.set_result(refused))
        return await answer

    def _write_next(self) -> None:
        batch, self._waiting = self._waiting, []
        self._writing = True
        self._writer.submit(self._write, batch).add_done_callback(self._broken)

    @staticmethod
    def _broken(future: Future[None]) -> None:
        future.result()  # what _write did not foresee is a defect: let it be seen

    def _write(self, batch: list[_Put]) -> None:
        """In the writing thread: one commit, then the answers."""
        answers: list[dict[int, VagusError]] = [{} for _ in batch]
        try:
            for put, refused in zip(batch, answers, strict=True):
                self._take(put.raws, refused)
            if self._clock.monotonic_ns() - self._marked_ns > self._mark_period_ns():
                self._save_mark()
            self._opened.flush()
        except Exception as found:
            error = found if isinstance(found, VagusError) else StoreError(f"{type(found).__name__}: {found}")
            answers = [dict.fromkeys(range(len(put.raws)), error) for put in batch]
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._committed, batch, answers)

    def _take(self, raws: Sequence[Raw], refused: dict[int, VagusError]) -> None:
        store = self._opened
        last = self._mark.last_due_ns
        limit = self.settings.map_bytes // 8
        for place, raw in enumerate(raws):
            meta = raw.meta
            try:
                if len(raw.body) > limit:  # it would fit with nothing else, and stand in the way of all after it
                    raise StoreError(f"a body of {len(raw.body)} bytes is more than an eighth of store.map_bytes")
                # by feed only: each location of an index is a page of its own, and would double the cost of a commit
                store.put(KIND, raw, t_ns=meta.arrived_ns, index={"feed": meta.feed})
            except StoreError as error:
                if len(raw.body) <= limit:
                    raise
                refused[place] = error
                continue
            except VagusError as error:  # a record that the store does not take costs only itself
                refused[place] = error
                continue
            dues = last.get(meta.feed)
            if dues is None:
                dues = last[meta.feed] = {}
            if meta.due_ns > dues.get(meta.location, -1):
                dues[meta.location] = meta.due_ns
            self._mark.t_ns = meta.arrived_ns

    def _committed(self, batch: list[_Put], answers: list[dict[int, VagusError]]) -> None:
        self._writing = False
        self._counts["commits"] += 1
        if self._waiting:
            self._write_next()
        self._answer(batch, answers)

    def _answer(self, batch: list[_Put], answers: list[dict[int, VagusError]]) -> None:
        for put, refused in zip(batch, answers, strict=True):
            self._waiting_bytes -= put.size
            self._counts["archived"] += len(put.raws) - len(refused)
            self._counts["unarchived"] += len(refused)
            put.done(refused)

    # --- the last ticks ----------------------------------------------------------------------------------------------

    def _mark_period_ns(self) -> int:
        locations = sum(map(len, self._mark.last_due_ns.values()))
        return round(max(MARK_S, MARK_S_EACH * locations) * NS)

    def _save_mark(self) -> None:
        last = self._mark.last_due_ns
        if sum(map(len, last.values())) > MAX_LOCATIONS:
            newest = sorted((due_ns for dues in last.values() for due_ns in dues.values()), reverse=True)
            floor_ns = newest[MAX_LOCATIONS]
            for dues in last.values():
                for location in [location for location, due_ns in dues.items() if due_ns <= floor_ns]:
                    del dues[location]
        self._opened.save(STATE, msgspec.msgpack.encode(self._mark))
        self._marked_ns = self._clock.monotonic_ns()

    async def last_due(self, since_ns: int = 0) -> dict[tuple[str, str], int]:
        """The last tick archived of each (feed, location), as items name them; only ticks from `since_ns` on."""
        await self._in(self._writer, lambda: self._recover(since_ns))
        return {
            (feed, location): due_ns
            for feed, dues in self._mark.last_due_ns.items()
            for location, due_ns in dues.items()
            if due_ns >= since_ns
        }

    def _recover(self, since_ns: int) -> None:
        if self._mark.t_ns:
            return
        saved = self._opened.load(STATE)
        if saved is not None:
            with contextlib.suppress(msgspec.DecodeError):
                self._mark = msgspec.msgpack.decode(saved, type=_Mark)
        start_ns = self._mark.t_ns - MARK_OVERLAP_NS if self._mark.t_ns else since_ns
        last = self._mark.last_due_ns
        for raw in self._opened.records(KIND, Raw, max(start_ns, 0), newest_first=False):
            dues = last.setdefault(raw.meta.feed, {})
            dues[raw.meta.location] = max(dues.get(raw.meta.location, -1), raw.meta.due_ns)
            self._mark.t_ns = raw.meta.arrived_ns

    # --- out ---------------------------------------------------------------------------------------------------------

    def read(
        self, feed: str = "", start_ns: int = 0, end_ns: int = MAX_T_NS, limit: int = 0, newest_first: bool = False
    ) -> Iterator[Raw]:
        """Records that arrived in [start_ns, end_ns), of one base feed or of all; blocks: for threads."""
        where = ("feed", feed) if feed else None
        return self._opened.records(KIND, Raw, start_ns, end_ns, where=where, limit=limit, newest_first=newest_first)

    async def records(
        self, feed: str = "", start_ns: int = 0, end_ns: int = MAX_T_NS, limit: int = 0, newest_first: bool = False
    ) -> list[Raw]:
        """As `read`, in a thread. Raises StoreError."""
        return await self._in(self._reader, lambda: list(self.read(feed, start_ns, end_ns, limit, newest_first)))

    # --- upkeep ------------------------------------------------------------------------------------------------------

    async def sync(self) -> None:
        """Returns when everything committed is on disk. Raises StoreError."""
        await self._in(self._syncer, self._opened.sync)

    async def retain(self) -> int:
        """Drops what is older or more than the settings keep; how many records. Raises StoreError."""
        limits = (seconds(self.settings.retain), self.settings.retain_bytes)
        return await self._in(self._writer, lambda: self._opened.retain(*limits))

    def figures(self) -> dict[str, float]:
        """Records archived and not archived since the start, commits, bytes that wait for one; the store's."""
        return {
            **{name: float(count) for name, count in self._counts.items()},
            "archive_waiting_bytes": float(self._waiting_bytes),
            **(self._store.figures() if self._store is not None else {}),
        }
