"""Turns single requests into batches: while one call is under way, the next batch gathers. No timer, no added delay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from vagus.errors import PeerUnreachable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """`put` sends items with those of others that wait, and gives each its own answers.

    send: takes a list of at most `most` items, returns as many answers. At most `limit` items wait; more raise
    PeerUnreachable at once.
    """

    def __init__(
        self, send: Callable[[list[Item]], Awaitable[Sequence[Answer]]], limit: int = 50_000, most: int = 50_000
    ) -> None:
        self._send = send
        self._limit = limit
        self._most = most
        self._waiting: list[tuple[list[Item], asyncio.Future[list[Answer]]]] = []
        self._queued = 0
        self._sender: asyncio.Task[None] | None = None

    @property
    def queued(self) -> int:
        """How many items wait."""
        return self._queued

    async def put(self, items: Sequence[Item]) -> list[Answer]:
        """Answers for `items`, in their order. Raises what the send raised."""
        if self._queued + len(items) > self._limit:
            raise PeerUnreachable(f"{self._queued} items wait already; the actor behind is overloaded, try again later")
        if len(items) > self._most:
            parts = [items[i : i + self._most] for i in range(0, len(items), self._most)]
            return [answer for part in parts for answer in await self.put(part)]
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((list(items), future))
        self._queued += len(items)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            batch = self._next()
            items = [item for part, _ in batch for item in part]
            try:
                answers = list(await self._send(items))
                if len(answers) != len(items):
                    raise PeerUnreachable(f"{len(answers)} answers came back for {len(items)} items")
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            position = 0
            for part, future in batch:
                if not future.done():
                    future.set_result(answers[position : position + len(part)])
                position += len(part)

    def _next(self) -> list[tuple[list[Item], asyncio.Future[list[Answer]]]]:
        """As many of those that wait, oldest first, as one call takes."""
        taken = count = 0
        for part, _ in self._waiting:
            if taken and count + len(part) > self._most:
                break
            taken, count = taken + 1, count + len(part)
        batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._queued -= count
        return batch
