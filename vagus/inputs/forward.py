"""Fluent's forward protocol v1: MessagePack messages of a stream, and the events in them.

A message is `[tag, time, record, option]`, `[tag, [[time, record], …], option]`, or the entries as one packed binary,
gzipped or not. `option.chunk` asks for an acknowledgement. A record becomes an event named by the tag, its nested
maps flat. github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgpack

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.inputs.inflate import inflate
from vagus.inputs.names import cut, flatten, legal_kind, level_of
from vagus.model import MAX_NAME, MAX_T_NS, Event, Level, Scalar

MAX_MESSAGE_BYTES = 10 << 20  # fluentd's chunks have 8 MiB, fluent-bit's 2
MAX_INFLATED_BYTES = 32 << 20
MAX_ENTRIES = 200_000
MAX_CHUNK_NAME = 1000
BATCH = 500
BATCH_FIELDS = 5000
_EVENT_TIME = struct.Struct(">II")
_EVENT_TIME_CODE = 0
_LEVEL_KEYS = ("level", "severity", "log_level", "loglevel")


class Message(NamedTuple):
    """A message of which the envelope is checked: entries are still packed, or a list of [time, record]."""

    tag: str
    entries: bytes | list[Any]
    chunk: str  # empty: nobody waits for an acknowledgement
    gzipped: bool = False
    size: int = 0  # as the sender says, 0 when it does not; only for the curious


def unpacker() -> Any:
    """A streaming unpacker for one connection: `feed` bytes, iterate messages; raises msgpack's and ValueErrors."""
    return msgpack.Unpacker(
        raw=False,
        unicode_errors="surrogateescape",  # fluentd sends binaries as text: they must come back as they were
        strict_map_key=False,
        ext_hook=_ext,
        max_buffer_size=MAX_MESSAGE_BYTES,
    )


def _ext(code: int, data: bytes) -> Any:
    if code == _EVENT_TIME_CODE and len(data) == _EVENT_TIME.size:
        seconds, nanoseconds = _EVENT_TIME.unpack(data)
        return _EventTime(seconds * NS + nanoseconds)
    raise ConfigError(f"extension type {code} of {len(data)} bytes is not an EventTime")


class _EventTime(int):
    """Nanoseconds; a plain number of the protocol is seconds."""


def read_message(given: Any) -> Message:
    """An unpacked message. Raises ConfigError, saying which part is wrong."""
    if not isinstance(given, list) or not 2 <= len(given) <= 4:
        raise ConfigError(f"a message is [tag, entries, option], got {_shown(given)}")
    tag = _text(given[0])
    if not tag:
        raise ConfigError(f"a tag is text, got {_shown(given[0])}")
    second = given[1]
    if isinstance(second, (list, bytes, str)):
        option = _option(given[2] if len(given) > 2 else None)
        entries: Any = second.encode("utf-8", "surrogateescape") if isinstance(second, str) else second
        compressed = option.get("compressed")
        if compressed not in (None, "text", "gzip"):
            raise ConfigError(f"compressed={_shown(compressed)}: only gzip is understood")
        gzipped = compressed == "gzip" and isinstance(entries, bytes)
    elif len(given) > 2:
        entries, gzipped = [[second, given[2]]], False
        option = _option(given[3] if len(given) > 3 else None)
    else:
        raise ConfigError(f"entries are a list or packed, got {_shown(second)}")
    chunk, size = _text(option.get("chunk")), option.get("size")
    if len(chunk) > MAX_CHUNK_NAME:
        raise ConfigError(f"the name of a chunk has {len(chunk)} characters; at most {MAX_CHUNK_NAME} are sent back")
    return Message(tag, entries, chunk, gzipped, size if isinstance(size, int) else 0)


