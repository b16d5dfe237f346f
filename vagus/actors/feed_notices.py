"""Brings notices of feeds' tools to webhooks and mailboxes: in order, with patience, without a queue that grows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vagus.actors.feed_mail import MailRefused, send
from vagus.actors.webhooks import post, shown_server
from vagus.config import MailSettings
from vagus.feeds.contracts import Notice
from vagus.feeds.tools.alert_file import shown_notice
from vagus.health.webhooks import retry_s

MAX_WAITING = 1_000  # for one destination; the oldest give way
MAX_DESTINATIONS = 200
KEEP_S = 3600.0  # how long one is tried
POST_TIMEOUT_S = 5.0
MAX_A_MAIL = 100  # notices that wait together go together
MAIL_THREADS = 2


class FeedNotices:
    """A queue and a task for each webhook and mailbox. `deliver` never blocks, and may be called from any thread.

    node: named in what is told. failed: called in the loop with what went wrong where, at most once for each try.
    `counts`: told, refused (for good), dropped (too many or too old), failed (tries). What a server refuses for good is
    not tried again. Names only servers, not whole URLs, which may hold secrets.
    """

    def __init__(self, node: str = "", failed: Callable[[str, BaseException], None] | None = None) -> None:
        self.counts: Counter[str] = Counter(told=0, refused=0, dropped=0, failed=0)
        self.last_error = ""
        self._node = node
        self._failed = failed or (lambda where, error: None)
        self._lines: dict[str | MailSettings, _Line] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: Any = None
        self._threads: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Begins to deliver, in the running loop."""
        self._loop = asyncio.get_running_loop()

    def deliver(self, notice: Notice) -> None:
        """Queues a notice for each of its destinations; one without any costs nothing."""
        loop = self._loop
        if loop is None or not (notice.webhooks or notice.mail):
            return
        try:
            loop.call_soon_threadsafe(self._queue, notice)
        except RuntimeError:  # the loop is closed
            self.counts["dropped"] += 1

    def _queue(self, notice: Notice) -> None:
        places: list[str | MailSettings] = [*notice.webhooks, *filter(None, (notice.mail,))]
        for place in places:
            line = self._lines.get(place)
            if line is None:
                if self._loop is None or len(self._lines) >= MAX_DESTINATIONS:
                    self.counts["dropped"] += 1
                    continue
                line = self._lines[place] = _Line()
                line.task = self._loop.create_task(self._serve(place, line))
            if len(line.waiting) == MAX_WAITING:
                self.counts["dropped"] += 1
            line.waiting.append((time.monotonic(), notice))
            line.idle.clear()
            line.more.set()

    async def stop(self, grace_s: float = 3.0) -> None:
        """Tries for at most `grace_s` to deliver what waits; then it is dropped. Idempotent."""
        await asyncio.sleep(0)  # what was queued from other threads just before
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(line.idle.wait() for line in self._lines.values())), grace_s)
        self._loop = None
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.counts["dropped"] += sum(len(line.waiting) for line in self._lines.values())
        self._lines.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def _serve(self, place: str | MailSettings, line: _Line) -> None:
        failures = 0
        while True:
            while not line.waiting:
                line.more.clear()
                line.idle.set()
                await line.more.wait()
            batch = [line.waiting[0]] if isinstance(place, str) else list(line.waiting)[:MAX_A_MAIL]
            if batch[0][0] + KEEP_S < time.monotonic():
                self.counts["dropped"] += 1
                line.done(batch[:1])
                continue
            problem, final = await self._try(place, [notice for _, notice in batch])
            if problem:
                where = shown_server(place) if isinstance(place, str) else f"mail {place.host}:{place.port}"
                self.last_error = f"{where}: {problem}"
                self.counts["refused" if final else "failed"] += len(batch) if final else 1
                self._failed(f"notice to {where}", RuntimeError(problem))
                if not final:
                    failures += 1
                    await asyncio.sleep(retry_s(failures))
                    continue
            else:
                self.counts["told"] += len(batch)
            failures = 0
            line.done(batch)

    async def _try(self, place: str | MailSettings, notices: list[Notice]) -> tuple[str, bool]:
        """What went wrong, empty when they were taken, and whether that is final."""
        if isinstance(place, str):
            if self._session is None:
                import aiohttp  # only where a webhook is told of something

                self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=POST_TIMEOUT_S))
            body = {"event": "feed.alert", "node": self._node, **shown_notice(notices[0])}
            return await post(self._session, place, body)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(MAIL_THREADS, "mail")
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, send, place, notices, self._node)
        except MailRefused as error:
            return str(error), True
        except Exception as error:  # smtplib's, the resolver's, TLS': nobody took it
            return f"{type(error).__name__}: {error}"[:300], False
        return "", True

    def figures(self) -> dict[str, float]:
        """Notices told, refused, dropped, failed tries, and those that wait."""
        waiting = sum(len(line.waiting) for line in self._lines.values())
        return {**{f"notices_{name}": float(n) for name, n in self.counts.items()}, "notices_waiting": float(waiting)}


class _Line:
    def __init__(self) -> None:
        self.waiting: deque[tuple[float, Notice]] = deque(maxlen=MAX_WAITING)
        self.more = asyncio.Event()
        self.idle = asyncio.Event()  # nothing waits or is under way
        self.task: asyncio.Task[None] | None = None

    def done(self, batch: list[tuple[float, Notice]]) -> None:
        """These are done with; some may have been pushed out meanwhile."""
        for entry in batch:
            if self.waiting and self.waiting[0] is entry:
                self.waiting.popleft()
