"""`vagus.observe` on everything that can be called: methods, partials, generators, callable objects."""

import asyncio
import functools
import inspect
import sys
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from client_reporter import Still

from vagus.client.observe import observe
from vagus.errors import ConfigError

HEALTHY, UNHEALTHY, PENDING = [("s", "call", status) for status in ("HEALTHY", "UNHEALTHY", "PENDING")]


@pytest.fixture
def still():
    return Still()


@pytest.fixture
def watch(still):
    return functools.partial(observe, "s", reporter=still.reporter)


def test_methods_of_all_kinds(still, watch):
    class Store:
        base = 2

        @watch()
        def double(self, n):
            return self.base * n

        @watch()
        @classmethod
        def of_class(cls, n):
            return cls.base * n

        @classmethod
        @watch()
        def of_class_inside(cls, n):
            return cls.base * n

        @watch()
        @staticmethod
        def of_none(n):
            return n

        @property
        @watch()
        def size(self):
            raise OSError("gone")

    store = Store()
    assert (store.double(2), Store.of_class(3), store.of_class_inside(4), store.of_none(5)) == (4, 6, 8, 5)
    assert still.step() == [HEALTHY]
    with pytest.raises(OSError, match="gone"):
        store.size  # noqa: B018
    assert still.step(30.0) == [UNHEALTHY]  # the successes that were held back were before it


@pytest.mark.parametrize("broken", [int, 5, "text", functools.partialmethod(print)])
def test_what_is_no_function_is_told_when_it_is_decorated(watch, broken):
    with pytest.raises(ConfigError, match="functions and methods"):
        watch()(broken)


async def _read(fail):
    await asyncio.sleep(0)
    if fail:
        raise OSError
    return 7


@types.coroutine
def _old_style(fail):
    yield
    if fail:
        raise OSError
    return 7


class _Callable:
    async def __call__(self, fail):
        return await _read(fail)


class _Service:
    async def read(self, fail):
        return await _read(fail)


@pytest.mark.parametrize(
    "function",
    [
        _read,
        functools.partial(_read),
        functools.partial(functools.partial(_read)),
        functools.partial(_Service().read),
        _Service().read,
        _Callable(),
        functools.partial(_Callable()),
        lambda fail: _read(fail),
        functools.lru_cache(_read),
        _old_style,
    ],
    ids=[
        "function",
        "partial",
        "partial2",
        "partial-method",
        "method",
        "object",
        "partial-object",
        "lambda",
        "cached",
        "yields",
    ],
)
async def test_coroutine_functions_are_observed_while_they_are_awaited(still, watch, function):
    observed = watch()(function)
    awaited = observed(False)
    assert still.step() == []  # nothing has been done yet
    assert await awaited == 7
    assert still.step() == [HEALTHY]
    with pytest.raises(OSError):
        await observed(True)
    assert still.step() == [UNHEALTHY]
    assert still.reporter.open_calls == {}


def test_each_step_of_a_generator_is_a_call(still, watch):
    @watch(pending_s=3.0)
    def pages(last):
        got = []
        for n in range(3):
            got.append((yield n))
        if last == "fails":
            raise OSError("gone")
        return got

    assert inspect.isgeneratorfunction(pages)
    steps = pages("ends")
    assert still.step() == []
    assert next(steps) == 0
    assert still.step(60.0) == [HEALTHY]  # while the consumer has it nobody waits for the subject
    assert [steps.send("a"), steps.send("b")] == [1, 2]
    with pytest.raises(StopIteration) as ended:
        steps.send("c")
    assert ended.value.value == ["a", "b", "c"]
    assert still.step(60.0) == [HEALTHY]
    with pytest.raises(OSError, match="gone"):
        list(pages("fails"))
    assert UNHEALTHY in still.step()
    assert still.reporter.open_calls == {}


def test_a_step_that_hangs_is_pending(still, watch):
    seen = []

    @watch(pending_s=3.0)
    def pages():
        seen.append(still.step(4.0))
        yield 1

    assert list(pages()) == [1]
    assert seen == [[PENDING]]


def test_what_the_consumer_does_to_a_generator_is_not_the_subjects_fault(still, watch):
    cleaned = []

    @watch()
    def pages():
        try:
            yield 1
            yield 2
        finally:
            cleaned.append(True)

    steps = pages()
    next(steps)
    assert still.step() == [HEALTHY]
    with pytest.raises(KeyError):
        steps.throw(KeyError("the consumer's"))
    steps = pages()
    next(steps)
    steps.close()
    assert cleaned == [True, True]
    assert still.step(30.0) == [HEALTHY]  # the held-back successes, and nothing else

    from contextlib import contextmanager

    @contextmanager
    @watch()
    def session():
        yield "open"

    with pytest.raises(ZeroDivisionError), session():
        raise ZeroDivisionError
    assert UNHEALTHY not in still.step(60.0)


def test_a_generator_that_turns_the_consumers_exception_into_its_own_fails(still, watch):
    @watch()
    def pages():
        try:
            yield 1
        except KeyError as error:
            raise OSError("roll-back failed") from error

    steps = pages()
    next(steps)
    with pytest.raises(OSError, match="roll-back"):
        steps.throw(KeyError())
    assert UNHEALTHY in still.step()


async def test_async_generators(still, watch):
    cleaned = []

    @watch()
    async def pages(fail):
        try:
            got = yield 1
            await asyncio.sleep(0)
            yield got
            if fail:
                raise OSError
        finally:
            cleaned.append(True)

    assert inspect.isasyncgenfunction(pages)
    assert [page async for page in pages(False)] == [1, None]
    assert still.step() == [HEALTHY]
    steps = pages(False)
    assert await anext(steps) == 1
    assert await steps.asend("x") == "x"
    await steps.aclose()
    steps = pages(False)
    await anext(steps)
    with pytest.raises(KeyError):
        await steps.athrow(KeyError())
    assert len(cleaned) == 3
    assert UNHEALTHY not in still.step()
    with pytest.raises(OSError):
        async for _ in pages(True):
            pass
    assert UNHEALTHY in still.step()
    assert still.reporter.open_calls == {}


def test_names_and_signature_are_kept(watch):
    @watch()
    def read(number: int, *, deep: bool = True) -> int:
        """Reads."""
        return number

    read.tag = 1
    again = watch()(read)
    assert (again.__name__, again.__doc__, again.tag) == ("read", "Reads.", 1)
    assert str(inspect.signature(again)) == "(number: int, *, deep: bool = True) -> int"
    assert watch()(_Callable())  # which has no name


def test_pending_none_is_never(still, watch):
    with watch(pending_s=None):
        assert still.step(1e6) == []
    assert still.step() == [HEALTHY]


def test_calls_that_hang_are_one_report_for_a_track(still, watch):
    calls = [watch() for _ in range(5000)]
    for call in calls:
        call.__enter__()
    other = observe("other", reporter=still.reporter)
    with pytest.raises(OSError), other:
        raise OSError
    assert sorted(still.step(10.0)) == sorted([PENDING, ("other", "call", "UNHEALTHY")])
    assert still.reporter.counts()["dropped"] == 0
    for call in calls:
        call.__exit__(None, None, None)
    assert still.reporter.open_calls == {}
