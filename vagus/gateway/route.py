"""What the route table is made of: `Route` describes one operation, `Site` is what every handler works with."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from vagus.access import Verb
from vagus.clock import Clock
from vagus.gateway.access import Door
from vagus.gateway.backend import Backend
from vagus.gateway.hub import Hub
from vagus.gateway.live_context import LiveContext
from vagus.gateway.overview_board import Board
from vagus.gateway.pytheas import Sessions
from vagus.gateway.reader import Reader
from vagus.health.matrix import Matrix


@dataclass
class Site:
    """The served node, its limits, and what the gateway counts about itself."""

    backend: Backend
    clock: Clock
    door: Door
    timeout_s: float
    max_body_bytes: int
    max_values: int
    started_ns: int
    routes: tuple[Route, ...] = ()
    counts: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # see `requests`
    fold: Callable[[], None] = lambda: None  # adds what others have counted meanwhile
    failures: int = 0  # unexpected exceptions: defects of ours
    last_failure: str = ""
    checked: tuple[int, asyncio.Future[dict[str, Any]]] | None = (
        None  # when /healthz last asked the node, and what it finds
    )
    tails: int = 0
    tail_dropped: int = 0
    readers: set[Reader] = field(default_factory=set)  # of open subscriptions
    sockets: set[Callable[[], None]] = field(default_factory=set)  # what closes open WebSockets and pages
    gateways: dict[str, str] = field(default_factory=dict)  # of each node, the URL as last known
    context: LiveContext | None = None  # live numbers for decisions
    sessions: Sessions = field(default_factory=Sessions)  # that asked in Pytheas' form
    check_origin: Callable[[web.BaseRequest], None] = lambda request: None
    matrices: dict[str, tuple[str, Matrix]] = field(default_factory=dict)  # of each node the last one, with its tag
    hub: Hub = field(init=False)
    board: Board = field(init=False)  # behind the page `/`

    def __post_init__(self) -> None:
        self.hub = Hub(self.backend, self.clock, self.timeout_s, self.failed)
        self.board = Board(self.backend, self.clock, self.timeout_s, self.failed)
        self.sockets.add(self.board.close)

    @property
    def requests(self) -> Counter[tuple[str, str, int]]:
        """Answered requests by method, path template and status."""
        self.fold()
        return self.counts

    def failed(self, what: str) -> None:
        """Counts a defect of ours."""
        self.failures += 1
        self.last_failure = what


Handler = Callable[[Site, web.BaseRequest, str], Awaitable[web.StreamResponse]]
"""Called with the site, the request, and the variable part of the path ("" where there is none)."""


@dataclass(frozen=True)
class Route:
    """One operation. A path may have one `{name}`, which may contain slashes; behind it, `/word` at most.

    query: struct of its parameters; body: structs of which the body is one, in one of the content types `accepts`;
    answer: struct of the JSON answer; many: of the one to several things at once, if that is another; media: other content types of the answer; public: no token needed; errors: statuses beyond those of every route.
    unwell: struct of the JSON of a 503, where it says more than any error.
    tagged: answers carry an ETag, and 304 is one of them.
    verb, what: what access rules are asked before it is handled; an empty `what`: the handler asks for each item.
    docs/security.md lists both for each route, and a test asks every route in the name of each role.
    """

    method: str
    path: str
    handle: Handler
    summary: str
    query: type[Any] | None = None
    body: tuple[type[Any], ...] = ()
    accepts: tuple[str, ...] = ("application/json", "application/msgpack")
    answer: type[Any] | None = None
    many: type[Any] | None = None
    media: tuple[str, ...] = ()
    public: bool = False
    errors: tuple[int, ...] = ()
    tagged: bool = False
    unwell: type[Any] | None = None
    verb: Verb = "read"
    what: str = ""

    @property
    def prefix(self) -> str:
        """The fixed part of the path."""
        return self.path.partition("{")[0]

    @property
    def variable(self) -> str:
        """The name of the variable part, or ""."""
        return self.path.partition("{")[2].partition("}")[0]

    @property
    def suffix(self) -> str:
        """The fixed part behind the variable one, or ""."""
        return self.path.partition("}")[2]
