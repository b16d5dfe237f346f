"""Slices a feed by time: every so often the busiest processors since then (map, filter, slice_until, later_than).

python busiest.py --window 60 --windows 5
"""

from __future__ import annotations

import argparse
import heapq
import time
from collections.abc import Iterator

import vagus
from vagus.feeds import Feed, Record, Stream, all_, base, every, later_than, lines, one_of


class Cpu(Record, layout="cpu{number} {user} {nice} {system} {idle} {rest}"):
    """A processor's line in /proc/stat: ticks since the start."""

    number: int
    user: int
    nice: int
    system: int
    idle: int
    rest: str


class Other(Record, layout="{text}"):
    """Any other line."""

    text: str


def processors(period: str) -> Feed[Cpu]:
    """An item for each processor, each time."""
    stat = base(all_("file:/proc/stat"), every(period, timeout="5s"), lines(one_of(Cpu, Other)), name="stat")
    return stat.flatten().where(Cpu, failed="drop")


def busiest(items: Stream[Cpu], window_s: float, windows: int, most: int = 3) -> Iterator[list[tuple[int, int]]]:
    """For each window the processors with most ticks of work in it: (ticks, number)."""
    for _ in range(windows):
        part, items = items.slice_until(later_than(time.time() + window_s))
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for cpu in part.filter(lambda cpu: cpu.number is not None).contents():
            worked = cpu.user + cpu.nice + cpu.system
            first.setdefault(cpu.number, worked)
            last[cpu.number] = worked
        yield heapq.nlargest(most, ((last[number] - first[number], number) for number in last))


def main() -> None:
    """Prints a line for each window."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", default="1s")
    parser.add_argument("--window", type=float, default=60.0, help="seconds")
    parser.add_argument("--windows", type=int, default=5)
    given = parser.parse_args()
    with vagus.stream(processors(given.every)) as items:
        for found in busiest(items, given.window, given.windows):
            print(", ".join(f"cpu{number} {ticks}" for ticks, number in found) or "nothing came", flush=True)


if __name__ == "__main__":
    main()
