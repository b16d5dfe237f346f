"""Records beside the samples: events, reports, decisions, receipts, raw bytes of feeds; any msgspec struct.

The key is kind, time and a sequence number that only grows, so that records are unique and in order of time. An index
entry (kind, name=value, time, sequence) points to each record for each of its index pairs; a record carries its own
pairs, so that retention can delete them with it. Values are a version byte, the length of the packed pairs, the pairs,
then the record in MessagePack.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from vagus.errors import ConfigError, StoreError
from vagus.model import MAX_T_NS, check_name, check_time
from vagus.store.environment import Environment
from vagus.store.files import Txn

R = TypeVar("R", bound=msgspec.Struct)

MAX_RECORD_BYTES = 64 << 20
MAX_INDEXES = 24
READ_RECORDS = 256  # in one read transaction
VERSION = 1
AT = struct.Struct(">QQ")
_HEAD = struct.Struct("<BH")
_COUNT = struct.Struct("<Q")
_PLAIN = 120  # bytes of an index value kept as text in its key; longer ones end in a hash

EVENT = "event"
EVENT_FIELDS = (  # asked for most: NetLogger's, and who it was that vagus itself tells of
    *("DST", "HOST", "ID", "PROG", "SRC", "guid", "status"),
    *("actor", "collector", "controller", "mount", "peer", "pid", "service", "subject", "unit"),
)
_INDEXED = b"indexed:event"

_encode = msgspec.msgpack.Encoder().encode
_decode_pairs = msgspec.msgpack.Decoder(dict[str, str]).decode


class Record(NamedTuple):
    """A record on its way into the store: its kind, time, packed index pairs and packed self."""

    kind: str
    t_ns: int
    pairs: Mapping[str, str]
    packed: bytes


def make(kind: str, record: msgspec.Struct, t_ns: int, index: Mapping[str, str]) -> Record:
    """A checked and packed record. Raises ConfigError: bad kind, time, index, or a record above 64 MiB."""
    _check_kind(kind)
    check_time(t_ns)
    if len(index) > MAX_INDEXES:
        raise ConfigError(f"record of kind {kind}: {len(index)} index pairs; at most {MAX_INDEXES} are allowed")
    for name, value in index.items():
        if not isinstance(value, str) or "=" in check_name("index name", name):
            raise ConfigError(f"record of kind {kind}: index {name!r} must be a name without '=' and a text")
    try:
        packed = _encode(record)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"record of kind {kind} cannot be packed: {error}") from error
    if len(packed) > MAX_RECORD_BYTES:
        raise ConfigError(f"record of kind {kind} has {len(packed)} bytes; at most {MAX_RECORD_BYTES} are allowed")
    return Record(kind, t_ns, dict(index), packed)


def _check_kind(kind: str) -> None:
    check_name("kind of record", kind)
    if len(kind.encode()) > 200:
        raise ConfigError(f"kind of record {kind[:50]!r} is longer than 200 bytes")


def index_prefix(kind: str, name: str, value: str) -> bytes:
    pair = f"{name}={value}".encode(errors="surrogatepass")
    if len(pair) > _PLAIN or b"\0" in pair:
        pair = pair[:64].replace(b"\0", b"?") + b"#" + hashlib.blake2b(pair, digest_size=16).hexdigest().encode()
    return kind.encode() + b"\0" + pair + b"\0"


def write(env: Environment, txn: Txn, records: list[Record], first_sequence: int) -> None:
    """Puts records in; the n-th gets the sequence number first_sequence + n."""
    counts: dict[str, int] = {}
    for sequence, record in enumerate(records, first_sequence):
        at = AT.pack(record.t_ns, sequence)
        pairs = _encode(record.pairs) if record.pairs else b""
        value = b"".join((_HEAD.pack(VERSION, len(pairs)), pairs, record.packed))
        txn.put(record.kind.encode() + b"\0" + at, value, db=env.db["records"])
        for name, text in record.pairs.items():
            txn.put(index_prefix(record.kind, name, text) + at, b"", db=env.db["index"])
        counts[record.kind] = counts.get(record.kind, 0) + 1
    for kind, added in counts.items():
        if kind == EVENT and not count(env, txn, kind):  # from here on all events have them
            txn.put(_INDEXED, ",".join(EVENT_FIELDS).encode(), db=env.db["meta"])
        _add_count(env, txn, kind, added)


def indexed_fields(env: Environment, txn: Txn) -> frozenset[str]:
    """The fields by which every stored event that has them is indexed."""
    found = txn.get(_INDEXED, db=env.db["meta"])
    return frozenset(bytes(found).decode().split(",")) & frozenset(EVENT_FIELDS) if found else frozenset()


def _add_count(env: Environment, txn: Txn, kind: str, added: int) -> None:
    left = max(count(env, txn, kind) + added, 0)
    key = b"count:" + kind.encode()
    if left:
        txn.put(key, _COUNT.pack(left), db=env.db["meta"])
    else:
        txn.delete(key, db=env.db["meta"])


def count(env: Environment, txn: Txn, kind: str) -> int:
    """Number of records of a kind."""
    found = txn.get(b"count:" + kind.encode(), db=env.db["meta"])
    return int(_COUNT.unpack(found)[0]) if found else 0


def kinds(env: Environment, txn: Txn) -> dict[str, int]:
    """Every kind that has records, and how many."""
    counts = {}
    cursor = txn.cursor(env.db["meta"])
    ok = cursor.set_range(b"count:")
    while ok and bytes(cursor.key()[:6]) == b"count:":
        counts[bytes(cursor.key()[6:]).decode()] = int(_COUNT.unpack(cursor.value())[0])
        ok = cursor.next()
    return counts


def _split(kind: str, value: Any) -> tuple[dict[str, str], Any]:
    try:
        version, length = _HEAD.unpack_from(value)
        pairs = _decode_pairs(value[_HEAD.size : _HEAD.size + length]) if length else {}
    except (struct.error, msgspec.DecodeError) as error:
        raise StoreError(f"damaged record of kind {kind}: {error}") from error
    if version != VERSION:
        raise StoreError(f"record of kind {kind} has version {version}: damaged, or written by a newer vagus")
    return pairs, value[_HEAD.size + length :]


def read(
    env: Environment,
    kind: str,
    type_: type[R],
    start_ns: int,
    end_ns: int,
    where: tuple[str, str] | None,
    limit: int,
    newest_first: bool,
) -> Iterator[tuple[int, int, R]]:
    """(t_ns, sequence, record) of [start_ns, end_ns) in order of time, a few hundred in each read transaction.

    Raises StoreError when a stored record does not fit `type_`.
    """
    _check_kind(kind)
    decode = msgspec.msgpack.Decoder(type_).decode
    records = kind.encode() + b"\0"
    prefix, db = (index_prefix(kind, *where), "index") if where else (records, "records")
    low, high = max(start_ns, 0), min(end_ns, MAX_T_NS)
    if low >= high:
        return
    given = 0
    edge = prefix + (AT.pack(high, 0) if newest_first else AT.pack(low, 0))
    while True:
        found: list[tuple[int, int, R]] = []
        with env.read() as txn:
            cursor = txn.cursor(env.db[db])
            ok = cursor.set_range(edge)
            if newest_first:
                ok = cursor.prev() if ok else cursor.last()
            size = min(READ_RECORDS, limit - given) if limit else READ_RECORDS
            while ok and len(found) < size:
                key = bytes(cursor.key())
                if not key.startswith(prefix) or len(key) != len(prefix) + AT.size:
                    ok = False
                    break
                t_ns, sequence = AT.unpack(key[len(prefix) :])
                if not low <= t_ns < high:
                    ok = False
                    break
                value = txn.get(records + key[-AT.size :], db=env.db["records"]) if where else cursor.value()
                if value is not None:
                    found.append((t_ns, sequence, _typed(kind, decode, value)))
                edge = key if newest_first else key + b"\0"
                ok = cursor.prev() if newest_first else cursor.next()
        yield from found
        given += len(found)
        if not ok or (limit and given >= limit):
            return


def body(kind: str, value: Any) -> Any:
    """The packed record itself. Raises StoreError for a damaged value."""
    return _split(kind, value)[1]


def _typed(kind: str, decode: Any, value: Any) -> Any:
    try:
        return decode(body(kind, value))
    except (msgspec.DecodeError, ConfigError) as error:
        raise StoreError(f"a record of kind {kind} is damaged or of another type than asked for: {error}") from error


def delete(env: Environment, txn: Txn, keys: list[bytes]) -> None:
    """Deletes records by their keys, with their index entries."""
    counts: dict[str, int] = {}
    for key in keys:
        value = txn.get(key, db=env.db["records"])
        if value is None:
            continue
        kind, at = key[: -AT.size - 1].decode(), key[-AT.size :]
        for name, text in _split(kind, value)[0].items():
            txn.delete(index_prefix(kind, name, text) + at, db=env.db["index"])
        txn.delete(key, db=env.db["records"])
        counts[kind] = counts.get(kind, 0) - 1
    for kind, added in counts.items():
        _add_count(env, txn, kind, added)


def keys_before(env: Environment, txn: Txn, kind: str, cutoff_ns: int, most: int) -> list[bytes]:
    """Keys of the oldest records of a kind that are older than `cutoff_ns`, at most `most`."""
    keys: list[bytes] = []
    prefix = kind.encode() + b"\0"
    cursor = txn.cursor(env.db["records"])
    ok = cursor.set_range(prefix)
    while ok and len(keys) < most:
        key = bytes(cursor.key())
        if not key.startswith(prefix) or AT.unpack(key[-AT.size :])[0] >= cutoff_ns:
            break
        keys.append(key)
        ok = cursor.next()
    return keys


def time_of(key: bytes) -> int:
    """The time in a record's key."""
    return int(AT.unpack(key[-AT.size :])[0])


def index_keys(kind: str, index: Mapping[str, str], key: bytes) -> list[bytes]:
    """The keys of a record's index entries."""
    return [index_prefix(kind, name, text) + key[-AT.size :] for name, text in index.items()]


def key_of_index(key: bytes) -> bytes:
    """The key of the record that an index entry points to."""
    return key[: key.index(b"\0") + 1] + key[-AT.size :]


def check(key: bytes, value: Any) -> tuple[str, dict[str, str]]:
    """Kind and index pairs of a stored record. Raises StoreError when it is damaged."""
    kind = key[: -AT.size - 1].decode(errors="replace")
    index, packed = _split(kind, value)
    try:
        msgspec.msgpack.decode(packed)
    except msgspec.DecodeError as error:
        raise StoreError(f"damaged record of kind {kind}: {error}") from error
    return kind, index
