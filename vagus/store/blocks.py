"""Sealed blocks in LMDB: rows go in merged with what they overlap, and come out in order of time.

Keys are the stream's id and the block's first time, both big-endian. The blocks of a stream never overlap, so a scan
reads them in order of their keys. Each stream also has a span: first time, last time, rows (in blocks).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from vagus.errors import StoreError
from vagus.model import Field
from vagus.store.batch import empty_columns
from vagus.store.codec import Block, encode_block, read_header
from vagus.store.environment import Environment
from vagus.store.files import Txn
from vagus.store.rows import Rows, merge

KEY = struct.Struct(">IQ")
ID = struct.Struct(">I")
SPAN = struct.Struct("<QQQ")
BLOCK_VALUES = 30_000  # about 45 KB: LMDB rounds a block up to whole pages
BLOCK_ROWS = 600
SMALL_BYTES = 4096  # a block below one page takes in the rows that follow it,
EASY_BYTES = 16 << 10  # and so does one of four pages that needs less than a byte a value: pages fill, columns shrink,
EASY_VALUES = 200_000  # up to so many values, which take some 8 ms to code
MAX_BLOCK_ROWS = 15_000
READ_BLOCKS = 64  # in one read transaction: a long one keeps LMDB from using freed pages again


class Span(NamedTuple):
    """First and last time and number of rows of a stream in its blocks; rows 0 when it has none."""

    first_ns: int
    last_ns: int
    rows: int


def block_rows(fields: int) -> int:
    """Rows of a full block of so many fields."""
    return min(max(BLOCK_VALUES // fields, BLOCK_ROWS), MAX_BLOCK_ROWS)


def easy_rows(fields: int) -> int:
    """Rows of a full block whose values take little room."""
    return min(max(EASY_VALUES // fields, block_rows(fields)), MAX_BLOCK_ROWS)


def _takes_in(block: bytes | memoryview, rows: int) -> bool:
    """Whether a stream's last block is cut anew with the rows that follow it."""
    header, size = read_header(block), len(block)
    if size < header.rows * header.columns:
        return size < EASY_BYTES and header.rows + rows <= easy_rows(header.columns)
    return size < SMALL_BYTES


def put_rows(env: Environment, txn: Txn, stream_id: int, fields: Sequence[Field], rows: Rows) -> None:
    """Stores rows (in order of time, times unique) in blocks; a row of a stored time replaces the stored one."""
    t_ns, columns = rows
    cursor = txn.cursor(env.db["blocks"])
    prefix = ID.pack(stream_id)
    added, start = 0, 0
    while start < len(t_ns):
        # Each round takes the rows before the next stored block, and touches one stored block at most.
        beyond = KEY.pack(stream_id, int(t_ns[start]) + 1)
        found = cursor.set_range(beyond)
        end = len(t_ns)
        if found and cursor.key()[:4] == prefix:
            end = int(np.searchsorted(t_ns, KEY.unpack(cursor.key())[1]))
        new = (t_ns[start:end], tuple(column[start:end] for column in columns))
        before, is_easy = 0, False
        if (cursor.prev() if found else cursor.last()) and cursor.key()[:4] == prefix:
            header = read_header(cursor.value())
            if header.last_ns >= t_ns[start] or _takes_in(cursor.value(), len(new[0])):
                new = merge(Block(cursor.value()).decode(range(len(columns))), new)
                before = header.rows
                is_easy = len(cursor.value()) < header.rows * header.columns
                cursor.delete()
        _put_blocks(env, txn, stream_id, new, easy_rows(len(columns)) if is_easy else block_rows(len(columns)))
        added += len(new[0]) - before
        start = end
    span = get_span(env, txn, stream_id)
    first, last = int(t_ns[0]), int(t_ns[-1])
    if span.rows:
        first, last = min(first, span.first_ns), max(last, span.last_ns)
    txn.put(prefix, SPAN.pack(first, last, span.rows + added), db=env.db["spans"])


