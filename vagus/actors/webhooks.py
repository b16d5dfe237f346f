"""Webhooks: servers elsewhere are told of changed verdicts, in order, with patience, and without a queue that grows."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from vagus.config import WebhookSettings, read_token, seconds
from vagus.errors import ConfigError
from vagus.health.webhooks import KEEP_NS, message, retry_s, speaker, wanted, worth_another_try
from vagus.model import Inference, Status

MAX_WAITING = 1000


class Webhooks:
    """A queue and a task for each server. `counts`: told, refused, dropped (too many or too old), failed (tries).

    nodes: who is alive, this node included; one of them tells of a subject. None: every node tells, since only those
    interested know. A message has an `Idempotency-Key`, the same on each try. Raises ConfigError for a bad status or
    token file.
    """

    def __init__(
        self, settings: Sequence[WebhookSettings], node: str, nodes: Callable[[], Iterable[str]] | None
    ) -> None:
        self.node = node
        self.counts: Counter[str] = Counter()
        self.last_error = ""
        self._nodes = nodes
        for at, hook in enumerate(settings):
            for text in hook.statuses:
                try:
                    Status.parse(text)
                except ConfigError as error:
                    raise ConfigError(f"health.webhooks[{at}].statuses: {error}") from error
            try:
                urlsplit(hook.url)
            except ValueError as error:
                raise ConfigError(f"health.webhooks[{at}].url is no URL: {error}") from error
        tokens = [read_token("webhook", hook.token_file) if hook.token_file else "" for hook in settings]
        self._lines = [_Line(hook, token) for hook, token in zip(settings, tokens, strict=True)]
        self._tasks: list[asyncio.Task[None]] = []

    def __bool__(self) -> bool:
        return bool(self._lines)

    def note(self, inference: Inference, was: Status) -> None:
        """Queues a change for the servers that want it. Never blocks."""
        lines = [line for line in self._lines if wanted(line.hook, inference.subject, inference.status, was)]
        if not lines or (self._nodes is not None and speaker(inference.subject, self._nodes()) != self.node):
            return
        body = message(inference, was, self.node, inference.strategy)
        for line in lines:
            if len(line.waiting) == MAX_WAITING:
                self.counts["dropped"] += 1
            line.waiting.append(body)
            line.more.set()

    async def start(self) -> None:
        """Begins to tell, in the running loop."""
        self._tasks = [asyncio.create_task(self._serve(line)) for line in self._lines]

    async def stop(self) -> None:
        """Ends; what still waits is dropped. Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, line: _Line) -> None:
        import aiohttp  # only where a webhook is configured

        timeout = aiohttp.ClientTimeout(total=seconds(line.hook.timeout))
        async with aiohttp.ClientSession(timeout=timeout) as session:
            failures = 0
            while True:
                while not line.waiting:
                    line.more.clear()
                    await line.more.wait()
                body = line.waiting[0]
                if body["t_ns"] + KEEP_NS < time.time_ns():
                    self.counts["dropped"] += 1
                elif not await self._post(session, line, body):
                    failures += 1
                    await asyncio.sleep(retry_s(failures))
                    continue
                failures = 0
                if line.waiting and line.waiting[0] is body:  # else it was pushed out meanwhile
                    line.waiting.popleft()

    async def _post(self, session: Any, line: _Line, body: dict[str, Any]) -> bool:
        """Whether this message is done with."""
        problem, final = await post(session, line.hook.url, body, line.token)
        if not problem:
            self.counts["told"] += 1
            return True
        self.last_error = f"webhook {line.shown}: {problem}"
        self.counts["refused" if final else "failed"] += 1
        return final


async def post(session: Any, url: str, body: dict[str, Any], token: str = "") -> tuple[str, bool]:
    """Posts JSON with an `Idempotency-Key`: what went wrong, empty when it was taken, and whether that is final."""
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": hashlib.blake2b(data).hexdigest()[:32]}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        async with session.post(url, data=data, headers=headers, allow_redirects=False) as answer:
            if 200 <= answer.status < 300:
                return "", True
            return f"HTTP {answer.status}", not worth_another_try(answer.status)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # aiohttp's, the resolver's, TLS': all mean that nobody took it
        detail = f": {error}"[:200] if isinstance(error, OSError) and str(error) else ""  # others quote the URL
        return f"{type(error).__name__}{detail}", False


def shown_server(url: str) -> str:
    """Scheme and host of a URL; the rest may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class _Line:
    def __init__(self, hook: WebhookSettings, token: str) -> None:
        self.hook = hook
        self.token = token
        self.shown = shown_server(hook.url)
        self.waiting: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self.more = asyncio.Event()
