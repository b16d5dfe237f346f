"""In-situ observation: a program says how its calls to others went, at the price of about a microsecond a call.

    with vagus.observe("db@2", context="read"): ...
    @vagus.observe("db@2")
    async def call(): ...

Success is HEALTHY (the first one passes; repeats are averaged and sent at most every 20 s), an exception UNHEALTHY,
a call that takes longer than 3 s PENDING until it returns: Panorama's client library (OSDI'18, section 4), with its
rate limit and pending tracker. The score is the duration in milliseconds. Nothing here ever raises into the program.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import partial, wraps
from time import perf_counter
from types import CoroutineType, TracebackType
from typing import Any, TypeVar

from vagus.client.reporter import REPORTER, Reporter
from vagus.client.track import Call, Track
from vagus.errors import ConfigError
from vagus.model import Status

F = TypeVar("F", bound=Callable[..., Any])
PENDING_S = 3.0
_CO_GENERATOR = 0x20
_CO_COROUTINE = 0x80 | 0x100  # async def, types.coroutine
_CO_ASYNC_GENERATOR = 0x200


class observe:  # noqa: N801  # reads as a verb: with observe(subject)
    """Observes calls to `subject`: a context manager and a decorator, for functions, methods, coroutine functions,
    and generators of both kinds, of which each step is a call (what the consumer does between two is not observed).

    context: what is done to the subject; observer: who says so (default: this program, process and host);
    expected: exceptions that a well subject raises too, such as KeyError for an absent key; pending_s: a call that
    lasts longer is reported while it lasts (None: never). One object may be used again, nested, and from several
    threads.
    """

    __slots__ = ("_calls", "_expected", "_reporter", "_track", "pending_s")
    pending_s: float

    def __init__(
        self,
        subject: str,
        context: str = "call",
        observer: str | None = None,
        *,
        expected: tuple[type[BaseException], ...] = (),
        pending_s: float | None = PENDING_S,
        reporter: Reporter = REPORTER,
    ) -> None:
        self._reporter = reporter
        try:
            track = reporter.tracks.get((subject, context, observer))
        except Exception:  # what is no name; `track` mends it
            track = None
        self._track = track or reporter.track(subject, context, observer)
        self._expected = expected and _classes(expected)
        self._calls: list[Call] = []
        self.pending_s = pending_s if isinstance(pending_s, float) else seconds_of(pending_s)

    # --- one call ----------------------------------------------------------------------------------------------------

    def _begin(self) -> Call:
        begun = perf_counter()
        call: Call = [begun, begun + self.pending_s, self._track]
        reporter = self._reporter
        reporter.open_calls[id(call)] = call
        if not reporter.running:
            reporter.start()
        return call

    def _end(self, call: Call, kind: type[BaseException] | None) -> None:
        now = perf_counter()
        reporter = self._reporter
        reporter.open_calls.pop(id(call), None)
        track: Track = call[2]
        duration_s = now - call[0]
        if kind is None or issubclass(kind, self._expected):
            track.count += 1
            track.total_s += duration_s
            if now >= track.due:
                reporter.healthy(track, now)
        elif issubclass(kind, Exception):
            reporter.unwell(track, Status.UNHEALTHY, duration_s)
        elif duration_s >= self.pending_s:
            # cancelled or interrupted: no verdict on the subject, except that it had not answered for long
            reporter.unwell(track, Status.PENDING, duration_s)

    def _drop(self, call: Call) -> None:
        self._reporter.open_calls.pop(id(call), None)

    def __enter__(self) -> observe:
        self._calls.append(self._begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            call = self._calls.pop()
        except IndexError:  # left without having been entered
            return
        self._end(call, kind)

    async def __aenter__(self) -> observe:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    # --- decorators --------------------------------------------------------------------------------------------------

    def __call__(self, function: F) -> F:
        """The function, each of its calls observed. Raises ConfigError for what is not a function, method or callable
        object: a class's methods are decorated one by one.
        """
        if isinstance(function, (staticmethod, classmethod)):
            return type(function)(self(function.__func__))
        if not callable(function) or isinstance(function, type):
            raise ConfigError(
                f"observe decorates functions and methods, not {type(function).__name__} {function!r:.80}"
            )
        flags = _flags(function)
        if flags & _CO_COROUTINE:
            return self._of_coroutine_function(function)
        if flags & _CO_ASYNC_GENERATOR:
            return self._of_async_generator(function)
        if flags & _CO_GENERATOR:
            return self._of_generator(function)

        @_wraps(function)
        def observed(*args: Any, **kwargs: Any) -> Any:
            call = self._begin()
            try:
                answer = function(*args, **kwargs)
            except BaseException as error:
                self._end(call, type(error))
                raise
            if answer.__class__ is CoroutineType:  # something that wraps a coroutine function
                self._drop(call)
                return self._awaited(answer)
            self._end(call, None)
            return answer

        return observed  # type: ignore[return-value]

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        call = self._begin()
        try:
            answer = await coroutine
        except BaseException as error:
            self._end(call, type(error))
            raise
        self._end(call, None)
        return answer

    def _of_coroutine_function(self, function: F) -> F:
        @_wraps(function)
        async def observed(*args: Any, **kwargs: Any) -> Any:
            return await self._awaited(function(*args, **kwargs))

        return observed  # type: ignore[return-value]

    def _of_generator(self, function: F) -> F:
        @_wraps(function)
        def observed(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            steps: Generator[Any, Any, Any] = function(*args, **kwargs)
            step: Callable[[], Any] = partial(next, steps)
            thrown: BaseException | None = None
            while True:
                call = self._begin()
                try:
                    item = step()
                except StopIteration as end:
                    self._end(call, None)
                    return end.value
                except BaseException as error:
                    self._end_step(call, error, thrown)
                    raise
                self._end(call, None)
                thrown = None
                try:
                    step = partial(steps.send, (yield item))
                except GeneratorExit:
                    steps.close()
                    raise
                except BaseException as error:
                    thrown = error
                    step = partial(steps.throw, error)

        return observed  # type: ignore[return-value]

    def _of_async_generator(self, function: F) -> F:
        @_wraps(function)
        async def observed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            steps: AsyncGenerator[Any, Any] = function(*args, **kwargs)
            step: Callable[[], Any] = partial(anext, steps)
            thrown: BaseException | None = None
            while True:
                call = self._begin()
                try:
                    item = await step()
                except StopAsyncIteration:
                    self._end(call, None)
                    return
                except BaseException as error:
                    self._end_step(call, error, thrown)
                    raise
                self._end(call, None)
                thrown = None
                try:
                    step = partial(steps.asend, (yield item))
                except GeneratorExit:
                    await steps.aclose()
                    raise
                except BaseException as error:
                    thrown = error
                    step = partial(steps.athrow, error)

        return observed  # type: ignore[return-value]

    def _end_step(self, call: Call, error: BaseException, thrown: BaseException | None) -> None:
        if error is thrown:
            self._drop(call)  # the consumer's own, on its way back
        else:
            self._end(call, type(error))


def _wraps(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """functools.wraps; the attributes of an object that is called are its own, those of a function are for all."""
    return wraps(function, updated=("__dict__",) if hasattr(function, "__code__") else ())


def _flags(function: Any) -> int:
    """The flags of the code that a call of it runs; 0: not known."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004  # not whether, but what
    flags = getattr(code, "co_flags", 0)
    return flags if isinstance(flags, int) else 0


def _classes(expected: Any) -> tuple[type[BaseException], ...]:
    found = expected if isinstance(expected, (tuple, list, set, frozenset)) else (expected,)
    return tuple(kind for kind in found if isinstance(kind, type) and issubclass(kind, BaseException))


def seconds_of(pending_s: Any) -> float:
    """How long until something is pending: None is never, and what is no number is the default."""
    if pending_s is None:
        return float("inf")
    try:
        return float(pending_s)
    except Exception:
        return PENDING_S
