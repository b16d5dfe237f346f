"""More work for a service: requests to a URL at a fixed rate, whether it answers or not."""

from __future__ import annotations

import ipaddress
import math
import socket
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from vagus.errors import ConfigError, Unsupported
from vagus.injector import Prepared
from vagus.injector.cpu import nice_level
from vagus.injector.reading import amount
from vagus.injector.strain import command

DEFAULT = "100/s"
MAX_RATE = 50_000.0
WORKER_RATE = 1500.0  # that one process asks for without becoming late
MAX_URLS = 100


class Load:
    """Requests: GET of the target's URLs (spaces between) in turn at `200/s`; `x2` with --base: as much as comes again."""

    name = "load"
    default = DEFAULT
    options: ClassVar[dict[str, str]] = {
        "allow": "Also addresses that are neither of this machine nor of a private network.",
        "base": "Requests per second that come already, of which an intensity such as x2 is the multiple.",
        "nice": "Nice level of the processes that ask, -20 to 19.",
    }

    def __init__(self, root: Path = Path("/"), *, allow: bool = False, base: float = 0.0, nice: int = 0) -> None:
        self.allow, self.base, self.nice = allow, base, nice_level("load", nice)
        if not (base >= 0 and math.isfinite(base)):
            raise ConfigError(f"load: base {base} is no rate of requests")

    def prepare(self, intensity: str, target: str, duration_s: float) -> Prepared:
        """target: URLs, spaces between. Raises ConfigError, Unsupported."""
        rate = self._rate(intensity or DEFAULT)
        urls = target.split()
        if not 1 <= len(urls) <= MAX_URLS:
            raise ConfigError(
                f"load: the target is 1 to {MAX_URLS} URLs such as http://127.0.0.1:8080/, not {len(urls)}"
            )
        addresses: dict[str, list[str]] = {}
        for url in urls:
            host = self._host(url)
            if host not in addresses:
                addresses[host] = self._addresses(host)
        workers = math.ceil(rate / WORKER_RATE)
        commands = tuple(
            command(
                "load",
                duration_s,
                urls=urls,
                rate=rate / workers,
                addresses=addresses,
                offset=n / workers,
                nice=self.nice,
            )
            for n in range(workers)
        )
        return Prepared(commands=commands, says=f"{rate:g} requests per second to {', '.join(urls)[:200]}")

    def _rate(self, text: str) -> float:
        if text[:1] in "xX×" and text[1:].replace(".", "", 1).isdigit():
            if float(text[1:]) <= 1:
                raise ConfigError(f"load: {text} is not more than there is; x2 is twice as much")
            if not self.base:
                raise ConfigError(f"load: {text} of how much? Say it with --base, in requests per second")
            rate = (float(text[1:]) - 1) * self.base
        else:
            rate, _ = amount("load", text, {"/s": 1.0, "rps": 1.0}, "a rate such as 200/s, or x2 with --base")
        if rate > MAX_RATE:
            raise ConfigError(f"load: {rate:g} requests per second; at most {MAX_RATE:g} can be asked for")
        return rate

    def _host(self, url: str) -> str:
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            _ = parts.port
        except ValueError as error:
            raise ConfigError(f"load: {url[:200]!r} is no URL: {error}") from error
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise ConfigError(f"load: {url[:200]!r} is not http://HOST[:PORT]/PATH (https as well)")
        return host

    def _addresses(self, host: str) -> list[str]:
        try:
            found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
        except OSError as error:
            raise Unsupported(f"load: {host[:200]} has no address: {error.strerror or error}") from error
        foreign = [a for a in found if not _own(a)]
        if foreign and not self.allow:
            raise ConfigError(
                f"load: {host[:200]} is {foreign[0]}, neither of this machine nor of a private network: load is made for "
                "one's own services only; --allow says that it is"
            )
        return found


def _own(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return parsed.is_private and not parsed.is_link_local  # there clouds keep their secrets
