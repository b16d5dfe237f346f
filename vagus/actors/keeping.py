"""The observer's store and the thread that writes it: a slow disk delays answers, not gossip or inference.

What came while one commit was under way goes into the next, so that the disk's pace sets the size of commits and not
the number of those who wait. A few records that find nothing waiting may be committed at once by whoever gives them, which
saves two changes of thread; after a commit that took long, only the thread writes for a while.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

import msgspec

from vagus.actors.heap import let_go
from vagus.errors import PeerUnreachable, StoreError
from vagus.store import Store

MAX_QUEUED = 50_000
"""Records that wait for their commit; more are refused at once."""
MAX_COMMIT = 5000
GATHER_S = 0.0003
"""After a commit for several: so long more are waited for, since a commit costs as much as ten records in it."""
AT_ONCE = 16
"""So many records may be committed by who gives them."""
SLOW_S, SLOW_FOR_S = 0.005, 10.0
"""After a commit that took longer, who gives records waits for no further one for so long."""
SYNC_RATIO = 0.5
"""Of what the store writes before its next commit waits for the disk: from here a thread of its own syncs instead."""
LET_GO_RECORDS = 5000
"""Records after which the pages that their commits looked at are unmapped: the process' memory does not grow with its store."""

Result = TypeVar("Result")
Then = Callable[[Exception | None], None]
"""Called by who committed, the thread or the giver, with why it failed or None. Must not raise or wait."""


class Kept(NamedTuple):
    """A record on its way into the store."""

    kind: str
    record: msgspec.Struct
    t_ns: int
    pairs: Mapping[str, str]


class _Job(NamedTuple):
    kept: Sequence[Kept]
    then: Then | None
    work: Callable[[Store], Any] | None = None


class Keeper:
    """Writes records in the order given. `then` is called after the commit: kill -9 of everything loses nothing of it.

    What a power cut may take is what came since the last `sync` (config.store.sync).
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.commits = 0
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._given = self._done = 0  # records: the first is written by givers, the second by the thread
        self._open = True
        self._turn = threading.Lock()
        """Held by who commits."""
        self._quick_again_s = 0.0
        self._let_go_at = LET_GO_RECORDS
        self._hurry = threading.Event()
        self._syncing = threading.Lock()
        self._threads = [
            threading.Thread(target=self._write, name="observer-store", daemon=True),
            threading.Thread(target=self._sync_often, name="observer-sync", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Records that wait for their commit."""
        return self._given - self._done

    def put(self, kept: Sequence[Kept], then: Then | None = None, *, at_once: bool = False) -> None:
        """Writes records, then calls `then`; with `at_once` perhaps before it returns. Call from the loop's thread.

        at_once: nobody else has records to give just now. Raises PeerUnreachable: overloaded, closed.
        """
        if not self._open:
            raise PeerUnreachable("the observer's store is closed: the observer ends")
        if kept and self.queued + len(kept) > MAX_QUEUED:
            raise PeerUnreachable(f"{self.queued} records wait for the disk already; try again later")
        job = _Job(kept, then)
        idle = self._given == self._done
        self._given += len(kept)
        if not (at_once and idle and 0 < len(kept) <= AT_ONCE and self._commit_at_once(job)):
            self._queue.put(job)

    def _commit_at_once(self, job: _Job) -> bool:
        """Commits in the caller's thread; False when the disk was slow of late, or the thread is at work."""
        began_s = time.monotonic()
        if began_s < self._quick_again_s or not self._queue.empty() or not self._turn.acquire(blocking=False):
            return False
        try:
            self._commit([job])
        finally:
            self._turn.release()
        if time.monotonic() - began_s > SLOW_S:
            self._quick_again_s = began_s + SLOW_FOR_S
        return True

    async def keep(self, kept: Sequence[Kept]) -> None:
        """Writes records; returns after their commit. Raises StoreError, PeerUnreachable."""
        await self._answered(lambda then: self.put(kept, then))

    async def run(self, work: Callable[[Store], Result]) -> Result:
        """Calls `work` with the store in the writing thread, and commits. Raises what it raises, and StoreError."""
        results: list[Result] = []

        def submit(then: Then) -> None:
            if not self._open:
                raise PeerUnreachable("the observer's store is closed: the observer ends")
            self._queue.put(_Job((), then, lambda store: results.append(work(store))))

        await self._answered(submit)
        return results[0]

    async def sync(self) -> None:
        """Puts everything committed on disk, beside the commits that go on. Raises StoreError."""
        await asyncio.to_thread(self._sync)

    async def close(self) -> None:
        """Writes what waits, syncs, closes the store. Raises StoreError. Idempotent."""
        if self._open:
            self._open = False
            self._queue.put(None)
            self._hurry.set()
            await asyncio.to_thread(self._end)

    async def _answered(self, submit: Callable[[Then], None]) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def answer(error: Exception | None) -> None:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(error)

        def then(error: Exception | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(answer, error)

        submit(then)
        await future

    # --- in the writing thread ---------------------------------------------------------------------------------------

    def _write(self) -> None:
        ended = crowded = False
        while not ended:
            first = self._queue.get()
            if first is None:
                return
            if crowded:
                time.sleep(GATHER_S)
            jobs, records = [first], len(first.kept)
            while first.work is None and records < MAX_COMMIT:
                try:
                    job = self._queue.get_nowait()
                except Empty:
                    break
                if job is None:
                    ended = True
                    break
                jobs.append(job)
                records += len(job.kept)
                if job.work is not None:
                    break
            crowded = len(jobs) > 1
            with self._turn:
                self._commit(jobs)

    def _commit(self, jobs: Sequence[_Job]) -> None:
        errors: list[Exception | None] = [None] * len(jobs)
        full: StoreError | None = None
        for at, job in enumerate(jobs):
            if full is not None and job.work is None:  # each try would write all that waits once more, in vain
                errors[at] = full
                continue
            try:
                for kept in job.kept:
                    self.store.put(kept.kind, kept.record, t_ns=kept.t_ns, index=kept.pairs)
                if job.work is not None:
                    job.work(self.store)
            except Exception as error:  # a record that cannot be packed, or a pending part that cannot be written
                errors[at] = error
                full = error if isinstance(error, StoreError) else None
        try:
            self.store.flush()
        except Exception as error:
            errors = [known or error for known in errors]
        self.commits += 1
        if self.store.unsynced_ratio() > SYNC_RATIO:
            self._hurry.set()
        for job, problem in zip(jobs, errors, strict=True):
            self._done += len(job.kept)
            if job.then is not None:
                job.then(problem)

    # --- in the syncing thread, and at the end -----------------------------------------------------------------------

    def _sync_often(self) -> None:
        while True:
            self._hurry.wait()
            self._hurry.clear()
            if not self._open:
                return
            with suppress(StoreError):  # the next flush says so to those who wait
                self._sync()
            time.sleep(0.005)  # a disk that is quick is not kept busy for its own sake

    def _sync(self) -> None:
        with self._syncing:
            if not self._open:
                return
            self.store.sync()
            if self._done >= self._let_go_at:
                self._let_go_at = self._done + LET_GO_RECORDS
                let_go(self.store.path / "data.mdb")

    def _end(self) -> None:
        for thread in self._threads:
            thread.join()
        with self._syncing:
            try:
                self.store.flush()
                self.store.sync()
            finally:
                self.store.close()
