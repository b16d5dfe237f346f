"""Plain `http://`, for many small bodies: kept-alive connections, callbacks instead of a task for each fetch.

What is not a plain answer (redirects, content-codings) is fetched again by HttpSource, which keeps the rules for it;
so are locations with a user, and those of other schemes. Both give the same result for the same server.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections import OrderedDict
from collections.abc import Mapping

from yarl import URL

from vagus.feeds import Fetched, Net
from vagus.feeds.sources.http import BASE_HEADERS, HttpSource, retry_after_s, sendable, text
from vagus.feeds.sources.http_exchange import Done, Exchange, Request
from vagus.feeds.sources.http_pool import Pool
from vagus.feeds.sources.http_wire import REDIRECTS, Answer, Connection
from vagus.feeds.sources.names import Names

MAX_LOCATIONS = 100_000  # whose request or validators are remembered
ELSEWHERE_S = 3600.0  # how long a location that was redirected goes to HttpSource at once
MIN_CONNECT_S = 0.25  # for each address of a name but the last


class HttpPlainSource:
    """GETs http:// locations. Options as HttpSource; `begin` is `fetch` with a callback, never called before it returns.

    Raises ConfigError for wrong options.
    """

    def __init__(
        self,
        headers: Mapping[str, Mapping[str, str]] | None = None,
        allow_private: bool = False,
        max_redirects: int = 5,
        robots: bool = False,
        names: Names | None = None,
    ) -> None:
        self._names = names or Names()
        self._other = HttpSource(headers, allow_private, max_redirects, robots, self._names)
        self._requests: OrderedDict[str, Request] = OrderedDict()
        self._elsewhere: OrderedDict[str, float] = OrderedDict()  # until when, monotonic
        self._pool = Pool()
        self._active: set[Exchange] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

    def beside(self) -> HttpPlainSource:
        """As HttpSource."""
        other = copy.copy(self)
        other._other = self._other.beside()
        other._requests = OrderedDict()
        other._elsewhere = OrderedDict()
        other._active = set()
        other._timer = None
        return other

    def forget(self, location: str) -> None:
        """As HttpSource."""
        request = self._requests.get(location)
        if request is not None:
            self._requests[location] = request._replace(whole=request.head + b"\r\n")
        self._other.forget(location)

    # --- fetching ----------------------------------------------------------------------------------------------------

    async def fetch(self, location: str, timeout_s: float, max_bytes: int) -> Fetched:
        """As HttpSource."""
        answer: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        exchange = self._begin(
            location, timeout_s, max_bytes, lambda fetched: None if answer.done() else answer.set_result(fetched)
        )
        try:
            return await answer
        finally:
            exchange.abandon()

    def begin(self, location: str, timeout_s: float, max_bytes: int, done: Done) -> None:
        """Starts a fetch; `done` is called once, in the loop, with its result; never after `close`."""
        self._begin(location, timeout_s, max_bytes, done)

    def _begin(self, location: str, timeout_s: float, max_bytes: int, done: Done) -> Exchange:
        now = time.monotonic()
        exchange = Exchange(self, location, now + timeout_s, timeout_s, max_bytes, done)
        self._active.add(exchange)
        if self._timer is None or exchange.deadline < self._timer_s:
            self._set_timer(exchange.deadline)
        request = self._requests.get(location) or self._made(location, now)
        if request is None:
            exchange.work(self._aside(exchange))
        elif self._other.robots is not None:
            exchange.work(self._asked_first(exchange, request))
        else:
            exchange.request = request
            self.send(exchange)
        return exchange

    def _made(self, location: str, now: float) -> Request | None:
        """The request of a location; None: it is for HttpSource."""
        until = self._elsewhere.get(location)
        if until is not None:
            if now < until:
                return None
            del self._elsewhere[location]
        try:
            url = URL(location)
            plain = url.scheme == "http" and bool(url.raw_host) and url.raw_user is None and url.raw_password is None
            if not plain or url.port is None:
                return None
            fields = {"Host": url.host_port_subcomponent or "", **BASE_HEADERS, "Accept": "*/*"}
            for name, value in self._other.headers_for(url).items():
                for known in [known for known in fields if known.lower() == name.lower()]:
                    del fields[known]
                fields[name] = value
            lines = [f"GET {url.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
            head = "".join(line + "\r\n" for line in lines).encode()
        except ValueError:  # malformed: HttpSource says how
            return None
        request = Request((url.raw_host or "", url.port), url, head, head + b"\r\n")
        self._remember(location, request)
        return request

    def _remember(self, location: str, request: Request) -> None:
        self._requests[location] = request
        if len(self._requests) > MAX_LOCATIONS:
            self._requests.popitem(last=False)

    def send(self, exchange: Exchange, fresh: bool = False) -> None:
        """The request, on a kept connection or a fresh one."""
        request = exchange.request
        connection = None if fresh else self._pool.take(request.place)
        if connection is not None:
            exchange.connection = connection
            connection.send(exchange, request.whole)
            return
        exchange.work(self._connect(exchange))

    async def _connect(self, exchange: Exchange) -> None:
        host, port = exchange.request.place
        loop = asyncio.get_running_loop()
        try:
            addresses = self._names.known(host) or await self._names.resolve(host)
            last = len(addresses) - 1
            for place, address in enumerate(addresses):
                connecting = loop.create_connection(
                    lambda: Connection(self._pool, exchange.request.place), address, port
                )
                try:
                    if place < last:  # of what time is left, each address has its part
                        left_s = exchange.deadline - time.monotonic()
                        connecting = asyncio.wait_for(connecting, max(left_s / (last - place + 1), MIN_CONNECT_S))
                    _, connection = await connecting
                    break
                except (OSError, asyncio.TimeoutError):
                    if place == last:
                        raise
        except ConnectionRefusedError as error:
            exchange.end(Fetched(Net.REFUSED, note=text(f"cannot connect to {host}:{port}: {error.strerror}")))
        except asyncio.TimeoutError:
            exchange.expire()
        except (OSError, ValueError) as error:  # UnicodeError of a name is a ValueError
            why = getattr(error, "strerror", None) or error
            exchange.end(Fetched(Net.FAILED, note=text(f"cannot connect to {host}:{port}: {why}")))
        else:
            exchange.task = None
            if exchange.done is None:  # abandoned just as it was made
                connection.abort()
                return
            exchange.connection = connection
            connection.send(exchange, exchange.request.whole)

    async def _aside(self, exchange: Exchange) -> None:
        left_s = max(exchange.deadline - time.monotonic(), 0.001)
        fetched = await self._other.fetch(exchange.location, left_s, exchange.max_bytes)
        if fetched.net is Net.TIMEOUT:
            exchange.expire()
        else:
            exchange.end(fetched)

    async def _asked_first(self, exchange: Exchange, request: Request) -> None:
        if self._other.robots is None:
            return
        refusal = await self._other.robots.refusal(request.url)
        if refusal:
            exchange.end(Fetched(Net.FAILED, note=refusal))
            return
        exchange.task = None
        exchange.request = request
        self.send(exchange)

    # --- answers -----------------------------------------------------------------------------------------------------

    def came(self, exchange: Exchange, answer: Answer) -> None:
        """An answer, or as much of it as is of use."""
        fields, status = answer.fields, answer.status
        if status == 304:
            exchange.end(Fetched(Net.NOT_MODIFIED))
            return
        coding = answer.field(b"content-encoding").lower()
        if (status in REDIRECTS and b"location" in fields) or coding not in ("", "identity"):
            self._elsewhere[exchange.location] = time.monotonic() + ELSEWHERE_S
            if len(self._elsewhere) > MAX_LOCATIONS:
                self._elsewhere.popitem(last=False)
            self._requests.pop(exchange.location, None)
            exchange.work(self._aside(exchange))
            return
        whole = answer.whole and answer.body_bytes <= exchange.max_bytes
        if 200 <= status < 300:
            if not whole:
                note = f"the body has more than max_bytes={exchange.max_bytes}"
                exchange.end(Fetched(Net.TOO_LARGE, note=note))
                return
            request = exchange.request
            if b"etag" in fields or b"last-modified" in fields or len(request.whole) != len(request.head) + 2:
                self._validate(exchange.location, request, answer)
            exchange.end(Fetched(Net.OK, answer.body))
            return
        wait_s = retry_after_s(answer.field(b"retry-after"), time.time())
        reason = answer.reason.decode("utf-8", errors="replace")
        body = answer.body if whole else b""
        exchange.end(Fetched(Net.STATUS, body, text(f"HTTP {status} {reason}".strip()), wait_s))

    def _validate(self, location: str, request: Request, answer: Answer) -> None:
        """The next request is conditional on what this answer said of its content."""
        lines = b""
        for name, field in ((b"If-None-Match", b"etag"), (b"If-Modified-Since", b"last-modified")):
            value = answer.field(field)
            if sendable(value):
                lines += name + b": " + value.encode() + b"\r\n"
        whole = request.head + lines + b"\r\n"
        if whole != request.whole:
            self._remember(location, request._replace(whole=whole))

    # --- time --------------------------------------------------------------------------------------------------------

    def _set_timer(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer_s = at_s
        self._timer = loop.call_later(max(at_s - time.monotonic(), 0.0), self._look)

    def _look(self) -> None:
        """Ends what is past its deadline; comes again for the next."""
        self._timer = None
        now = time.monotonic()
        for exchange in [exchange for exchange in self._active if exchange.deadline <= now]:
            exchange.expire()
        if self._active:
            self._set_timer(min(exchange.deadline for exchange in self._active))

    def release(self, exchange: Exchange) -> None:
        """An exchange has ended."""
        self._active.discard(exchange)

    async def close(self) -> None:
        """Abandons what is under way and closes all connections."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tasks = [exchange.task for exchange in self._active if exchange.task is not None]
        for exchange in list(self._active):
            exchange.abandon()
        self._pool.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._names.close()
        await self._other.close()
