"""Spans on their way from a collector to the actor that joins them: kept for a while, never waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from vagus.actors.base import Links
from vagus.errors import PeerUnreachable
from vagus.model import Span

MAX_WAITING = 50_000
MAX_BATCH = 2_000  # of one call
TIMEOUT_S = 5.0


class SpanOutbox:
    """`take` never blocks; `flush` sends what waits. Beyond 50,000 the oldest are dropped and counted.

    to: the actor; its method `spans` is given lists. A batch that it did not take is tried again with the next flush.
    """

    def __init__(self, to: str, links: Links) -> None:
        self.to = to
        self.sent = 0
        self.dropped = 0
        self._links = links
        self._waiting: deque[Span] = deque()
        self._flushing = False

    @property
    def waiting(self) -> int:
        """Spans that the actor has not taken yet."""
        return len(self._waiting)

    def take(self, spans: Sequence[Span]) -> None:
        """To be sent with the next flush."""
        self._waiting.extend(spans)
        self._drop()

    def _drop(self) -> None:
        for _ in range(len(self._waiting) - MAX_WAITING):
            self._waiting.popleft()
            self.dropped += 1

    async def flush(self) -> None:
        """Sends what waits, in batches; when the actor is away it waits on."""
        if self._flushing:
            return
        self._flushing = True
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
                try:
                    await self._links.call(self.to, "spans", batch, timeout_s=TIMEOUT_S)
                except PeerUnreachable:
                    self._waiting.extendleft(reversed(batch))
                    self._drop()
                    return
                except BaseException:  # a batch that it cannot take must not come again and again
                    self.dropped += len(batch)
                    raise
                self.sent += len(batch)
        finally:
            self._flushing = False

    def figures(self) -> dict[str, float]:
        """Counters since start."""
        return {
            "spans_told": float(self.sent),
            "spans_waiting": float(self.waiting),
            "spans_dropped": float(self.dropped),
        }
