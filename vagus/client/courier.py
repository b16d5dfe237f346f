"""The background half of a decision client: brings outcomes that could not be told, and looks whether gateways are back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic, perf_counter

from vagus.client.background import WORK_S, Background
from vagus.client.decided import MAX_BATCH
from vagus.errors import PeerUnreachable, VagusError

Outcome = tuple[str, float]
MAX_WAIT_S = 2.0


class Courier(Background):
    """tell: sends outcomes and returns a word for each, raises PeerUnreachable while nobody answers; look: sees to
    addresses that failed. sent, dropped: outcomes, and unknown: those that a gateway knew no decision of.
    """

    name = "vagus decisions"

    def __init__(
        self, tell: Callable[[list[Outcome]], list[str]], look: Callable[[float, bool], bool], max_queued: int
    ) -> None:
        self._tell = tell
        self._look = look
        self._max = max_queued
        super().__init__()

    def _reset(self) -> None:
        super()._reset()
        self.queue: deque[Outcome] = deque()
        self.unknown = 0
        self._after = 0.0
        self._wait_s = 0.0

    @property
    def working(self) -> bool:
        """Whether there is a thread that sees to things."""
        return self.running and not self._stopping

    def put(self, outcome: Outcome) -> None:
        """Queues one; the oldest goes when there are too many."""
        self.queue.append(outcome)
        while len(self.queue) > self._max:
            try:
                self.queue.popleft()
            except IndexError:
                break
            self.dropped += 1
        self.wake()

    def work(self, now: float, urgent: bool) -> None:
        """Once a quarter of a second, or when woken."""
        there = self._look(monotonic(), urgent)
        if not there or (now < self._after and not urgent):
            return
        end = now + WORK_S
        while self.queue and perf_counter() < end:
            batch = [self.queue.popleft() for _ in range(min(MAX_BATCH, len(self.queue)))]
            try:
                words = self._tell(batch)
            except PeerUnreachable as error:
                self.fail(error)
                self.queue.extendleft(reversed(batch))
                self._wait_s = min(max(0.25, 2 * self._wait_s), MAX_WAIT_S)
                self._after = perf_counter() + self._wait_s
                return
            except VagusError as error:  # refused, and it would be again
                self.fail(error)
                self.dropped += len(batch)
                continue
            self._wait_s = 0.0
            self.sent += len(batch)
            self.unknown += words.count("FAILED")
