"""The background half of `observe`: a bounded queue, and a daemon thread that sends batches to the node.

Batches go as datagrams to the observer's unix socket, else to the gateway. What cannot be sent is dropped and
counted, oldest first; nothing here raises into the host program, blocks it, or outlives its exit by more than 0.5 s.
"""

from __future__ import annotations

import atexit
import gc
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from vagus.client.answers import NotTaken
from vagus.client.background import Background
from vagus.client.lateness import LATE_S, Lateness
from vagus.client.track import HEALTHY_EVERY_S, Call, Track, again, default_observer, let_go, name_of, postpone
from vagus.errors import ConfigError
from vagus.model import Metric, Report, Status

if TYPE_CHECKING:
    from vagus.client.transport import Transport

QUEUE = 2000
MAX_TRACKS = 10_000
MAX_WAITING = 10_000
RETRY_S = 1.0
KEEP_NS = 60 * 10**9  # a report that nobody took for so long is dropped

Item = tuple[Track, Status, float, int, int, int]  # track, status, mean score, t_ns, how many calls, doubt
Send = Callable[[list[Report]], None]
Look = Callable[[str, str], Sequence[Report]]


class Chore(Protocol):
    """What else the thread looks after, four times a second."""

    def check(self, now: float) -> None:
        """It is `now`, in seconds of perf_counter."""

    def slept(self, late_s: float, now: float) -> None:
        """This process did not run for the last `late_s` seconds: nobody else is to blame for them."""


