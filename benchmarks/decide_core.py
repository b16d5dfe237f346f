"""Decide and learn in one process, 10 arms: per second of one core, ticks included, with 1,000 and 100,000 groups.

A tick comes every half second of CPU. value is the median over the periods between ticks, best the best of them: on a
machine that others use, bars are judged by the best. The bar of batches is that of columns of numbers;
text, as lists of str, costs a look-up in a dictionary each. Peer: the plainest loop in pure Python that decides
and learns (an epsilon-greedy choice in lists by group; no ids, no propensities, no late rewards).

Run: python benchmarks/decide_core.py [--json] [--quick]
"""

from __future__ import annotations

import argparse
import json
import time
from bisect import bisect_right
from collections.abc import Callable
from random import Random
from statistics import median
from typing import Any

import numpy as np

from vagus.controllers.decide.decider import Decider
from vagus.controllers.decide.learner import Learner

ARMS = tuple(f"arm{at}" for at in range(10))
WORTH = {arm: at / 10 for at, arm in enumerate(ARMS)}
REWARDS = [at / 10 for at in range(10)]
GROUPS = (1_000, 100_000)
POLICY = "ucb"  # lists of 10 slots
CHUNK = 20_000
TICK_S = 0.5
FOREVER_S = 1e6


def timed(work: Callable[[], object]) -> float:
    """CPU seconds that it takes."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def rates(chunk: Callable[[], object], tick: Callable[[], object], size: int, periods: int) -> tuple[float, float]:
    """Decisions with their rewards per CPU second, from tick to tick: median and best period."""
    found = []
    for _ in range(periods):
        spent, count = 0.0, 0
        while spent < TICK_S:
            spent += timed(chunk)
            count += size
        found.append(count / (spent + timed(tick)))
    return median(found), max(found)


def core(groups: int, periods: int) -> tuple[float, float]:
    """Draw from the group's list, note the reward; folded in at ticks."""
    learner = Learner(POLICY, {}, np.random.default_rng(1))
    for at in range(groups):
        learner.met(f"g{at}", ARMS)
    learner.advance(0)
    banks: Any = learner.minds
    known, random = list(banks.groups.values()), Random(1).random
    order = np.random.default_rng(2).integers(groups, size=CHUNK).tolist()

    def chunk() -> None:
        rewards = REWARDS
        for number in order:
            group = known[number]
            at, lists, banked = group.at, group.lists, group.banked
            place = bisect_right(lists.cumulated, random(), at, at + lists.width) - at
            banked.cells.append(group.cell + place)
            banked.values.append(rewards[place])

    return rates(chunk, lambda: learner.advance(0), CHUNK, periods)


def single(groups: int, periods: int) -> tuple[float, float]:
    """`Decider.decide`, and `update` with what the arm is worth."""
    decider = Decider(POLICY, group_by=("isp",), seed=1, tick_s=FOREVER_S)
    names = [f"g{at}" for at in range(groups)]
    _teach(decider, names)
    order = np.random.default_rng(2).integers(groups, size=CHUNK).tolist()

    def chunk() -> None:
        decide, update, worth = decider.decide, decider.update, WORTH
        for number in order:
            made = decide({"isp": names[number]}, ARMS)
            update(made.decision_id, worth[made.arm])

    return rates(chunk, decider.tick, CHUNK, periods)


def batched(groups: int, periods: int, texts: bool) -> tuple[float, float]:
    """`Decider.decide_columns` and `update_columns`, 10,000 at a time; groups by number, or by text."""
    decider = Decider(POLICY, group_by=("isp",), seed=1, tick_s=FOREVER_S)
    names: Any = [f"g{at}" for at in range(groups)] if texts else np.arange(groups)
    _teach(decider, names)
    numbers = np.random.default_rng(2).integers(groups, size=(8, 10_000))
    columns: list[Any] = [[names[at] for at in row] for row in numbers.tolist()] if texts else list(numbers)
    worth = np.array(REWARDS)

    def chunk() -> None:
        for column in columns:
            batch = decider.decide_columns({"isp": column}, ARMS)
            decider.update_columns(batch.keys, worth[batch.index])

    return rates(chunk, decider.tick, numbers.size, periods)


def _teach(decider: Decider, names: Any) -> None:
    for _ in range(3):
        batch = decider.decide_columns({"isp": names}, ARMS)
        decider.update_columns(batch.keys, np.array(REWARDS)[batch.index])
        decider.tick()


