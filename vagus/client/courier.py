"""The background half of a decision client: brings outcomes that could not be told, and looks whether gateways are back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic, perf_counter

from vagus.client.background import WORK_S, Background
from vagus.client.decided import MAX_BATCH, made_at
from vagus.errors import PeerUnreachable, VagusError

Outcome = tuple[str, float]
FIRST_WAIT_S = 0.25
MAX_WAIT_S = 10.0


class _Lane:
    """Outcomes of decisions that one node made: it takes them all, or, when it is away, none."""

    def __init__(self) -> None:
        self.queue: deque[Outcome] = deque()
        self.after_s = 0.0
        self.most = MAX_BATCH
        self.wait_s = FIRST_WAIT_S


class Courier(Background):
    """tell: sends outcomes and returns a word for each, raises PeerUnreachable while nobody takes them; look: sees to
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
        self._lanes_lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}
        self.queued = 0
        self.unknown = 0

    @property
    def working(self) -> bool:
        """Whether there is a thread that sees to things."""
        return self.running and not self._stopping

    def holds(self, decision_id: str) -> bool:
        """Whether outcomes of the node that made this decision wait already."""
        return made_at(decision_id) in self._lanes

    def put(self, outcome: Outcome) -> None:
        """Queues one; when there are too many, the oldest of the longest queue goes."""
        with self._lanes_lock:
            self._lanes.setdefault(made_at(outcome[0]), _Lane()).queue.append(outcome)
            self.queued += 1
            self._trim()
        self.wake()

    def _trim(self) -> None:
        while self.queued > self._max:
            max(self._lanes.values(), key=lambda lane: len(lane.queue)).queue.popleft()
            self.queued -= 1
            self.dropped += 1

    def work(self, now: float, urgent: bool) -> None:
        """Once a quarter of a second, or when woken."""
        if not self._look(monotonic(), urgent):
            return
        end_s = now + WORK_S
        for name, lane in list(self._lanes.items()):
            while perf_counter() < end_s and (urgent or perf_counter() >= lane.after_s):
                if not self._bring(name, lane):
                    break

    def _bring(self, name: str, lane: _Lane) -> bool:
        """Sends a batch of a lane; whether there may be more to send now."""
        with self._lanes_lock:
            batch = [lane.queue.popleft() for _ in range(min(lane.most, len(lane.queue)))]
            self.queued -= len(batch)
            if not batch:
                self._lanes.pop(name, None)
                return False
        try:
            words = self._tell(batch)
        except PeerUnreachable as error:
            self.fail(error)
            self._back(lane, batch)
            lane.after_s = perf_counter() + lane.wait_s
            lane.wait_s = min(2 * lane.wait_s, MAX_WAIT_S)
            return False
        except VagusError as error:  # refused, and it would be again: one of them, or all
            self.fail(error)
            lane.most = max(1, len(batch) // 2)
            if len(batch) > 1:
                self._back(lane, batch)
            else:
                self.dropped += 1
            return True
        lane.most = min(2 * lane.most, MAX_BATCH)
        lane.wait_s = FIRST_WAIT_S
        self.sent += len(batch)
        self.unknown += words.count("FAILED")
        return True

    def _back(self, lane: _Lane, batch: list[Outcome]) -> None:
        """Puts a batch back to the front."""
        with self._lanes_lock:
            lane.queue.extendleft(reversed(batch))
            self.queued += len(batch)
            self._trim()
