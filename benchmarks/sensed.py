"""The collector's own path from sensors to store and live view, driven tick by tick with made times."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from vagus.actors.outbox import Outbox
from vagus.actors.sensing import Sensing
from vagus.config import CollectSettings, Config, ForecastSettings


class Alone:
    """Links to nobody."""

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        return [None] * len(args[0]) if args else None

    def nodes(self) -> tuple[str, ...]:
        return ("bench",)


class Sensed:
    """`actors.sensing.Sensing` in this thread; inside a running event loop."""

    def __init__(self, folder: Path, collect: CollectSettings | None = None, forecast: bool = False) -> None:
        config = Config(collect=collect or CollectSettings(), forecast=ForecastSettings(enabled=forecast))
        self._outbox = Outbox("bench", "bench", Alone())
        self.failures: list[str] = []
        self._sensing = Sensing(
            "vagus:collector@bench",
            "bench",
            folder / "store",
            config,
            self._outbox,
            lambda where, error: self.failures.append(f"{where}: {error}"),
        )
        self.live = self._sensing.live
        self.series = 0
        self.stored_ms = 0.0
        self._write = self._sensing._write
        self._sensing._write = self._timed_write  # type: ignore[method-assign]

    def _timed_write(self, *args: Any) -> None:
        begin = time.thread_time()
        self._write(*args)
        self.stored_ms = (time.thread_time() - begin) * 1e3

    async def tick(self, t_ns: int) -> float:
        """CPU milliseconds of a tick: collectors, append, flush, live view."""
        begin = time.thread_time()
        samples, _ = self._sensing._tick(t_ns)
        await asyncio.sleep(0)  # the live view is told in the loop
        spent = time.thread_time() - begin
        self.series = sum(len(sample.values) for sample in samples)
        return spent * 1e3

    def upkeep(self) -> None:
        """What the actor does each minute."""
        self._sensing.store.sync()
        self._sensing._retain(30 * 86_400.0, 4 << 30)

    def tell(self) -> None:
        """What it tells its observer each ten seconds, to nobody."""
        self._sensing._told_s = 0.0
        self._sensing._tell_senses()
        self._outbox._reports.clear()

    def seal_ms(self) -> float:
        """CPU milliseconds of sealing what is in the head."""
        begin = time.thread_time()
        self._sensing.store.seal()
        return (time.thread_time() - begin) * 1e3

    async def close(self) -> None:
        """Closes the store."""
        await self._sensing.close()
