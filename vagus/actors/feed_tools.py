"""Runs the tools of feeds in a thread of their own: neither a feed nor another tool waits for one that is slow.

Each tool has a queue, bounded in items and bytes, of which the oldest give way. Whose turn it is, is start-time fair
queueing (Goyal, Vin and Cheng, 1996) over the time that calls took. A call that does not end is left alone with its
thread, and the others get another one; its tool is used again once it comes back.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vagus.errors import VagusError
from vagus.feeds.contracts import Notice, Tool
from vagus.feeds.directives import Emit
from vagus.feeds.item import Descriptor, Raw

MAX_ITEMS = 10_000  # that wait for one tool
MAX_BYTES = 64 << 20  # of the bodies that they came from
ITEM_BYTES = 1_000  # what an item without a body of its own counts
PATIENCE_S = 5.0  # for one call
TURN_S = 0.02  # how long one tool is called before the others are looked at
TELL_AGAIN_S = 60.0  # how often a tool that keeps failing is told of
FINISH_S = 10.0


class FeedTools:
    """`take` hands an item to the tools of its feed, `tick` the time; `finish` ends all within a bounded time.

    tools: those of each named feed. deliver, failed: called in the tools' thread, with a notice, and with what went
    wrong where. A tool that fails is told of at once, then once a minute, and goes on. Threads begin with the first
    item or tick. `take`, `tick` and `figures` never block and may be called from any thread.
    """

    def __init__(
        self,
        tools: Mapping[str, Sequence[Tool]],
        deliver: Callable[[Notice], None],
        failed: Callable[[str, BaseException], None] | None = None,
        *,
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_BYTES,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._lines = {feed: [_Line(feed, tool) for tool in own] for feed, own in tools.items()}
        self._all = [line for own in self._lines.values() for line in own]
        self._deliver = deliver
        self._failed = failed or (lambda where, error: None)
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._patience_s = patience_s
        self._more = threading.Condition(threading.Lock())
        self._worker: threading.Thread | None = None
        self._current: _Line | None = None  # whose call is under way in the worker
        self._virtual_s = 0.0  # the fair share that the newest turn began with
        self._finish_ns: int | None = None
        self._drain_until_s = self._until_s = 0.0
        self._over = threading.Event()

    def __bool__(self) -> bool:
        return bool(self._all)

    def take(self, emit: Emit) -> None:
        """Queues an item for each tool of its feed."""
        lines = self._lines.get(emit.feed)
        if lines and self._finish_ns is None:
            self._queue(lines, emit)

    def tick(self, now_ns: int) -> None:
        """Queues the time for every tool, and looks after calls that hang. About once a second, or as a replay wants."""
        if self._all and self._finish_ns is None:
            self._queue(self._all, now_ns)
            self._relieve(self._patience_s)

    def _queue(self, lines: Iterable[_Line], entry: Emit | int) -> None:
        size = _size(entry)
        with self._more:
            for line in lines:
                waiting = line.waiting
                if waiting:
                    if isinstance(entry, int) and isinstance(waiting[-1], int):
                        waiting[-1] = entry
                        continue
                else:
                    line.share_s = max(line.share_s, self._virtual_s)
                while waiting and (len(waiting) >= self._max_items or line.bytes + size > self._max_bytes):
                    gone = waiting.popleft()
                    line.bytes -= _size(gone)
                    line.dropped += isinstance(gone, Emit)
                waiting.append(entry)
                line.bytes += size
            if self._worker is None:
                self._begin()
            self._more.notify_all()

    def _begin(self) -> None:
        """Starts a thread that takes over; call with the lock."""
        self._current = None
        self._worker = threading.Thread(target=self._work, name="feed-tools", daemon=True)
        self._worker.start()

    def _relieve(self, patience_s: float) -> None:
        """Leaves a call that takes too long alone with its thread."""
        with self._more:
            line = self._current
            if line is None or time.monotonic() - line.since_s < patience_s:
                return
            held_s = time.monotonic() - line.since_s
            self._begin()
        self._fail(line, VagusError(f"a call has not ended for {held_s:.1f} s; its items wait until it does"))

    # --- the worker ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            with self._more:
                line = self._choose()
                while line is None and self._worker is me and (wait_s := self._waits_s()) > 0:
                    self._more.wait(min(wait_s, threading.TIMEOUT_MAX))
                    line = self._choose()
                if self._worker is not me:
                    return
                if line is None:
                    break
                self._virtual_s = line.share_s
                self._occupy(line)
            if not self._turn(line, me):
                return
        self._end(me)

    def _choose(self) -> _Line | None:
        """Whose turn it is; None when nothing waits, or the time to drain is over."""
        if self._finish_ns is not None and time.monotonic() > self._drain_until_s:
            return None
        able = [line for line in self._all if line.waiting and not line.busy]
        return min(able, key=lambda line: line.share_s, default=None)

    def _waits_s(self) -> float:
        """How long to wait while nothing can be called: at the end only for a call after which more would be."""
        if self._finish_ns is None:
            return math.inf
        held = any(line.busy and line.waiting for line in self._all)
        return self._drain_until_s - time.monotonic() if held else 0.0

    def _occupy(self, line: _Line) -> None:
        line.busy = True
        line.since_s = time.monotonic()
        self._current = line

    def _turn(self, line: _Line, me: threading.Thread) -> bool:
        """Calls one tool for a while. False: it took so long that another thread has taken over."""
        until_s = line.since_s + TURN_S
        while True:
            with self._more:
                if not line.waiting:  # pushed out meanwhile
                    return self._leave(line, me)
                entry = line.waiting.popleft()
                line.bytes -= _size(entry)
            self._call(line, entry)
            now_s = time.monotonic()
            with self._more:
                line.share_s += now_s - line.since_s
                line.since_s = now_s
                if self._worker is not me or not line.waiting or now_s > until_s:
                    return self._leave(line, me)

    def _leave(self, line: _Line, me: threading.Thread) -> bool:
        """The call has ended; whether this thread is still the worker. Call with the lock."""
        line.busy = False
        if self._worker is me:
            self._current = None
            return True
        self._more.notify_all()  # it may be used again
        return False

    def _call(self, line: _Line, entry: Emit | int) -> None:
        try:
            if isinstance(entry, int):
                self._tell(line.tool.tick(entry))
                return
            if line.take_raw is not None and entry.raw is not None:
                line.take_raw(entry.raw)
            if line.take_descriptor is not None:
                line.take_descriptor(entry.descriptor)
            self._tell(line.tool.take(entry.item))
            line.taken += 1
        except Exception as error:  # tools may come from outside
            self._fail(line, error)

    def _tell(self, notices: Iterable[Notice] | None) -> None:
        for notice in notices or ():
            self._deliver(notice)

    def _fail(self, line: _Line, error: BaseException) -> None:
        line.failures += 1
        text = str(error) if isinstance(error, VagusError) else f"{type(error).__name__}: {error}"
        line.last_error = text[:500]
        now_s = time.monotonic()
        if now_s >= line.tell_s:
            line.tell_s = now_s + TELL_AGAIN_S
            self._failed(line.name, error)

    # --- the end -------------------------------------------------------------------------------------------------------

    def _end(self, me: threading.Thread) -> None:
        """Finishes the tools one after the other; a successor of this thread goes on where it was left."""
        while True:
            with self._more:
                if self._worker is not me:
                    return
                self._current = None
                line = next((line for line in self._all if not line.finished and not line.busy), None)
                while line is None and any(line.busy for line in self._all) and time.monotonic() < self._until_s:
                    self._more.wait(0.1)
                    line = next((line for line in self._all if not line.finished and not line.busy), None)
                if line is None:
                    break
                line.dropped += sum(isinstance(entry, Emit) for entry in line.waiting)
                line.waiting.clear()
                line.bytes = 0
                line.finished = True
                self._occupy(line)
            try:
                self._tell(line.tool.finish(self._finish_ns or 0))
            except Exception as error:
                self._fail(line, error)
            with self._more:
                line.busy = False
                self._more.notify_all()
        self._over.set()

    def finish(self, now_ns: int, timeout_s: float = FINISH_S) -> tuple[str, ...]:
        """Lets the tools take what waits (for half of the time), and finishes them; those that did not end are named.

        Blocks for at most `timeout_s`. What comes afterwards is ignored. Idempotent.
        """
        until_s = time.monotonic() + timeout_s
        with self._more:
            if self._finish_ns is None:
                self._finish_ns = now_ns
                self._until_s = until_s
                self._drain_until_s = until_s - timeout_s / 2
                if self._worker is None:
                    self._begin()
                self._more.notify_all()
        while not self._over.wait(min(0.05, max(0.0, until_s - time.monotonic()))) and time.monotonic() < until_s:
            self._relieve(min(self._patience_s, timeout_s / 4))
        return tuple(line.name for line in self._all if line.busy or not line.finished)

    # --- what is told of it --------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """Items that were taken, dropped and wait; calls that failed; tools whose call hangs."""
        lines = self._all
        now_s = time.monotonic()
        return {
            "tools": float(len(lines)),
            "tool_items": float(sum(line.taken for line in lines)),
            "tool_items_dropped": float(sum(line.dropped for line in lines)),
            "tool_items_waiting": float(sum(len(line.waiting) for line in lines)),
            "tool_failures": float(sum(line.failures for line in lines)),
            "tools_hanging": float(sum(line.busy and now_s - line.since_s > self._patience_s for line in lines)),
        }

    def notes(self) -> tuple[str, ...]:
        """A line for each tool that failed, lost items or hangs."""
        now_s = time.monotonic()
        told = []
        for line in self._all:
            if line.busy and now_s - line.since_s > self._patience_s:
                told.append(f"{line.name}: a call has not ended for {now_s - line.since_s:.0f} s")
            if line.dropped:
                told.append(f"{line.name}: {line.dropped} items came faster than it takes them, and were left out")
            if line.failures:
                told.append(f"{line.name}: failed {line.failures} times, at last: {line.last_error}")
        return tuple(told)


def _size(entry: Emit | int) -> int:
    if isinstance(entry, int):
        return 0
    meta = entry.item.meta
    return ITEM_BYTES if meta.part else ITEM_BYTES + meta.size_bytes


class _Line:
    """One tool, what waits for it, and what became of it."""

    def __init__(self, feed: str, tool: Tool) -> None:
        self.name = f"feed {feed}: tool {getattr(tool, 'name', type(tool).__name__)}"
        self.tool = tool
        self.take_raw: Callable[[Raw], Any] | None = (
            getattr(tool, "take_raw", None) if getattr(tool, "wants_raw", False) else None
        )
        self.take_descriptor: Callable[[Descriptor | None], Any] | None = (
            getattr(tool, "take_descriptor", None) if getattr(tool, "wants_descriptor", False) else None
        )
        self.waiting: deque[Emit | int] = deque()  # a number is the time of a tick
        self.bytes = 0
        self.share_s = 0.0
        self.busy = False
        self.since_s = 0.0  # when the call began that is under way
        self.finished = False
        self.taken = self.dropped = self.failures = 0
        self.last_error = ""
        self.tell_s = 0.0