def tick_ms(groups: int, repeats: int) -> tuple[float, float]:
    """A tick over so many active groups, a reward in each: learned, weighed, ready to draw from."""
    decider = Decider(POLICY, group_by=("isp",), seed=1, tick_s=FOREVER_S)
    names = np.arange(groups)
    _teach(decider, names)
    costs = []
    for _ in range(repeats):
        batch = decider.decide_columns({"isp": names}, ARMS)
        decider.update_columns(batch.keys, np.array(REWARDS)[batch.index])
        costs.append(1e3 * timed(decider.tick))
    return median(costs), min(costs)


def update_ms(groups: int, repeats: int) -> tuple[float, float]:
    """The same tick as an update for tables elsewhere: rows of names and tuples."""
    learner = Learner(POLICY, {}, np.random.default_rng(1))
    costs = []
    for _ in range(repeats):
        for at in range(groups):
            learner.met(f"g{at}", ARMS)
        costs.append(1e3 * timed(lambda: learner.tick(0)))
    return median(costs[1:]), min(costs[1:])


def plain(groups: int, periods: int) -> tuple[float, float]:
    """The peer: epsilon-greedy in pure Python."""
    random = Random(1).random
    sums = [[0.0] * len(ARMS) for _ in range(groups)]
    counts = [[1e-9] * len(ARMS) for _ in range(groups)]
    order = np.random.default_rng(2).integers(groups, size=CHUNK).tolist()

    def chunk() -> None:
        for number in order:
            total, count = sums[number], counts[number]
            if random() < 0.1:
                at = int(random() * 10)
            else:
                means = [one / n for one, n in zip(total, count, strict=True)]
                at = means.index(max(means))
            total[at] += REWARDS[at]
            count[at] += 1.0

    costs = [timed(chunk) / CHUNK for _ in range(5 * periods)]
    return 1.0 / median(costs), 1.0 / min(costs)


def rows(quick: bool) -> list[dict[str, Any]]:
    """For benchmarks.decide: what, value, best, unit, bar, met, peer."""
    periods = 3 if quick else 9

    def row(what: str, found: tuple[float, float], unit: str, bar: float | None, peer: float | None = None) -> Any:
        value, best = (round(number, 1) if unit == "ms" else round(number) for number in found)
        met = None if bar is None else best <= bar if unit == "ms" else best >= bar
        shown = None if bar is None else f"{'<=' if unit == 'ms' else '>='} {bar:,g}"
        about = None if peer is None else f"{peer:,.0f} (pure Python epsilon-greedy), ratio {best / peer:.2f}"
        return {"what": what, "value": value, "best": best, "unit": unit, "bar": shown, "met": met, "peer": about}

    found = []
    for groups, core_bar, slots_bar, single_bar in ((1_000, 500e3, 1.3e6, 350e3), (100_000, 300e3, 600e3, 220e3)):
        name = f"{groups:,} groups"
        peer = plain(groups, periods)[1]
        measured = core(groups, periods)
        found += [
            row(f"policy core, {name}", measured, "1/CPU-s", core_bar, peer),
            row(f"policy core, {name}, as slot lists", measured, "1/CPU-s", slots_bar),
            row(f"decide + update, {name}", single(groups, periods), "1/CPU-s", single_bar, peer),
            row(f"decide + update, {name}, columns of numbers", batched(groups, periods, False), "1/CPU-s", 2e6, peer),
            row(f"decide + update, {name}, columns of text", batched(groups, periods, True), "1/CPU-s", None, peer),
        ]
    repeats = 7 if quick else 15
    return [
        *found,
        row("tick over 100,000 groups, 10 slots", tick_ms(100_000, repeats), "ms", 100.0),
        row("the same as a TableUpdate", update_ms(100_000, 4), "ms", None),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    found = rows(options.quick)
    if options.json:
        print(json.dumps(found))
        return
    for one in found:
        met = "" if one["met"] is None else "met" if one["met"] else "NOT MET"
        print(
            f"{one['what']:58} {one['value']:>12,} best {one['best']:>12,} {one['unit']:8} "
            f"{one['bar'] or '':14} {met:8} {one['peer'] or ''}"
        )


if __name__ == "__main__":
    main()
