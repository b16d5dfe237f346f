"""The supervisor's rounds on simulated nodes: CPU of its real code (plan, fleet, news), and what it hands out.

    python -m benchmarks.reconcile [--json] [--quick] [--nodes 10 100 1000 3000]

Ray is a stand-in whose actors answer at once, so that what Ray's own calls cost is not in the figures; how many calls a
round makes, and their bytes (pickled, as Ray does), are. A reconcile is a whole round: the table of nodes, the desired
seats, the difference, pings, news to all actors. `first`: every actor is to be started; `steady`: nothing to do; `lost`:
a hundredth of the nodes is gone (a round tells TOLD_A_ROUND actors at most, so that what follows in the next rounds is
a row of its own). The bar is Ray-free CPU of one round with 1000 nodes. Peer: a pass over all actors that does nothing
but compare two attributes, on the same machine in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import pickle
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from vagus.actors.base import Seat
from vagus.actors.heap import settle
from vagus.config import Config
from vagus.runtime import plan
from vagus.runtime.fleet import Fleet
from vagus.runtime.links import ActorGone

SIZES = (10, 100, 1000, 3000)
BAR_MS = 50.0
BAR_NODES = 1000
STEADY_ROUNDS = 60
PERIOD_S, LEAST_S = 2.0, 0.1  # the supervisor's
LOST_RATIO = 0.01


class Process:
    """An actor that answers at once."""

    def __init__(self, engine: Engine, seat: Seat, node_id: str, pid: int) -> None:
        self.seat, self.node_id, self.pid = seat, node_id, pid
        self._engine = engine
        self._gone = asyncio.Event()

    async def ask(self, method: str, *args: Any, timeout_s: float) -> Any:
        """As Shell would; counted."""
        self._engine.asked(method, args)
        if method == "stay":
            await self._gone.wait()
            raise ActorGone(f"{self.seat.name}: it died")
        if method == "ping":
            return self.pid, 0.0
        if method == "call" and args[0] in ("address", "probe_address"):
            return "10.0.0.1", self.pid % 65536
        return None

    def kill(self) -> None:
        """Ends it."""
        self._gone.set()
        self._engine.running.pop(self.seat.name, None)


class Engine:
    """So many nodes, the first of which is the head. weigh: whether the bytes of calls are counted."""

    def __init__(self, count: int) -> None:
        self.table = [
            {
                "NodeID": f"{number:056x}",
                "Alive": True,
                "NodeManagerHostname": f"node-{number:05}",
                "NodeName": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
                "Resources": {"CPU": 64.0, "node:__internal_head__": 1.0} if number == 0 else {"CPU": 64.0},
                "Labels": {},
            }
            for number in range(count)
        ]
        self.running: dict[str, Process] = {}
        self.weigh = False
        self.calls = self.sent_bytes = 0

    def asked(self, method: str, args: tuple[Any, ...]) -> None:
        """Counts a call."""
        self.calls += 1
        if self.weigh:
            self.sent_bytes += len(pickle.dumps((method, args), protocol=5))

    def lose(self, count: int) -> None:
        """The last nodes are gone."""
        for node in self.table[-count:]:
            node["Alive"] = False

    async def nodes(self) -> list[Mapping[str, Any]]:
        return list(self.table)

    async def names(self) -> list[str]:
        return list(self.running)

    async def find(self, name: str) -> Process:
        if name not in self.running:
            raise ActorGone(name)
        return self.running[name]

    async def create(self, seat: Seat, node_id: str, nodes: Sequence[str]) -> Process:
        made = self.running[seat.name] = Process(self, seat, node_id, len(self.running) + 1)
        return made

    async def left(self) -> set[str]:
        return set()

    async def set_left(self, node_ids: Iterable[str]) -> None: ...


class Time:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def quiet_log() -> Any:
    """The log is a file's matter: here it goes nowhere, but is formatted for as long as it would be."""
    log = logging.getLogger("vagus")
    before, level = log.propagate, log.level
    log.propagate = False
    log.addHandler(logging.NullHandler())
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.propagate = before
        log.setLevel(level)


class World:
    """A fleet over an engine of so many nodes."""

    def __init__(self, nodes: int, config: Config | None = None) -> None:
        self.clock = Time()
        self._settled = -1
        self.engine = Engine(nodes)
        self.fleet = Fleet(config or Config(), "/home", {"token": "t" * 32, "key": bytes(32)}, self.engine, self.clock)

    async def round_ms(self, after_s: float = PERIOD_S) -> float:
        """CPU of one round, in ms; so much time has passed since the one before."""
        self.clock.now_s += after_s
        if len(self.fleet.seen) > 2 * self._settled:  # as the supervisor does
            self._settled = len(self.fleet.seen)
            settle()
        began_s = time.thread_time()
        await self.fleet.round()
        return (time.thread_time() - began_s) * 1e3

    async def settle(self) -> float:
        """What was begun ends; CPU in ms."""
        began_s = time.thread_time()
        while any(seen.state != "HEALTHY" for seen in self.fleet.seen.values()):
            await asyncio.sleep(0)
        return (time.thread_time() - began_s) * 1e3

    async def told(self) -> tuple[float, float, int]:
        """Rounds until nobody needs to be told more: longest in ms, all together in ms, how many."""
        rounds = []
        while self.fleet.changed.is_set() or not rounds:
            rounds.append(await self.round_ms(LEAST_S))
        return max(rounds), sum(rounds), len(rounds)


