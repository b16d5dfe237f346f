"""Three services that call each other, and visitors: web asks cart, cart asks price, and price has one connection to its
database, which answers in 5 ms. Each request is a trace of eight spans.

python examples/traces/shop.py [--rate 20]         # until Ctrl-C
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import signal
import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

import vagus

PORTS = {"web": 8301, "cart": 8302, "price": 8303}
CALLS = {"web": "cart", "cart": "price"}


def serve(name: str) -> None:
    """One service, in a process of its own."""
    connection = asyncio.Semaphore(1)

    async def answer(request: web.Request) -> web.Response:
        if name == "price":
            with vagus.span("SELECT price"):
                async with connection:
                    await asyncio.sleep(0.005)
            return web.json_response({"price": 42})
        with vagus.span("render"):
            await asyncio.sleep(0.002)
        async with request.app["session"].get(f"http://127.0.0.1:{PORTS[CALLS[name]]}/") as answered:
            return web.json_response(await answered.json())

    async def session(app: web.Application) -> AsyncIterator[None]:
        # carries the trace on, and reports on the called service
        app["session"] = aiohttp.ClientSession(trace_configs=[vagus.trace_config()])
        yield
        await app["session"].close()

    app = web.Application(middlewares=[vagus.trace_middleware(service=name, component=name)])
    app.cleanup_ctx.append(session)
    app.router.add_get("/", answer)
    web.run_app(app, host="127.0.0.1", port=PORTS[name], print=None)


async def visit(rate: float) -> None:
    """Visitors, independent of each other."""
    async with aiohttp.ClientSession() as session:

        async def one() -> None:
            async with session.get(f"http://127.0.0.1:{PORTS['web']}/") as answer:
                await answer.read()

        while True:
            await asyncio.sleep(random.expovariate(rate))
            visiting = asyncio.ensure_future(one())
            visiting.add_done_callback(lambda done: done.cancelled() or done.exception())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=20.0, help="visitors a second")
    rate = parser.parse_args().rate
    for name in PORTS:
        multiprocessing.Process(target=serve, args=(name,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # the services end with it
    try:
        asyncio.run(visit(rate))
    except KeyboardInterrupt:
        pass
