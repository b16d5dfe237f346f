"""Fetches pages with aiohttp, whose session keeps connections open; four requests at a time for each server."""

import aiohttp

import vagus
from benchmarks.gray.clients.loop import AsyncStep, forever_async


def connect(name: str, host: str, port: int) -> AsyncStep:
    vagus.subjects.add(f"{host}:{port}", f"nginx@{name}")
    session = aiohttp.ClientSession(f"http://{host}:{port}", trace_configs=[vagus.trace_config()])

    async def step() -> None:
        async with session.get("/pages/page") as answer:
            await answer.read()

    return step


if __name__ == "__main__":
    forever_async(connect, tasks=4)
