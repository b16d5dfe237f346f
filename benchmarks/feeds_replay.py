"""An archived hour played back: is it the same set of items, and how much faster than it came?

An hour of 100 targets each 5 s goes through runner, engine, archive and parser on a clock turned by hand; the far side
stands in the process (bodies that change, some broken; failures; ticks that were not modified). Then a fresh engine
replays the archive. Two feeds share the fetches: the reports, and one value of those above a bound (where, map).

replay_times_faster_than_live: 3600 s ÷ the seconds of the replay. replay_to_run_cpu: processor time of the replay ÷ that
of the run itself, fetching left out.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks import shown
from benchmarks.feeds_stage import BODY, MAX_FETCHES, declared, feed
from vagus.actors.feed_archive import FeedArchive
from vagus.actors.feed_runner import FeedRunner
from vagus.clock import ManualClock
from vagus.feeds import Fetched, Net
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Feed

TARGETS = 100
EVERY_S = 5.0
HOUR_S = 3600.0
NAME = "node_report_value_11"


class Far:
    """A source whose answer is a function of how often it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}

    def begin(self, location: str, timeout_s: float, max_bytes: int, done: Callable[[Fetched], None]) -> None:
        count = self.asked[location] = self.asked.get(location, 0) + 1
        fetched = Fetched(Net.OK, BODY.replace(b"1013.75", b"%d" % (count * 37 % 2000)))
        if count % 10 == 3:
            fetched = Fetched(Net.OK, BODY[: count % len(BODY)].replace(b"10", b"xx"))
        elif count % 10 == 5:
            fetched = Fetched(Net.NOT_MODIFIED)
        elif count % 50 == 7:
            fetched = Fetched(Net.TIMEOUT, note="no whole answer")
        asyncio.get_running_loop().call_soon(done, fetched)

    async def close(self) -> None:
        pass


def _feeds() -> dict[str, Feed[Any]]:
    locations = [f"http://h{n}/" for n in range(TARGETS)]
    reports = declared(feed("reports", locations, every=f"{EVERY_S}s", timeout="5s"))
    high = reports.where(lambda value: value[NAME] is not None and value[NAME] > 1000).map(lambda value: value[NAME])
    return {"reports": reports, "high": high}


async def _measure() -> dict[str, float]:
    clock, live = ManualClock(), set()
    encode = msgspec.msgpack.Encoder().encode
    begun_ns = clock.time_ns()
    with tempfile.TemporaryDirectory() as folder:
        archive = FeedArchive(folder, clock=clock)
        await archive.open()
        errors: list[str] = []
        runner = FeedRunner(
            Engine(_feeds(), now_ns=begun_ns),
            {("", "http"): Far()},  # type: ignore[dict-item]
            archive,
            emit=lambda emit: live.add((emit.feed, encode(emit.item))),
            failed=lambda where, error: errors.append(f"{where}: {error}"),
            clock=clock,
            max_fetches=MAX_FETCHES,
        )
        run_cpu_s = time.process_time()
        for _ in range(round(HOUR_S / EVERY_S)):
            clock.advance(EVERY_S)
            runner.tick()
            await runner.idle()
        run_cpu_s = time.process_time() - run_cpu_s
        await runner.stop()
        began_s, cpu_s = time.monotonic(), time.process_time()
        engine = Engine(_feeds(), now_ns=begun_ns)
        played = {(emit.feed, encode(emit.item)) for emit in engine.replay(archive.read())}
        replay_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
        await archive.close()
    if errors:
        raise RuntimeError(errors[0])
    return {
        "replay_items_live": len(live),
        "replay_items_same": len(live & played),
        "replay_items_other": len(live ^ played),
        "replay_s": replay_s,
        "replay_times_faster_than_live": HOUR_S / replay_s,
        "replay_to_run_cpu": cpu_s / run_cpu_s,
    }


def measure() -> dict[str, float]:
    """The sets compared, and the times."""
    return asyncio.run(_measure())


if __name__ == "__main__":
    shown.run(__doc__, measure)
