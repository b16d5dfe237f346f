"""The store of one actor: samples in a head and sealed blocks, records, small state; one writer, many readers.

What is promised:
- `append`, `extend`, `put` and `save` take values into memory. A scan need not show them yet; the death of the process
  loses them.
- `flush` returns when they are committed (acknowledged). They survive `kill -9` of any process, and every later scan,
  in whichever process, shows them.
- `sync` returns when everything committed is on disk. It survives a power cut. What was committed after the last sync
  may be lost in one, as a whole; the file itself never is, on any file system that honours fdatasync: see
  checkpoint.py. An actor syncs once a second; without that, flush does after ten seconds, or when a 32nd of the file
  was written: pages freed since the last sync are not used again, and the file would grow.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from vagus.clock import NS, Clock, SystemClock
from vagus.errors import ConfigError, StoreError
from vagus.model import MAX_T_NS, Event, Level, SensorInfo, Stream, check_name
from vagus.selector import Selector, parse
from vagus.store import events, intake, records, retention
from vagus.store.batch import Batch
from vagus.store.environment import FORKED, MAP_BYTES, Environment
from vagus.store.events import Question
from vagus.store.handover import Progress
from vagus.store.holders import Holder
from vagus.store.predicate import Predicate
from vagus.store.query import Query
from vagus.store.rows import Packed, pack_rows, packer
from vagus.store.upkeep import Upkeep
from vagus.store.verify import verify
from vagus.store.writer import Pending, Writer

R = TypeVar("R", bound=msgspec.Struct)

MAX_STREAMS = 100_000
MAX_FORGOTTEN = 10_000
MAX_STATE_BYTES = 64 << 20
BULK_ROWS = 64  # fewer rows go through the head
AUTO_SYNC_NS = 10 * NS
AUTO_SYNC_BYTES, AUTO_SYNC_PART = 1 << 19, 32  # written, at least and as a part of the file
MAX_PENDING_BYTES = 8 << 20


class Store:
    """One LMDB environment, a folder. `Store.open` makes one; a context manager, closed at the end of `with`.

    Threads may share it. A forked child must not, and cannot open it anew: readers are processes started anew (spawn).
    """

    def __init__(self, env: Environment, readonly: bool, clock: Clock, auto_sync_bytes: int = AUTO_SYNC_BYTES) -> None:
        self._auto_sync_bytes = auto_sync_bytes
        self.path = env.path
        self.readonly = readonly
        self._env = env
        self._clock = clock
        self._lock = threading.RLock()
        self._open = True
        self._pid = os.getpid()
        self._query = Query(env)
        self._pending = Pending()
        self._rows: list[Packed] = []  # never replaced, so that appending needs no lock
        self._packers: dict[int, Callable[..., bytes]] = {}
        self._longest = 1  # bytes of a row
        self._ids: dict[tuple[str, bytes], int] = {}
        self._forgotten: dict[int, Stream] = {}  # declared here, without a row since: no longer stored
        self.noticed: Callable[[Event], None] = self._put_event  # what is done with events about the store itself
        self._synced_ns, self._synced_bytes = clock.monotonic_ns(), 0
        self._writer: Writer | None = None
        if not readonly:
            self._writer = Writer(env, self._query)
            self._upkeep = Upkeep(env, clock)
            self._trusted = retention.WallClock(clock)
            for stream_id, stream in self._query.streams.items():
                self._ids[_identity(stream)] = stream_id
            self._max_pending = min(MAX_PENDING_BYTES, env.usage()["map_bytes"] // 16)
            self._max_rows = 0

    @classmethod
    def open(
        cls,
        path: str | Path,
        create: bool = True,
        *,
        readonly: bool = False,
        map_bytes: int = MAP_BYTES,
        clock: Clock | None = None,
        auto_sync_bytes: int = AUTO_SYNC_BYTES,
    ) -> Store:
        """The store in the folder `path`, made if missing unless create=False or readonly.

        map_bytes: the most it can ever hold; address space, not disk (the file is sparse). auto_sync_bytes: so much, or a
        32nd of the file, is written before a flush waits for the disk; by so much the file is larger than it need be,
        since pages freed after the last sync cannot be used again. Raises StoreError: nothing
        there, another writer (which is named), no permission, damaged, or of another version.
        """
        env = Environment.open(Path(path).absolute(), create=create, readonly=readonly, map_bytes=map_bytes)
        try:
            return cls(env, readonly, clock or SystemClock(), auto_sync_bytes)
        except BaseException:
            env.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}{', readonly=True' if self.readonly else ''})"

    # --- samples in ----------------------------------------------------------------------------------------------

    def declare(self, stream: Stream) -> int:
        """The id of a stream, the same for the same key and fields; other fields get a new id, both can be queried."""
        self._check_writer()
        identity = _identity(stream)
        with self._lock:
            stream_id = self._ids.get(identity)
            if stream_id is None:
                if len(self._ids) - len(self._forgotten) >= MAX_STREAMS:
                    raise StoreError(
                        f"{self.path} has {MAX_STREAMS} streams: use fewer label values; retention drops those without data"
                    )
                stream_id = self._check_writer().new_id()
                self._ids[identity] = stream_id
                self._query.add(stream_id, stream)
                self._pending.streams[stream_id] = stream
            elif stream_id in self._forgotten:
                self._remember([stream_id])
            if stream_id not in self._packers:
                row = packer(stream.fields)
                self._packers[stream_id] = row.pack
                self._longest = max(self._longest, row.size)
                self._max_rows = self._max_pending // (self._longest + 100)
            return stream_id

    def append(self, stream_id: int, t_ns: int, values: Any) -> None:
        """One row: as many numbers as the stream has fields. Times may go back; an equal time replaces the row.

        NaN may stand in f8 and f4 fields alone. Raises ConfigError: an undeclared id, a wrong number of values, a
        value that its field cannot hold exactly enough (integers beyond their range, NaN or fractions in integers).
        """
        try:
            row = self._packers[stream_id](*values)
            if t_ns.__class__ is not int or not 0 <= t_ns < MAX_T_NS:
                t_ns = intake.time(t_ns)
        except (struct.error, TypeError, OverflowError, KeyError):
            stream = self._declared(stream_id)
            t_ns, values = intake.time(t_ns), intake.repair_row(stream, values)
            row = self._packers[stream_id](*values)
        if stream_id in self._pending.bulk or len(self._rows) > self._max_rows:
            self.flush()
        self._rows.append((stream_id, t_ns, row))

    def extend(self, stream_id: int, t_ns: Any, values: Any) -> None:
        """Many rows of one stream. t_ns: integers[n]; values: float64[n, f], or a sequence of f arrays[n].

        Arrays of the field's own dtype are taken as they are: 64-bit integers stay exact. Otherwise as `append`.
        """
        stream = self._declared(stream_id)
        times = intake.times(stream, t_ns)
        columns = intake.columns(stream, values, len(times))
        if not len(times):
            return
        with self._lock:
            if self._pending.size > self._max_pending or len(self._rows) > self._max_rows:
                self.flush()
            if len(times) < BULK_ROWS and stream_id not in self._pending.bulk:
                rows = pack_rows(self._query.dtypes[stream_id], columns)
                self._rows += [(stream_id, t, row) for t, row in zip(times.tolist(), rows, strict=True)]
                return
            self._pending.bulk.setdefault(stream_id, []).append((times, columns))
            self._pending.size += times.nbytes + sum(column.nbytes for column in columns)

    def _declared(self, stream_id: int) -> Stream:
        self._check_writer()
        stream = self._query.streams.get(stream_id) or self._forgotten.get(stream_id)
        if stream is None or stream_id not in self._packers:
            raise ConfigError(f"stream id {stream_id!r} was not declared in this Store: call declare(stream) first")
        return stream

    def flush(self) -> None:
        """Commits all that was taken in: acknowledged. Raises StoreError; then it is kept and tried again next time."""
        writer = self._check_writer()
        with self._lock:
            rows = self._rows[:]
            if rows or self._pending:
                if self._upkeep.refusal or self._upkeep.is_due():
                    self._look()
                if self._upkeep.refusal:
                    raise StoreError(self._upkeep.refusal)
                if self._forgotten:
                    self._remember({*(row[0] for row in rows), *self._pending.bulk})
                writer.commit(self._pending, rows)
                del self._rows[: len(rows)]
                if self._pending:
                    self._pending = Pending()
                writer.seal_if_due(len(rows))
        if self.unsynced_ratio() > 1 or self._clock.monotonic_ns() - self._synced_ns > AUTO_SYNC_NS:
            self.sync()

    def unsynced_ratio(self) -> float:
        """How much was written since the last sync; above 1 the next flush waits for the disk."""
        written = self._check_writer().written_bytes - self._synced_bytes
        return written / max(self._auto_sync_bytes, self._env.synced_bytes // AUTO_SYNC_PART)

    def sync(self) -> None:
        """Flushes, then puts everything committed on disk. May run in a thread, beside appends. Raises StoreError."""
        writer = self._check_writer()
        self._synced_ns, self._synced_bytes = self._clock.monotonic_ns(), writer.written_bytes
        self.flush()
        self._env.sync()
        self._look()

    def _look(self) -> None:
        """Tells of readers that hold pages, and leaves them behind before the file outgrows its limit."""
        told, held = self._upkeep.look()
        if not told and not held:
            return
        with self._lock:
            if held:
                told += self._upkeep.evict(held)
            for event in told:
                self.noticed(event)

    def _put_event(self, event: Event) -> None:
        self.put("event", event, t_ns=event.t_ns)

    def seal(self) -> None:
        """Flushes and seals the whole head into blocks now; otherwise done after about 600 ticks."""
        writer = self._check_writer()
        with self._lock:
            self.flush()
            writer.seal()

    # --- samples out ---------------------------------------------------------------------------------------------

    def scan(
        self, selector: str | Selector, start_ns: int = 0, end_ns: int = MAX_T_NS, limit: int = 0
    ) -> Iterator[Batch]:
        """One Batch for each selected stream that has rows in [start_ns, end_ns), in order of time.

        limit: only the newest so many rows of each stream. Rows not yet flushed need not be seen. Raises ConfigError
        for a malformed selector, StoreError (while iterating) for damaged blocks.
        """
        self._check_open()
        if limit < 0:
            raise ConfigError(f"limit must be 0 (all) or a number of rows, got {limit}")
        return self._query.scan(parse(selector) if isinstance(selector, str) else selector, start_ns, end_ns, limit)

    def sensors(self, selector: str | Selector = "*") -> list[SensorInfo]:
        """The selected streams with first and last time and number of flushed rows; live: rows in the last 30 s."""
        self._check_open()
        selector = parse(selector) if isinstance(selector, str) else selector
        return self._query.sensors(selector, self._clock.time_ns())

    # --- records and state ---------------------------------------------------------------------------------------

    def put(self, kind: str, record: msgspec.Struct, *, t_ns: int, index: Mapping[str, str] = {}) -> None:
        """Takes in a record; `index` names the pairs by which `records(where=…)` finds it. Raises ConfigError."""
        self._check_writer()
        if kind == records.EVENT and isinstance(record, Event):
            index = {**events.index_of(record), **index}
        made = records.make(kind, record, t_ns, index)
        with self._lock:
            if self._pending.size > self._max_pending:
                self.flush()
            self._pending.records.append(made)
            self._pending.size += len(made.packed) + 64

    def records(
        self,
        kind: str,
        type: type[R],
        start_ns: int = 0,
        end_ns: int = MAX_T_NS,
        *,
        where: tuple[str, str] | None = None,
        limit: int = 0,
        newest_first: bool = True,
    ) -> Iterator[R]:
        """Flushed records of a kind in [start_ns, end_ns), as `type`; where: an index pair; limit: at most so many.

        Raises StoreError while iterating when a record is damaged or no `type`.
        """
        return (record for _, _, record in self.timed_records(kind, type, start_ns, end_ns, where, limit, newest_first))

    def timed_records(
        self,
        kind: str,
        type: type[R],
        start_ns: int = 0,
        end_ns: int = MAX_T_NS,
        where: tuple[str, str] | None = None,
        limit: int = 0,
        newest_first: bool = True,
    ) -> Iterator[tuple[int, int, R]]:
        """As `records`, each with its time and sequence number, so that stores can be joined."""
        self._check_open()
        return records.read(self._env, kind, type, start_ns, end_ns, where, limit, newest_first)

    def events(
        self,
        selector: str = "*",
        start_ns: int = 0,
        end_ns: int = MAX_T_NS,
        *,
        where: Sequence[str | Predicate] = (),
        level: Level = Level.DEBUG,
        limit: int = 0,
        newest_first: bool = True,
    ) -> Iterator[Event]:
        """Flushed events in [start_ns, end_ns): `name{label="value"}` (`*` crosses dots), at least of this level.

        where: predicates on fields that must all hold, such as `VAL>2` (see predicate.py); labels are node, source
        and fields. Indexes are used where they apply. Raises ConfigError for malformed text, StoreError while
        iterating when an event is damaged.
        """
        asked = events.question(selector, start_ns, end_ns, where, level, limit, newest_first)
        return (event for _, _, event in self.timed_events(asked))

    def timed_events(self, question: Question) -> Iterator[tuple[int, int, Event]]:
        """The events that answer, each with its time and sequence number, so that stores can be joined."""
        self._check_open()
        return events.read(self._env, question)

    def count(self, kind: str) -> int:
        """Number of flushed records of a kind."""
        self._check_open()
        with self._env.read() as txn:
            return records.count(self._env, txn, kind)

    def save(self, name: str, state: bytes) -> None:
        """Keeps a small state under a name, for an actor's next life; flushed like samples. Raises ConfigError."""
        self._check_writer()
        if len(check_name("name of state", name).encode()) > 400 or len(state) > MAX_STATE_BYTES:
            raise ConfigError(f"state {name[:50]!r} has {len(state)} bytes; at most {MAX_STATE_BYTES} are allowed")
        with self._lock:
            self._pending.state[name] = bytes(state)

    def load(self, name: str) -> bytes | None:
        """The state last saved under a name, flushed or not; None when there is none."""
        self._check_open()
        pending = self._pending.state.get(name)
        if pending is not None:
            return pending
        with self._env.read() as txn:
            found = txn.get(name.encode(), db=self._env.db["state"])
            return None if found is None else bytes(found)

    # --- upkeep --------------------------------------------------------------------------------------------------

    def retain(self, max_age_s: float | None = None, max_bytes: int | None = None) -> int:
        """Drops blocks and records that end before max_age_s ago, then the oldest until max_bytes are in use.

        Returns how many were dropped. The file keeps its size; LMDB fills the freed pages again. Streams whose
        last row goes are no longer listed; the ids of the newest 10,000 of them stay good. max_bytes is kept in mind: a
        reader that holds so many pages that the file would outgrow it by a third is left behind (upkeep.py).
        """
        writer = self._check_writer()
        with self._lock:
            self._upkeep.limit_bytes = max_bytes or 0
            self.flush()
            with_rows = writer.streams_with_rows()
            dropped = 0
            if max_age_s is not None:
                cutoff_ns = self._trusted.time_ns() - round(max_age_s * NS)
                if writer.head_first_ns < cutoff_ns:
                    writer.seal()
                dropped += retention.drop_older(self._env, cutoff_ns)
            if max_bytes is not None and self._env.usage()["used_bytes"] > max_bytes:
                dropped += retention.drop_to(self._env, max_bytes)
                if self._env.usage()["used_bytes"] > max_bytes:  # the head: as blocks it is smaller, and can be dropped
                    writer.seal()
                    dropped += retention.drop_to(self._env, max_bytes)
            if dropped:  # what was declared and has no row yet is kept
                for stream_id in writer.forget_streams(keep=self._packers.keys() - with_rows):
                    self._forgotten[stream_id] = self._query.streams.pop(stream_id)
                for stream_id in list(self._forgotten)[: max(0, len(self._forgotten) - MAX_FORGOTTEN)]:
                    self._ids.pop(_identity(self._forgotten.pop(stream_id)), None)
                    self._packers.pop(stream_id, None)
                    self._query.dtypes.pop(stream_id, None)
            return dropped

    def _remember(self, stream_ids: Iterable[int]) -> None:
        """Streams that `retain` had forgotten are used again."""
        for stream_id in self._forgotten.keys() & stream_ids:
            stream = self._pending.streams[stream_id] = self._forgotten.pop(stream_id)
            self._query.add(stream_id, stream)

    def kinds(self) -> dict[str, int]:
        """Every kind of record that is stored, and how many."""
        self._check_open()
        with self._env.read() as txn:
            return records.kinds(self._env, txn)

    def stats(self) -> dict[str, int]:
        """Streams, rows in the head, blocks, records, bytes used, of the file and of the map, readers, recovered."""
        self._check_open()
        with self._env.read() as txn:
            entries = {name: txn.stat(db)["entries"] for name, db in self._env.db.items()}
        found = {name: entries[name] for name in ("streams", "blocks", "records")}
        return {
            **found,
            "head_ticks": entries["head"],
            **self._env.usage(),
            "dropped": self._writer.dropped if self._writer else 0,
            "recovered": int(self._env.recovered),
        }

    def figures(self) -> dict[str, float]:
        """Bytes in use, and their part of the most that it can ever hold; nothing once it was closed."""
        if not self._open:
            return {}
        usage = self._env.usage()
        return {"store_bytes": float(usage["used_bytes"]), "store_used_ratio": usage["used_bytes"] / usage["map_bytes"]}

    def compact(self, progress: Progress | None = None) -> tuple[int, int]:
        """Rewrites the file without its free pages; its bytes before and after. Nothing is stored meanwhile.

        A crash at any moment leaves the old file or the new one, whole. Raises StoreError: no room on the disk.
        """
        self._check_writer()
        with self._lock:
            self.flush()
            before = self._env.file_bytes()
            self._env.replace(progress)
            return before, self._env.file_bytes()

    def holders(self) -> list[Holder]:
        """Read transactions that are open now, of all processes; ages count from the last call or sync that saw them."""
        self._check_open()
        return self._env.holders(self._clock.monotonic_ns(), check=not self.readonly)

    def verify(self, progress: Progress | None = None) -> list[str]:
        """Reads everything and returns what is wrong, one line each; empty when all is well.

        LMDB's pages are walked as well where nobody else writes meanwhile. progress: see verify.py.
        """
        self._check_open()
        with self._lock:
            return verify(self._env, self._query, structure=self._writer is not None, progress=progress)

    def close(self) -> None:
        """Flushes, syncs and closes; harmless when closed already. Raises StoreError when the flush fails."""
        if os.getpid() != self._pid:
            return  # it is open in the parent process alone
        with self._lock:
            if not self._open:
                return
            try:
                if self._writer is not None:
                    self.sync()
            finally:
                self._open = False
                self._env.close()

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError(f"{self.path} was closed")
        if os.getpid() != self._pid:
            raise StoreError(f"{self.path}: {FORKED}")

    def _check_writer(self) -> Writer:
        self._check_open()
        if self._writer is None:
            raise StoreError(f"{self.path} is open for reading only")
        return self._writer


def _identity(stream: Stream) -> tuple[str, bytes]:
    return stream.key, msgspec.msgpack.encode(stream.fields)
