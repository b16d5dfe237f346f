"""Events by name, time and fields: which index entries to walk, and what to look at in them.

An event is indexed by its name, by its level from WARNING on, and by the fields of records.EVENT_FIELDS. A query walks
the narrowest of these that applies: an equality on an indexed field, one name, the levels, the names that match a
pattern (found by skipping from name to name); else all events of the time. Whatever is left is tested on the events.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from vagus.errors import ConfigError, StoreError
from vagus.model import MAX_T_NS, Event, Level
from vagus.selector import Selector
from vagus.store import records
from vagus.store.environment import Environment
from vagus.store.files import Txn
from vagus.store.predicate import Predicate, index_value, parse_all
from vagus.store.records import AT, EVENT, EVENT_FIELDS

MAX_NAMES = 64  # of a pattern; more are cheaper to find by reading all
MAX_PATTERN = 2000
_decode = msgspec.msgpack.Decoder(Event).decode
_RANK = {level: rank for rank, level in enumerate(Level)}
_INDEXED_FROM = _RANK[Level.WARNING]


def index_of(event: Event) -> dict[str, str]:
    """The index pairs of an event."""
    pairs = {"event": event.event}
    if _RANK[event.level] >= _INDEXED_FROM:
        pairs["level"] = event.level.value
    for name in EVENT_FIELDS:
        value = event.fields.get(name)
        if value is not None and (text := index_value(value)):
            pairs[f"f.{name}"] = text
    return pairs


class EventSelector:
    """`name{label="value"}`: `*` in the name crosses dots; labels are node, source, level and the event's fields.

    Raises ConfigError when it is malformed.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PATTERN:
            raise ConfigError(f"event selector of {len(text)} characters; at most {MAX_PATTERN} are allowed")
        name, brace, rest = text.strip().partition("{")
        self.name = name.strip()
        if not self.name or not self.name.isprintable():
            raise ConfigError(f"event selector {text[:80]!r}: expected a name such as 'log.line' or 'log.*'")
        self.literal, star, _ = self.name.partition("*")
        self.exact = not star
        self._match = re.compile(".*".join(re.escape(part) for part in self.name.split("*")) + r"\Z").match
        self._labels = Selector("*{" + rest) if brace else None

    def matches_name(self, name: str) -> bool:
        """Whether an event of this name may be meant."""
        return self._match(name) is not None

    def matches(self, event: Event) -> bool:
        """Whether the event is meant."""
        if not self._match(event.event):
            return False
        return self._labels is None or self._labels.accepts(lambda label: _label(event, label))


def _label(event: Event, label: str) -> str:
    value = value_of(event, label)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def value_of(event: Event, name: str) -> Any:
    """A field of an event; `node`, `source`, `event` and `level` (a name) where it has no field of that name."""
    found = event.fields.get(name)
    if found is None:
        if name in ("node", "source", "event"):
            return getattr(event, name)
        if name == "level":
            return event.level.value
    return found


@lru_cache(maxsize=256)
def parse(text: str) -> EventSelector:
    """The compiled selector of `text`, cached. Raises ConfigError."""
    return EventSelector(text)


class Question(msgspec.Struct, frozen=True):
    """Which events: all conditions must hold. limit: at most so many (0: all).

    most: how many may be looked at (0: all), so that a question from outside has a bounded cost.
    """

    selector: EventSelector
    start_ns: int = 0
    end_ns: int = MAX_T_NS
    where: tuple[Predicate, ...] = ()
    level: Level = Level.DEBUG
    limit: int = 0
    newest_first: bool = True
    most: int = 0

    def accepts(self, event: Event) -> bool:
        """Whether the event is an answer, its time aside."""
        return (
            _RANK[event.level] >= _RANK[self.level]
            and self.selector.matches(event)
            and all(predicate.matches(value_of(event, predicate.name)) for predicate in self.where)
        )


def question(
    selector: str = "*",
    start_ns: int = 0,
    end_ns: int = MAX_T_NS,
    where: Sequence[str | Predicate] = (),
    level: Level = Level.DEBUG,
    limit: int = 0,
    newest_first: bool = True,
    most: int = 0,
) -> Question:
    """A Question from its texts. Raises ConfigError."""
    if limit < 0:
        raise ConfigError(f"limit must be 0 (all) or a number of events, got {limit}")
    predicates = parse_all([each if isinstance(each, str) else each.text for each in where])
    return Question(parse(selector), start_ns, end_ns, predicates, level, limit, newest_first, most)


