"""Asks a service at a fixed rate, whether it answers or not (open loop)."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver

from vagus.injector.strain import Line

MAX_OPEN = 2000
TIMEOUT_S = 10.0
MAX_BODY_BYTES = 16 << 20
_RECENT = 2000  # latencies that quantiles are of
_TURN_S = 0.001


def strain(
    line: Line,
    urls: Sequence[str],
    rate: float,
    addresses: Mapping[str, Sequence[str]],
    offset: float = 0.0,
    nice: int = 0,
) -> None:
    """GETs of the URLs in turn, at `rate` per second of this process; addresses: of each host, checked before.

    offset: share of a gap by which it begins later, so that processes take turns.
    Figures: requests_s that were due, answered_s (status below 500), failed_s, skipped_s (too many on their way), p50_ms, p99_ms.
    """
    os.nice(nice)
    asyncio.run(_Load(line, urls, rate, addresses).run(offset / rate))


class _Load:
    def __init__(self, line: Line, urls: Sequence[str], rate: float, addresses: Mapping[str, Sequence[str]]) -> None:
        self.line, self.urls, self.rate, self.addresses = line, urls, rate, addresses
        self.due = self.answered = self.failed = self.skipped = 0
        self.recent_ms: deque[float] = deque(maxlen=_RECENT)
        self.open: set[asyncio.Task[None]] = set()

    async def run(self, offset_s: float) -> None:
        connector = aiohttp.TCPConnector(limit=0, resolver=_resolver(self.addresses))
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            self.line.begun()
            begin = time.monotonic() + offset_s
            while True:
                while (due_s := begin + self.due / self.rate) <= time.monotonic():
                    self.due += 1
                    if len(self.open) >= MAX_OPEN:
                        self.skipped += 1
                        continue
                    task = asyncio.ensure_future(self._one(session, self.urls[self.due % len(self.urls)], due_s))
                    self.open.add(task)
                    task.add_done_callback(self.open.discard)
                if self.line.due():
                    self._tell()
                await asyncio.sleep(max(_TURN_S, min(0.1, due_s - time.monotonic())))

    async def _one(self, session: aiohttp.ClientSession, url: str, due_s: float) -> None:
        try:
            async with session.get(url, allow_redirects=False) as answer:
                left = MAX_BODY_BYTES
                async for piece in answer.content.iter_any():
                    left -= len(piece)
                    if left < 0:
                        break
                good = answer.status < 500
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
            good = False
        if good:
            self.answered += 1
            self.recent_ms.append((time.monotonic() - due_s) * 1e3)
        else:
            self.failed += 1

    def _tell(self) -> None:
        age_s = self.line.age_s
        figures = {
            "requests_s": self.due / age_s,
            "answered_s": self.answered / age_s,
            "failed_s": self.failed / age_s,
            "skipped_s": self.skipped / age_s,
        }
        if self.recent_ms:
            ranked = sorted(self.recent_ms)
            figures["p50_ms"] = ranked[len(ranked) // 2]
            figures["p99_ms"] = ranked[len(ranked) * 99 // 100]
        self.line.tell(**figures)


def _resolver(addresses: Mapping[str, Sequence[str]]) -> Any:
    """Names as they were when they were checked: a name that leads elsewhere by now is not followed."""

    class Fixed(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
            return [
                {
                    "hostname": host,
                    "host": address,
                    "port": port,
                    "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                    "proto": 0,
                    "flags": socket.AI_NUMERICHOST,
                }
                for address in addresses.get(host, ())
            ]

        async def close(self) -> None:
            pass

    return Fixed()
