"""Read transactions of this process: all are short, since LMDB cannot use a freed page again while one can see it.

The code of this room reads in bounded pieces and copies what it keeps, so that no transaction waits for whoever
consumes the answer. One that is held all the same (by a generator that nobody resumes) is ended by a watchdog after
LIMIT_S, and its reader is told. One whose thread is running, or hangs in a page that the disk does not give, cannot be
ended without pulling memory from under it: there the writer hands its file over instead (see handover.py).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Protocol

import lmdb

from vagus.errors import StoreError
from vagus.store.faults import FOREIGN, explained

Txn = Any
LIMIT_S = 10.0
SWITCH_S = 5.0


class _Place(Protocol):
    path: Any

    def begin(self) -> tuple[Any, Txn]:
        """The files that are open, and a read transaction on them. Raises StoreError when they were closed."""

    def resize(self) -> None:
        """Takes up the map's size after the writer has raised it; no read may be under way."""

    def was_replaced(self) -> bool:
        """Whether the writer has put a new file in the place of the one that is open."""

    def reopen(self) -> None:
        """Opens that one. Raises StoreError."""

    def left(self, files: Any) -> None:
        """The last read of files that were switched away from has ended."""


class Read:
    """`with env.read() as txn`: a short read transaction; its values are memoryviews, valid inside it alone."""

    __slots__ = ("_reads", "began_ns", "ended", "files", "frame", "thread", "txn")

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self.files: Any = None
        self.txn: Txn = None
        self.ended = ""

    def __enter__(self) -> Txn:
        self.frame: FrameType | None = sys._getframe(1)
        self.thread = threading.get_ident()
        self.began_ns = time.monotonic_ns()
        self._reads.enter(self)
        return self.txn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reads.leave(self)
        if self.ended and not isinstance(error, GeneratorExit):
            raise StoreError(f"{self._reads.place.path}: {self.ended}") from error
        if isinstance(error, FOREIGN):
            raise explained(self._reads.place.path, error) from error


class Reads:
    """The read transactions of one environment in this process, and the gate at which they wait for a switch."""

    def __init__(self, place: _Place) -> None:
        self.place = place
        self._gate = threading.Condition()
        self._open: dict[int, Read] = {}
        self._switching = False

    def enter(self, read: Read) -> None:
        """Begins `read`, after a switch that is under way. Raises StoreError."""
        with self._gate:
            nested = any(other.thread == read.thread for other in self._open.values())
            if self._switching and not nested:
                self._gate.wait_for(lambda: not self._switching)
            if not nested and self.place.was_replaced():
                with self:
                    if self.place.was_replaced():
                        self.place.reopen()
            try:
                try:
                    read.files, read.txn = self.place.begin()
                except lmdb.MapResizedError:
                    with self:
                        if self._open:  # their pages would be unmapped
                            raise StoreError(
                                f"{self.place.path}: the store has grown while another read hung: read again"
                            ) from None
                        self.place.resize()
                    read.files, read.txn = self.place.begin()
            except FOREIGN as error:
                raise explained(self.place.path, error) from error
            self._open[id(read)] = read

    def leave(self, read: Read) -> None:
        """Ends `read`; harmless when the watchdog has."""
        with self._gate:
            read.frame = None
            read.txn.abort()
            self._open.pop(id(read), None)
            if self._switching:
                self._gate.notify_all()
            if read.ended and all(other.files is not read.files for other in self._open.values()):
                self.place.left(read.files)

    def __enter__(self) -> Reads:
        """Keeps new reads out and waits for those under way, at most SWITCH_S; what is left then reads on as it was."""
        with self._gate:
            self._gate.wait_for(lambda: not self._switching)
            self._switching = True
            mine = threading.get_ident()
            self._gate.wait_for(lambda: all(read.thread == mine for read in self._open.values()), SWITCH_S)
        return self

    def __exit__(self, *_: object) -> None:
        with self._gate:
            self._switching = False
            self._gate.notify_all()

    def orphan(self, files: Any, why: str) -> bool:
        """Tells the reads that still use `files` why they ended; False when there is none and they can be closed."""
        with self._gate:
            left = [read for read in self._open.values() if read.files is files]
            for read in left:
                read.ended = why
            return bool(left)

    def expire(self, now_ns: int, limit_s: float = LIMIT_S) -> int:
        """Aborts reads older than `limit_s` that no thread is running; how many."""
        with self._gate:
            old = [read for read in self._open.values() if now_ns - read.began_ns > limit_s * 1e9 and not read.ended]
            if not old:
                return 0
            running = _running_frames()
            held = [read for read in old if read.frame not in running]
            for read in held:
                seconds = (now_ns - read.began_ns) / 1e9
                read.ended = (
                    f"a read transaction was held open for {seconds:.0f} s and was ended by the watchdog, since no freed "
                    "page can be used again meanwhile: read in pieces"
                )
                read.txn.abort()
            return len(held)


def _running_frames() -> set[FrameType]:
    """Every frame that some thread is in; a suspended generator's is not among them."""
    found: set[FrameType] = set()
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            found.add(frame)
            frame = frame.f_back
    return found


class Watchdog:
    """One thread of a process: lets every environment's old reads expire."""

    def __init__(self) -> None:
        self._watched: set[Reads] = set()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, reads: Reads) -> None:
        """From now on; the thread lives while anything is watched."""
        with self._wake:
            self._watched.add(reads)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="vagus-store-reads", daemon=True)
                self._thread.start()

    def forget(self, reads: Reads) -> None:
        """No longer."""
        with self._wake:
            self._watched.discard(reads)
            self._wake.notify()

    def forked(self) -> None:
        """In a child process: the thread is the parent's, and so is what it watches."""
        self._watched, self._wake, self._thread = set(), threading.Condition(), None

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._watched:
                    self._thread = None
                    return
                self._wake.wait(LIMIT_S / 4)
                watched = list(self._watched)
            for reads in watched:
                reads.expire(time.monotonic_ns())


WATCHDOG = Watchdog()
os.register_at_fork(after_in_child=WATCHDOG.forked)
