"""robots.txt (RFC 9309), for feeds that ask for it: what a site does not want fetched is not fetched."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from yarl import URL

from vagus.feeds import Fetched, Net
from vagus.feeds.location import printable

AGENT = "vagus"
KEPT_S = 86_400.0
KEPT_FAILURE_S = 300.0  # a site that does not answer is taken to forbid everything, for so long
TIMEOUT_S = 10.0
MAX_BYTES = 1 << 20
MAX_SITES = 10_000

Get = Callable[[str, float, int], Awaitable[Fetched]]


class _Site:
    """The rules of one origin; `rules` None: everything is allowed, unless `why` says otherwise."""

    def __init__(self, until: float, rules: Any = None, why: str = "") -> None:
        self.until = until
        self.rules = rules
        self.why = why


class Robots:
    """Asks each origin for its robots.txt, once a day. get: fetches without asking here again."""

    def __init__(self, get: Get, agent: str = AGENT) -> None:
        self._get = get
        self._agent = agent
        self._sites: OrderedDict[str, _Site] = OrderedDict()
        self._asked: dict[str, asyncio.Task[_Site]] = {}

    async def refusal(self, url: URL) -> str:
        """Why the URL must not be fetched; empty when it may."""
        origin = str(url.origin())
        site = self._sites.get(origin)
        if site is None or site.until < time.monotonic():
            asked = self._asked.get(origin)
            if asked is None:
                asked = self._asked[origin] = asyncio.ensure_future(self._ask(origin))
                asked.add_done_callback(lambda _: self._asked.pop(origin, None))
            site = await asyncio.shield(asked)
        if site.why:
            return site.why
        if site.rules is None or site.rules.can_fetch(str(url), self._agent):
            return ""
        return printable(f"robots.txt of {origin} does not allow {url.raw_path}")[:300]

    async def _ask(self, origin: str) -> _Site:
        answer = await self._get(f"{origin}/robots.txt", TIMEOUT_S, MAX_BYTES)
        now = time.monotonic()
        if answer.net is Net.OK:
            from protego import Protego  # only for feeds that ask for it

            site = _Site(now + KEPT_S, Protego.parse(answer.body.decode("utf-8", errors="replace")))
        elif answer.net is Net.STATUS and answer.note.startswith("HTTP 4"):
            site = _Site(now + KEPT_S)
        else:
            why = (
                f"robots.txt of {origin} cannot be read, so nothing is fetched there: {answer.net.value} {answer.note}"
            )
            site = _Site(now + KEPT_FAILURE_S, why=printable(why)[:300])
        self._sites[origin] = site
        if len(self._sites) > MAX_SITES:
            self._sites.popitem(last=False)
        return site

    async def close(self) -> None:
        """Ends what is being asked."""
        asked = list(self._asked.values())
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
