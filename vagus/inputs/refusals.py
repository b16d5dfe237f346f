"""Broken input, counted by listener and reason, and told as an event: the first at once, then one a minute at most."""

from __future__ import annotations

from collections import Counter

from vagus.clock import NS
from vagus.model import Event, Level, Scalar

REPEAT_NS = 60 * NS
MAX_SHOWN = 200


class BadInput:
    """Counts of (listener, reason), for instance `("ulm", "malformed")`; both are ours, so they are few."""

    def __init__(self, node: str, source: str) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._node = node
        self._source = source
        self._since: Counter[tuple[str, str]] = Counter()
        self._last: dict[tuple[str, str], str] = {}
        self._told_ns: dict[tuple[str, str], int] = {}

    def note(self, listener: str, reason: str, example: str = "", times: int = 1) -> None:
        """One more, or several; `example` says what was wrong with the last."""
        key = (listener, reason)
        self.counts[key] += times
        self._since[key] += times
        self._last[key] = example

    def due(self, now_ns: int) -> list[Event]:
        """The `input.refused` events that are due: none for a pair that was told within the minute."""
        events = []
        for key, times in list(self._since.items()):
            told_ns = self._told_ns.get(key)
            if told_ns is not None and 0 <= now_ns - told_ns < REPEAT_NS:
                continue
            del self._since[key]
            self._told_ns[key] = now_ns
            listener, reason = key
            example = "".join(c if c.isprintable() else "?" for c in self._last.pop(key)[:MAX_SHOWN])
            fields: dict[str, Scalar] = {"input": listener, "reason": reason, "times": times, "example": example}
            events.append(Event(now_ns, "input.refused", self._node, Level.WARNING, self._source, fields))
        return events
