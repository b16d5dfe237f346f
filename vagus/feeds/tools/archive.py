"""Archives the bytes of a feed as they came, in rotating containers: a few files that any tar reads, however many items.

Reading them again: `containers.archived`, and `refeed: FOLDER` of a feed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import msgspec

from vagus.clock import NS
from vagus.config import Duration, Settings
from vagus.errors import StoreError
from vagus.feeds.containers import END, SUFFIX, Compress, compressor, containers, member, slug, whole_bytes, written_by
from vagus.feeds.contracts import Notice, ToolContext
from vagus.feeds.item import Item, Raw
from vagus.feeds.tools import checked
from vagus.feeds.tools.files import append, replace, write_whole
from vagus.feeds.tools.options import path_of, seconds_of
from vagus.feeds.tools.values import as_json

BATCH_BYTES = 4 << 20  # a batch is written when it has as many, or is as old as `every`
MAX_WAITING_BYTES = 64 << 20  # while the disk is full; the oldest give way


class ArchiveOptions(Settings, frozen=True):
    """Options of `archive`. On disk there are at most about max_files * max_bytes."""

    folder: str = "archive"
    name: str = ""  # what the names of containers and of the log begin with; empty: the feed's name
    max_files: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100  # containers; then the oldest is deleted
    max_bytes: Annotated[int, msgspec.Meta(ge=1 << 10, le=1 << 40)] = 64 << 20  # of one container, compressed
    rotate: Duration = "24h"  # a new container after so long
    compress: Compress | bool = "gzip"  # true: gzip
    every: Duration = "10s"  # how long a body may wait for its batch to be written
    log: bool = True  # NAME.log: a line of JSON for each stored body


class Archive:
    """`Archive(context, folder="temp", compress="xz")`; all options: ArchiveOptions. Raises ConfigError.

    Stored are the bytes that items were parsed from; of items made of several feeds their value as JSON; of those that
    failed an empty body with their meta. What was written survives a kill; what waits is lost with the process.
    """

    name = "archive"
    wants_raw = True

    def __init__(self, context: ToolContext, **options: Any) -> None:
        self.options = given = checked(ArchiveOptions, options)
        self.folder = path_of(context, given.folder)
        self._prefix = slug(given.name or context.feed) or "feed"
        kind = given.compress
        self._kind: Compress = kind if not isinstance(kind, bool) else "gzip" if kind else "none"
        self._compress = compressor(self._kind)
        self._rotate_ns = round(seconds_of("rotate", given.rotate, 1.0) * NS)
        self._every_ns = round(seconds_of("every", given.every) * NS)
        self._waiting: list[Raw] = []
        self._bytes = 0
        self._since_ns: int | None = None  # when the batch began
        self._last: Raw | None = None
        self._told = False  # whether the bytes of the next item came already
        self._lock: int | None = None
        self._path: Path | None = None  # the container that grows
        self._size = 0
        self._began_ns = 0
        self.lost = 0  # bodies that gave way

    def take_raw(self, raw: Raw) -> None:
        """Stores bytes, once where several items were parsed from them."""
        self._told = True
        if raw is not self._last:
            self._last = raw
            self._add(raw)

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        """Stores an item that came without bytes. Raises OSError, StoreError."""
        if not self._told:
            self._add(Raw(item.meta, b"" if item.value is None else as_json(item.value)))
        self._told = False
        self._write_if_due(item.meta.arrived_ns)
        return ()

    def tick(self, now_ns: int) -> Iterable[Notice]:
        """Writes a batch that waited for long enough. Raises OSError, StoreError."""
        self._write_if_due(now_ns)
        return ()

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Writes what waits; the newest container may be continued by the next run."""
        try:
            self._write()
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
        return ()

    def _add(self, raw: Raw) -> None:
        self._waiting.append(raw)
        self._bytes += len(raw.body) + 512
        if self._since_ns is None:
            self._since_ns = raw.meta.arrived_ns
        while self._bytes > MAX_WAITING_BYTES and len(self._waiting) > 1:
            self._bytes -= len(self._waiting.pop(0).body) + 512
            self.lost += 1

    def _write_if_due(self, now_ns: int) -> None:
        since_ns = self._since_ns
        if since_ns is None:
            return
        if self._bytes >= BATCH_BYTES or not 0 <= now_ns - since_ns < self._every_ns:
            self._since_ns = now_ns  # where it fails, it is tried again as late as this
            self._write()

    # --- writing -------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        if not self._waiting:
            return
        self._hold()
        batch, now_ns = self._waiting, self._waiting[-1].meta.arrived_ns
        names = _names(self._prefix, batch)
        blob = self._compress(b"".join(map(member, batch, names)))
        if self._path is not None and self._full(now_ns):
            self._close()
        if self._path is None:
            self._path = self._fresh(batch[0].meta.arrived_ns)
            self._began_ns = batch[0].meta.arrived_ns
            try:
                replace(self._path, blob)
            except OSError:
                self._path = None
                raise
            self._size = len(blob)
        else:
            self._append(blob)
        self._waiting, self._bytes, self._since_ns = [], 0, None
        self._prune()
        if self.options.log:
            append(self.folder / f"{self._prefix}.log", b"".join(map(self._logged, batch, names)))

    def _hold(self) -> None:
        """One archive of a name writes a folder; the first time, the newest container is continued if it can be."""
        if self._lock is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / f".{self._prefix}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StoreError(
                f"another archive named {self._prefix!r} writes {self.folder}; give one of them another `name` or folder"
            ) from error
        self._lock = lock
        for left in self.folder.glob(".*.new"):  # of a run that was killed
            if written_by(left.name[1:].rsplit(".", 2)[0], self._prefix):
                left.unlink(missing_ok=True)
        known = containers(self.folder, self._prefix)
        if known and known[-1].name.endswith(SUFFIX[self._kind]):
            good, closed = whole_bytes(known[-1])
            if not closed and good:
                os.truncate(known[-1], good)
                self._path, self._size = known[-1], good
                self._began_ns = _began_ns(known[-1], self._prefix)

    def _full(self, now_ns: int) -> bool:
        return self._size >= self.options.max_bytes or not 0 <= now_ns - self._began_ns < self._rotate_ns

    def _close(self) -> None:
        self._append(self._compress(END))
        self._path = None

    def _append(self, blob: bytes) -> None:
        assert self._path is not None
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:  # deleted by someone: what comes goes to a new one
            replace(self._path, blob)
            self._size = len(blob)
            return
        try:
            write_whole(file, blob, self._size)
            os.fsync(file)
        finally:
            os.close(file)
        self._size += len(blob)

    def _fresh(self, t_ns: int) -> Path:
        time = datetime.fromtimestamp(t_ns // NS, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        number = 0
        while True:
            path = self.folder / f"{self._prefix}_{time}{f'-{number}' if number else ''}{SUFFIX[self._kind]}"
            if not path.exists():
                return path
            number += 1

    def _prune(self) -> None:
        known = containers(self.folder, self._prefix)
        for path in known[: max(0, len(known) - self.options.max_files)]:
            if path != self._path:
                path.unlink(missing_ok=True)

    def _logged(self, raw: Raw, name: str) -> bytes:
        meta = raw.meta
        entry = {
            "t_ns": meta.arrived_ns,
            "feed": meta.feed,
            "location": meta.location,
            "due_ns": meta.due_ns,
            "net": meta.net.value,
            "size_bytes": len(raw.body),
            "container": self._path.name if self._path else "",
            "member": name,
        }
        return msgspec.json.encode(entry) + b"\n"


def _names(prefix: str, batch: list[Raw]) -> list[str]:
    """A member's name for each body, as the talk's `comon_time_loc`, with nanoseconds so that they differ."""
    found = []
    for raw in batch:
        seconds, ns = divmod(raw.meta.arrived_ns, NS)
        time = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y%m%dT%H%M%S")
        part = f"_{slug(raw.meta.part)}" if raw.meta.part else ""
        found.append(f"{prefix}_{time}.{ns:09d}Z_{slug(raw.meta.location)}{part}")
    return found


def _began_ns(path: Path, prefix: str) -> int:
    time = path.name[len(prefix) + 1 :][:16]
    return int(datetime.strptime(time, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()) * NS
