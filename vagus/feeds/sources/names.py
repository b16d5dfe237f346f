"""Addresses of names: the system's resolver in threads of its own, answers kept for half a minute."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

KEPT_S = 30.0
MAX_NAMES = 10_000
THREADS = 8  # a name server that hangs holds up as many names, and nothing else

Lookup = Callable[[str], tuple[str, ...]]


def system_lookup(name: str) -> tuple[str, ...]:
    """All addresses of a name, in the order in which they should be tried. Blocks. Raises OSError, UnicodeError."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


class Names:
    """`known` answers at once or not at all, `resolve` asks; askers for the same name wait for one answer."""

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._kept: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        self._asked: dict[str, asyncio.Future[tuple[str, ...]]] = {}
        self._threads: ThreadPoolExecutor | None = None

    def known(self, name: str) -> tuple[str, ...] | None:
        """The addresses of an address, or of a name that was resolved lately."""
        kept = self._kept.get(name)
        if kept is not None:
            until, addresses = kept
            if time.monotonic() < until:
                return addresses
            del self._kept[name]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return None
        return (name,)

    async def resolve(self, name: str) -> tuple[str, ...]:
        """Addresses, at least one. Raises OSError or UnicodeError as the resolver does; a failure is not kept."""
        known = self.known(name)
        if known is not None:
            return known
        asked = self._asked.get(name)
        if asked is None:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(THREADS, "names")
            loop = asyncio.get_running_loop()
            asked = self._asked[name] = loop.run_in_executor(self._threads, self._lookup, name)
            asked.add_done_callback(lambda done: self._answered(name, done))
        return await asyncio.shield(asked)

    def _answered(self, name: str, done: asyncio.Future[tuple[str, ...]]) -> None:
        self._asked.pop(name, None)
        if not done.cancelled() and done.exception() is None:
            self._kept[name] = (time.monotonic() + KEPT_S, done.result())
            if len(self._kept) > MAX_NAMES:
                self._kept.popitem(last=False)

    def close(self) -> None:
        """Lets the threads go; one that hangs in the resolver ends with its answer."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
