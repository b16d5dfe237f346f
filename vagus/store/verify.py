"""Reads everything that an environment holds and says what is wrong with it."""

from __future__ import annotations

from typing import Any

from vagus.errors import StoreError
from vagus.store import blocks, head, records
from vagus.store.checkpoint import DATA
from vagus.store.codec import Block
from vagus.store.environment import Environment
from vagus.store.query import Query

MOST = 100


def verify(env: Environment, query: Query, structure: bool) -> list[str]:
    """Damage as one line each, at most 100; empty when all is well.

    structure: also walk LMDB's pages, which only the writer may ask for (nothing may be written meanwhile), and which
    py-lmdb does from version 3 on.
    """
    found: list[str] = _pages(env) if structure else []
    if found:
        return found  # pages are wrong: reading through them could kill the process
    try:
        _head(env, query, found)
        _blocks(env, query, found)
        _records(env, found)
    except StoreError as error:
        found.append(str(error))
    return found[:MOST]


def _pages(env: Environment) -> list[str]:
    try:
        from lmdb import verify as walker
    except ImportError:  # py-lmdb before 3
        return []
    walk: Any = walker.verify
    try:
        return [f"{env.path / DATA}: {finding}" for finding in walk(str(env.path / DATA), subdir=False)][:MOST]
    except (walker.VerifyError, OSError) as error:
        return [f"{env.path / DATA}: {error}"]


def _head(env: Environment, query: Query, found: list[str]) -> None:
    with env.read() as txn:
        query.refresh(txn)
        packed = [bytes(record) for record in txn.cursor(env.db["head"]).iternext(keys=False)]
    for number, record in enumerate(packed):
        try:
            first, last = head.time_span(record)
            times = head.decode_times([record], query.dtypes)
            if times and (min(t.min() for t in times.values()), max(t.max() for t in times.values())) != (first, last):
                raise StoreError("its times are not those of its header")
        except StoreError as error:
            found.append(f"head record {number}: {error}")


def _blocks(env: Environment, query: Query, found: list[str]) -> None:
    rows: dict[int, int] = {}
    last: dict[int, int] = {}
    key: bytes | None = b""
    while key is not None:
        with env.read() as txn:
            cursor = txn.cursor(env.db["blocks"])
            ok = cursor.set_range(key) if key else cursor.first()
            for _ in range(blocks.READ_BLOCKS):
                if not ok:
                    break
                stream_id, first_ns = blocks.KEY.unpack(cursor.key())
                try:
                    block = Block(cursor.value())
                    _block(query, stream_id, first_ns, last.get(stream_id, -1), block)
                    rows[stream_id] = rows.get(stream_id, 0) + block.header.rows
                    last[stream_id] = block.header.last_ns
                except StoreError as error:
                    found.append(f"block of stream {stream_id} at {first_ns}: {error}")
                ok = cursor.next()
            key = bytes(cursor.key()) if ok else None
    if found:
        return
    with env.read() as txn:
        for stream_id in query.streams:
            span = blocks.get_span(env, txn, stream_id)
            if span.rows != rows.get(stream_id, 0) or (span.rows and span.last_ns != last[stream_id]):
                found.append(f"stream {stream_id}: its span {span} does not fit its blocks")


def _block(query: Query, stream_id: int, first_ns: int, before_ns: int, block: Block) -> None:
    stream = query.streams.get(stream_id)
    if stream is None or len(stream.fields) != block.header.columns:
        raise StoreError("it belongs to no declared stream of as many fields")
    t_ns, _ = block.decode(range(block.header.columns))
    if (int(t_ns[0]), int(t_ns[-1])) != (first_ns, block.header.last_ns) or not bool((t_ns[1:] > t_ns[:-1]).all()):
        raise StoreError("its times are not those of its key and header, or not in order")
    if first_ns <= before_ns:
        raise StoreError("it overlaps the block before it")


def _records(env: Environment, found: list[str]) -> None:
    pairs = total = 0
    counts: dict[str, int] = {}
    key: bytes | None = b""
    while key is not None:
        with env.read() as txn:
            cursor = txn.cursor(env.db["records"])
            ok = cursor.set_range(key) if key else cursor.first()
            for _ in range(records.READ_RECORDS):
                if not ok:
                    break
                at = bytes(cursor.key())
                try:
                    kind, index = records.check(at, cursor.value())
                    pairs += len(index)
                    counts[kind] = counts.get(kind, 0) + 1
                    missing = [e for e in records.index_keys(kind, index, at) if txn.get(e, db=env.db["index"]) is None]
                    if missing:
                        raise StoreError(f"{len(missing)} of its index entries are missing")
                except StoreError as error:
                    found.append(f"record {at[:60]!r}: {error}")
                total += 1
                ok = cursor.next()
            key = bytes(cursor.key()) if ok else None
    with env.read() as txn:
        entries: Any = txn.stat(env.db["index"])["entries"]
        if not found and (entries != pairs or counts != records.kinds(env, txn)):
            found.append(f"{entries} index entries for {pairs} pairs, counts {records.kinds(env, txn)} for {counts}")
