"""A node's table on its way to the collectors that draw from it: what changed, or all of it to who missed something."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from vagus.actors.base import Links
from vagus.controllers.decide.records import TableUpdate
from vagus.controllers.decide.rows import Rows
from vagus.controllers.decide.table import Stale, encode_update
from vagus.errors import PeerUnreachable

PUSH_TIMEOUT_S = 5.0
RESEND_S = 10.0  # a collector that restarted has lost its table, and nobody tells: an empty update finds out


class Tables:
    """`push` hands out the newest version; one call to each collector at a time."""

    def __init__(self, links: Links, rows: Rows, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._links = links
        self._rows = rows
        self._spawn = spawn
        self._update = b""
        self._base = -1
        self._full: tuple[int, bytes] = (-1, b"")
        self._has: dict[str, tuple[int, float]] = {}  # node: version, when
        self._sending: set[str] = set()
        self.unreachable = 0

    def push(self, nodes: Iterable[str]) -> None:
        """What changed since the last call, to the collectors of these nodes. Waits for none of them."""
        update = self._rows.tick()
        if update is not None:
            self._update, self._base = encode_update(update), update.base
        now_s = time.monotonic()
        for node in nodes:
            version, when_s = self._has.get(node, (-1, 0.0))
            if node not in self._sending and (version != self._rows.version or now_s - when_s >= RESEND_S):
                self._sending.add(node)
                self._spawn(self._push(node, version))

    def full(self) -> bytes:
        """The whole table, encoded once for each version."""
        if self._full[0] != self._rows.version:
            self._full = (self._rows.version, encode_update(self._rows.full()))
        return self._full[1]

    async def _push(self, node: str, has: int) -> None:
        version = self._rows.version
        if has == version:
            packed = encode_update(TableUpdate(version, version))
        else:
            packed = self._update if has == self._base else self.full()
        collector = f"vagus:collector@{node}"
        try:
            try:
                await self._links.call(collector, "set_table", packed, timeout_s=PUSH_TIMEOUT_S)
            except Stale:
                version, packed = self._rows.version, self.full()
                await self._links.call(collector, "set_table", packed, timeout_s=PUSH_TIMEOUT_S)
            self._has[node] = (version, time.monotonic())
        except PeerUnreachable:
            self.unreachable += 1  # the next tick tries again
            self._has.pop(node, None)
        finally:
            self._sending.discard(node)