def read(env: Environment, question: Question) -> Iterator[tuple[int, int, Event]]:
    """(t_ns, sequence, event) in order of time, some hundreds looked at in each read transaction.

    Raises StoreError for a damaged record, ConfigError when more than `most` events had to be looked at.
    """
    low, high = max(question.start_ns, 0), min(question.end_ns, MAX_T_NS)
    if low >= high:
        return
    with env.read() as txn:
        prefixes = _prefixes(env, txn, question)
    newest_first, given, looked = question.newest_first, 0, 0
    edge = AT.pack(high, 0) if newest_first else AT.pack(low, 0)
    while True:
        found: list[tuple[int, int, Event]] = []
        with env.read() as txn:
            walk = _Walk(env, txn, prefixes, edge, newest_first)
            room = question.limit - given if question.limit else records.READ_RECORDS
            at = walk.next()
            for _ in range(records.READ_RECORDS):
                if at is None:
                    break
                t_ns, sequence = AT.unpack(at)
                if not low <= t_ns < high:
                    at = None
                    break
                looked += 1
                event = walk.event(at)
                if event is not None and question.accepts(event):
                    found.append((t_ns, sequence, event))
                edge = at if newest_first else at + b"\0"
                if len(found) == room:
                    break
                at = walk.next()
        yield from found
        given += len(found)
        if at is None or (question.limit and given >= question.limit):
            return
        if question.most and looked >= question.most:
            raise ConfigError(
                f"{looked} events were looked at and only {given} fit: narrow the time, name the event, or ask by one of "
                f"the indexed fields with '=' ({', '.join(EVENT_FIELDS)})"
            )


def _prefixes(env: Environment, txn: Txn, question: Question) -> list[bytes] | None:
    """The index entries that have all answers, as prefixes of their keys; None: all events are to be read."""
    indexed = records.indexed_fields(env, txn)
    for predicate in question.where:
        if predicate.name in indexed and predicate.operator == "=":
            return [records.index_prefix(EVENT, f"f.{predicate.name}", value) for value in predicate.index_values()]
    if question.selector.exact:
        return [records.index_prefix(EVENT, "event", question.selector.name)]
    if _RANK[question.level] >= _INDEXED_FROM and indexed:
        levels = [level for level in Level if _RANK[level] >= _RANK[question.level]]
        return [records.index_prefix(EVENT, "level", level.value) for level in levels]
    return _names(env, txn, question.selector)


def _names(env: Environment, txn: Txn, selector: EventSelector) -> list[bytes] | None:
    """Prefixes of the event names that match a pattern; None when there are too many, or the pattern is `*`."""
    if not selector.literal and selector.name == "*":
        return None
    # a long name ends in a hash in its key, so that only a short head can be looked for
    head = f"{EVENT}\0event=".encode() + selector.literal.encode()[:40]
    found: list[bytes] = []
    cursor = txn.cursor(env.db["index"])
    ok = cursor.set_range(head)
    for _ in range(MAX_NAMES):
        if not ok:
            return found
        key = bytes(cursor.key())
        prefix, at = key[: -AT.size], key[-AT.size :]
        if not key.startswith(head):
            return found
        event = _event(env, txn, at)
        if event is not None and selector.matches_name(event.event):
            found.append(prefix)
        ok = cursor.set_range(prefix + b"\xff" * (AT.size + 1))
    return None


def _event(env: Environment, txn: Txn, at: bytes) -> Event | None:
    value = txn.get(EVENT.encode() + b"\0" + at, db=env.db["records"])
    return None if value is None else decode(value)


def decode(value: Any) -> Event:
    """A stored event. Raises StoreError when it is damaged."""
    try:
        return _decode(records.body(EVENT, value))
    except (msgspec.DecodeError, ConfigError) as error:
        raise StoreError(f"a stored event is damaged: {error}") from error


class _Walk:
    """One cursor for each prefix, merged by time from `edge` on; None as prefixes: the events themselves."""

    def __init__(self, env: Environment, txn: Txn, prefixes: Sequence[bytes] | None, edge: bytes, back: bool) -> None:
        self._env, self._txn, self._back = env, txn, back
        self._direct = prefixes is None
        self._heap: list[tuple[Any, bytes, bytes, Any]] = []
        database = env.db["records" if prefixes is None else "index"]
        for prefix in [EVENT.encode() + b"\0"] if prefixes is None else prefixes:
            cursor = txn.cursor(database)
            ok = cursor.set_range(prefix + edge)
            if back:
                ok = cursor.prev() if ok else cursor.last()
            self._push(prefix, cursor, ok)

    def _push(self, prefix: bytes, cursor: Any, ok: bool) -> None:
        if not ok:
            return
        key = bytes(cursor.key())
        if len(key) != len(prefix) + AT.size or not key.startswith(prefix):
            return
        at = key[-AT.size :]
        order = bytes(255 - byte for byte in at) if self._back else at
        heapq.heappush(self._heap, (order, at, prefix, cursor))

    def next(self) -> bytes | None:
        """Time and sequence, packed, of the next event; None after the last one."""
        if not self._heap:
            return None
        _, at, prefix, cursor = heapq.heappop(self._heap)
        self._value = cursor.value() if self._direct else None
        self._push(prefix, cursor, cursor.prev() if self._back else cursor.next())
        return at

    def event(self, at: bytes) -> Event | None:
        """The event at what `next` gave; None when it was dropped meanwhile."""
        return _event(self._env, self._txn, at) if self._value is None else decode(self._value)
