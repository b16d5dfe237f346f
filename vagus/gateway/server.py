"""The aiohttp server of a node: listens, checks, dispatches by the route table, and turns every failure into JSON.

It stands on aiohttp's low-level server: one dictionary look-up instead of an application's router and middlewares,
and no path on which aiohttp would answer with a page of its own.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from vagus.access import NOBODY
from vagus.clock import Clock, SystemClock
from vagus.config import AccessRule, ContextSettings
from vagus.errors import ConfigError
from vagus.gateway.access import Door, HostCheck
from vagus.gateway.backend import Backend
from vagus.gateway.errors import INTERNAL, Problem, problem_of, response_of
from vagus.gateway.front import Front
from vagus.gateway.front_aiohttp import Answering, Shared
from vagus.gateway.front_head import PATHS, Heads
from vagus.gateway.live_context import LiveContext
from vagus.gateway.route import Route, Site
from vagus.gateway.routes import ROUTES
from vagus.gateway.shared_port import bound
from vagus.gateway.worker_wire import Setup
from vagus.gateway.workers import Workers

log = logging.getLogger("vagus")
MAX_VALUES = 5_000_000
_ANY = ("", "0.0.0.0", "::")  # noqa: S104  # compared with, not bound to


class _Protocol(web.RequestHandler):
    """aiohttp's end of a connection; what aiohttp itself refuses (malformed HTTP) gets our shape of error too."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("part of the answer is sent already")
        if status < 500:
            problem = Problem(status, "malformed", (message or "not HTTP").splitlines()[0], "request", "send HTTP/1.1")
        else:
            log.error("gateway failed", exc_info=exc)
            problem = INTERNAL
        response = response_of(problem)
        response.force_close()
        return response


class _Beside(Answering, _Protocol):
    """The same, beside the front."""


