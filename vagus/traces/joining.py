"""Spans of many requests as they come → execution graphs, once a request has gone quiet. Pure: time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from vagus.config.act import TraceSettings
from vagus.config.base import seconds
from vagus.model import Span
from vagus.traces import Graph
from vagus.traces.graph import graph_of

LONGEST = 20  # waits after which a request that never goes quiet is handed out as it is
REMEMBERED = 4  # times max_traces: ids of what was handed out and is no longer kept


class _Waiting:
    """The spans of one request that are here."""

    __slots__ = ("first_ns", "given", "ids", "known", "newest_ns", "spans")

    def __init__(self, now_ns: int) -> None:
        self.spans: list[Span] = []
        self.ids: set[tuple[str, str]] = set()
        self.first_ns = now_ns
        self.newest_ns = now_ns
        self.known = -1  # how many there were when its graph was handed out first
        self.given = -1  # and last


class Joiner:
    """Holds spans back until their request is complete, which is when nothing came for `wait`.

    Bounded: with more than max_traces or max_spans waiting the request that was quiet for longest is handed out early;
    a request has max_trace_spans. Spans that come after their graph was handed out make it come again, with `late`
    above 0, while it is among the recent ones (as many spans again); after that they are dropped. All is counted.
    """

    def __init__(self, settings: TraceSettings) -> None:
        self._wait_ns = int(seconds(settings.wait) * 1e9)
        self._settings = settings
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()  # the longest quiet first
        self._recent: OrderedDict[str, _Waiting] = OrderedDict()  # handed out; the oldest first
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._early: OrderedDict[str, _Waiting] = OrderedDict()  # to be handed out at once
        self._held = self._kept = self._pressed = 0  # spans that wait, of recent ones, of those to hand out early
        self._counts = dict.fromkeys(
            (
                "spans",
                "graphs",
                "graphs_again",
                "graphs_early",
                "duplicates",
                "late",
                "too_late",
                "too_many",
                "dropped",
            ),
            0,
        )

    def add(self, spans: Iterable[Span], now_ns: int) -> None:
        """Take spans, in any order and of any number of requests."""
        counts, most = self._counts, self._settings.max_trace_spans
        for span in spans:
            counts["spans"] += 1
            at = self._waiting.get(span.trace_id) or self._early.get(span.trace_id)
            if at is None:
                at = self._opened(span.trace_id, now_ns)
                if at is None:
                    counts["too_late"] += 1
                    continue
            name = (span.span_id, span.component)
            if name in at.ids:
                counts["duplicates"] += 1
                continue
            if len(at.spans) >= most:
                counts["too_many"] += 1
                continue
            at.ids.add(name)
            at.spans.append(span)
            if at.known >= 0:
                counts["late"] += 1
            if span.trace_id in self._early:
                self._pressed += 1
                continue
            self._held += 1
            if at.newest_ns != now_ns:
                at.newest_ns = now_ns
                self._waiting.move_to_end(span.trace_id)
            if self._held > self._settings.max_spans:
                self._press()

    def due(self, now_ns: int) -> list[Graph]:
        """The graphs of requests that have gone quiet, and of those that had to go early; the oldest first."""
        ready = list(self._early.items())
        self._early.clear()
        self._pressed = 0
        for trace_id, at in list(self._waiting.items()):
            if abs(now_ns - at.newest_ns) < self._wait_ns:  # newer than now: the clock was set back
                break
            self._take(trace_id)
            ready.append((trace_id, at))
        overlong = now_ns - LONGEST * self._wait_ns
        endless = [trace_id for trace_id, at in self._waiting.items() if at.first_ns < overlong]
        ready += [(trace_id, self._take(trace_id)) for trace_id in endless]
        graphs = []
        for trace_id, at in ready:
            again = at.known >= 0
            if len(at.spans) == at.given:
                self._remember(trace_id, at)  # nothing new but duplicates
                continue
            graph = graph_of(trace_id, at.spans)
            if again:
                graph = msgspec.structs.replace(graph, late=len(at.spans) - at.known)
            else:
                at.known = len(at.spans)
            at.given = len(at.spans)
            self._counts["graphs_again" if again else "graphs"] += 1
            graphs.append(graph)
            self._remember(trace_id, at)
        return graphs

    @property
    def figures(self) -> dict[str, int]:
        """What waits, what is kept in case more comes, and what was counted since the begin."""
        return {
            "traces_waiting": len(self._waiting),
            "spans_waiting": self._held + self._pressed,
            "traces_recent": len(self._recent),
            "spans_recent": self._kept,
            **self._counts,
        }

    def _opened(self, trace_id: str, now_ns: int) -> _Waiting | None:
        """A place for a request that is not waited for; None: it was handed out too long ago."""
        if trace_id in self._gone:
            return None
        at = self._recent.pop(trace_id, None)
        if at is None:
            at = _Waiting(now_ns)
        else:
            self._kept -= len(at.spans)
            self._held += len(at.spans)
            at.first_ns = at.newest_ns = now_ns
        self._waiting[trace_id] = at
        if len(self._waiting) > self._settings.max_traces:
            self._press()
        return at

    def _take(self, trace_id: str) -> _Waiting:
        at = self._waiting.pop(trace_id)
        self._held -= len(at.spans)
        return at

    def _press(self) -> None:
        """Make room: the request that was quiet for longest goes early, or is dropped where nobody asks for graphs."""
        trace_id = next(iter(self._waiting))
        at = self._take(trace_id)
        if self._pressed + len(at.spans) > self._settings.max_spans or len(self._early) >= self._settings.max_traces:
            self._counts["dropped"] += len(at.spans)
            self._forget(trace_id)
            return
        self._pressed += len(at.spans)
        self._counts["graphs_early"] += 1
        self._early[trace_id] = at

    def _remember(self, trace_id: str, at: _Waiting) -> None:
        self._recent[trace_id] = at
        self._kept += len(at.spans)
        while self._kept > self._settings.max_spans or len(self._recent) > self._settings.max_traces:
            oldest, old = self._recent.popitem(last=False)
            self._kept -= len(old.spans)
            self._forget(oldest)

    def _forget(self, trace_id: str) -> None:
        self._gone[trace_id] = None
        while len(self._gone) > REMEMBERED * self._settings.max_traces:
            self._gone.popitem(last=False)
