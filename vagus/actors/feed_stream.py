"""A feed as a stream of its items in a program: fetched by a thread with a loop of its own, or out of an archive."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from vagus.actors.feed_local import LocalFeeds, describe
from vagus.actors.feed_read import replayed, stores_in
from vagus.feeds import Item
from vagus.feeds.directives import Emit
from vagus.feeds.feed import Feed
from vagus.feeds.stream import Quiet, Stream
from vagus.model import MAX_T_NS

T = TypeVar("T")

MAX_WAITING = 100_000  # items that nobody has read yet; the oldest give way
QUIET_S = 0.5  # how often a reader is told that nothing came
LOOK_S = 0.1  # how often it is looked at whether the feed has ended
STOP_S = 15.0

log = logging.getLogger("vagus.stream")


def live(
    feeds: Mapping[str, Feed[T]],
    name: str,
    folder: Path | None = None,
    always: Mapping[str, Mapping[str, Any]] | None = None,
) -> Stream[T]:
    """Fetches one of these feeds from now on, until the stream is closed; keeps the bytes where a folder is given.

    always: options of sources by scheme, as LocalFeeds takes them. Raises VagusError.
    """
    source = _Live(feeds, name, folder, always)
    return Stream(source.tokens(), _Close(source))


def archived(
    feeds: Mapping[str, Feed[T]], name: str, folder: Path, start_ns: int = 0, end_ns: int = MAX_T_NS
) -> Stream[T]:
    """The items that arrived in [start_ns, end_ns), parsed again out of an archive. Raises NoData, StoreError."""
    stores_in(folder)
    items = (emit.item for emit in replayed(feeds, (name,), folder, start_ns, end_ns))
    return Stream(items, items.close)


_going: weakref.WeakSet[_Live] = weakref.WeakSet()


def _end_all() -> None:
    for source in list(_going):
        source.stop()


# when the program ends, before the pools of threads do that an archive needs: atexit itself would be too late
getattr(threading, "_register_atexit", atexit.register)(_end_all)


class _Close:
    """Ends a live source: when called, and when no stream of it is left."""

    def __init__(self, source: _Live) -> None:
        self._end = weakref.finalize(self, source.stop)

    def __call__(self) -> None:
        self._end()


class _Live:
    """One feed at work in a thread; `tokens` hands its items out."""

    def __init__(
        self,
        feeds: Mapping[str, Feed[Any]],
        name: str,
        folder: Path | None,
        always: Mapping[str, Mapping[str, Any]] | None,
    ) -> None:
        self._items: deque[Item[Any]] = deque()
        self._more = threading.Condition(threading.Lock())
        self._over = False
        self._error: BaseException | None = None
        self._dropped = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._local = LocalFeeds(feeds, only=(name,), emit=self._take, failed=_told, folder=folder, always=always)
        started: threading.Event = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name=f"feed {name}", daemon=True)
        self._thread.start()
        started.wait()
        if self._error is not None:
            raise self._error
        _going.add(self)

    def _run(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._main(started))
        except BaseException as error:
            self._error = error
        finally:
            with self._more:
                self._over = True
                self._more.notify_all()
            started.set()

    async def _main(self, started: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        await self._local.start()
        started.set()
        try:
            while not self._stopping.is_set() and not self._local.ended:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), LOOK_S)
        finally:
            await self._local.stop()

    def _take(self, emit: Emit) -> None:
        with self._more:
            self._items.append(emit.item)
            if len(self._items) > MAX_WAITING:
                self._items.popleft()
                self._dropped += 1
                if self._dropped & (self._dropped - 1) == 0:
                    log.warning("%d items were dropped: the program reads slower than they come", self._dropped)
            self._more.notify()

    def tokens(self) -> Iterator[Item[Any] | Quiet]:
        """Items as they come, and now and then that none came; ends when the feed does. Raises what ended it."""
        while True:
            with self._more:
                if not self._items and not self._over:
                    self._more.wait(QUIET_S)
                if self._items:
                    token: Item[Any] | Quiet = self._items.popleft()
                elif self._over:
                    break
                else:
                    token = Quiet(time.time_ns())
            yield token
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ends it and waits for that; what has come can still be read."""
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(stopping.set)
            self._thread.join(STOP_S)


def _told(where: str, error: BaseException) -> None:
    log.warning("%s: %s", where, describe(error))
