"""What a `proc:` fetch costs the process that feeds run in (300 MB, on uvloop), beside uvloop's own way to start one.

Processor time of this process for each command, in µs, and how long the loop was held up, in ms: /bin/true, 8 at once.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks import shown
from vagus.feeds.sources.proc import ProcSource

COMMANDS = 200
AT_ONCE = 8
BALLAST_BYTES = 300 << 20


async def _cost(name: str, run: Callable[[], Awaitable[object]]) -> dict[str, float]:
    slots, held, over = asyncio.Semaphore(AT_ONCE), [0.0], False

    async def one() -> None:
        async with slots:
            await run()

    async def beat() -> None:
        before = time.monotonic()
        while not over:
            await asyncio.sleep(0.001)
            held.append(time.monotonic() - before)
            before = time.monotonic()

    await one()
    beating = asyncio.ensure_future(beat())
    spent = time.process_time()
    await asyncio.gather(*(one() for _ in range(COMMANDS)))
    spent = time.process_time() - spent
    over = True
    await beating
    return {f"{name}_cpu_us": spent / COMMANDS * 1e6, f"{name}_loop_held_max_ms": max(held) * 1e3}


async def _measure() -> dict[str, float]:
    ballast = bytearray(os.urandom(1 << 20) * (BALLAST_BYTES >> 20))  # a fork copies the table of its pages
    source = ProcSource()

    async def uvloops() -> None:
        process = await asyncio.create_subprocess_exec("/bin/true", stdout=asyncio.subprocess.PIPE)
        await process.communicate()

    found = await _cost("proc", lambda: source.fetch("proc:/bin/true", 30.0, 1000))
    found |= await _cost("uvloop", uvloops)
    await source.close()
    return {**found, "uvloop_to_proc": found["uvloop_cpu_us"] / found["proc_cpu_us"], "ballast_bytes": len(ballast)}


def measure() -> dict[str, float]:
    """Both, in this process."""
    return uvloop.run(_measure())


if __name__ == "__main__":
    shown.run(__doc__, measure)
