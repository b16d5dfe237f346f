"""The read side of one environment: streams, head and blocks joined in order of time. Writers and readers share it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from vagus.errors import StoreError
from vagus.model import MAX_T_NS, SensorInfo, Stream
from vagus.selector import Selector
from vagus.store import blocks, frontier, head
from vagus.store.batch import Batch, empty_columns, with_fields
from vagus.store.decoder import Decoder
from vagus.store.environment import Environment
from vagus.store.files import Txn
from vagus.store.frontier import Frontier
from vagus.store.rows import Rows, cut, merge, ordered, row_dtype

LIVE_NS = 30 * 10**9
TRIES = 4
_decode_stream = msgspec.msgpack.Decoder(Stream).decode


class Query:
    """Reads one environment in short transactions; what is not yet flushed is not seen."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.streams: dict[int, Stream] = {}
        self.dtypes: dict[int, np.dtype[Any]] = {}
        self._seen = 0

    def add(self, stream_id: int, stream: Stream) -> None:
        """Makes a stream known."""
        self.streams[stream_id] = stream
        self.dtypes[stream_id] = row_dtype(stream.fields)

    def refresh(self, txn: Txn) -> None:
        """Learns the streams that were declared since the last time."""
        cursor = txn.cursor(self._env.db["streams"])
        ok = cursor.set_range(blocks.ID.pack(self._seen))
        while ok:
            stream_id = blocks.ID.unpack(cursor.key())[0]
            try:
                self.add(stream_id, _decode_stream(cursor.value()))
            except (msgspec.DecodeError, ValueError) as error:
                raise StoreError(
                    f"{self._env.path}: the definition of stream {stream_id} is damaged: {error}"
                ) from error
            self._seen = stream_id + 1
            ok = cursor.next()

    def scan(self, selector: Selector, start_ns: int, end_ns: int, limit: int) -> Iterator[Batch]:
        """A Batch for each selected stream with rows in [start_ns, end_ns), by id."""
        start_ns, end_ns = max(start_ns, 0), min(end_ns, MAX_T_NS)
        if start_ns >= end_ns:
            return
        with self._env.read() as txn:
            self.refresh(txn)
        wanted = {
            i: (stream, indexes) for i, stream in sorted(self.streams.items()) if (indexes := selector.fields(stream))
        }
        if not wanted:
            return
        with frontier.explained(self._env):
            at, recent = self._head(set(wanted), start_ns, end_ns, limit)
        for stream_id, (stream, indexes) in wanted.items():
            for _ in range(TRIES):
                rows = self._rows(stream_id, stream, indexes, start_ns, end_ns, limit, recent.get(stream_id))
                if not at.moved(self._frontier(), stream_id):
                    break
                # Its rows moved from the head into blocks while we read: read both again. Where they always do, what
                # was found is whole too: only rows that were replaced meanwhile may be the former ones.
                with frontier.explained(self._env):
                    at, recent = self._head(set(wanted), start_ns, end_ns, limit)
            t_ns, columns = rows
            if len(t_ns):
                fields = tuple(stream.fields[index] for index in indexes)
                batch = Batch(with_fields(stream, fields), t_ns, columns)
                yield batch[-limit:] if limit else batch

    def _head(self, wanted: set[int], start_ns: int, end_ns: int, limit: int) -> tuple[Frontier, dict[int, Rows]]:
        with self._env.read() as txn:
            self.refresh(txn)
            at = frontier.load(self._env, txn)
            found = head.between(frontier.records(self._env, txn, at.floor), start_ns, end_ns)
            if limit:
                found = head.newest(found, limit, end_ns)
            for record in found:
                record.load()
        decoder = Decoder(self.dtypes, wanted, at.until, at.done)
        decoder.feed(found)
        return at, {i: cut(ordered(decoder.pop(i)), start_ns, end_ns) for i in decoder.ids}

    def _frontier(self) -> Frontier:
        with self._env.read() as txn:
            return frontier.load(self._env, txn)

    def _rows(
        self,
        stream_id: int,
        stream: Stream,
        indexes: list[int],
        start_ns: int,
        end_ns: int,
        limit: int,
        recent: Rows | None,
    ) -> Rows:
        fields = stream.fields
        if recent is None:
            recent = (np.empty(0, np.int64), empty_columns(fields, 0))
        selected = (recent[0], tuple(recent[1][index] for index in indexes))
        with self._env.read() as txn:
            span = blocks.get_span(self._env, txn, stream_id)
        if not span.rows or span.last_ns < start_ns or span.first_ns >= end_ns:
            return selected
        if limit and len(recent[0]) >= limit and recent[0][-limit] > span.last_ns:
            return selected
        try:
            found = blocks.read_blocks(self._env, stream_id, start_ns, end_ns, limit)
            return merge(cut(blocks.decode(found, fields, indexes), start_ns, end_ns), selected)
        except StoreError as error:
            raise StoreError(
                f"{self._env.path}: {stream.key}: {error}. "
                "verify() lists all damage; a narrower time range may still be read"
            ) from error

    def sensors(self, selector: Selector, now_ns: int) -> list[SensorInfo]:
        """Each selected stream with the time span and number of its rows; live when rows came in the last 30 s.

        A row that was written twice counts twice until it is sealed.
        """
        with frontier.explained(self._env):
            with self._env.read() as txn:
                self.refresh(txn)
                wanted = {i: stream for i, stream in sorted(self.streams.items()) if selector.matches(stream)}
                spans = {i: blocks.get_span(self._env, txn, i) for i in wanted}
                at = frontier.load(self._env, txn)
                records = [record.load() for record in frontier.records(self._env, txn, at.floor)]
            decoder = Decoder(self.dtypes, set(wanted), at.until, at.done, values=False)
            decoder.feed(records)
            recent = decoder.times()
        found = []
        for stream_id, stream in wanted.items():
            first, last, rows = spans[stream_id]
            t_ns = recent.get(stream_id)
            if t_ns is not None:
                first = min(first, int(t_ns.min())) if rows else int(t_ns.min())
                last = max(last, int(t_ns.max()))
                rows += len(t_ns)
            found.append(SensorInfo(stream, first, last, rows, rows > 0 and last > now_ns - LIVE_NS))
        return found
