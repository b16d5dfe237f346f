"""Folds a feed into one number: the average load of this machine, of those items that have one.

python average.py --every 5s --items 12
"""

from __future__ import annotations

import argparse
from itertools import islice

import vagus
from vagus.feeds import Feed, Item, Stream, base, every, proc
from vagus.feeds.formats.uptime import Uptime, UptimeLine


def loads(period: str) -> Feed[float]:
    """The load of the last minute."""
    lines: Feed[UptimeLine] = base(proc("uptime"), every(period, timeout="5s"), Uptime(), name="load")
    return lines.where(lambda line: line.load1 is not None).map(lambda line: line.load1 or 0.0)


def average(items: Stream[float]) -> tuple[int, float]:
    """How many there are, and their mean; failed items count as none."""

    def add(seen: tuple[int, float], item: Item[float]) -> tuple[int, float]:
        count, total = seen
        return (count, total) if item.value is None else (count + 1, total + item.value)

    count, total = items.fold(add, (0, 0.0))
    return count, total / count if count else 0.0


def main() -> None:
    """Prints the average."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", default="5s")
    parser.add_argument("--items", type=int, default=12)
    given = parser.parse_args()
    with vagus.stream(loads(given.every)) as items:
        count, mean = average(Stream(islice(items, given.items)))
    print(f"average load of {count} items: {mean:.2f}")


if __name__ == "__main__":
    main()
