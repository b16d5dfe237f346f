"""Retention: the oldest blocks and records go first, by age or until the store is small enough.

Deleting needs free pages, so it runs in small transactions, and before the map is full.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from vagus.clock import NS, Clock
from vagus.store import blocks, records
from vagus.store.codec import read_header
from vagus.store.environment import Environment
from vagus.store.files import Txn

BATCH = 256
STEP_NS = 3600 * NS
DISTRUST_NS = 24 * 3600 * NS


class WallClock:
    """Wall time for retention by age: a step forward by more than an hour counts only after a day has passed.

    A wrong date (a dead battery, a bad time server) must not delete an archive before somebody can correct it. A
    machine that slept looks the same; its old data just stay a day longer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall_ns, self._monotonic_ns = clock.time_ns(), clock.monotonic_ns()

    def time_ns(self) -> int:
        """The wall time that may be relied upon."""
        wall_ns, monotonic_ns = self._clock.time_ns(), self._clock.monotonic_ns()
        elapsed_ns = monotonic_ns - self._monotonic_ns
        if wall_ns - self._wall_ns > elapsed_ns + STEP_NS and elapsed_ns < DISTRUST_NS:
            return self._wall_ns + elapsed_ns
        self._wall_ns, self._monotonic_ns = wall_ns, monotonic_ns
        return wall_ns


def drop_older(env: Environment, cutoff_ns: int) -> int:
    """Deletes blocks that end, and records that lie, before `cutoff_ns`; their number."""
    with env.read() as txn:
        ids, kinds = stream_ids(env, txn), list(records.kinds(env, txn))
    dropped = 0
    for start in range(0, len(ids), BATCH):
        with env.read() as txn:
            due = [i for i in ids[start : start + BATCH] if _is_older(env, txn, i, cutoff_ns)]
        if due:
            with env.write() as txn:
                dropped += blocks.drop_before(env, txn, due, cutoff_ns)
    for kind in kinds:
        while True:
            with env.read() as txn:
                keys = records.keys_before(env, txn, kind, cutoff_ns, BATCH)
            if keys:
                with env.write() as txn:
                    records.delete(env, txn, keys)
                dropped += len(keys)
            if len(keys) < BATCH:
                break
    return dropped


def _is_older(env: Environment, txn: Txn, stream_id: int, cutoff_ns: int) -> bool:
    span = blocks.get_span(env, txn, stream_id)
    return span.rows > 0 and span.first_ns < cutoff_ns


def drop_to(env: Environment, max_bytes: int) -> int:
    """Deletes the oldest blocks and records, whichever stream they are of, until at most `max_bytes` are in use."""
    dropped = 0
    while True:
        excess = env.usage()["used_bytes"] - max_bytes
        if excess <= 0:
            return dropped
        taken: list[tuple[str, bytes]] = []
        with env.read() as txn:
            for size, database, key in _oldest_first(env, txn):
                taken.append((database, key))
                excess -= size
                if excess <= 0 or len(taken) == BATCH:
                    break
        if not taken:
            return dropped
        with env.write() as txn:
            blocks.drop(env, txn, [key for database, key in taken if database == "blocks"])
            records.delete(env, txn, [key for database, key in taken if database == "records"])
        dropped += len(taken)


def _oldest_first(env: Environment, txn: Txn) -> Iterator[tuple[int, str, bytes]]:
    """(bytes, database, key) of all blocks and records by time: a merge of one cursor per stream and kind."""
    prefixes = [("blocks", blocks.ID.pack(i)) for i in stream_ids(env, txn)]
    prefixes += [("records", kind.encode() + b"\0") for kind in records.kinds(env, txn)]
    heap = [entry for database, prefix in prefixes if (entry := _at(env, txn, database, prefix, prefix))]
    heapq.heapify(heap)
    while heap:
        _, database, prefix, key, size = heap[0]
        yield size, database, key
        following = _at(env, txn, database, prefix, key + b"\0")
        if following:
            heapq.heapreplace(heap, following)
        else:
            heapq.heappop(heap)


def _at(
    env: Environment, txn: Txn, database: str, prefix: bytes, key: bytes
) -> tuple[int, str, bytes, bytes, int] | None:
    cursor = txn.cursor(env.db[database])
    if not cursor.set_range(key) or bytes(cursor.key()[: len(prefix)]) != prefix:
        return None
    found, value = bytes(cursor.key()), cursor.value()
    t_ns = read_header(value).last_ns if database == "blocks" else records.time_of(found)
    return t_ns, database, prefix, found, len(value) + len(found)


def stream_ids(env: Environment, txn: Txn) -> list[int]:
    """Ids of the streams that have blocks."""
    return [blocks.ID.unpack(key)[0] for key in txn.cursor(env.db["spans"]).iternext(keys=True, values=False)]
