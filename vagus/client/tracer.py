"""The queue behind `vagus.span`: ended spans, sent as OTLP to the node's gateway by a thread of its own.

See background.py for what is promised: nothing raises into the program, blocks it, or is kept without bound.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from vagus.client.answers import NotTaken
from vagus.client.background import Background
from vagus.client.trace_context import TraceContext
from vagus.client.track import name_of
from vagus.errors import ConfigError
from vagus.model import MAX_LABEL_VALUE, Kind, Scalar, Span

if TYPE_CHECKING:
    from vagus.client.transport import Carrier

QUEUE = 10_000
RETRY_S = 1.0
KEEP_NS = 60 * 10**9  # what nobody took for so long is dropped
MAX_ATTRIBUTES = 32
_TOP = 1 << 64

Send = Callable[[Sequence[Span]], None]


class Ended(NamedTuple):
    """A span as its program leaves it; names and attributes are mended by the thread."""

    context: TraceContext
    parent_id: str
    service: Any
    component: Any
    operation: Any
    start_ns: int
    end_ns: int
    kind: Any
    error: bool
    follows: bool
    attributes: Mapping[Any, Any]


class Tracer(Background):
    """Takes spans that ended. `send` is given in tests. ratio: of the traces that begin here, how many are recorded."""

    name = "vagus-trace"

    def __init__(self, send: Send | None = None, ratio: float = 1.0) -> None:
        self._given = send
        self.ratio = ratio
        super().__init__()

    def _reset(self) -> None:
        super()._reset()
        self._queue: deque[Ended] = deque()
        self._unsent: list[Span] = []
        self._not_before = 0.0
        self._send = self._given
        self._carrier: Carrier[Span] | None = None
        self.service = os.environ.get("OTEL_SERVICE_NAME") or _program()
        self._host = os.uname().nodename

    def component_of(self, service: Any) -> str:
        """Who does it, where nobody says: the service at this host."""
        return f"{service}@{self._host}"

    def sampled(self, trace_id: str) -> bool:
        """Whether a trace that begins here is recorded: by its id, so that everybody who asks decides the same."""
        return self.ratio >= 1.0 or int(trace_id[16:], 16) < self.ratio * _TOP

    def put(self, ended: Ended) -> None:
        """Queues a span. Full: the oldest is dropped."""
        if len(self._queue) >= QUEUE:
            try:
                self._queue.popleft()
                self.dropped += 1
            except IndexError:
                pass
        self._queue.append(ended)
        if not self.running or self._bell.locked():
            self.wake()

    def work(self, now: float, urgent: bool) -> None:
        if now < self._not_before and not urgent:
            return
        spans = self._unsent
        for _ in range(len(self._queue)):
            try:
                spans.append(_span(self._queue.popleft()))
            except ConfigError as error:
                self.dropped += 1
                self.fail(error)
        if not spans:
            return
        refused = 0
        try:
            (self._send or self._way().send)(spans)
        except NotTaken as error:
            refused = error.count
            self.dropped += refused
            self.fail(error, refused)
        except Exception as error:
            self.fail(error, len(spans))
            self._not_before = now + RETRY_S
            oldest_ns = time.time_ns() - KEEP_NS
            kept = [span for span in spans if span.end_ns >= oldest_ns][-QUEUE:]
            self.dropped += len(spans) - len(kept)
            self._unsent = kept
            return
        self.sent += len(spans) - refused
        self._unsent = []

    def _way(self) -> Carrier[Span]:
        if self._carrier is None:
            from vagus.client.transport import SpanPost

            self._carrier = SpanPost()
        return self._carrier


def _span(ended: Ended) -> Span:
    """Raises ConfigError: a clock that is not between 1970 and 2100."""
    attributes: dict[str, Scalar] = {}
    for name, value in list(ended.attributes.items())[:MAX_ATTRIBUTES]:
        if value is not None:
            attributes[name_of(name)] = _scalar(value)
    service = name_of(ended.service)
    kind = ended.kind if isinstance(ended.kind, Kind) else _KINDS.get(str(ended.kind).lower(), Kind.INTERNAL)
    names = (service, name_of(ended.component), name_of(ended.operation))
    times = (ended.start_ns, max(ended.start_ns, ended.end_ns))
    context, flags = ended.context, (ended.error, ended.follows)
    return Span(context.trace_id, context.span_id, ended.parent_id, *names, *times, kind, *flags, "", attributes)


_KINDS = {kind.value: kind for kind in Kind}


def _scalar(value: Any) -> Scalar:
    if isinstance(value, (bool, float)):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return int(value)
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception:  # the value's own __str__
        text = type(value).__name__
    return text[:MAX_LABEL_VALUE].encode("utf-8", "replace").decode()


def _program() -> str:
    return os.path.basename(sys.argv[0] if sys.argv else "") or "python"


def rejected_of(answer: bytes) -> tuple[int, str]:
    """How many spans OTLP's answer says were rejected, and why."""
    try:
        told = msgspec.json.decode(answer).get("partialSuccess") or {}
        return int(told.get("rejectedSpans") or 0), str(told.get("errorMessage") or "")
    except (ValueError, AttributeError, TypeError):
        return 0, ""


TRACER = Tracer()
"""The one of this process."""

atexit.register(TRACER.close)
os.register_at_fork(after_in_child=TRACER._reset)
