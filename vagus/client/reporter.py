"""The background half of `observe`: a bounded queue, and a daemon thread that sends batches to the node.

Batches go as datagrams to the observer's unix socket, else to the gateway. What cannot be sent is dropped and
counted, oldest first; nothing here raises into the host program, blocks it, or outlives its exit by more than 0.5 s.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

from vagus.client.background import Background
from vagus.model import MAX_NAME, Metric, Report, Status

HEALTHY_EVERY_S = 20.0
QUEUE = 2000
MAX_TRACKS = 10_000
RETRY_S = 1.0
KEEP_NS = 60 * 10**9  # a report that nobody took for so long is dropped

Item = tuple["Track", Status, float, int, int]  # track, status, mean duration_s, t_ns, how many calls
Send = Callable[[list[Report]], None]


class Track:
    """One (observer, subject, context): when HEALTHY is due next, and what has been averaged since."""

    __slots__ = ("context", "count", "due", "observer", "subject", "total_s")

    def __init__(self, observer: str, subject: str, context: str) -> None:
        self.observer = observer
        self.subject = subject
        self.context = context
        self.due = 0.0
        self.count = 0
        self.total_s = 0.0


class Reporter(Background):
    """Takes observations, merges them, and sends them from its own thread. `send` is given in tests."""

    name = "vagus-observe"

    def __init__(self, send: Send | None = None, healthy_every_s: float = HEALTHY_EVERY_S) -> None:
        self.tracks: dict[tuple[str, str, str | None], Track] = {}
        self.healthy_every_s = healthy_every_s
        self._given = send
        super().__init__()

    def _reset(self) -> None:
        """As new, but for the tracks: at the start, and in a forked child, which has no thread and owes nothing."""
        super()._reset()
        self.open_calls: dict[int, list[Any]] = {}
        self._send = self._given
        self._queue: deque[Item] = deque()
        self._unsent: dict[tuple[int, Status], Item] = {}
        self._not_before = 0.0
        for key, track in list(self.tracks.items()):
            track.count, track.total_s, track.due = 0, 0.0, 0.0
            if key[2] is None:
                track.observer = default_observer()

    def track(self, subject: str, context: str, observer: str | None) -> Track:
        """The track of these names; malformed names are mended, since observing must not raise."""
        with self._lock:
            if len(self.tracks) >= MAX_TRACKS:
                self.tracks.clear()  # names without end, such as request ids: forget, but stay bounded
            key = (subject, context, observer)
            found = self.tracks.get(key)
            if found is None:
                names = (default_observer() if observer is None else observer, subject, context)
                found = self.tracks[key] = Track(*(_printable(str(name))[:MAX_NAME] or "?" for name in names))
            return found

    # --- called by observe, in the host program's threads ------------------------------------------------------------

    def healthy(self, track: Track, now: float) -> None:
        """Queues the mean of the successes since the last report; the next is due in 20 s."""
        count, total_s = track.count, track.total_s
        track.count, track.total_s = 0, 0.0
        track.due = now + self.healthy_every_s
        if count:
            self.put(track, Status.HEALTHY, total_s / count, count)

    def put(self, track: Track, status: Status, duration_s: float, count: int = 1) -> None:
        """Queues one observation; when the queue is full the oldest is dropped."""
        if len(self._queue) >= QUEUE:
            try:
                self._queue.popleft()
                self.dropped += 1
            except IndexError:
                pass
        self._queue.append((track, status, duration_s, time.time_ns(), count))
        self.wake()

    def close(self) -> None:
        """At exit: sends what is left, for at most 0.5 s, averaged successes included."""
        if self.running and not self._stopping and self._pid == os.getpid():
            for track in list(self.tracks.values()):
                self.healthy(track, perf_counter())
            super().close()

    # --- the thread --------------------------------------------------------------------------------------------------

    def work(self, now: float, urgent: bool) -> None:
        self._collect(now)
        self._drain(perf_counter(), urgent)

    def _collect(self, now: float) -> None:
        """Calls that hang become PENDING, again at growing distance; averages that are due become HEALTHY."""
        for call in self.open_calls.copy().values():
            begun, due, track = call
            if now >= due:
                call[1] = now + min(max(due - begun, 1.0), HEALTHY_EVERY_S)
                track.due = 0.0  # should it return after all, that passes at once
                self.put(track, Status.PENDING, now - begun)
        for track in list(self.tracks.values()):
            if track.count and now >= track.due:
                self.healthy(track, now)

    def _drain(self, now: float, urgent: bool) -> None:
        """Sends everything queued, one report for each track and status; what fails is tried again a second later."""
        if now < self._not_before and not urgent:
            return
        merged, queue = self._unsent, self._queue
        for _ in range(len(queue)):
            item = queue.popleft()
            track, status, duration_s, t_ns, count = item
            known = merged.pop((id(track), status), None)
            if known is not None:
                mean_s = (known[2] * known[4] + duration_s * count) / (known[4] + count)
                item = (track, status, mean_s, t_ns, known[4] + count)
            merged[id(track), status] = item  # behind the others: the order of the newest
        if not merged:
            return
        if self._send is None:
            from vagus.client.transport import Transport

            self._send = Transport().send
        try:
            self._send([_report(item) for item in merged.values()])
        except Exception as error:
            self.failed += len(merged)
            self.last_error = f"{type(error).__name__}: {error}"
            self._not_before = now + RETRY_S
            oldest_ns = time.time_ns() - KEEP_NS
            kept = [(key, item) for key, item in merged.items() if item[3] >= oldest_ns][-QUEUE:]
            self.dropped += len(merged) - len(kept)
            self._unsent = dict(kept)
            return
        self.sent += len(merged)
        self._unsent = {}


def _report(item: Item) -> Report:
    track, status, duration_s, t_ns, _ = item
    contexts = {track.context: Metric(status, round(duration_s * 1e3, 3))}
    return Report(track.observer, track.subject, t_ns, contexts)


def default_observer() -> str:
    """Who reports when nobody is named: `program:pid@host`."""
    program = os.path.basename(sys.argv[0] if sys.argv else "") or "python"
    return f"{_printable(program)[:80]}:{os.getpid()}@{os.uname().nodename}"[:MAX_NAME]


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


REPORTER = Reporter()
"""The one of this process."""

atexit.register(REPORTER.close)
os.register_at_fork(after_in_child=REPORTER._reset)
