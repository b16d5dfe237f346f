"""Reads everything that an environment holds and says what is wrong with it, also while its writer writes.

In pieces, each in a read transaction of its own: what belongs together (a record and its index entries, a stream's
span and its blocks) is compared within one. Totals are compared when nothing was committed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vagus.errors import StoreError
from vagus.store import blocks, frontier, records
from vagus.store.checkpoint import DATA
from vagus.store.codec import Block, read_header
from vagus.store.decoder import Decoder
from vagus.store.environment import Environment
from vagus.store.files import Txn
from vagus.store.handover import Progress
from vagus.store.query import Query

MOST = 100
PIECE_BYTES = 4 << 20


def verify(env: Environment, query: Query, structure: bool, progress: Progress | None = None) -> list[str]:
    """Damage as one line each, at most 100; empty when all is well.

    structure: nothing is written meanwhile, so that LMDB's pages are walked too (py-lmdb does from version 3 on); so
    they are where the writer's lock is free for a moment. progress: told of entries read, and how many there were at the start.
    """
    with env.unwritten() as alone:
        found: list[str] = _pages(env) if structure or alone else []
    if found:
        return found  # pages are wrong: reading through them could kill the process
    try:
        began = env.last_txn()
        with env.read() as txn:
            query.refresh(txn)
            sizes = [int(txn.stat(env.db[name])["entries"]) for name in ("head", "blocks", "records", "index")]
        done = 0

        def step(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(min(done, sum(sizes)), sum(sizes))

        _head(env, query, found)
        step(sizes[0])
        _blocks(env, query, found, step)
        pairs, counts = _records(env, found, step)
        entries = _index(env, found, step)
        with env.read() as txn:
            kinds = records.kinds(env, txn)
        if not found and env.last_txn() == began and (entries != pairs or counts != kinds):
            found.append(f"{entries} index entries for {pairs} pairs, counts {kinds} for {counts}")
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
    decoder = Decoder(query.dtypes)
    try:
        with env.read() as txn:
            query.refresh(txn)
            packed = [record.load() for record in frontier.records(env, txn, frontier.load(env, txn).floor)]
        decoder.feed(packed)
    except StoreError as error:
        found.append(str(error))
        return
    times = decoder.times().values()
    spans = [(record.first_ns, record.last_ns) for record in packed]
    if spans and (min(t.min() for t in times), max(t.max() for t in times)) != (
        min(first for first, _ in spans),
        max(last for _, last in spans),
    ):
        found.append("the times of the head's rows are not those of its records")


def _blocks(env: Environment, query: Query, found: list[str], step: Callable[[int], None]) -> None:
    def check(txn: Txn, key: bytes, value: Any) -> None:
        stream_id, first_ns = blocks.KEY.unpack(key)
        try:
            if stream_id not in query.streams:
                query.refresh(txn)  # declared meanwhile
            _block(query, stream_id, first_ns, Block(value))
        except StoreError as error:
            found.append(f"block of stream {stream_id} at {first_ns}: {error}")

    _each(env, "blocks", check, step)
    if not found:
        for stream_id in list(query.streams):
            with env.read() as txn:
                _span(env, txn, stream_id, found)


def _each(
    env: Environment, database: str, check: Callable[[Txn, bytes, Any], None], step: Callable[[int], None]
) -> None:
    """Calls `check` for each entry, a few MiB in each read transaction."""
    key: bytes | None = b""
    while key is not None:
        size = count = 0
        with env.read() as txn:
            cursor = txn.cursor(env.db[database])
            ok = cursor.set_range(key) if key else cursor.first()
            while ok and size < PIECE_BYTES and count < records.READ_RECORDS:
                at, value = cursor.item()
                check(txn, bytes(at), value)
                size += len(value)
                count += 1
                ok = cursor.next()
            key = bytes(cursor.key()) if ok else None
        step(count)


def _span(env: Environment, txn: Txn, stream_id: int, found: list[str]) -> None:
    """The headers of a stream's blocks against each other and its span, as of one moment."""
    prefix, rows, last_ns = blocks.ID.pack(stream_id), 0, -1
    cursor = txn.cursor(env.db["blocks"])
    ok = cursor.set_range(prefix)
    while ok and bytes(cursor.key()[:4]) == prefix:
        header = read_header(cursor.value())
        if header.first_ns <= last_ns:
            found.append(f"block of stream {stream_id} at {header.first_ns}: it overlaps the block before it")
        rows, last_ns = rows + header.rows, header.last_ns
        ok = cursor.next()
    span = blocks.get_span(env, txn, stream_id)
    if span.rows != rows or (rows and span.last_ns != last_ns):
        found.append(f"stream {stream_id}: its span {span} does not fit its {rows} rows until {last_ns}")


def _block(query: Query, stream_id: int, first_ns: int, block: Block) -> None:
    stream = query.streams.get(stream_id)
    if stream is None or len(stream.fields) != block.header.columns:
        raise StoreError("it belongs to no declared stream of as many fields")
    t_ns, _ = block.decode(range(block.header.columns))
    if (int(t_ns[0]), int(t_ns[-1])) != (first_ns, block.header.last_ns) or not bool((t_ns[1:] > t_ns[:-1]).all()):
        raise StoreError("its times are not those of its key and header, or not in order")


def _records(env: Environment, found: list[str], step: Callable[[int], None]) -> tuple[int, dict[str, int]]:
    pairs = 0
    counts: dict[str, int] = {}

    def check(txn: Txn, key: bytes, value: Any) -> None:
        nonlocal pairs
        try:
            kind, index = records.check(key, value)
            pairs += len(index)
            counts[kind] = counts.get(kind, 0) + 1
            entries = records.index_keys(kind, index, key)
            missing = [entry for entry in entries if txn.get(entry, db=env.db["index"]) is None]
            if missing:
                raise StoreError(f"{len(missing)} of its index entries are missing")
        except StoreError as error:
            found.append(f"record {key[:60]!r}: {error}")

    _each(env, "records", check, step)
    return pairs, counts


def _index(env: Environment, found: list[str], step: Callable[[int], None]) -> int:
    """Index entries must point to records; their number."""
    total = 0

    def check(txn: Txn, key: bytes, _: Any) -> None:
        nonlocal total
        total += 1
        if txn.get(records.key_of_index(key), db=env.db["records"]) is None:
            found.append(f"index entry {key[:60]!r} points to no record")

    _each(env, "index", check, step)
    return total
