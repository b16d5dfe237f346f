"""The message plane between nodes that decide: what forwarding costs, and how long a reward takes to change a table.

Two decide actors with real logs, linked in this process by bytes (what Ray carries between processes): sessions at one,
their group led by the other. The limit is what packing and unpacking the same outcomes costs alone. A restart on a log
of a million decisions is measured too.

python benchmarks/decide_plane.py [--json] [--rate 2000] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from vagus.actors.base import Seat
from vagus.actors.decide import DecideActor
from vagus.config import Config, DecideSettings, StoreSettings
from vagus.controllers.decide.mail import Letter
from vagus.controllers.decide.plan import prefix_of
from vagus.controllers.decide.records import Grouping, Outcome, Plan
from vagus.controllers.decide.table import DecisionTable
from vagus.errors import PeerUnreachable
from vagus.model import Decision, Reward

ARMS = tuple(f"arm-{n}" for n in range(10))
NODES = ("n1", "n2")
BATCH = 500


class Plane:
    """Two nodes; `tables` are their gateways'."""

    def __init__(self, home: Path, tick: str) -> None:
        self.home = home
        self.settings = DecideSettings(policy="ucb", group_by=("isp",), tick=tick)
        self.tables = {node: self.table(node) for node in NODES}
        self.actors: dict[str, DecideActor] = {}
        self.changed = asyncio.Event()

    def table(self, node: str) -> DecisionTable:
        return DecisionTable(Random(1), Grouping(0, ("isp",)), prefix=prefix_of(node))

    async def start(self, node: str) -> float:
        """Starts an actor; seconds until it serves."""
        store = StoreSettings(map_bytes=8 << 30)
        seat = Seat("decide", node, str(self.home), Config(decide=self.settings, store=store), options={"head": "n1"})
        actor = self.actors[node] = DecideActor(seat, self)
        began_s = time.perf_counter()
        await actor.begin()
        return time.perf_counter() - began_s

    def nodes(self) -> tuple[str, ...]:
        return NODES

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        role, node = actor.removeprefix("vagus:").split("@")
        await asyncio.sleep(0)
        if node not in self.actors:
            raise PeerUnreachable(f"{actor} is not there")
        if role == "decide":
            return await getattr(self.actors[node], method)(*args)
        self.tables[node].apply(args[0])
        if node == "n2":
            self.changed.set()
        return None

    def lead(self, leader: str, groups: int) -> None:
        """`leader` leads all groups, whatever the backend thinks."""
        self.actors["n1"]._planner = None
        plan = Plan(1, Grouping(0, ("isp",)), {str(group): leader for group in range(groups)})
        for actor in self.actors.values():
            actor._leading.follow(plan)

    async def end(self) -> None:
        for actor in self.actors.values():
            await actor.end()


def _batch(plane: Plane, node: str, count: int, groups: int, random: Random) -> tuple[list[Decision], list[Reward]]:
    now_ns = time.time_ns()
    drawn = [plane.tables[node].decide({"isp": str(random.randrange(groups))}, ARMS, now_ns) for _ in range(count)]
    return drawn, [Reward(d.decision_id, now_ns, random.random()) for d in drawn]


async def _forwarded(plane: Plane, count: int, groups: int, rate: float) -> dict[str, float]:
    """CPU for sessions of n2 that n1 leads: all of it, both nodes; at `rate` a second, or (0) as fast as it goes."""
    random, leader = Random(2), plane.actors["n1"]
    learned = leader.figures()["learned"]
    began_s, cpu_s, spent_s = time.perf_counter(), time.process_time(), 0.0
    for at in range(0, count, BATCH):
        drawing_s = time.process_time()
        drawn, rewards = _batch(plane, "n2", BATCH, groups, random)
        spent_s += time.process_time() - drawing_s
        await plane.actors["n2"].decided(drawn)
        await plane.actors["n2"].rewarded(rewards)
        if rate:
            await asyncio.sleep(max(0.0, began_s + (at + BATCH) / rate - time.perf_counter()))
    while leader.figures()["learned"] - learned < count:
        await asyncio.sleep(0.005)
    cpu = time.process_time() - cpu_s - spent_s
    elapsed_s = time.perf_counter() - began_s
    return {"cpu_us": 1e6 * cpu / count, "per_cpu_s": count / cpu, "per_s": count / elapsed_s}


async def _latency(plane: Plane, times: int) -> list[float]:
    """Seconds from a reward at n2, of a new group that n1 leads, to its row in the table of n2's gateway."""
    random, found = Random(3), []
    table, actor = plane.tables["n2"], plane.actors["n2"]
    for at in range(times):
        await asyncio.sleep(random.uniform(0.0, 0.5))
        drawn = table.decide({"isp": f"new{at}"}, ARMS, time.time_ns())
        await actor.decided([drawn])
        began_s = time.perf_counter()
        await actor.rewarded([Reward(drawn.decision_id, drawn.t_ns, 1.0)])
        while table.explain(drawn.group) is None:
            plane.changed.clear()
            await asyncio.wait_for(plane.changed.wait(), 10.0)
        found.append(time.perf_counter() - began_s)
    return found


