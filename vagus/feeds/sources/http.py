"""HTTP and HTTPS: bounded while reading, conditional, redirects limited and never from outside to inside."""

from __future__ import annotations

import asyncio
import copy
import email.utils
import errno
import ipaddress
import socket
import ssl
import time
import zlib
from collections import OrderedDict
from collections.abc import Mapping

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from vagus.errors import ConfigError
from vagus.feeds import Fetched, Net
from vagus.feeds.location import printable
from vagus.feeds.sources.http_wire import REDIRECTS
from vagus.feeds.sources.names import Names
from vagus.feeds.sources.robots import Robots

MAX_REMEMBERED = 100_000  # validators, one pair for each location
MAX_VALIDATOR = 1000
MAX_NOTE = 300
GZIP = b"\x1f\x8b"
BASE_HEADERS = {"User-Agent": "vagus", "Accept-Encoding": "identity"}


class HttpSource:
    """GETs a location over kept-alive connections; certificates are verified, proxies and cookies not used.

    headers: URL prefix → headers sent to that origin and below that path, and to no other.
    allow_private: follow redirects to private addresses also from a public one. robots: fetch only what the site's
    robots.txt allows.
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
        self._headers = [(_prefix(prefix), _checked(prefix, fields)) for prefix, fields in (headers or {}).items()]
        self._allow_private = bool(allow_private)
        self._max_redirects = max_redirects
        self.robots = Robots(self._without_robots) if robots else None
        self._validators: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._sessions = _Sessions(names or Names())

    def beside(self) -> HttpSource:
        """A source for another feed: over the same connections, but it remembers for itself what it has."""
        other = copy.copy(self)
        other._validators = OrderedDict()
        return other

    def forget(self, location: str) -> None:
        """Nobody has the last body of this location any more: the next fetch is of all of it."""
        self._validators.pop(location, None)

    async def fetch(self, location: str, timeout_s: float, max_bytes: int) -> Fetched:
        """The body, after redirects; NOT_MODIFIED for a 304; STATUS for other codes, with the body of the answer."""
        return await self._fetch(location, timeout_s, max_bytes, self.robots)

    async def _without_robots(self, location: str, timeout_s: float, max_bytes: int) -> Fetched:
        return await self._fetch(location, timeout_s, max_bytes, None)

    async def _fetch(self, location: str, timeout_s: float, max_bytes: int, robots: Robots | None) -> Fetched:
        try:
            following = self._follow(location, time.monotonic() + timeout_s, max_bytes, robots)
            return await (asyncio.wait_for(following, timeout_s) if robots else following)
        except asyncio.TimeoutError:
            return Fetched(Net.TIMEOUT, note=f"no whole answer within {timeout_s:g} s")
        except aiohttp.ClientConnectorCertificateError as error:
            return Fetched(Net.FAILED, note=text(f"certificate not accepted: {error.certificate_error}"))
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            return Fetched(Net.REFUSED if refused else Net.FAILED, note=text(str(error)))
        except (aiohttp.ClientError, OSError, EOFError, ValueError, ssl.SSLError, zlib.error) as error:
            return Fetched(Net.FAILED, note=text(f"{type(error).__name__}: {error}"))

    async def close(self) -> None:
        """Closes all connections."""
        if self.robots is not None:
            await self.robots.close()
        await self._sessions.close()

    async def _follow(self, location: str, deadline: float, max_bytes: int, robots: Robots | None) -> Fetched:
        url = URL(location)
        session, resolver = self._sessions.inside()
        headers = {**self.headers_for(url), **self._validators.get(location, {})}
        for hop in range(self._max_redirects + 1):
            refusal = await robots.refusal(url) if robots else ""
            if refusal:
                return Fetched(Net.FAILED, note=refusal)
            timeout = aiohttp.ClientTimeout(total=max(deadline - time.monotonic(), 0.001))
            async with session.get(url, headers=headers, timeout=timeout, allow_redirects=False) as answer:
                if answer.status not in REDIRECTS or "Location" not in answer.headers:
                    return await self._answered(location, answer, max_bytes)
                target = url.join(URL(answer.headers["Location"]))
                answer.close()  # its body is of no use
            if target.scheme not in ("http", "https") or (url.scheme, target.scheme) == ("https", "http"):
                return Fetched(Net.FAILED, note=text(f"redirect from {url.scheme} to {target.scheme} is refused"))
            if hop == 0 and not self._allow_private and not resolver.was_private(url.host or ""):
                session, resolver = self._sessions.outside()
            if resolver.public_only and _literal_private(target.host or ""):
                return Fetched(Net.FAILED, note=text(f"redirect to the private address {target.host} is refused"))
            url, headers = target, self.headers_for(target)
        return Fetched(Net.FAILED, note=f"more than {self._max_redirects} redirects")

    async def _answered(self, location: str, answer: aiohttp.ClientResponse, max_bytes: int) -> Fetched:
        if answer.status == 304:
            return Fetched(Net.NOT_MODIFIED)
        body = await _read(answer, max_bytes)
        if 200 <= answer.status < 300:
            if body is None:
                return Fetched(Net.TOO_LARGE, note=f"the body has more than max_bytes={max_bytes}")
            self._remember(location, answer)
            return Fetched(Net.OK, body)
        wait_s = retry_after_s(answer.headers.get("Retry-After", ""), time.time())
        return Fetched(Net.STATUS, body or b"", text(f"HTTP {answer.status} {answer.reason or ''}".strip()), wait_s)

    def _remember(self, location: str, answer: aiohttp.ClientResponse) -> None:
        etag, modified = answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
        validators = {"If-None-Match": etag, "If-Modified-Since": modified}
        kept = {name: value for name, value in validators.items() if sendable(value)}
        if kept:
            self._validators[location] = kept
            if len(self._validators) > MAX_REMEMBERED:
                self._validators.popitem(last=False)
        elif location in self._validators:
            del self._validators[location]

    def headers_for(self, url: URL) -> dict[str, str]:
        """The headers that the options give for a URL."""
        if not self._headers:
            return {}
        found: dict[str, str] = {}
        for prefix, fields in self._headers:
            below = prefix.path.rstrip("/")
            if url.origin() == prefix.origin() and (url.path == below or url.path.startswith(below + "/")):
                found.update(fields)
        return found


class _Sessions:
    """Two sessions, made when first used, since they need a running loop, each with its resolver.

    `outside` serves redirects that come from outside: its resolver gives public addresses only, so that a name cannot
    point inwards after it was checked.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._made: dict[bool, tuple[aiohttp.ClientSession, _Resolver]] = {}  # by whether only public addresses count

    def inside(self) -> tuple[aiohttp.ClientSession, _Resolver]:
        return self._of(public_only=False)

    def outside(self) -> tuple[aiohttp.ClientSession, _Resolver]:
        return self._of(public_only=True)

    def _of(self, public_only: bool) -> tuple[aiohttp.ClientSession, _Resolver]:
        if public_only not in self._made:
            resolver = _Resolver(self._names, public_only)
            self._made[public_only] = _session(resolver), resolver
        return self._made[public_only]

    async def close(self) -> None:
        for session, _ in self._made.values():
            await session.close()
        self._made.clear()
        self._names.close()


