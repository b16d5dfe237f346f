"""Calls to other nodes that wait as long as their past says they should, rather than a constant."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vagus.actors.base import Links
from vagus.errors import PeerUnreachable
from vagus.forecast.timeouts import Timeouts

FLOOR_S = 1.0  # a busy machine's pauses are no reason to give up
FIRST_S = 5.0


class Patience:
    """Links whose time-outs are forecast for each actor and method, between FLOOR_S and `ceiling_s`.

    For questions that cost about the same each time: a node that hangs is then given up after about a second, not
    after the ceiling, and what is slow by nature gets the time that it needs.
    """

    def __init__(self, links: Links, ceiling_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        ceiling_s = max(ceiling_s, FLOOR_S)
        self._links = links
        self._timeouts = Timeouts(FLOOR_S, ceiling_s, first_s=min(FIRST_S, ceiling_s))
        self._clock_s = clock_s

    async def call(self, actor: str, method: str, *args: Any) -> Any:
        """As Links.call. Raises PeerUnreachable."""
        key = (actor, method)
        timeout_s = self._timeouts.timeout_s(key)
        begun_s = self._clock_s()
        try:
            answer = await self._links.call(actor, method, *args, timeout_s=timeout_s)
        except PeerUnreachable:
            waited_s = self._clock_s() - begun_s
            if waited_s > 0.9 * timeout_s:  # else it said at once that nobody is there: that tells nothing of its pace
                self._timeouts.failed(key, waited_s)
            raise
        self._timeouts.observed(key, self._clock_s() - begun_s)
        return answer
