"""Blame through a middleman: a request that goes through a queue, a proxy or a pool, or whose answer comes that way.

    sent = vagus.origin("worker@3", "resize")             # where the request leaves
    queue.put((job, sent.carry()))
    ...
    vagus.sink(carried)                                    # where it has arrived, or where its answer is

As long as no sink is met the far side is PENDING, in the name of who sent it, and nobody blames the queue, which did
its part. The sink may be in another process: it says HEALTHY in the origin's name, and the origin's process finds that
among its node's reports before it would say PENDING. Source: Panorama, OSDI'18, section 4.3.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from fnmatch import fnmatchcase
from time import perf_counter
from typing import Any

from vagus.client.carried import Carried, header_of, read_carried, short_key, write_carried
from vagus.client.observe import PENDING_S, seconds_of
from vagus.client.reporter import MAX_WAITING, REPORTER, Reporter
from vagus.client.track import Call, Track, again, let_go, name_of, postpone
from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.model import Status

SINK_EVERY_S = 1.0
"""HEALTHY of a sink in another process: more often than others', since the origin waits for it."""
LOOK_EVERY_S = 1.0
LOOK_AGAIN_S = 5.0
MAX_LOOKS = 4
MAX_SEEN = 1000
UNSEEN = (0, Status.NA)
NO_WORD = frozenset({Status.INVALID, Status.NA, Status.PENDING})
MAX_TOLD = 16  # more than the reports that an observer keeps of another


class Origin:
    """A request under way to a far side. Never raises.

    `carry` makes the headers that travel with it; `clear`, `fail` and `drop` end it here, once, as those of `pending`.
    """

    __slots__ = ("_call", "_crossings", "_open", "carried", "context", "key", "observer", "sent_ns", "subject")

    def __init__(self, crossings: Crossings, key: str, call: Call) -> None:
        track = call[2]
        self.key = key
        self.observer: str = track.observer
        self.subject: str = track.subject
        self.context: str = track.context
        self.sent_ns = time.time_ns()
        self.carried = False  # then only this process can meet it
        self._open = [True]
        self._call = call
        self._crossings = crossings

    def carry(self) -> dict[str, str]:
        """One header, of printable ASCII and bounded length, for a queue, a proxy, a message of any kind."""
        self.carried = True
        return write_carried(Carried(self.key, self.sent_ns, self.observer, self.subject, self.context))

    def clear(self) -> bool:
        """The far side did it. False: it was resolved before."""
        return self._crossings.resolve(self, Status.HEALTHY)

    def fail(self, status: Status = Status.UNHEALTHY) -> bool:
        """The far side failed. False: it was resolved before."""
        return self._crossings.resolve(self, status)

    def drop(self) -> bool:
        """No verdict: it was not sent after all. False: it was resolved before."""
        return self._crossings.resolve(self, None)


class Crossings:
    """All origins of a reporter that are not resolved. A chore of its thread."""

    def __init__(self, reporter: Reporter) -> None:
        self.open: dict[str, Origin] = {}
        self._reporter = reporter
        self._seen: dict[tuple[str, str, str], tuple[int, Status]] = {}  # what sinks elsewhere said last
        self._looked: dict[tuple[str, str], float] = {}
        self._look_after = 0.0

    def begin(self, subject: Any, context: Any, observer: Any, key: str, expire_s: float) -> Origin:
        """A new origin, or the same again when a request is sent once more under its key."""
        reporter = self._reporter
        track = reporter.track(subject, context, observer)
        known = self.open.get(key)
        if known is not None and known._call[2] is track:
            return known
        if track.told is None:
            track.told = deque(maxlen=MAX_TOLD)
        begun = perf_counter()
        made = Origin(self, key, [begun, begun + expire_s, track])
        if len(self.open) >= MAX_WAITING:
            reporter.dropped += 1
            if not let_go(self.open, lambda oldest: oldest._call):
                return made  # not looked after, but it can be carried and met
        self.open[key] = made
        if not reporter.running:
            reporter.start()
        return made

    def resolve(self, origin: Origin, status: Status | None) -> bool:
        """Ends it; whether it was not ended before."""
        try:
            origin._open.pop()
        except IndexError:
            return False
        if self.open.get(origin.key) is origin:
            self.open.pop(origin.key, None)
        self._reporter.resolve(origin._call, status)
        return True

    # --- the reporter's thread ---------------------------------------------------------------------------------------

    def slept(self, late_s: float, now: float) -> None:
        postpone([origin._call for origin in list(self.open.values())], late_s, now)

    def check(self, now: float) -> None:
        """PENDING of what is due, unless a sink elsewhere has spoken meanwhile."""
        now_ns = time.time_ns()  # what is met while we look is met, and counted, later
        held = {origin._call[2]: origin._call[2].count for origin in list(self.open.values())}
        due: dict[tuple[str, str], list[Origin]] = {}
        for origin in list(self.open.values()):
            if now >= origin._call[1]:
                due.setdefault((origin.observer, origin.subject), []).append(origin)
        looks = 0
        for pair, origins in due.items():
            self._say([origin for origin in origins if not origin.carried], held, now_ns, now)
            left = [origin for origin in origins if origin.carried and not self._is_met(origin)]
            looked = False
            if left and now >= self._look_after and now < self._looked.get(pair, 0.0):
                continue  # it was looked up a moment ago: the next time is soon enough
            if left and looks < MAX_LOOKS and now >= self._look_after:
                looks += 1
                looked = self._look(pair, left, now)
                left = [origin for origin in left if not self._is_met(origin)]
            self._say(left, held, now_ns if looked else 0, now)

    def _look(self, pair: tuple[str, str], origins: list[Origin], now: float) -> bool:
        """Notes what others have said in our name, as this node has it; whether it could be asked.

        What we said ourselves is about requests that were met here, and says nothing of these.
        """
        told = {origin.context: origin._call[2].told or () for origin in origins}
        reports = self._reporter.look(*pair)
        if reports is None:
            self._look_after = now + LOOK_AGAIN_S
            return False
        if len(self._looked) >= MAX_SEEN:
            self._looked.clear()
        self._looked[pair] = now + LOOK_EVERY_S
        for report in reports:
            for context, metric in report.contexts.items():
                if metric.status not in NO_WORD and report.t_ns not in told.get(context, ()):
                    if len(self._seen) >= MAX_SEEN:
                        self._seen.clear()
                    what = (*pair, context)
                    self._seen[what] = max(self._seen.get(what, UNSEEN), (report.t_ns, metric.status))
        return True

    def _is_met(self, origin: Origin) -> bool:
        t_ns, status = self._seen.get((origin.observer, origin.subject, origin.context), UNSEEN)
        if t_ns <= origin.sent_ns:
            return False
        well_again = status == Status.HEALTHY and len(origin._call) > 3  # ours shall not be the newest word
        self.resolve(origin, status if well_again else None)
        return True

    def _say(self, left: list[Origin], held: dict[Track, int], now_ns: int, now: float) -> None:
        """One PENDING for a track.

        Of what is carried to other processes, its time is that of sending, since whatever a sink there says of it is
        newer; said again it is as of when that was looked for (now_ns; 0: it was not), not to grow too old to count.
        """
        worst: dict[Track, tuple[float, int]] = {}
        for origin in left:
            call = origin._call
            t_ns = origin.sent_ns if origin.carried and (len(call) <= 3 or not now_ns) else now_ns
            waited_s, newest_ns = worst.get(call[2], (0.0, 0))
            worst[call[2]] = max(waited_s, now - call[0]), max(newest_ns, t_ns)
            again(call, now)
        for track, (waited_s, t_ns) in worst.items():
            track.forget(held.get(track, 0))
            self._reporter.put(track, Status.PENDING, waited_s * 1e3, t_ns=t_ns)