def _session(resolver: _Resolver) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver, limit=0, keepalive_timeout=75),  # the caller limits
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=BASE_HEADERS,
        auto_decompress=False,  # the limit holds for what comes out, see _read
        trust_env=False,
    )


class _Resolver(AbstractResolver):
    """Remembers which names are private, or leaves private addresses out.

    Not in the loop's own threads, as aiohttp would: where a name server hangs, all else that uses them would wait.
    """

    def __init__(self, names: Names, public_only: bool) -> None:
        self.public_only = public_only
        self._names = names
        self._private: OrderedDict[str, bool] = OrderedDict()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found: list[ResolveResult] = []
        for address in await self._names.resolve(host):
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            if family in (socket.AF_UNSPEC, kind):
                one = ResolveResult(
                    hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST
                )
                found.append(one)
        if self.public_only:
            found = [address for address in found if not is_private(address["host"])]
            if not found:
                why = f"the redirect to {host[:80]} is refused: it has only private addresses"
                raise PermissionError(errno.EACCES, why)
        else:
            self._private[host] = all(is_private(address["host"]) for address in found)
            if len(self._private) > MAX_REMEMBERED:
                self._private.popitem(last=False)
        return found

    def was_private(self, host: str) -> bool:
        """Whether the address, or all addresses of the name when it was last resolved, are private."""
        return _literal_private(host) or self._private.get(host, False)

    async def close(self) -> None:
        """The names are the source's."""


def is_private(address: str) -> bool:
    """Whether an IP address is not of the public internet: loopback, private, link-local, shared, reserved."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    return not parsed.is_global or parsed.is_multicast


def _literal_private(host: str) -> bool:
    try:
        return is_private(host)
    except ValueError:
        return False  # a name: its resolver decides


async def _read(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """The body with its content-coding removed, None when it is longer than `max_bytes`."""
    coding = answer.headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity"):
        if answer.content_length is not None and answer.content_length > max_bytes:
            answer.close()
            return None
        inflate = None
    elif coding in ("gzip", "x-gzip", "deflate"):  # not asked for: some servers send it all the same
        inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    else:
        answer.close()
        raise ValueError(f"content-encoding {coding[:40]!r} was not asked for and is not known")
    body = bytearray()
    while chunk := await answer.content.readany():
        if inflate:
            body += inflate.decompress(chunk, max_bytes + 1 - len(body))
            while inflate.eof and inflate.unused_data[:2] == GZIP and len(body) <= max_bytes:  # the next member
                rest, inflate = inflate.unused_data, zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
                body += inflate.decompress(rest, max_bytes + 1 - len(body))
        else:
            body += chunk
        if len(body) > max_bytes:
            answer.close()
            return None
        if (
            inflate and inflate.eof and not GZIP.startswith(inflate.unused_data)
        ):  # it would grow as long as the server sends
            answer.close()
            break
    if inflate and not inflate.eof:
        raise ValueError("the compressed body ends too early")
    return bytes(body)


def retry_after_s(text: str, now_s: float) -> float:
    """Seconds from a Retry-After header, a number or an HTTP date; 0 when there is none or it is malformed."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, moment.timestamp() - now_s)
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0


def sendable(validator: str) -> bool:
    """Whether a validator of a server may go back to it in a header."""
    return 0 < len(validator) <= MAX_VALIDATOR and validator.isascii() and validator.isprintable()


def _prefix(text: str) -> URL:
    try:
        url = URL(text)
        url.origin()
    except ValueError as error:
        raise ConfigError(f"http headers: {text[:80]!r} is not a URL prefix such as https://host/path") from error
    return url


def _checked(prefix: str, fields: Mapping[str, str]) -> dict[str, str]:
    for name, value in fields.items():
        if not (isinstance(value, str) and name.isascii() and (name + value).isprintable()):
            raise ConfigError(f"http headers of {prefix[:80]!r}: {name[:40]!r} must be printable text")
    return dict(fields)


def text(note: str) -> str:
    """A note as it may be stored and shown."""
    return printable(note)[:MAX_NOTE]