def _put_blocks(env: Environment, txn: Txn, stream_id: int, rows: Rows, most: int) -> None:
    t_ns, columns = rows
    pieces = -(-len(t_ns) // most)
    bounds = [len(t_ns) * i // pieces for i in range(pieces + 1)]
    for start, end in pairwise(bounds):
        block = encode_block(t_ns[start:end], [column[start:end] for column in columns])
        txn.put(KEY.pack(stream_id, int(t_ns[start])), block, db=env.db["blocks"])


def get_span(env: Environment, txn: Txn, stream_id: int) -> Span:
    """The stream's span in blocks."""
    found = txn.get(ID.pack(stream_id), db=env.db["spans"])
    return Span(*SPAN.unpack(found)) if found else Span(0, 0, 0)


def read_blocks(env: Environment, stream_id: int, start_ns: int, end_ns: int, newest: int = 0) -> list[bytes]:
    """Encoded blocks with rows in [start_ns, end_ns), in order of time; only as many as hold the `newest` rows."""
    found: list[bytes] = []
    rows, upto = 0, end_ns
    while True:
        with env.read() as txn:
            cursor = txn.cursor(env.db["blocks"])
            ok = cursor.set_range(KEY.pack(stream_id, upto))
            ok = cursor.prev() if ok else cursor.last()
            for _ in range(READ_BLOCKS):
                if not ok:
                    break
                identity, first_ns = KEY.unpack(cursor.key())
                block = cursor.value()
                header = read_header(block)
                if identity != stream_id or header.last_ns < start_ns or (newest and rows >= newest):
                    ok = False
                    break
                # Blocks may have been cut anew since the last transaction: whole rows only once, see `decode`.
                found.append(bytes(block))
                upto = first_ns
                rows += header.rows if header.last_ns < end_ns else 0
                ok = cursor.prev()
        if not ok:
            return found[::-1]


def decode(blocks: Sequence[bytes], fields: Sequence[Field], indexes: Sequence[int]) -> Rows:
    """The rows of consecutive blocks, fields `indexes` alone, decoded straight into the final columns."""
    opened = [Block(block) for block in blocks]
    bounds = [0]
    for block in opened:
        if block.header.columns != len(fields):
            raise StoreError(f"damaged block: {block.header.columns} columns where the stream has {len(fields)} fields")
        bounds.append(bounds[-1] + block.header.rows)
    t_ns = np.empty(bounds[-1], np.int64)
    columns = empty_columns(tuple(fields[index] for index in indexes), bounds[-1])
    for block, start, end in zip(opened, bounds[:-1], bounds[1:], strict=True):
        block.decode_into(0, t_ns[start:end])
        for index, column in zip(indexes, columns, strict=True):
            block.decode_into(index + 1, column[start:end])
    if not bool((t_ns[1:] > t_ns[:-1]).all()):  # cut anew while they were read
        t_ns, first = np.unique(t_ns, return_index=True)
        columns = tuple(column[first] for column in columns)
    return t_ns, columns


def drop_before(env: Environment, txn: Txn, stream_ids: Iterable[int], cutoff_ns: int) -> int:
    """Deletes blocks that end before `cutoff_ns`; their number."""
    dropped = 0
    for stream_id in stream_ids:
        span = get_span(env, txn, stream_id)
        if not span.rows or span.first_ns >= cutoff_ns:
            continue
        keys: list[bytes] = []
        cursor = txn.cursor(env.db["blocks"])
        ok = cursor.set_range(ID.pack(stream_id))
        while ok and bytes(cursor.key()[:4]) == ID.pack(stream_id) and read_header(cursor.value()).last_ns < cutoff_ns:
            keys.append(bytes(cursor.key()))
            ok = cursor.next()
        drop(env, txn, keys)
        dropped += len(keys)
    return dropped


def drop(env: Environment, txn: Txn, keys: Iterable[bytes]) -> None:
    """Deletes the blocks of these keys, and brings the spans of their streams up to date."""
    rows: dict[int, int] = {}
    for key in keys:
        block = txn.get(key, db=env.db["blocks"])
        if block is not None:
            stream_id = KEY.unpack(key)[0]
            rows[stream_id] = rows.get(stream_id, 0) + read_header(block).rows
            txn.delete(key, db=env.db["blocks"])
    for stream_id, count in rows.items():
        prefix = ID.pack(stream_id)
        span = get_span(env, txn, stream_id)
        cursor = txn.cursor(env.db["blocks"])
        if cursor.set_range(prefix) and bytes(cursor.key()[:4]) == prefix:
            first_ns = read_header(cursor.value()).first_ns
            last_ns = span.last_ns
            txn.put(prefix, SPAN.pack(first_ns, last_ns, max(span.rows - count, 0)), db=env.db["spans"])
        else:
            txn.delete(prefix, db=env.db["spans"])
