"""The queue behind `vagus.event`, `sample` and `counter`: mended, batched, and sent by a thread of its own.

To the collector's unix datagram socket, else to the gateway ($VAGUS_URL). See background.py for what is promised.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from vagus.client.answers import NotTaken
from vagus.client.background import Background
from vagus.client.track import default_observer
from vagus.errors import ConfigError
from vagus.model import MAX_FIELDS, MAX_LABEL_VALUE, MAX_NAME, Field, Level, Stream

QUEUE = 10_000
RETRY_S = 1.0
KEEP_NS = 60 * 10**9  # what nobody took for so long is dropped
COUNTERS_S = 1.0
MAX_COUNTERS = 10_000
MAX_EVENT_FIELDS = 200
MAX_TEXT = 32 << 10

Body = dict[str, Any]
Send = Callable[[list[Body]], None]
Labels = tuple[tuple[str, str], ...]


class Counter:
    """A number that only grows, of this process; its total is sent each second in which it grew."""

    __slots__ = ("_lock", "kind", "labels", "sent", "total", "unit")

    def __init__(self, kind: str, unit: str, labels: Labels) -> None:
        self.kind = kind
        self.unit = unit
        self.labels = labels
        self.total = 0
        self.sent = -1  # a first total of 0 is worth sending: from there it grows
        self._lock = threading.Lock()

    def add(self, more: int = 1) -> None:
        """Adds a whole number; a negative one is ignored."""
        if more > 0:
            with self._lock:
                self.total += more


class Emitter(Background):
    """Takes events and samples. `send` is given in tests."""

    name = "vagus-emit"

    def __init__(self, send: Send | None = None) -> None:
        self._given = send
        super().__init__()

    def _reset(self) -> None:
        super()._reset()
        self.counters: dict[tuple[str, Labels], Counter] = {}
        self._queue: deque[tuple[Any, ...]] = deque()
        self._unsent: list[Body] = []
        self._not_before = 0.0
        self._counters_due = 0.0
        self._send = self._given
        self._known: set[tuple[str, ...]] = set()
        self._source = ""

    def put(self, item: tuple[Any, ...]) -> None:
        """Queues (t_ns, name, level or None, fields, labels); level None: a sample. Full: the oldest is dropped."""
        if len(self._queue) >= QUEUE:
            try:
                self._queue.popleft()
                self.dropped += 1
            except IndexError:
                pass
        self._queue.append(item)
        if not self.running or self._bell.locked():
            self.wake()

    def counter(self, kind: str, unit: str, labels: Mapping[str, Any]) -> Counter:
        """The counter of this kind and labels, the same object each time."""
        key = (kind, tuple(sorted((name, str(value)) for name, value in labels.items())))
        found = self.counters.get(key)
        if found is None:
            if len(self.counters) >= MAX_COUNTERS:
                self.dropped += 1
                return Counter(kind, unit, key[1])  # counts, but is not sent: labels without end
            found = self.counters.setdefault(key, Counter(kind, unit, key[1]))
            self.wake()
        return found

    def close(self) -> None:
        self._counters_due = 0.0
        super().close()

    def work(self, now: float, urgent: bool) -> None:
        if urgent or now >= self._counters_due:
            self._counters_due = now + COUNTERS_S
            self._count()
        if now < self._not_before and not urgent:
            return
        bodies = self._unsent
        for _ in range(len(self._queue)):
            try:
                bodies.append(self._body(*self._queue.popleft()))
            except ConfigError as error:
                self.fail(error)
        if not bodies:
            return
        if self._send is None:
            from vagus.client.transport import Parcels

            self._send = Parcels().send
        refused = 0
        try:
            self._send(bodies)
        except NotTaken as error:
            refused = error.count
            self.dropped += refused
            self.fail(error, refused)
        except Exception as error:
            self.fail(error, len(bodies))
            self._not_before = now + RETRY_S
            oldest_ns = time.time_ns() - KEEP_NS
            kept = [body for body in bodies if body["t_ns"] >= oldest_ns][-QUEUE:]
            self.dropped += len(bodies) - len(kept)
            self._unsent = kept
            return
        self.sent += len(bodies) - refused
        self._unsent = []

    def _count(self) -> None:
        t_ns = time.time_ns()
        for counter in list(self.counters.values()):
            total = counter.total
            if total != counter.sent:
                counter.sent = total
                self.put((t_ns, counter.kind, None, {"total": total}, counter))

    def _body(self, t_ns: int, name: str, level: Any, fields: Mapping[str, Any], about: Any) -> Body:
        """What the gateway and the node's socket take. Raises ConfigError: a sample whose names are none."""
        if level is None:
            return self._sample(t_ns, name, fields, about)
        if not self._source:
            self._source = default_observer()
        typed = {_printable(str(key)): _scalar(value) for key, value in list(fields.items())[:MAX_EVENT_FIELDS]}
        level = level.value if isinstance(level, Level) else str(level).lower()
        body: Body = {"event": _printable(name), "t_ns": t_ns, "source": self._source, "fields": typed}
        body["level"] = level if level in Level._value2member_map_ else "info"
        return body

    def _sample(self, t_ns: int, kind: str, values: Mapping[str, Any], about: Any) -> Body:
        counter = about if isinstance(about, Counter) else None
        labels = {str(k): str(v)[:MAX_LABEL_VALUE] for k, v in (counter.labels if counter else (about or {}).items())}
        names = (kind, *values, "=", *labels)
        if names not in self._known:
            Stream("node", kind, tuple(Field(name) for name in values), labels)
            if len(self._known) > MAX_FIELDS:
                self._known.clear()
            self._known.add(names)
        body: Body = {"kind": kind, "t_ns": t_ns, "labels": labels}
        if counter:
            body.update(values=dict(values), counters=list(values), units=dict.fromkeys(values, counter.unit))
        else:
            body["values"] = {name: _float(name, value) for name, value in values.items()}
        return body


def _scalar(value: Any) -> str | int | float | bool:
    if isinstance(value, (bool, float)):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return int(value)
    text = value if isinstance(value, str) else str(value)
    return text[:MAX_TEXT] if text.isascii() else text[:MAX_TEXT].encode("utf-8", "replace").decode()


def _float(name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{name}={value!r} is not a number") from error


def _printable(text: str) -> str:
    text = text[:MAX_NAME] or "_"
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


EMITTER = Emitter()
"""The one of this process."""

atexit.register(EMITTER.close)
os.register_at_fork(after_in_child=EMITTER._reset)
