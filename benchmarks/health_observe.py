"""What in-situ observation costs a program whose calls succeed, in CPU time of its thread.

    python benchmarks/health_observe.py [--json]

Each figure is the median of repetitions that alternate with the same loop without observation, so that what disturbs
the machine disturbs both. Bars: 3 µs around a call that succeeds, 5 % of a call of 100 µs.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web

from benchmarks.shown import run
from vagus.client.aiohttp_trace import trace_config
from vagus.client.indirection import origin, sink
from vagus.client.observe import observe
from vagus.client.pending import Pending
from vagus.client.reporter import Reporter

CALLS = 20_000
REPETITIONS = 15
REQUESTS = 400
CALL_S = 100e-6


def _idle() -> None:
    """A call that does nothing."""


def _busy_for(seconds: float) -> Callable[[], int]:
    """A call that takes so much CPU on this machine, as quiet as it was at its best."""

    def busy(count: int) -> None:
        for _ in range(count):
            sum(range(10_000))

    best_s = min(_cpu_s(busy, 50) for _ in range(20))
    numbers = range(round(10_000 * seconds / best_s))
    return lambda: sum(numbers)


def _cpu_s(loop: Callable[[int], object], count: int) -> float:
    begun = time.thread_time()
    loop(count)
    return (time.thread_time() - begun) / count


def _pairs(bare: Callable[[int], object], observed: Callable[[int], object], count: int) -> tuple[float, float]:
    """Medians of both, in seconds a call, of repetitions that alternate."""
    _cpu_s(bare, count // 10)
    _cpu_s(observed, count // 10)
    both = [(_cpu_s(bare, count), _cpu_s(observed, count)) for _ in range(REPETITIONS)]
    return statistics.median(b for b, _ in both), statistics.median(o - b for b, o in both)


def _of_calls(reporter: Reporter) -> dict[str, float]:
    decorated = observe("db@2", "read", reporter=reporter)(_idle)
    kept = observe("db@2", "read", reporter=reporter)

    def bare(count: int) -> None:
        for _ in range(count):
            _idle()

    def context(count: int) -> None:
        for _ in range(count):
            with observe("db@2", "read", reporter=reporter):
                _idle()

    def reused(count: int) -> None:
        for _ in range(count):
            with kept:
                _idle()

    def decorator(count: int) -> None:
        for _ in range(count):
            decorated()

    def pending(count: int) -> None:
        for _ in range(count):
            Pending("db@2", "read", reporter=reporter).clear()

    def crossing(count: int) -> None:
        for _ in range(count):
            sink(origin("db@2", "read", reporter=reporter), reporter=reporter)

    loops = {
        "context": context,
        "context_reused": reused,
        "decorator": decorator,
        "pending": pending,
        "origin": crossing,
    }
    return {f"{name}_us": _pairs(bare, loop, CALLS)[1] * 1e6 for name, loop in loops.items()}


def _of_coroutines(reporter: Reporter) -> dict[str, float]:
    async def idle() -> None:
        pass

    decorated = observe("db@2", "read", reporter=reporter)(idle)

    async def awaiting(function: Callable[[], Awaitable[None]], count: int) -> None:
        for _ in range(count):
            await function()

    async def within() -> None:
        async with observe("db@2", "read", reporter=reporter):
            await idle()

    def runs(function: Callable[[], Awaitable[None]]) -> Callable[[int], None]:
        return lambda count: asyncio.run(awaiting(function, count))

    bare = runs(idle)
    return {
        "async_context_us": _pairs(bare, runs(within), CALLS)[1] * 1e6,
        "async_decorator_us": _pairs(bare, runs(decorated), CALLS)[1] * 1e6,
    }


def _of_a_real_call(reporter: Reporter) -> dict[str, float]:
    call = _busy_for(CALL_S)
    decorated = observe("db@2", "read", reporter=reporter)(call)

    def bare(count: int) -> None:
        for _ in range(count):
            call()

    def observed(count: int) -> None:
        for _ in range(count):
            decorated()

    call_s, cost_s = _pairs(bare, observed, 1000)
    return {"call_us": call_s * 1e6, "call_cost_us": cost_s * 1e6, "call_cost_ratio": cost_s / call_s}


async def _of_requests(reporter: Reporter) -> dict[str, float]:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://{}:{}/".format(*runner.addresses[0])
    # what aiohttp itself costs with a tracer that does nothing is its own
    configs = {"bare": [], "empty": [aiohttp.TraceConfig()], "traced": [trace_config(reporter=reporter)]}
    sessions = {name: aiohttp.ClientSession(trace_configs=config) for name, config in configs.items()}
    spent: dict[str, list[float]] = {name: [] for name in configs}
    for repetition in range(12):
        for name in configs:
            begun = time.thread_time()
            for _ in range(REQUESTS):
                async with sessions[name].get(url) as response:
                    await response.read()
            if repetition > 1:
                spent[name].append((time.thread_time() - begun) / REQUESTS)
    for session in sessions.values():
        await session.close()
    await runner.cleanup()
    cost_s = {name: statistics.median(values) for name, values in spent.items()}
    return {f"aiohttp_{name}_requests_per_cpu_s": 1 / value for name, value in cost_s.items()} | {
        "aiohttp_tracer_us": (cost_s["traced"] - cost_s["empty"]) * 1e6,
        "aiohttp_tracing_us": (cost_s["traced"] - cost_s["bare"]) * 1e6,
    }


def measure() -> dict[str, float]:
    """Microseconds of CPU that each form adds to a call, its share of a call of 100 µs, and requests of aiohttp without
    a tracer, with one that does nothing, and with ours; client and server share the thread."""
    reporter = Reporter(send=lambda reports: None)
    found = _of_calls(reporter) | _of_coroutines(reporter) | _of_a_real_call(reporter)
    found |= asyncio.run(_of_requests(reporter))
    reporter.close()
    return found


if __name__ == "__main__":
    run(__doc__, measure)
