"""What the client programs share: threads or tasks for each server, each doing one thing again and again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable

PERIOD_S = 0.25
"""Between two calls of a thread, give or take half of it."""

Step = Callable[[], None]
AsyncStep = Callable[[], Awaitable[None]]


def targets() -> list[tuple[str, str, int]]:
    """The servers of the command line: name, host, port."""
    named = (target.partition("=") for target in sys.argv[1:])
    return [(name, host, int(port)) for name, _, at in named for host, _, port in [at.rpartition(":")]]


def pause_s() -> float:
    return PERIOD_S * random.uniform(0.5, 1.5)


def forever(connect: Callable[[str, str, int], Step], threads: int = 1) -> None:
    """For each server `threads` threads, whose connections are made one after the other."""
    waiting = []
    for name, host, port in targets():
        for _ in range(threads):
            answered = threading.Event()
            waiting.append(answered)
            threading.Thread(target=_repeat, args=(connect(name, host, port), answered), daemon=True).start()
            answered.wait(10)
    if all(answered.is_set() for answered in waiting):
        print("ready", flush=True)
    threading.Event().wait()


def _repeat(step: Step, answered: threading.Event) -> None:
    while True:
        with contextlib.suppress(Exception):  # the program goes on, as programs do
            step()
            answered.set()
        time.sleep(pause_s())


def forever_async(connect: Callable[[str, str, int], AsyncStep], tasks: int = 1) -> None:
    """The same with tasks, all of them at once."""

    async def repeat(step: AsyncStep, answered: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(Exception):
                await step()
                answered.set()
            await asyncio.sleep(pause_s())

    async def main() -> None:
        waiting, running = [], []
        for name, host, port in targets():
            step = connect(name, host, port)
            for _ in range(tasks):
                waiting.append(asyncio.Event())
                running.append(asyncio.create_task(repeat(step, waiting[-1])))
        for answered in waiting:
            await answered.wait()
        print("ready", flush=True)
        await asyncio.gather(*running)

    asyncio.run(main())