async def measure(nodes: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of one size."""
    world = World(nodes)
    engine = world.engine
    first_ms = await world.round_ms()
    seats = len(world.fleet.seen)
    started_ms = await world.settle()
    news = await world.told()
    for _ in range(3):
        await world.round_ms()
    steady = [await world.round_ms() for _ in range(rounds)]
    wanted_ms, compared_ms, bare_ms = _plan_ms(world, max(3, rounds // 10))
    engine.weigh, engine.calls, engine.sent_bytes = True, 0, 0
    for _ in range(5):
        await world.round_ms()
    calls, sent_bytes = engine.calls / 5, engine.sent_bytes / 5
    engine.weigh, engine.calls, engine.sent_bytes = False, 0, 0
    lost = max(1, round(nodes * LOST_RATIO))
    engine.lose(lost)
    lost_ms = await world.round_ms()
    after = await world.told()
    engine.weigh, engine.calls, engine.sent_bytes = True, 0, 0
    engine.lose(lost * 2)
    await world.round_ms()
    await world.told()
    await world.fleet.stop()

    def row(what: str, value: float, unit: str, bar: bool = False) -> dict[str, Any]:
        bar = bar and nodes == BAR_NODES
        met = value <= BAR_MS if bar else None
        text = f"≤ {BAR_MS:g} ms" if bar else None
        name = f"{nodes} nodes: {what}"
        return {"what": name, "value": round(value, 3), "unit": unit, "bar": text, "met": met, "peer": None}

    p99 = statistics.quantiles(steady, n=100)[98] if len(steady) > 1 else steady[0]
    return [
        row("actors", seats, "actors"),
        row("first round, everything to start", first_ms, "ms", True),
        row("actors started, after it", started_ms, "ms"),
        row("then rounds until all are told, longest", news[0], "ms", True),
        row("steady round, median", statistics.median(steady), "ms", True),
        row("steady round, 99th", p99, "ms", True),
        row(f"round in which {lost} nodes are gone", lost_ms, "ms", True),
        row("then rounds until all are told, longest", after[0], "ms", True),
        row("all rounds of it", lost_ms + after[1], "ms"),
        row("rounds of it", 1 + after[2], "rounds"),
        row("plan.desired, not remembered", wanted_ms, "ms"),
        row("plan.reconcile, nothing to do", compared_ms, "ms"),
        {**row("plan.reconcile ÷ a pass that only compares", compared_ms / bare_ms, "ratio"), "peer": "bare pass"},
        row("steady: calls a round", calls, "calls"),
        row("steady: handed out a round", sent_bytes, "bytes"),
        row(f"{lost} nodes gone: calls", engine.calls, "calls"),
        row(f"{lost} nodes gone: handed out", engine.sent_bytes, "bytes"),
    ]


def _plan_ms(world: World, times: int) -> tuple[float, float, float]:
    """desired, reconcile, and the bare pass, medians in ms."""
    fleet = world.fleet
    options = {"token": "t"}
    nodes = [plan.Node(node_id, name, at == 0) for at, (node_id, name) in enumerate(fleet.node_names.items())]
    wanted = plan.desired(fleet.config, "/home", nodes, (), options)

    def bare() -> int:
        return sum(seen.state == "HEALTHY" and seen.missed == 0 for seen in fleet.seen.values())

    def median_ms(work: Callable[[], object]) -> float:
        spent = []
        for _ in range(times):
            began_s = time.thread_time()
            work()
            spent.append((time.thread_time() - began_s) * 1e3)
        return statistics.median(spent)

    now_s = world.clock()
    return (
        median_ms(lambda: plan.desired(fleet.config, "/home", nodes, (), options)),
        median_ms(lambda: plan.reconcile(wanted, fleet.seen, fleet.node_names, now_s)),
        median_ms(bare),
    )


def rows(quick: bool = False, sizes: Sequence[int] = ()) -> list[dict[str, Any]]:
    """All sizes: what, value, unit, bar, met, peer."""
    found: list[dict[str, Any]] = []
    with quiet_log():
        for nodes in sizes or (SIZES[:2] if quick else SIZES):
            found += asyncio.run(measure(nodes, STEADY_ROUNDS // 4 if quick else STEADY_ROUNDS))
    return found


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="up to 100 nodes, fewer rounds")
    parser.add_argument("--nodes", type=int, nargs="+", default=(), metavar="N", help="sizes, instead of 10 to 3000")
    given = parser.parse_args(arguments)
    if any(not 1 < nodes <= 20_000 for nodes in given.nodes):
        parser.error("--nodes: 2 to 20000 each")
    found = rows(given.quick, given.nodes)
    if given.json:
        print(json.dumps(found))
        return
    for row in found:
        met = "" if row["met"] is None else "met" if row["met"] else "NOT MET"
        print(f"{row['what']:72} {row['value']:>14,.3f} {row['unit']:7} {row['bar'] or '':8} {met}")


if __name__ == "__main__":
    main(sys.argv[1:])
