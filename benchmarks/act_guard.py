"""The guard, exhaustively and at random: no limit out of bounds, none left behind, on a simulated node.

Run: python -m benchmarks.act_guard [--json] [--quick] [--runs N]
Every word of four letters (of 18: wishes, doubts, refusals, crashes, stopped processes, strangers), twice, for both
ways with strangers; then N (1,000,000) random runs of 20 steps, on as many processes as there are processors. The guard,
the ladder, claims, journal entries and the order of acting are the real ones (tests/fixtures/guard_world.py).
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/fixtures"))

PART = 10_000


def _words(task: tuple[int, int, str]) -> tuple[int, list[str]]:
    """All words that begin with one letter."""
    from guard_world import LETTERS, Broken, World

    first, length, drift = task
    found, count = [], 0
    for rest in itertools.product(LETTERS, repeat=length - 1):
        count += 1
        try:
            World(drift).play((LETTERS[first], *rest))
        except Broken as broken:
            found.append(str(broken))
    return count, found[:5]


def _random(task: tuple[int, int]) -> tuple[int, list[str]]:
    from guard_world import Broken, World, random_run

    seed, runs = task
    rng, found = random.Random(seed), []
    for number in range(runs):
        try:
            World("reapply" if number % 2 else "yield").play(random_run(rng, 20))
        except Broken as broken:
            found.append(str(broken))
    return runs, found[:5]


def _row(what: str, done: list[tuple[int, list[str]]]) -> dict[str, Any]:
    found = [broken for _, some in done for broken in some]
    for broken in found[:3]:
        print(broken[:2000], file=sys.stderr)
    what = f"{what}: broken invariants in {sum(count for count, _ in done):,} runs"
    return {"what": what, "value": len(found), "unit": "runs", "bar": "= 0", "met": not found, "peer": None}


def rows(quick: bool, runs: int) -> list[dict[str, Any]]:
    from guard_world import LETTERS

    length = 3 if quick else 4
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        words = pool.map(_words, [(n, length, drift) for drift in ("yield", "reapply") for n in range(len(LETTERS))], 1)
        seeds = pool.map(_random, [(seed, min(PART, runs)) for seed in range(max(1, runs // PART))], 1)
    return [_row(f"every sequence of {length} steps", words), _row("random sequences of 20 steps", seeds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="three letters, 20,000 random runs")
    parser.add_argument("--runs", type=int, default=1_000_000)
    options = parser.parse_args()
    found = rows(options.quick, 20_000 if options.quick else options.runs)
    if options.json:
        print(json.dumps(found))
        return
    for row in found:
        print(f"{row['what']:90} {row['value']} {row['unit']} {row['bar']} {'met' if row['met'] else 'NOT MET'}")


if __name__ == "__main__":
    main()
