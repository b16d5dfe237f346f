"""A feed's items as a stream in a program: sliced by time, mapped, filtered, folded. Pure: over any iterable of items.

The talk's program, the 10 locations with the least load every 600 seconds:

    nodes = vagus.stream("comon.yaml", "comon")
    while not nodes.ended:
        part, nodes = nodes.slice_until(later_than(time.time() + 600))
        loads = {item.meta.location: item.value for item in part.filter(has_load).map(load_of)}
        print(heapq.nsmallest(10, loads, key=lambda location: loads[location]))
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import msgspec

from vagus.clock import NS
from vagus.config import seconds
from vagus.errors import ConfigError
from vagus.feeds.item import Item, Meta

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")


class Quiet(msgspec.Struct, frozen=True):
    """No item came until now: what a live source says now and then, so that a slice ends though nothing arrives."""

    now_ns: int


class LaterThan:
    """Whether an item arrived after a time; also true of that time having passed without one."""

    def __init__(self, t_ns: int) -> None:
        self.t_ns = t_ns

    def __call__(self, item: Item[Any]) -> bool:
        return item.meta.arrived_ns > self.t_ns

    def passed(self, now_ns: int) -> bool:
        """Whether the slice ends now, without an item."""
        return now_ns > self.t_ns


def later_than(t: float | datetime) -> LaterThan:
    """The condition of `slice_until` that an item arrived after t: seconds since the epoch, as time.time(), or a time.

    Raises ConfigError for what is no time.
    """
    try:
        return LaterThan(
            round(float(t.timestamp() if isinstance(t, datetime) else t + 0) * NS)
        )  # a text times NS is 3 GB
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"later_than: {t!r} is no time; give seconds since the epoch, or a datetime") from error


class Stream(Generic[T]):
    """Items of a feed in order of arrival, read once: by `for`, `async for`, or by what makes another stream of it.

    All is lazy, and nothing is lost by stopping in between: what was not read comes next. One reader at a time. A
    live stream runs until `close` (or the end of its `with`); `items` may contain `Quiet` in between.
    """

    def __init__(self, items: Iterable[Item[T] | Quiet] | _Source[T], close: Callable[[], None] | None = None) -> None:
        self._flow: _Source[T] = items if isinstance(items, _Source) else _Flow(iter(items))
        self._close = close
        self._threads: ThreadPoolExecutor | None = None
        self._pulling: Future[Item[T] | Quiet | None] | None = None  # under way when an `async for` was cancelled

    # --- reading ---------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Item[T]]:
        while (token := self._pull()) is not None:
            if isinstance(token, Item):
                yield token

    async def __aiter__(self) -> AsyncIterator[Item[T]]:
        """Waits in a thread, so that the loop goes on; what a cancelled wait would have got comes next time."""
        while True:
            if self._pulling is None:
                self._threads = self._threads or ThreadPoolExecutor(1, "stream")
                self._pulling = self._threads.submit(self._flow.pull)
            await asyncio.wait((asyncio.wrap_future(self._pulling),))
            token = self._pull()
            if token is None:
                return
            if isinstance(token, Item):
                yield token

    def _pull(self) -> Item[T] | Quiet | None:
        pulling, self._pulling = self._pulling, None
        return self._flow.pull() if pulling is None else pulling.result()

    def _tokens(self) -> Iterator[Item[T] | Quiet]:
        while (token := self._pull()) is not None:
            yield token

    def meta(self) -> Iterator[Meta]:
        """The meta of each item, also of those that failed."""
        return (item.meta for item in self)

    def contents(self) -> Iterator[T]:
        """The values, of the items that have one."""
        return (item.value for item in self if item.value is not None)

    def fold(self, step: Callable[[A, Item[T]], A], start: A) -> A:
        """All items put together: `step(… step(step(start, first), second) …, last)`."""
        for item in self:
            start = step(start, item)
        return start

    @property
    def ended(self) -> bool:
        """Whether it is known that nothing comes any more: after the last item was read."""
        return self._pulling is None and self._flow.ended

    # --- streams made of it ----------------------------------------------------------------------------------------

    def map(self, change: Callable[[T], R]) -> Stream[R]:
        """The same items with other values; one without a value (it failed) stays so. What `change` raises is raised."""

        def changed() -> Iterator[Item[R] | Quiet]:
            for token in self._tokens():
                if isinstance(token, Quiet):
                    yield token
                else:
                    yield Item(token.meta, None if token.value is None else change(token.value))

        return Stream(changed(), self._close)

    def filter(self, keep: Callable[[T], bool], failed: Literal["drop", "keep"] = "drop") -> Stream[T]:
        """The items whose value is to be kept; `failed`: what becomes of those without one."""

        def kept() -> Iterator[Item[T] | Quiet]:
            for token in self._tokens():
                if isinstance(token, Quiet) or (failed == "keep" if token.value is None else keep(token.value)):
                    yield token

        return Stream(kept(), self._close)

    def slice_until(self, stop: Callable[[Item[T]], bool]) -> tuple[Stream[T], Stream[T]]:
        """The items before the first one of which `stop` is true, and the rest, which begins with that one.

        Where the rest is read first, the slice's items are kept for it.
        """
        cut = _Cut(self._source(), stop)
        return Stream(cut.inside(), self._close), Stream(_After(cut), self._close)

    def slices(self, every: float | str) -> Iterator[Stream[T]]:
        """One slice after the other, each of so many seconds (or "10m") of arrival, counted from the first item.

        Those in which nothing came are empty. Each is to be read before the next. Raises ConfigError.
        """
        every_ns = round(seconds(every) * NS)
        if every_ns <= 0:
            raise ConfigError(f"slices: {every!r} is no time; give seconds or a text such as '10m'")
        return self._slices(every_ns)

    def _slices(self, every_ns: int) -> Iterator[Stream[T]]:
        source = self._source()
        first = source.pull()
        if first is None:
            return
        end_ns = (first.now_ns if isinstance(first, Quiet) else first.meta.arrived_ns) + every_ns
        source.put_back(first)
        rest: Stream[T] = Stream(source, self._close)
        while not rest.ended:
            part, rest = rest.slice_until(LaterThan(end_ns - 1))
            yield part
            for _ in part:
                pass  # nobody read it
            end_ns += every_ns

    def _source(self) -> _Source[T]:
        """What it reads from, for another one that reads instead: without the slices before it that were read."""
        if self._pulling is not None and (token := self._pull()) is not None:
            self._flow.put_back(token)
        while isinstance(self._flow, _After) and self._flow.cut.done:
            self._flow = self._flow.cut.source
        return self._flow

    # --- its end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends what it reads from: fetches, thread, archive. Also the streams that were made of it, or it of, end."""
        if self._close is not None:
            self._close()
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@runtime_checkable
class _Source(Protocol[T]):
    """Where a stream's items come from; `pull` returns None when nothing comes any more."""

    @property
    def ended(self) -> bool: ...

    def pull(self) -> Item[T] | Quiet | None: ...

    def put_back(self, token: Item[T] | Quiet) -> None: ...