class _Server(web.Server):
    """Makes connections; with a front they are its own, and aiohttp's handlers stand behind them."""

    def __init__(self, gateway: Gateway, front: Front | None, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        bounded = partial(web.BaseRequest, loop=loop, client_max_size=gateway.site.max_body_bytes)
        super().__init__(gateway.handle, request_factory=bounded, **settings)
        self._settings = {**settings, "loop": loop}
        self._front = front

    def __call__(self) -> Any:
        return self.handler(None) if self._front is None else Shared(self._front, self.handler)

    def adopted(self, already: bytes) -> Any:
        """A connection of which another process has read so much."""
        assert self._front is not None
        return Shared(self._front, self.handler, already)

    def handler(self, shared: Shared | None) -> web.RequestHandler:
        if shared is None:
            return _Protocol(self, **self._settings)
        return _Beside(self, shared=shared, **self._settings)

    def pre_shutdown(self) -> None:
        if self._front is not None:
            self._front.stop()
        super().pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:
        if self._front is not None:
            await self._front.stopped(timeout or 0.0)
        await super().shutdown(timeout)


class Gateway:
    """The HTTP server of one node.

    token: at least 16 characters; host: the address to bind, a loopback one unless the configuration says otherwise;
    port: 0 lets the kernel choose; spare_ports: how many following ports to try when it is taken (0: none);
    timeout_s: for one node's part of an answer; max_values: numbers in the answer of one query; tokens: of further
    principals, by name; access: the rules, none: everything is allowed; routes: what is served;
    context: live numbers that decisions know; lean: whether decisions are answered by the front (see `front`);
    processes: that answer decisions, more than 1: processes of their own (see `workers`), fed by `table_changed`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        token: str,
        host: str = "127.0.0.1",
        port: int = 0,
        spare_ports: int = 0,
        max_body_bytes: int = 4 << 20,
        timeout_s: float = 5.0,
        max_values: int = MAX_VALUES,
        tokens: Mapping[str, str] = {},
        access: Sequence[AccessRule] = (),
        clock: Clock | None = None,
        routes: tuple[Route, ...] = ROUTES,
        context: Mapping[str, ContextSettings] = {},
        lean: bool = True,
        processes: int = 1,
    ) -> None:
        clock = clock or SystemClock()
        door = Door(backend.node, clock, token, tokens, access, backend.refused)
        self.site = Site(backend, clock, door, timeout_s, max_body_bytes, max_values, clock.time_ns(), routes)
        self.site.context = LiveContext(backend, clock, context, timeout_s) if context else None
        self.url = ""
        self._host = host
        self._port = port
        self._spare_ports = spare_ports
        self._fixed: dict[str, dict[str, Route]] = {}
        self._prefixed: list[tuple[str, str, dict[str, Route]]] = []
        for route in self.site.routes:
            if not route.variable:
                self._fixed.setdefault(route.path, {})[route.method] = route
            else:
                self._prefixed.append((route.prefix, route.suffix, {route.method: route}))
        self._prefixed.sort(key=lambda entry: -len(entry[1]))
        self._check_host = HostCheck({host} if host not in _ANY else set())
        self.site.check_origin = self._check_host.origin
        self._runner: web.ServerRunner | None = None
        self._front: Front | None = None
        if lean and all(path in self._fixed for _, path, _, _ in PATHS):
            heads = Heads(door, self._check_host, max_body_bytes)
            live = self.site.context
            ready = live.ready if live is not None else None
            self._front = Front(backend, clock, heads, self.site.counts, self._met, ready)
            self.site.fold = self._front.fold
        self._processes = processes if self._front is not None else 1
        self._workers: Workers | None = None
        self._setup = lambda: Setup(
            node=backend.node,
            tokens=(("", token), *tokens.items()),
            rules=tuple(access),
            hosts=tuple(self._check_host.names),
            max_body_bytes=max_body_bytes,
            contextual=bool(context),
            prefix=backend.table.prefix,
            labels=backend.table.labels,
        )

    @property
    def workers(self) -> Workers | None:
        """Processes that answer decisions, if there are any."""
        return self._workers

    def table_changed(self, update: bytes) -> None:
        """The backend's table was changed by this update: processes that answer decisions are to know."""
        if self._workers is not None:
            self._workers.changed(update)

    def _met(self, path: str, error: Exception) -> Problem:
        """What an update of the front met."""
        return self._problem(self._fixed[path]["POST"], error)

    async def start(self) -> str:
        """Listens; returns the URL. Raises ConfigError when the address or port cannot be had."""
        server = _Server(
            self, self._front, auto_decompress=False, access_log=None, keepalive_timeout=75.0, lingering_time=0.5
        )
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await runner.setup()
        self._runner = runner
        try:
            port = await (self._listen(runner) if self._processes == 1 else self._spread(server))
        except BaseException:
            await self.stop()
            raise
        shown = "127.0.0.1" if self._host in _ANY else self._host
        self.url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
        return self.url

    def _ports(self) -> range:
        return range(self._port, self._port + 1 + (self._spare_ports if self._port else 0))

    async def _spread(self, server: _Server) -> int:
        """Listens by processes."""
        listening = bound(self._host, self._ports(), self._processes)
        if not listening:
            raise self._taken()
        self._workers = Workers(self.site, self._setup, server, server.adopted, self._met)
        await self._workers.start(listening)
        return int(listening[0].getsockname()[1])

    async def _listen(self, runner: web.ServerRunner) -> int:
        for port in self._ports():
            site = web.TCPSite(runner, self._host, port)
            try:
                await site.start()
            except OSError as error:
                await site.stop()
                if error.errno not in (errno.EADDRINUSE, None):
                    raise ConfigError(f"gateway: cannot listen on {self._host}:{port}: {error}") from error
                continue
            return int(runner.addresses[0][1])
        raise self._taken()

    def _taken(self) -> ConfigError:
        return ConfigError(
            f"gateway: port {self._port} of {self._host} is taken"
            f"{f', and the {self._spare_ports} after it' if self._spare_ports else ''}; "
            "choose a free one: gateway.port in vagus.yaml (0: any), or PORT of `vagus health serve`"
        )

    async def stop(self) -> None:
        """Ends live streams, then closes. Idempotent."""
        for reader in self.site.readers:
            reader.end()
        if self.site.context is not None:
            self.site.context.close()
        for close in list(self.site.sockets):
            close()
        workers, self._workers = self._workers, None
        if workers is not None:
            await workers.stop()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    # --- one request ---------------------------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Checks and answers one request; raises only when cancelled or when the peer is gone."""
        route: Route | None = None
        try:
            self._check_host(request)
            methods, rest = self._find(request)
            route = methods.get(request.method)
            door = self.site.door
            who = door.enter(request) if route is None or not route.public else NOBODY
            if route is None:
                raise _no_route(request, methods)
            if route.what:
                door.check(who, route.verb, route.what)
            response = await route.handle(self.site, request, rest)
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            raise  # the client went away: nobody to answer
        except Exception as error:
            response = response_of(self._problem(route, error))
            if not request.content.is_eof():
                response.force_close()  # the rest of the body is not worth reading
        method, path = (route.method, route.path) if route else ("other", "other")
        self.site.counts[method, path, response.status] += 1
        return response

    def _find(self, request: web.BaseRequest) -> tuple[dict[str, Route], str]:
        path = request.path
        methods = self._fixed.get(path)
        if methods is not None:
            return methods, ""
        for prefix, suffix, methods in self._prefixed:
            # a name that itself ends like the suffix has its slash encoded
            if path.startswith(prefix) and request.rel_url.raw_path.endswith(suffix):
                rest = path[len(prefix) : len(path) - len(suffix)]
                if rest:
                    return methods, rest
        return {}, ""

    def _problem(self, route: Route | None, error: Exception) -> Problem:
        problem = problem_of(error)
        if problem is not None:
            return problem
        where = route.path if route else "dispatch"
        self.site.failures += 1
        self.site.last_failure = f"{where}: {type(error).__name__}: {error}"[:300]
        log.error("gateway failed", exc_info=error, extra={"where": where})
        return INTERNAL


def _no_route(request: web.BaseRequest, methods: dict[str, Route]) -> Problem:
    if methods:
        allowed = ", ".join(sorted(methods))
        message = f"{request.path[:100]} understands {allowed}, not {request.method[:20]}"
        problem = Problem(405, "method_not_allowed", message, "request")
        problem.headers["Allow"] = allowed
        return problem
    return Problem(404, "not_found", f"there is no {request.path[:100]}", "path", "GET /openapi.json lists all routes")