def _option(given: Any) -> dict[Any, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ConfigError(f"an option is a map, got {_shown(given)}")
    return given


def inflated(message: Message) -> Message:
    """The message with plain entries. Raises ConfigError."""
    if not message.gzipped or not isinstance(message.entries, bytes):
        return message
    return message._replace(entries=inflate(message.entries, MAX_INFLATED_BYTES), gzipped=False)


def read_events(message: Message, node: str, now_ns: int, bad: list[str]) -> Iterator[list[Event]]:
    """Its events, at most 500 or 5000 fields at a time, so that a long message holds nobody up.

    An entry that is no [time, record] is left out and said in `bad`. Raises ConfigError where the bytes end being
    MessagePack, or more come than are allowed.
    """
    found = inflated(message).entries
    entries: Any = unpacker_of(found) if isinstance(found, bytes) else [*found, _END]
    name = legal_kind(message.tag, "forward")
    given: list[tuple[str, Scalar]] = [("tag", cut(message.tag[:MAX_NAME]))] if name != message.tag else []
    batch: list[Event] = []
    count = fields = 0
    entry: Any = _BEGIN
    try:
        for following in entries:
            if entry is not _BEGIN:
                try:
                    batch.append(_event(name, given, entry, node, now_ns))
                    fields += len(batch[-1].fields)
                except ConfigError as error:
                    bad.append(f"entry {count}: {error}")
                if len(batch) == BATCH or fields > BATCH_FIELDS:
                    yield batch
                    batch, fields = [], 0
            count += 1
            if count > MAX_ENTRIES + 1:
                raise ConfigError(f"a message has at most {MAX_ENTRIES} entries; send smaller chunks")
            entry = following
    except ConfigError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise ConfigError(f"entry {count + 1} is not MessagePack: {error or type(error).__name__}") from error
    if entry is not _END:
        raise ConfigError(f"the packed entries end in the middle of entry {max(count, 1)}")
    if batch:
        yield batch


_BEGIN = object()
_END = None  # behind the last entry; as a byte it tells whether that was whole


def unpacker_of(packed: bytes) -> Any:
    """An unpacker of packed entries, and of nil behind them: what is not whole swallows it."""
    found = msgpack.Unpacker(
        raw=False, unicode_errors="replace", strict_map_key=False, ext_hook=_ext, max_buffer_size=len(packed) + 1
    )
    found.feed(packed)
    found.feed(b"\xc0")
    return found


def _event(name: str, given: list[tuple[str, Scalar]], entry: Any, node: str, now_ns: int) -> Event:
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], dict):
        raise ConfigError(f"an entry is [time, record], got {_shown(entry)}")
    time, record = entry
    if isinstance(time, list) and time:  # fluent-bit's second format: [[time, metadata], record]
        time = time[0]
    level = next((found for key in _LEVEL_KEYS if (found := level_of(record.get(key))) is not None), Level.INFO)
    return Event(_t_ns(time, now_ns), name, node, level, "forward", flatten(record, given))


def _t_ns(time: Any, now_ns: int) -> int:
    if time is None:
        return now_ns
    if isinstance(time, bool) or not isinstance(time, (int, float)):
        raise ConfigError(f"a time is seconds or an EventTime, got {_shown(time)}")
    if isinstance(time, _EventTime):
        t_ns = int(time)
    elif isinstance(time, int):
        t_ns = time * NS
    else:
        t_ns = round(time * 1e6) * 1000 if 0 <= time < 1e11 else -1
    if not 0 <= t_ns < MAX_T_NS:
        raise ConfigError(f"time {time} is not one between 1970 and 2100 in seconds")
    return t_ns


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else ""


def _shown(value: Any) -> str:
    return repr(value)[:80] if isinstance(value, (str, bytes, int, float, type(None))) else type(value).__name__


def ack(chunk: str) -> bytes:
    """The acknowledgement of a chunk: its events are committed."""
    packed: bytes = msgpack.packb({"ack": chunk}, unicode_errors="surrogateescape")  # the bytes that came
    return packed