class Reporter(Background):
    """Takes observations, merges them, and sends them from its own thread. `send` is given in tests."""

    name = "vagus-observe"

    def __init__(self, send: Send | None = None, healthy_every_s: float = HEALTHY_EVERY_S) -> None:
        self.tracks: dict[tuple[Any, Any, Any], Track] = {}
        self.healthy_every_s = healthy_every_s
        self.looks: Look | None = None  # given in tests
        self._given = send
        super().__init__()

    def _reset(self) -> None:
        """As new, but for the tracks: at the start, and in a forked child, which has no thread and owes nothing."""
        super()._reset()
        self.open_calls: dict[int, Call] = {}
        self.waiting: dict[int, Call] = {}
        self._hanging: set[Track] = set()  # those with a call that was said to be pending, and still is
        self.chores: dict[str, Chore] = {}
        self.lateness = Lateness()
        self._collecting_since = 0.0
        self._send = self._given
        self._transport: Transport | None = None
        self._queue: deque[Item] = deque()
        self._unsent: dict[tuple[Track, Status], Item] = {}
        self._merging = threading.Lock()
        self._not_before = 0.0
        for key, track in list(self.tracks.items()):
            track.count, track.total_s, track.due = 0, 0.0, 0.0
            if key[2] is None:
                track.observer = default_observer()

    def divert(self, send: Send | None) -> None:
        """Hands reports to `send` from now on, instead of to the node; None: to the node again."""
        self._given = self._send = send

    def track(self, subject: Any, context: Any, observer: Any) -> Track:
        """The track of these names; malformed names are mended, since observing must not raise."""
        if len(self.tracks) >= MAX_TRACKS:
            self.tracks.clear()  # names without end, such as request ids: forget, but stay bounded
        key = (subject, context, observer)
        try:
            found = self.tracks.get(key)
        except Exception:  # what is no name at all, such as a list, or one whose __hash__ fails
            key = (name_of(subject), name_of(context), None if observer is None else name_of(observer))
            found = self.tracks.get(key)
        if found is None:
            who = default_observer() if observer is None else name_of(observer)
            made = Track(who, name_of(subject), name_of(context), self.healthy_every_s)
            found = self.tracks.setdefault(key, made)
        return found

    # --- called by observe, in the host program's threads ------------------------------------------------------------

    def healthy(self, track: Track, now: float) -> None:
        """Queues the mean of the successes since the last report; the next is due in 20 s."""
        count, total_s = track.count, track.total_s
        track.count, track.total_s = 0, 0.0
        track.due = now + track.every_s
        if count:
            t_ns = max(time.time_ns(), track.after_ns + 1)
            self.put(track, Status.HEALTHY, total_s / count * 1e3, count, t_ns)

    def unwell(self, track: Track, status: Status, duration_s: float) -> None:
        """Queues what is not HEALTHY, with how long it took; the next success passes at once.

        Successes before it go unsaid: said now, they would be later than it, and clear it.
        """
        track.count, track.total_s = 0, 0.0
        if track not in self._hanging:
            track.due = 0.0
        self.put(track, status, duration_s * 1e3)

    def put(self, track: Track, status: Status, score: float, count: int = 1, t_ns: int = 0) -> None:
        """Queues one observation. When the queue is full it is merged, or, if that is under way, loses its oldest."""
        try:
            if len(self._queue) >= QUEUE:
                self._make_room()
            # the doubt of the moment in which it is sent: a thread that was stopped learns of it when it wakes
            self._queue.append((track, status, float(f"{score:.9g}"), t_ns or time.time_ns(), count, -1))
            self.wake()
        except Exception as error:  # no memory, no stack left
            self.fail(error)

    def wait_for(self, track: Track, expire_s: float) -> Call:
        """Tracks what is no call on a stack: PENDING once it is not resolved within `expire_s`.

        Beyond MAX_WAITING those go that were said to be pending; where there are none, the new one is not tracked.
        """
        begun = perf_counter()
        call: Call = [begun, begun + expire_s, track]
        if len(self.waiting) >= MAX_WAITING:
            self.dropped += 1
            if not let_go(self.waiting, lambda oldest: oldest):
                return call
        self.waiting[id(call)] = call
        if not self.running:
            self.start()
        return call

    def resolve(self, call: Call, status: Status | None, now: float = 0.0) -> None:
        """What was waited for has come: HEALTHY, rate-limited; or failed with another status; None: no verdict."""
        self.waiting.pop(id(call), None)
        track: Track = call[2]
        now = now or perf_counter()
        duration_s = now - call[0]
        if status == Status.HEALTHY:
            track.count += 1
            track.total_s += duration_s
            if now >= track.due:
                self.healthy(track, now)
        elif status is not None:
            self.unwell(track, status, duration_s)

    def close(self) -> None:
        """At exit: sends what is left, for at most 0.5 s, averaged successes included."""
        if self.running and not self._stopping and self._pid == os.getpid():
            for track in list(self.tracks.values()):
                if track not in self._hanging:  # those were held back: the last word on what hangs is that it does
                    self.healthy(track, perf_counter())
            super().close()
            self._forget_gc()

    # --- the thread --------------------------------------------------------------------------------------------------

    def begun(self) -> None:
        self._forget_gc()  # the parent's, after a fork
        gc.callbacks.append(self._collected)

    def _forget_gc(self) -> None:
        try:
            gc.callbacks.remove(self._collected)
        except ValueError:
            pass

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        """The garbage collector's pauses: nothing else ran meanwhile."""
        if phase == "start":
            self._collecting_since = perf_counter()
        elif self._collecting_since:
            took_s = perf_counter() - self._collecting_since
            if took_s >= LATE_S:
                self.lateness.note(0.0, took_s)

    def waited(self, asked_s: float, took_s: float) -> None:
        """Doubts itself when it woke late; while this process did not run, nobody kept it waiting."""
        if self.lateness.note(asked_s, took_s):
            now = perf_counter()  # when in that time it was stopped is not known: none of it counts
            postpone([*self.open_calls.copy().values(), *self.waiting.copy().values()], took_s, now)
            for chore in list(self.chores.values()):
                chore.slept(took_s, now)

    def work(self, now: float, urgent: bool) -> None:
        self._collect(now)
        for chore in list(self.chores.values()):
            try:
                chore.check(now)
            except Exception as error:
                self.fail(error)
        self._drain(perf_counter(), urgent)

    def _collect(self, now: float) -> None:
        """Calls that hang become PENDING, again at growing distance; averages that are due become HEALTHY.

        While a call hangs, successes of other calls of its track are held back: they came over another connection,
        or from another thread of the subject, and do not speak for what hangs.
        """
        # A call that ends while we look has ended later, and is counted later.
        t_ns = time.time_ns()
        held = {track: track.count for track in list(self.tracks.values()) if track.count}
        longest: dict[Track, float] = {}  # one report for a track, however many calls hang
        hanging: set[Track] = set()
        for calls in (self.open_calls, self.waiting):
            for call in calls.copy().values():
                begun, due, track = call[:3]  # a fourth: it was said before
                if now >= due:
                    again(call, now)
                    longest[track] = max(longest.get(track, 0.0), now - begun)
                if len(call) > 3:
                    hanging.add(track)
        for track in self._hanging - hanging:
            track.due = 0.0  # it returned after all, or not: what comes now passes at once
        self._hanging = hanging
        for track in hanging:
            track.due = math.inf
        for track, hung_s in longest.items():
            track.count, track.total_s = 0, 0.0
            self.put(track, Status.PENDING, hung_s * 1e3, t_ns=t_ns)
        for track in held:
            if track.count and now >= track.due:
                self.healthy(track, now)

    def _drain(self, now: float, urgent: bool) -> None:
        """Sends everything queued, one report for each track and status; what fails is tried again a second later."""
        if now < self._not_before and not urgent:
            return
        with self._merging:
            self._merge()
            batch, self._unsent = self._unsent, {}
        if not batch:
            return
        reports = []
        for key, item in list(batch.items()):
            try:
                reports.append(_report(item))
            except ConfigError as error:  # numbers beyond what a report may say: the others go
                del batch[key]
                self.dropped += 1
                self.fail(error)
        if not reports:
            return
        refused = 0
        try:
            (self._send or self._way().send)(reports)
        except NotTaken as error:
            refused = error.count
            self.dropped += refused
            self.fail(error, refused)
        except Exception as error:
            self.fail(error, len(batch))
            self._not_before = now + RETRY_S
            oldest_ns = time.time_ns() - KEEP_NS
            kept = {key: item for key, item in batch.items() if item[3] >= oldest_ns}
            self.dropped += len(batch) - len(kept)
            with self._merging:
                newer, self._unsent = self._unsent, kept
                for item in newer.values():
                    self._add(item)
            return
        self.sent += len(batch) - refused
        for track, status, _, t_ns, _, _ in batch.values():
            if track.told is not None and status != Status.PENDING:
                track.told.append(t_ns)

    def look(self, observer: str, subject: str) -> Sequence[Report] | None:
        """An observer's last reports on a subject, as this node has them; None: it cannot be asked. For chores."""
        if self._send is not None and self.looks is None:
            return None
        try:
            return (self.looks or self._way().view)(observer, subject)
        except Exception as error:
            self.fail(error)
            return None

    def _way(self) -> Transport:
        if self._transport is None:
            from vagus.client.transport import Transport

            self._transport = Transport()
        return self._transport

    def _make_room(self) -> None:
        """In a host's thread: many say the same, and are one report; only a storm of different ones loses any."""
        if self._merging.acquire(blocking=False):
            try:
                self._merge()
            finally:
                self._merging.release()
            return
        try:
            self._queue.popleft()
            self.dropped += 1
        except IndexError:
            pass

    def _merge(self) -> None:
        while self._queue:
            try:
                item = self._queue.popleft()
            except IndexError:  # a full queue lost it meanwhile
                return
            self._add(item)

    def _add(self, item: Item) -> None:
        track, status, score, t_ns, count, doubt = item
        doubt = self.lateness.doubt if doubt < 0 else doubt
        known = self._unsent.pop((track, status), None)
        if known is not None:
            score = (known[2] * known[4] + score * count) / (known[4] + count)
            count, doubt, t_ns = known[4] + count, min(known[5], doubt), max(known[3], t_ns)
        elif len(self._unsent) >= QUEUE:
            del self._unsent[next(iter(self._unsent))]
            self.dropped += 1
        self._unsent[track, status] = (track, status, score, t_ns, count, doubt)  # behind: the order of the newest


def _report(item: Item) -> Report:
    track, status, score, t_ns, _, doubt = item
    contexts = {track.context: Metric(status, float(f"{score:.9g}"))}
    return Report(track.observer, track.subject, t_ns, contexts, ttl_ns=track.ttl_ns, doubt=doubt)


REPORTER = Reporter()
"""The one of this process."""

atexit.register(REPORTER.close)
os.register_at_fork(after_in_child=REPORTER._reset)
