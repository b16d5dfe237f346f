"""What all services of the social network share: options, the server, calls to other services, their replicas.

A service is one asyncio process; its work is done inline, so that a request's CPU time is where the request is. Other
services are found in RUN/endpoints.json ({service: [url, …]}), which is looked at again when it has changed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

import vagus

try:
    import uvloop

    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
except ImportError:  # slower, but all the same
    new_loop = asyncio.new_event_loop

Json = dict[str, Any]
Handler = Callable[[Json], Awaitable[Any]]

CALL_S = 8.0  # a caller waits no longer
LOOK_S = 0.1  # how often the list of addresses is looked at
REST_S = 1.0  # one that could not be reached is left alone for so long, where there are others
MOST = 512  # requests at once; more are refused
MAX_BODY = 1 << 20
compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Failed(Exception):
    """Another service refused or did not answer. status: what the caller answers itself."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Replica:
    """An address of a service, as one caller sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pending = 0
        self.rests_until_s = 0.0


class Peers:
    """The other services: each call goes to the replica with the fewest calls under way, in turn among equals."""

    def __init__(self, run: Path) -> None:
        self._file = run / "endpoints.json"
        self._looked_s = -1.0
        self._version: tuple[int, int] = (0, 0)
        self._replicas: dict[str, list[Replica]] = {}
        self._turn = 0
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(CALL_S))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, service: str, path: str, body: Json) -> Any:
        """POSTs JSON to a service; its answer. One that cannot be reached is passed over for another. Raises Failed."""
        assert self._session is not None
        with vagus.span(f"POST {service}{path}", kind="client", peer=service) as made:
            headers = {"Content-Type": "application/json", **made.headers()}
            data = compact(body).encode()
            why = "no replica is listed"
            for replica in self.choose(service)[:3]:
                replica.pending += 1
                try:
                    async with self._session.post(replica.url + path, data=data, headers=headers) as answer:
                        content = await answer.read()
                        if answer.status == 200:
                            return json.loads(content)
                        raise Failed(answer.status, f"{service}: {content[:200].decode('utf-8', 'replace')}")
                except asyncio.TimeoutError as error:
                    raise Failed(504, f"{service} did not answer within {CALL_S:g} s") from error
                except aiohttp.ClientError as error:  # it ends, or has ended: every call may be repeated
                    replica.rests_until_s = time.monotonic() + REST_S
                    why = str(error)
                finally:
                    replica.pending -= 1
            raise Failed(502, f"{service} cannot be reached: {why}")

    def choose(self, service: str) -> list[Replica]:
        """The replicas, the best one first."""
        now_s = time.monotonic()
        if now_s - self._looked_s > LOOK_S:
            self._looked_s = now_s
            self._look()
        self._turn += 1
        known = self._replicas.get(service, [])
        if len(known) < 2:
            return known
        start = self._turn % len(known)
        return sorted(known[start:] + known[:start], key=lambda r: (r.rests_until_s > now_s, r.pending))

    def _look(self) -> None:
        try:
            found = self._file.stat()
            version = (found.st_mtime_ns, found.st_ino)
            if version == self._version:
                return
            listed: Mapping[str, list[str]] = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return  # what was known stays
        self._version = version
        for name, urls in listed.items():
            known = {replica.url: replica for replica in self._replicas.get(name, [])}
            self._replicas[name] = [known.get(url) or Replica(url) for url in urls]


class Service:
    """A service. name: as in app.yaml; options: its command line; work: factor of the work that a request costs."""

    def __init__(self, name: str) -> None:
        parser = argparse.ArgumentParser(description=f"{name}, a service of the social network")
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--run", type=Path, required=True, help="folder with endpoints.json and the databases")
        parser.add_argument("--replica", type=int, default=0, help="its number")
        parser.add_argument("--work", type=float, default=1.0, help="factor of the work that a request costs")
        self.name = name
        self.options = parser.parse_args()
        self.run: Path = self.options.run
        self.replica: int = self.options.replica
        self.peers = Peers(self.run)
        self._requests = 0
        self._background: set[asyncio.Task[Any]] = set()
        traced = vagus.trace_middleware(service=name, component=f"{name}-{self.replica}")
        self.app = web.Application(middlewares=[traced], client_max_size=MAX_BODY)
        self.app.router.add_get("/healthz", self._healthz)
        self.app.cleanup_ctx.append(self._connected)
        self.app.on_shutdown.append(self._finish)

    def times(self, count: int) -> int:
        """A number of rounds, or of bytes, after the factor of the work."""
        return max(1, round(count * self.options.work))

    def call(self, service: str, path: str, **body: Any) -> Coroutine[Any, Any, Any]:
        """Calls another service. Raises Failed."""
        return self.peers.call(service, path, body)

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Does it in the background: nobody waits for it, but the end of this process."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            print(f"in the background: {task.exception()}", flush=True)

    def post(self, path: str, handler: Handler) -> None:
        """Answers POST: JSON in, JSON out. KeyError and the like of a handler are the caller's mistakes."""

        async def answer(request: web.Request) -> web.Response:
            if self._requests >= MOST:
                return web.Response(status=503, text=f"{self.name} has {MOST} requests under way")
            self._requests += 1
            try:
                body = json.loads(await request.read())
                return web.Response(body=compact(await handler(body)).encode(), content_type="application/json")
            except Failed as error:
                return web.Response(status=error.status, text=str(error))
            except (KeyError, TypeError, ValueError) as error:
                return web.Response(status=400, text=f"{self.name}{path}: {type(error).__name__}: {error}")
            finally:
                self._requests -= 1

        self.app.router.add_post(path, answer)

    def get(self, path: str, handler: Handler) -> None:
        """Answers GET: the query in, JSON out."""

        async def answer(request: web.Request) -> web.Response:
            if self._requests >= MOST:
                return web.Response(status=503, text=f"{self.name} has {MOST} requests under way")
            self._requests += 1
            try:
                found = await handler(dict(request.query))
                return web.Response(body=compact(found).encode(), content_type="application/json")
            except Failed as error:
                return web.Response(status=error.status, text=str(error))
            except (KeyError, TypeError, ValueError) as error:
                return web.Response(status=400, text=f"{self.name}{path}: {type(error).__name__}: {error}")
            finally:
                self._requests -= 1

        self.app.router.add_get(path, answer)

    def serve(self) -> None:
        """Until SIGTERM, or until whoever started it is gone: standard input, if it is a pipe, ends with it."""
        loop = new_loop()
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            loop.add_reader(0, os.kill, os.getpid(), signal.SIGTERM)
        web.run_app(
            self.app,
            host="127.0.0.1",
            port=self.options.port,
            print=None,
            access_log=None,
            loop=loop,
            shutdown_timeout=5.0,
            handler_cancellation=True,  # work for a caller who has left is given up
        )

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _connected(self, app: web.Application) -> AsyncIterator[None]:
        await self.peers.open()
        yield
        await self.peers.close()

    async def _finish(self, app: web.Application) -> None:
        if self._background:
            await asyncio.wait(self._background, timeout=3.0)
