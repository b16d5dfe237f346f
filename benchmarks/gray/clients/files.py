"""Stores and reads files over HTTP (WebDAV), with aiohttp."""

import os

import aiohttp

import vagus
from benchmarks.gray.clients.loop import AsyncStep, forever_async


def connect(name: str, host: str, port: int) -> AsyncStep:
    vagus.subjects.add(f"{host}:{port}", f"nginx@{name}")
    session = aiohttp.ClientSession(f"http://{host}:{port}", trace_configs=[vagus.trace_config()])

    async def step() -> None:
        async with session.put(f"/files/{os.uname().nodename}", data=b"y" * 2000) as answer:
            await answer.read()
        async with session.get("/files/page") as answer:
            await answer.read()

    return step


if __name__ == "__main__":
    forever_async(connect)
