"""All environments of a node read as one: a query does not care which actor wrote what."""

from __future__ import annotations

import heapq
import os
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec

from vagus.clock import Clock, SystemClock
from vagus.errors import StoreError
from vagus.model import MAX_T_NS, Event, SensorInfo
from vagus.selector import Selector, parse
from vagus.store.batch import Batch
from vagus.store.checkpoint import DATA
from vagus.store.events import Question
from vagus.store.files import file_of
from vagus.store.store import Store

R = TypeVar("R", bound=msgspec.Struct)


def open_all(folder: str | Path, stores: Iterable[Store] = (), clock: Clock | None = None) -> Reader:
    """A reader over every environment below `folder` (HOME/nodes/NODE/store), those that appear later included."""
    return Reader(Path(folder), stores, clock or SystemClock())


class Reader:
    """Joins environments at each call: new ones are opened, those whose files went away closed. Threads may share it.

    problems: path to message, for environments that could not be opened or read at the last call; the answer is then
    partial. stores: already open ones, used for their paths and left open at the end.
    """

    def __init__(self, folder: Path, stores: Iterable[Store], clock: Clock) -> None:
        self.folder = folder.absolute()
        self.problems: dict[str, str] = {}
        self._clock = clock
        self._lock = threading.RLock()
        self._given = {store.path: store for store in stores}
        self._opened: dict[Path, tuple[Store, tuple[int, int]]] = {}

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Reader({str(self.folder)!r})"

    def attach(self, store: Store) -> None:
        """Uses an open Store (this process' own, which it writes) for its path from now on."""
        with self._lock:
            self._drop(store.path)
            self._given[store.path] = store

    def stores(self) -> list[Store]:
        """The environments there are now, by path."""
        with self._lock:
            return self._look()

    def _look(self) -> list[Store]:
        self.problems.clear()
        try:
            with os.scandir(self.folder) as entries:
                paths = sorted(Path(entry.path) for entry in entries if entry.is_dir())
        except FileNotFoundError:
            paths = []
        except OSError as error:
            self.problems[str(self.folder)] = f"cannot list {self.folder}: {error.strerror}"
            paths = []
        for path in set(self._opened) - set(paths):
            self._drop(path)
        found = {path: store for path in paths if (store := self._store(path)) is not None}
        return [store for _, store in sorted((found | self._given).items())]

    def _store(self, path: Path) -> Store | None:
        if path in self._given:
            return None
        try:
            os.stat(path / DATA)
            identity = file_of(path)  # a file put in the place of that one in it is the store's own affair
        except OSError:
            self._drop(path)
            return None  # not yet begun by its writer
        if path in self._opened:
            store, known = self._opened[path]
            if known == identity:
                return store
            self._drop(path)
        try:
            store = Store.open(path, create=False, readonly=True, clock=self._clock)
        except StoreError as error:
            self.problems[str(path)] = str(error)
            return None
        self._opened[path] = (store, identity)
        return store

    def _drop(self, path: Path) -> None:
        opened = self._opened.pop(path, None)
        if opened is not None:
            opened[0].close()

    def scan(
        self, selector: str | Selector, start_ns: int = 0, end_ns: int = MAX_T_NS, limit: int = 0
    ) -> Iterator[Batch]:
        """As Store.scan, over all environments in turn; one that fails is noted in `problems` and the rest is read."""
        selector = parse(selector) if isinstance(selector, str) else selector
        return self._scan(selector, start_ns, end_ns, limit)

    def _scan(self, selector: Selector, start_ns: int, end_ns: int, limit: int) -> Iterator[Batch]:
        for store in self.stores():
            try:
                yield from store.scan(selector, start_ns, end_ns, limit)
            except StoreError as error:
                self.problems[str(store.path)] = str(error)

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
        """As Store.records, of all environments merged by time."""
        parts = [
            self._records(store, store.timed_records(kind, type, start_ns, end_ns, where, limit, newest_first))
            for store in self.stores()
        ]
        merged = heapq.merge(*parts, key=lambda found: found[:2], reverse=newest_first)
        return (record for _, _, record in islice(merged, limit or None))

    def events(self, question: Question) -> Iterator[Event]:
        """As Store.events, of all environments merged by time."""
        parts = [self._records(store, store.timed_events(question)) for store in self.stores()]
        merged = heapq.merge(*parts, key=lambda found: found[:2], reverse=question.newest_first)
        return (event for _, _, event in islice(merged, question.limit or None))

    def _records(self, store: Store, found: Iterator[tuple[int, int, R]]) -> Iterator[tuple[int, int, R]]:
        try:
            yield from found
        except StoreError as error:
            self.problems[str(store.path)] = str(error)

    def sensors(self, selector: str | Selector = "*") -> list[SensorInfo]:
        """As Store.sensors, over all environments."""
        selector = parse(selector) if isinstance(selector, str) else selector
        found: list[SensorInfo] = []
        for store in self.stores():
            try:
                found += store.sensors(selector)
            except StoreError as error:
                self.problems[str(store.path)] = str(error)
        return found

    def count(self, kind: str) -> int:
        """Number of records of a kind in all environments."""
        return sum(store.count(kind) for store in self.stores())

    def close(self) -> None:
        """Closes what this reader opened."""
        with self._lock:
            for path in list(self._opened):
                self._drop(path)