class _Flow(Generic[T]):
    """An iterator, with a place for what was read too early."""

    def __init__(self, tokens: Iterator[Item[T] | Quiet]) -> None:
        self._tokens = tokens
        self._back: list[Item[T] | Quiet] = []
        self._exhausted = False

    @property
    def ended(self) -> bool:
        return self._exhausted and not self._back

    def pull(self) -> Item[T] | Quiet | None:
        if self._back:
            return self._back.pop()
        token = next(self._tokens, None)
        self._exhausted = token is None
        return token

    def put_back(self, token: Item[T] | Quiet) -> None:
        self._back.append(token)


class _Cut(Generic[T]):
    """One place where a stream is cut in two."""

    def __init__(self, source: _Source[T], stop: Callable[[Item[T]], bool]) -> None:
        self.source = source
        self.done = False  # the place is reached: what the source has now is behind it
        self._stop = stop
        self._passed: Callable[[int], bool] | None = getattr(stop, "passed", None)
        self._kept: deque[Item[T]] = deque()

    def inside(self) -> Iterator[Item[T] | Quiet]:
        """What is before the cut."""
        while True:
            if self._kept:
                yield self._kept.popleft()
            elif (token := self._advance()) is None:
                return
            else:
                yield token

    def behind(self) -> Item[T] | Quiet | None:
        """Reads what is behind the cut, keeping what is before it."""
        while (token := self._advance()) is not None:
            if isinstance(token, Quiet):
                return token
            self._kept.append(token)
        return self.source.pull()

    def _advance(self) -> Item[T] | Quiet | None:
        if self.done:
            return None
        token = self.source.pull()
        if token is None:
            self.done = True
        elif isinstance(token, Quiet):
            self.done = self._passed is not None and self._passed(token.now_ns)
        elif self._stop(token):
            self.done = True
            self.source.put_back(token)
        return None if self.done else token


class _After(Generic[T]):
    """What is behind a cut."""

    def __init__(self, cut: _Cut[T]) -> None:
        self.cut = cut

    @property
    def ended(self) -> bool:
        return self.cut.done and self.cut.source.ended

    def pull(self) -> Item[T] | Quiet | None:
        return self.cut.behind()

    def put_back(self, token: Item[T] | Quiet) -> None:
        self.cut.source.put_back(token)
