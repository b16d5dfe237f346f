"""Decisions for asyncio programs: as vagus.client.decisions, awaited; nothing blocks the loop.

async with vagus.aio_decisions(default="cdn-a") as decisions:
    made = await decisions.decide({"city": "Bern"}, ["cdn-a", "cdn-b"])
    await decisions.update(made, reward=0.93)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from vagus.client.calling import Call, Gateways
from vagus.client.decided import DECIDE, MAX_BATCH, UPDATE, Request, results_of, updates_body
from vagus.client.decisions import QUEUED, Decisions, arms_of, reader
from vagus.client.exchange import MAX_IDLE, Place, Reading
from vagus.errors import PeerUnreachable, VagusError
from vagus.model import Decision, Scalar

T = TypeVar("T")
A = TypeVar("A", bound="AioDecisions")
_READ_BYTES = 64 << 10
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class AioDecisions:
    """See Decisions, which takes the same arguments; of one event loop. Gateways that failed, and outcomes that wait,
    are seen to by the same thread.
    """

    def __init__(self, urls: str | Sequence[str] = (), token: str = "", **options: Any) -> None:
        self._plain = Decisions(urls, token, **options)
        self._channels: tuple[Gateways, list[_Channel]] | None = None
        self.counts = self._plain.counts

    async def decide(self, features: Mapping[str, Scalar], arms: Sequence[str]) -> Decision:
        """See Decisions.decide."""
        return (await self._decided([(features, arms_of(arms))]))[0]

    async def decide_many(self, requests: Iterable[tuple[Mapping[str, Scalar], Sequence[str]]]) -> list[Decision]:
        """See Decisions.decide_many."""
        wanted = [(features, arms_of(arms)) for features, arms in requests]
        made: list[Decision] = []
        for start in range(0, len(wanted), MAX_BATCH):
            made += await self._decided(wanted[start : start + MAX_BATCH])
        return made

    async def update(self, decision: Decision | str, reward: float, wait: bool = True) -> str:
        """See Decisions.update."""
        plain = self._plain
        outcome = plain._outcome(decision, reward)
        if isinstance(outcome, str):
            return outcome
        if wait and not plain._courier.holds(outcome[0]) and not plain._waits():
            try:
                word = (await self._ask(UPDATE, updates_body([outcome]), lambda answer: results_of(answer, 1)))[0]
            except PeerUnreachable as error:
                plain._note(error)
            except VagusError as error:
                return plain._failed(error)
            else:
                plain._add("updated")
                return word
        plain._courier.put(outcome)
        return QUEUED

    @property
    def last_error(self) -> str:
        """See Decisions.last_error."""
        return self._plain.last_error

    async def close(self) -> None:
        """See Decisions.close."""
        if self._channels is not None:
            for channel in self._channels[1]:
                channel.close()
        await asyncio.to_thread(self._plain.close)

    async def __aenter__(self: A) -> A:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _decided(self, requests: list[Request]) -> list[Decision]:
        plain = self._plain
        try:
            made = await self._ask(DECIDE, plain._body(requests), reader(requests))
        except VagusError as error:
            if plain._is_one_of(requests, error):
                return [made for request in requests for made in await self._decided([request])]
            return plain._defaults(requests, error)
        plain._add("answered", len(made))
        return made

    async def _ask(self, path: bytes, body: bytes, read: Callable[[bytes], T]) -> T:
        gateways = self._plain._gateways
        if self._channels is None or self._channels[0] is not gateways:
            for channel in self._channels[1] if self._channels is not None else ():
                channel.close()
            self._channels = gateways, [_Channel(one.place) for one in gateways.channels]
        channels = self._channels[1]
        call = Call(self._plain, gateways, path)
        while (attempt := call.next()) is not None:
            if attempt.pause_s:
                await asyncio.sleep(attempt.pause_s)
            try:
                status, answer = await channels[attempt.which].ask(path, body, attempt.timeout_s)
                return call.result(attempt.which, status, answer, read)
            except VagusError as error:
                call.failed(attempt.which, error)
        raise call.error


class _Channel:
    """Connections of this event loop to one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._idle: list[_Streams] = []

    async def ask(self, path: bytes, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """As Channel.ask."""
        url = self._place.url
        try:
            return await asyncio.wait_for(self._exchange(self._place.request(path, body)), timeout_s)
        except (TimeoutError, asyncio.TimeoutError):
            raise PeerUnreachable(f"{url} did not answer within {timeout_s:.3g} s") from None
        except PeerUnreachable as error:
            raise PeerUnreachable(f"{url}: {error}") from None
        except (OSError, UnicodeError) as error:
            raise PeerUnreachable(f"{url} cannot be reached: {error}") from error

    def close(self) -> None:
        """Closes what is idle."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        while self._idle:
            streams = self._idle.pop()
            if not streams[0].at_eof() and not streams[1].is_closing():
                try:
                    return await self._over(streams, request)
                except _Gone:
                    break
            streams[1].close()
        return await self._over(await asyncio.open_connection(self._place.host, self._place.port), request)

    async def _over(self, streams: _Streams, request: bytes) -> tuple[int, bytes]:
        source, sink = streams
        reading, done, begun = Reading(), False, False
        try:
            sink.write(request)
            while not done:
                data = await source.read(_READ_BYTES)
                if not data:
                    raise _Gone("closed before the answer") if not begun else ConnectionResetError("closed half-way")
                begun = True
                done = reading.feed(data)
        except ConnectionError as error:
            if begun or isinstance(error, _Gone):
                raise
            raise _Gone(str(error)) from error
        finally:
            if done and reading.keep and len(self._idle) < MAX_IDLE:
                self._idle.append(streams)
            else:
                sink.close()
        return reading.status, reading.body


class _Gone(ConnectionError):
    """The connection ended before any of the answer came."""


aio_decisions = AioDecisions
"""As `vagus.aio_decisions(…)`."""
