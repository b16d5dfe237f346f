"""A million decisions that wait for their outcome: what they hold of memory, late and repeated rewards, expiry.

Each store runs in a process of its own, so that what the others left behind does not count: `Outstanding`, which the
decide actors have (decisions decoded from bytes, with three features that are kept of each), and `Decider`.

Run: python benchmarks/decide_memory.py [--json] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from vagus.clock import NS, ManualClock
from vagus.controllers.decide.outstanding import Outstanding
from vagus.controllers.decide.table import DecisionTable
from vagus.model import Ack, Decision

ROOT = Path(__file__).parents[1]
COUNT = 1_000_000
BAR_MB = 300.0
GROUPS = 1_000
ARMS = [f"arm{at}" for at in range(10)]
AGE_S = 3600.0


def rss_mb() -> float:
    """What this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def features(at: int) -> dict[str, Any]:
    """Fifteen features, of which three name the group and are kept."""
    group = at % GROUPS
    return {
        "isp": f"isp{group}",
        "city": f"city{group % 50}",
        "os": "linux",
        **{f"f{n}": f"value{n}" for n in range(12)},
    }


def outstanding() -> dict[str, float]:
    """Decisions as they reach a decide actor."""
    table, encoder = DecisionTable(Random(1), ("isp",)), msgspec.msgpack.Encoder()
    decoder = msgspec.msgpack.Decoder(Decision)
    waiting = Outstanding(COUNT, AGE_S, ("isp", "city", "os"))
    ids: list[str] = []
    for at in range(GROUPS):  # so that the table's own caches are there
        table.decide(features(at), ARMS, 0)
    before, begin = rss_mb(), time.process_time()
    for at in range(COUNT):
        made = decoder.decode(encoder.encode(table.decide(features(at), ARMS, 0)))
        waiting.add(made, at)
        if at % 1000 == 0:
            ids.append(made.decision_id)
    spent, grown = time.process_time() - begin, rss_mb() - before
    late = AGE_S * NS
    acks = [waiting.join(one, 1.0, round(late))[0] for one in ids]
    again = [waiting.join(one, 1.0, round(late))[0] for one in ids]
    other = [waiting.join(one, 2.0, round(late))[0] for one in ids]
    unknown = waiting.join("nobody", 1.0, 0)[0]
    right = (
        {*acks} == {*again} == {Ack.ACCEPTED} and {*other} == {Ack.IGNORED} and unknown is Ack.FAILED
        and waiting.rewards == len(ids)
    )  # fmt: skip
    expired = waiting.expire(round(late) + COUNT)
    return {
        "grown_mb": grown,
        "per_s": COUNT / spent,
        "right": float(right and expired == COUNT - len(ids) and len(waiting) == 0),
    }


def decider() -> dict[str, float]:
    """Decisions that one process makes and waits for."""
    from vagus.controllers.decide.decider import Decider

    clock = ManualClock()
    one = Decider("ucb", group_by=("isp",), seed=1, max_open=COUNT, max_age_s=AGE_S, tick_s=1e6, clock=clock)
    for at in range(GROUPS):
        one.decide(features(at), ARMS)
    one.tick()
    ids: list[str] = []
    before, begin = rss_mb(), time.process_time()
    for at in range(COUNT - GROUPS):
        made = one.decide(features(at), ARMS)
        if at % 1000 == 0:
            ids.append(made.decision_id)
    spent, grown = time.process_time() - begin, rss_mb() - before
    open_before = one.figures["open"]
    clock.advance(AGE_S)
    acks = one.update_many((name, 1.0) for name in ids)
    again = one.update_many((name, 1.0) for name in ids)
    other = one.update_many((name, 2.0) for name in ids)
    right = (
        {*acks} == {*again} == {Ack.ACCEPTED} and {*other} == {Ack.IGNORED} and one.update("nobody", 1.0) is Ack.FAILED
    )
    clock.advance(1.0)
    one.tick()
    figures = one.figures
    right = right and figures["rewards"] == len(ids) and figures["open"] == 0.0
    return {
        "grown_mb": grown,
        "per_s": (COUNT - GROUPS) / spent,
        "right": float(right and open_before > 0.99 * COUNT and figures["unrewarded"] == COUNT - len(ids)),
    }


def rows(quick: bool) -> list[dict[str, Any]]:
    """For benchmarks.decide: what, value, unit, bar, met, peer."""
    found = []
    for what, store in (("Outstanding, 3 features kept", "outstanding"), ("Decider", "decider")):
        command = [sys.executable, "-m", "benchmarks.decide_memory", "--store", store]
        done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=900)
        measured = json.loads(done.stdout)
        name = f"1M decisions outstanding: {what}"
        found += [
            _row(name, round(measured["grown_mb"], 1), "MB", f"<= {BAR_MB:g}", measured["grown_mb"] <= BAR_MB),
            _row(
                f"{name}: late, repeated, other, unknown, expired",
                measured["right"],
                "right",
                "1",
                measured["right"] == 1.0,
            ),
        ]
    return found


def _row(what: str, value: float, unit: str, bar: str, met: bool) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "bar": bar, "met": met, "peer": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="as without: it takes seconds")
    parser.add_argument("--store", choices=("outstanding", "decider"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.store:
        print(json.dumps({"outstanding": outstanding, "decider": decider}[options.store]()))
        return
    found = rows(options.quick)
    if options.json:
        print(json.dumps(found))
        return
    for one in found:
        print(f"{one['what']:88} {one['value']:>8} {one['unit']:6} {one['bar']:8} {'met' if one['met'] else 'NOT MET'}")


if __name__ == "__main__":
    main()