def _packing(count: int) -> float:
    """Outcomes a second of CPU through packing and unpacking alone."""
    random = Random(4)
    outcomes = tuple(Outcome(str(n % 100), ARMS[n % 10], random.random(), 0.1, {}, ARMS) for n in range(count))
    letter = Letter(1, tuple(range(count)), outcomes)
    began_s = time.process_time()
    msgspec.msgpack.decode(msgspec.msgpack.encode(letter), type=Letter)
    return count / (time.process_time() - began_s)


async def _restart(home: Path, decisions: int) -> dict[str, float]:
    """Seconds until an actor serves on a log of so many decisions, half of them rewarded, the last 5,000 unsaved."""
    plane = Plane(home, "1h")
    await plane.start("n1")
    actor, random = plane.actors["n1"], Random(5)
    for _ in range(0, decisions, 5_000):
        drawn, rewards = _batch(plane, "n1", 5_000, 1_000, random)
        await actor.decided(drawn)
        await actor.rewarded(rewards[::2])
    await actor.save()
    actor._save_due_s = time.monotonic() + 3600
    drawn, rewards = _batch(plane, "n1", 5_000, 1_000, random)
    await actor.decided(drawn)
    await actor.rewarded(rewards)
    for task in list(actor._tasks):  # as kill -9
        task.cancel()
    await asyncio.gather(*actor._tasks, return_exceptions=True)
    await actor._opened.close()
    started_s = await plane.start("n1")
    began_s = time.perf_counter()
    await plane.actors["n1"].rewarded([Reward(d.decision_id, 1, 0.5) for d in drawn[:1000]])
    recalled_s = (time.perf_counter() - began_s) / 1000
    groups = float(len(plane.actors["n1"]._learner))
    await plane.end()
    return {"start_s": started_s, "recall_us": 1e6 * recalled_s, "groups": groups}


async def _measure(quick: bool, rate: float) -> list[dict[str, Any]]:
    count = 20_000 if quick else 100_000
    with tempfile.TemporaryDirectory(prefix="vagus-bench-") as folder:
        plane = Plane(Path(folder), "0.5s")
        for node in NODES:
            await plane.start(node)
        plane.lead("n2", 100)
        local = await _forwarded_here(plane, count)
        plane.actors["n1"]._leading.follow(Plan(2, Grouping(0, ("isp",)), {str(group): "n1" for group in range(100)}))
        plane.actors["n2"]._leading.follow(plane.actors["n1"]._leading.view.plan)
        flood = await _forwarded(plane, count, 100, 0.0)
        paced = await _forwarded(plane, round(min(count, 5 * rate)), 100, rate)
        waits = await _latency(plane, 8 if quick else 30)
        await plane.end()
    with tempfile.TemporaryDirectory(prefix="vagus-bench-") as folder:
        decisions = 100_000 if quick else 1_000_000
        again = await _restart(Path(folder), decisions)
    limit = _packing(min(count, 50_000))
    return [
        _row("decide+update logged and learned at its own node, of CPU", local["per_cpu_s"], "1/s"),
        _row("decide+update logged, forwarded and learned at another node, of CPU of both", flood["per_cpu_s"], "1/s"),
        _row("of that, forwarding: CPU more than at its own node", flood["cpu_us"] - local["cpu_us"], "us"),
        _row("packing and unpacking outcomes alone, of CPU", limit, "1/s", peer="limit"),
        _row(f"forwarded at {rate:g}/s: reached", paced["per_s"], "1/s"),
        _row(f"forwarded at {rate:g}/s: CPU of both nodes a session", paced["cpu_us"], "us"),
        _row("reward to changed table at a subscriber, median", statistics.median(waits), "s"),
        _row("reward to changed table at a subscriber, longest", max(waits), "s"),
        _row(f"start after kill -9 on a log of {decisions} decisions", again["start_s"], "s"),
        _row("a late reward whose decision is found in the log", again["recall_us"], "us"),
    ]


async def _forwarded_here(plane: Plane, count: int) -> dict[str, float]:
    """As `_forwarded`, where n2 leads itself."""
    random, actor = Random(2), plane.actors["n2"]
    cpu_s, spent_s = time.process_time(), 0.0
    for _ in range(0, count, BATCH):
        drawing_s = time.process_time()
        drawn, rewards = _batch(plane, "n2", BATCH, 100, random)
        spent_s += time.process_time() - drawing_s
        await actor.decided(drawn)
        await actor.rewarded(rewards)
    cpu = time.process_time() - cpu_s - spent_s
    return {"cpu_us": 1e6 * cpu / count, "per_cpu_s": count / cpu}


def _row(what: str, value: float, unit: str, peer: str = "") -> dict[str, Any]:
    return {"what": what, "value": round(value, 4), "unit": unit, "bar": None, "met": None, "peer": peer}


def rows(quick: bool = False, rate: float = 2000.0) -> list[dict[str, Any]]:
    """The measurements, for `benchmarks.decide`."""
    return asyncio.run(_measure(quick, rate))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rate", type=float, default=2000.0)
    given = parser.parse_args(arguments)
    found = rows(given.quick, given.rate)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for row in found:
        print(f"{row['value']:>14,.4g} {row['unit']:<4} {row['what']}")


if __name__ == "__main__":
    main(sys.argv[1:])
