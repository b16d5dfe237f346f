"""One fetch of the plain HTTP client, until its result is told: once, whatever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from yarl import URL

from vagus.feeds import Fetched, Net
from vagus.feeds.location import printable
from vagus.feeds.sources.http_wire import Answer, Connection, Place

MAX_NOTE = 300

Done = Callable[[Fetched], None]


class Request(NamedTuple):
    """A location's request, whole."""

    place: Place
    url: URL
    head: bytes  # all but the validators and the empty line
    whole: bytes


class Client(Protocol):
    """Whose exchanges these are."""

    def send(self, exchange: Exchange, fresh: bool = False) -> None: ...

    def came(self, exchange: Exchange, answer: Answer) -> None: ...

    def release(self, exchange: Exchange) -> None: ...


class Exchange:
    """One fetch, until its result is told."""

    __slots__ = (
        *("connection", "deadline", "done", "location", "max_bytes", "request", "retried", "source", "task"),
        "timeout_s",
    )

    request: Request

    def __init__(
        self, source: Client, location: str, deadline: float, timeout_s: float, max_bytes: int, done: Done
    ) -> None:
        self.source = source
        self.location = location
        self.deadline = deadline
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes
        self.done: Done | None = done
        self.connection: Connection | None = None
        self.task: asyncio.Task[None] | None = None
        self.retried = False

    def work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Goes on in a task."""
        self.connection = None
        self.task = asyncio.ensure_future(coroutine)
        self.task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a defect of ours: it costs this fetch and is told with it
            self.end(Fetched(Net.FAILED, note=printable(f"{type(error).__name__}: {error}")[:MAX_NOTE]))

    def answered(self, answer: Answer, keep: Connection | None) -> None:
        """All of it, or as much as is of use."""
        self.connection = None
        if keep is not None:
            keep.pool.keep(keep)
        self.source.came(self, answer)

    def broken(self, why: str, heard: bool) -> None:
        """A kept connection may have been closed by the server as the request left: once more, on a fresh one."""
        connection, self.connection = self.connection, None
        if connection is not None and connection.served and not heard and not self.retried:
            self.retried = True
            self.source.send(self, fresh=True)
            return
        self.end(Fetched(Net.FAILED, note=printable(why)[:MAX_NOTE]))

    def expire(self) -> None:
        """The deadline is over."""
        self.end(Fetched(Net.TIMEOUT, note=f"no whole answer within {self.timeout_s:g} s"))

    def end(self, fetched: Fetched) -> None:
        """Tells the result, once."""
        done, self.done = self.done, None
        self.abandon()
        if done is not None:
            done(fetched)

    def abandon(self) -> None:
        """Leaves nothing running; nobody is told."""
        self.done = None
        self.source.release(self)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
        task, self.task = self.task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