def origin(
    subject: str,
    context: str = "call",
    key: str | None = None,
    expire_s: float | None = PENDING_S,
    observer: str | None = None,
    *,
    reporter: Reporter = REPORTER,
) -> Origin:
    """A request leaves for `subject`, the far side, through whatever is between: PENDING unless a sink is met in time.

    key: the request's own id, if it has one that is known at the sink; else one is made. Costs microseconds; beyond
    10 000 that are under way, new ones are not looked after.
    """
    named = os.urandom(8).hex() if key is None else short_key(name_of(key))
    return _crossings(reporter).begin(subject, context, observer, named, seconds_of(expire_s))


def sink(
    met: Origin | Mapping[str, str] | str,
    ok: bool = True,
    *,
    subjects: tuple[str, ...] = ("*",),
    reporter: Reporter = REPORTER,
) -> bool:
    """The request has reached the far side, or its answer has come: by the origin's headers, its key, or itself.

    ok: False when the far side failed at it: UNHEALTHY. Where the origin is another process's, this speaks in the name
    that the headers give; they come from outside, so `subjects` (glob patterns) may say about whom they may speak.
    False: nothing of the kind is known, or the headers are malformed (counted as failed). Never raises.
    """
    status = Status.HEALTHY if ok else Status.UNHEALTHY
    try:
        if isinstance(met, Origin):
            return met._crossings.resolve(met, status)
        crossings = _crossings(reporter)
        if isinstance(met, str):
            known = crossings.open.get(short_key(name_of(met)))
            return known is not None and crossings.resolve(known, status)
        value = header_of(met)
        if value is None:
            return False
        carried = read_carried(value, time.time_ns())
        known = crossings.open.get(carried.key)
        if known is not None and (known.sent_ns, known.subject) == (carried.sent_ns, carried.subject):
            return crossings.resolve(known, status)
        if not any(fnmatchcase(carried.subject, pattern) for pattern in subjects):
            raise ConfigError(f"the headers are about {carried.subject!r}, which is not among {subjects}")
        _speak(reporter, carried, ok)
        return True
    except Exception as error:
        reporter.fail(error)
        return False


def _speak(reporter: Reporter, carried: Carried, ok: bool) -> None:
    """In the origin's name. Later than the request was sent, by the clock of whoever sent it."""
    track = reporter.track(carried.subject, carried.context, carried.observer)
    track.every_s = min(track.every_s, SINK_EVERY_S)
    track.after_ns = max(track.after_ns, carried.sent_ns)
    now_ns, now = time.time_ns(), perf_counter()
    took_s = max(0, now_ns - carried.sent_ns) / NS
    if not ok:
        track.forget(track.count)
        reporter.put(track, Status.UNHEALTHY, took_s * 1e3, t_ns=max(now_ns, carried.sent_ns + 1))
        return
    track.count += 1
    track.total_s += took_s
    if now >= track.due:
        reporter.healthy(track, now)
    elif not reporter.running:
        reporter.start()


def _crossings(reporter: Reporter) -> Crossings:
    found = reporter.chores.get("origins")
    if not isinstance(found, Crossings):
        found = reporter.chores.setdefault("origins", Crossings(reporter))
        assert isinstance(found, Crossings)
    return found
