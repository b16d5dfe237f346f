"""The board behind the page `/`: each section is asked for now and then, once for all who look, while anybody looks.

Questions go to every node, and to the leaders of the groups that are shown; so that a large cluster costs the gateway
no more than a small one, the periods are stretched until there are at most ASKS_PER_S of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from vagus.clock import Clock
from vagus.errors import VagusError
from vagus.gateway.backend import Backend
from vagus.gateway.fanout import DEFECT, Gathered, Unanswered
from vagus.gateway.overview_asks import Asks, Known
from vagus.gateway.overview_signals import POINTS, Column

log = logging.getLogger("vagus")
PERIODS_S = {"signals": 2.0, "verdicts": 5.0, "limits": 10.0, "nodes": 10.0, "feeds": 15.0, "decisions": 20.0}
ASKS_PER_S = 30.0
LINGER_S = 30.0  # a page that is loaded again finds all of it


class Board:
    """Sections by name, and the columns of signals. `join` and `leave` by viewers; `failed` is told of defects.

    versions: how often each section was renewed; pace: multiplies all periods; closed: the gateway ends.
    """

    def __init__(self, backend: Backend, clock: Clock, timeout_s: float, failed: Callable[[str], None]) -> None:
        self.backend = backend
        self.known: dict[str, Known] = {}
        self.versions = dict.fromkeys(PERIODS_S, 0)
        self.columns: deque[Column] = deque(maxlen=POINTS)
        self.pace = 1.0
        self.closed = False
        self.rendered: dict[tuple[str, str], tuple[int, list[bytes]]] = {}  # by event and whose rules apply
        self._new_asks: Callable[[], Asks] = lambda: Asks(backend, clock, timeout_s, failed)
        self._failed = failed
        self._viewers: set[asyncio.Event] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._viewers)

    @property
    def period_s(self) -> float:
        """How often signals come."""
        return PERIODS_S["signals"] * self._stretch()

    def _stretch(self) -> float:
        nodes = len({self.backend.node, *self.backend.nodes()})
        leaders = len(self.known.get("decisions", Known()).more.get("explained", ()))
        asks_per_s = nodes * sum(1.0 / period_s for period_s in PERIODS_S.values()) + leaders / PERIODS_S["decisions"]
        return self.pace * max(1.0, asks_per_s / ASKS_PER_S)

    def join(self) -> asyncio.Event:
        """Begins if nobody looked before; the event is set whenever there is something new."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if not self._tasks and not self.closed:
            asks = self._new_asks()
            for name in PERIODS_S:
                renew = self._signals if name == "signals" else self._section
                self._tasks.append(asyncio.ensure_future(renew(name, asks)))
        woken = asyncio.Event()
        woken.set()
        self._viewers.add(woken)
        return woken

    def leave(self, woken: asyncio.Event) -> None:
        """A viewer less; after the last one all of it ends, a little later."""
        self._viewers.discard(woken)
        if not self._viewers and self._tasks and self._ending is None:
            self._ending = asyncio.get_running_loop().call_later(LINGER_S, self._stop)

    def close(self) -> None:
        """Ends, and tells the viewers."""
        self.closed = True
        self._stop()
        self._wake()

    def _stop(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self.known.clear()
        self.columns.clear()
        self.rendered.clear()

    def _wake(self) -> None:
        for woken in self._viewers:
            woken.set()

    # --- asking ------------------------------------------------------------------------------------------------------

    async def _section(self, name: str, asks: Asks) -> None:
        ask: Callable[[], Awaitable[Known]] = getattr(asks, name)
        while True:
            self._put(name, await self._tried(name, ask))
            await asyncio.sleep(PERIODS_S[name] * self._stretch())

    async def _signals(self, name: str, asks: Asks) -> None:
        async def now() -> Known:
            known, column = await asks.signals()
            self.columns.append(column)
            return known

        self._put(name, await self._tried(name, now))
        await self._before(asks)
        while True:
            await asyncio.sleep(PERIODS_S[name] * self._stretch())
            known = await self._tried(name, now)
            self._put(name, known, whole=bool(known.error))

    async def _before(self, asks: Asks) -> None:
        """What was before, put in front of the first column; without it the lines begin now."""

        async def earlier() -> Known:
            columns = [*(await asks.past()), *self.columns][-POINTS:]
            self.columns.clear()
            self.columns.extend(columns)
            return self.known["signals"]

        await self._tried("signals", earlier)
        self._put("signals", self.known["signals"], whole=True)

    async def _tried(self, name: str, ask: Callable[[], Awaitable[Known]]) -> Known:
        """What comes of asking; where nothing does, what was known before and why it is not newer."""
        before = self.known.get(name, Known())
        try:
            return await ask()
        except Unanswered as error:  # not its text, which names nodes to whoever reads it
            return Known(Gathered(before.gathered.parts, error.missing), before.more, "no node answered")
        except VagusError as error:
            text = str(error)
        except Exception as error:  # a defect of ours or of a node: the page says so and goes on
            text = DEFECT
            log.error("gateway failed", exc_info=error, extra={"where": f"overview of {name}"})
            self._failed(f"overview of {name}: {type(error).__name__}: {error}"[:300])
        return Known(before.gathered, before.more, text[:500])

    def _put(self, name: str, known: Known, whole: bool = False) -> None:
        self.known[name] = known
        self.versions[name] += 2 if whole else 1  # a viewer that is one behind needs but the newest column
        self._wake()
