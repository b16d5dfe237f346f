"""Remote write: samples on their way to a Prometheus-compatible server, with the store itself as the queue.

What is sent is read from the archive behind a saved position, so that an outage of the server, or of this process,
costs no sample while retention keeps them, and no memory. The position moves when the server has taken everything
before it. After an error the server may see samples again: Prometheus refuses those as out of order, keeps the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from vagus.clock import NS, Clock, SystemClock
from vagus.config import RemoteWriteSettings, read_token, seconds
from vagus.errors import ConfigError
from vagus.model import Event, Level
from vagus.store import Batch
from vagus.store.remote_write import HEADERS, requests

LAG_NS = 3 * NS  # a sample is in the archive this long after its own time
MAX_SPAN_NS = 60 * NS  # of one step, when catching up
MAX_STEPS = 20  # spans in one turn: an hour's backlog is gone within a minute
MAX_PAUSE_S = 300.0
MAX_ANSWER = 300

Read = Callable[[str, int, int], list[Batch]]


class Refusal(Exception):
    """The server does not want these samples (4xx): sending them again is of no use."""


class Delay(Exception):
    """Not now (no connection, 429, 5xx); `after_s` is the server's own wish, if any."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class RemoteWrite:
    """Sends to one server. `step` is called every `settings.every`.

    read: samples of a selector in [start, end); position: where to go on, from the last life (0: from now).
    Raises ConfigError when the token's file cannot be read.
    """

    def __init__(
        self,
        settings: RemoteWriteSettings,
        node: str,
        read: Read,
        save: Callable[[int], None],
        tell: Callable[[Event], None],
        position_ns: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self.sent = 0  # samples that the server took
        self.refused = 0  # samples that it did not want
        self.trouble = ""
        self.position_ns = position_ns
        self._settings = settings
        self._shown = shown_url(settings.url)
        self._node = node
        self._read = read
        self._save = save
        self._tell = tell
        self._clock = clock or SystemClock()
        self._headers = dict(HEADERS)
        if settings.token_file:
            token = read_token("remote_write", settings.token_file)
            self._headers["Authorization"] = f"Bearer {token}"
        self._pause_s = 0.0
        self._not_before_ns = 0
        self._session: aiohttp.ClientSession | None = None

    async def step(self) -> None:
        """Sends what has come since; on trouble tries again later, ever more rarely."""
        if self._clock.monotonic_ns() < self._not_before_ns:
            return
        until_ns = self._clock.time_ns() - LAG_NS
        if not self.position_ns or self.position_ns > until_ns + 3600 * NS:  # new, or the clock was set back far
            self.position_ns = until_ns - round(seconds(self._settings.every) * NS)
        for _ in range(MAX_STEPS):
            if self.position_ns >= until_ns:
                return
            end_ns = min(until_ns, self.position_ns + MAX_SPAN_NS)
            try:
                await self._send(self.position_ns, end_ns)
            except Delay as delay:
                self._later(delay)
                return
            self._recovered()
            self.position_ns = end_ns
            await asyncio.to_thread(self._save, end_ns)  # it waits for the store's writer

    async def close(self) -> None:
        """Closes the connection. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(self, start_ns: int, end_ns: int) -> None:
        batches = await asyncio.to_thread(self._batches, start_ns, end_ns)
        bodies = await asyncio.to_thread(lambda: list(requests(batches, self._settings.labels)))
        for body, samples in bodies:
            try:
                await self._post(body)
                self.sent += samples
            except Refusal as refusal:
                self.refused += samples
                self._event("remote_write.refused", Level.WARNING, samples=samples, reason=str(refusal))

    def _batches(self, start_ns: int, end_ns: int) -> Sequence[Batch]:
        found: dict[str, Batch] = {}
        for selector in self._settings.series:
            for batch in self._read(selector, start_ns, end_ns):
                fields = ",".join(field.name for field in batch.stream.fields)
                found.setdefault(f"{batch.stream.key} {fields}", batch)
        return list(found.values())

    async def _post(self, body: bytes) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers)
        timeout = aiohttp.ClientTimeout(total=seconds(self._settings.timeout))
        try:
            async with self._session.post(
                self._settings.url, data=body, timeout=timeout, allow_redirects=False
            ) as answer:
                if answer.status < 300:
                    return
                said = (await answer.content.read(MAX_ANSWER)).decode("utf-8", "replace").strip()
                reason = f"{answer.status} {said or answer.reason}"
                if answer.status == 429 or answer.status >= 500:
                    raise Delay(reason, _seconds_of(answer.headers.get("Retry-After", "")))
                raise Refusal(reason)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            reason = f"{type(error).__name__}: {error}".replace(self._settings.url, self._shown)
            raise Delay(reason) from error

    def _later(self, delay: Delay) -> None:
        self._pause_s = min(MAX_PAUSE_S, max(delay.after_s, 2 * self._pause_s, seconds(self._settings.every), 1.0))
        self._not_before_ns = self._clock.monotonic_ns() + round(self._pause_s * NS)
        if not self.trouble:
            self._event("remote_write.delayed", Level.WARNING, reason=str(delay)[:MAX_ANSWER])
        self.trouble = f"{self._shown}: {delay}; what is not sent waits in the store"[:500]

    def _recovered(self) -> None:
        if self.trouble:
            self._event("remote_write.recovered", Level.INFO)
        self.trouble, self._pause_s, self._not_before_ns = "", 0.0, 0

    def _event(self, name: str, level: Level, **fields: Any) -> None:
        fields = {"url": self._shown, **fields}
        self._tell(Event(self._clock.time_ns(), name, self._node, level, "remote_write", fields))


def shown_url(url: str) -> str:
    """The URL without user, password and query, which may be secrets: for events and messages."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _seconds_of(text: str) -> float:
    """`Retry-After` in seconds; its other form, a date, is not worth the trouble."""
    return min(float(text), MAX_PAUSE_S) if text.isascii() and text.isdigit() and len(text) < 9 else 0.0


def position_name(settings: RemoteWriteSettings) -> str:
    """Under which name of the store's state the position is kept. Raises ConfigError."""
    if len(settings.url) > 300:
        raise ConfigError(f"remote_write: the URL has {len(settings.url)} characters; at most 300 are allowed")
    return f"remote_write {settings.url}"


def packed(position_ns: int) -> bytes:
    """The position as it is kept."""
    return position_ns.to_bytes(8, "big")


def unpacked(state: bytes | None) -> int:
    """The position from what is kept; 0 when nothing is."""
    return int.from_bytes(state, "big") if state and len(state) == 8 else 0
