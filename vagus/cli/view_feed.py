"""How feeds at work look: a table of items and errors by code, drawn anew on a terminal, lines elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vagus.cli.output import byte_size, cell, counted, span
from vagus.feeds import Data, Item, Net
from vagus.model import to_builtins

if TYPE_CHECKING:
    from rich.console import Group

    from vagus.feeds.directives import Emit

NS = 1e9
GOOD_NET = (Net.OK, Net.NOT_MODIFIED)
COLUMNS = ("feed", "items", "good", "broken", "failed", "errors by code", "newest", "next tick")
FAILURES_SHOWN = 5
BROKEN = (Data.NESTED, Data.SYNTAX, Data.SEMANTIC)


class Tally:
    """What came of one feed: items, errors by code, the newest failure."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items = 0
        self.failed = 0  # the fetch failed, or was missed
        self.broken = 0  # parts of the value could not be parsed, or all of it
        self.values = 0  # items that have one, or whose old one still holds
        self.bytes = 0
        self.codes: Counter[str] = Counter()  # net codes of failures, data codes of broken values
        self.newest_ns = 0
        self.failures: dict[str, str] = {}  # of the locations that failed last, the newest at the end: how

    def add(self, emit: Emit) -> None:
        """Counts an item; one that stands for several missed ticks counts as many."""
        meta = emit.item.meta
        self.items += emit.ticks
        self.newest_ns = max(self.newest_ns, meta.arrived_ns)
        self.bytes += meta.size_bytes
        self.values += emit.item.value is not None or meta.net is Net.NOT_MODIFIED
        if meta.net not in GOOD_NET:
            self.failed += emit.ticks
            self.codes[meta.net.value] += emit.ticks
            self.failures.pop(meta.location, None)
            self.failures[meta.location] = f"{meta.net.value}: {meta.note}".rstrip(": ")
            if len(self.failures) > FAILURES_SHOWN:
                del self.failures[next(iter(self.failures))]
            return
        self.failures.pop(meta.location, None)
        if meta.data in BROKEN:
            self.broken += 1
            self.codes[meta.data.value] += 1

    @property
    def good(self) -> int:
        """Items with nothing wrong."""
        return self.items - self.failed - self.broken

    def failing(self) -> list[str]:
        """The newest failures, in words, the newest first."""
        return [f"{location}: {how}" for location, how in reversed(self.failures.items())]

    def codes_text(self) -> str:
        """`timeout 3, Syntax 2`; empty when all is well."""
        return ", ".join(f"{code} {number}" for code, number in self.codes.most_common())


def summary(tallies: Mapping[str, Tally], took_s: float) -> str:
    """One line for the end of a run."""
    codes: Counter[str] = Counter()
    for tally in tallies.values():
        codes += tally.codes
    items = sum(tally.items for tally in tallies.values())
    wrong = ", ".join(f"{code} {number}" for code, number in codes.most_common())
    size = byte_size(sum(tally.bytes for tally in tallies.values()))
    told = f"{counted(items, 'item')} of {counted(len(tallies), 'feed')} in {span(took_s)}, {size}"
    return f"{told}; {wrong}" if wrong else f"{told}, no errors"


def line(tally: Tally, next_ns: int | None, now_ns: int) -> str:
    """One feed at present, where there is no terminal to draw on."""
    codes = f"; {tally.codes_text()}" if tally.codes else ""
    return f"{tally.name}: {counted(tally.items, 'item')}, {tally.good} good{codes}; next {until(next_ns, now_ns)}"


def until(t_ns: int | None, now_ns: int) -> str:
    """When the next tick is: `in 4m59s`, `now`, or that there is none."""
    if t_ns is None:
        return "none"
    return "now" if t_ns <= now_ns else f"in {span((t_ns - now_ns) / NS)}"


def progress(tallies: Mapping[str, Tally], next_ns: Mapping[str, int | None], now_ns: int) -> Group:
    """The table that is drawn while feeds run; below it the locations that fail."""
    from rich.console import Group
    from rich.table import Table

    made = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in COLUMNS:
        made.add_column(name, justify="right" if name in COLUMNS[1:5] else "left", no_wrap=True)
    for tally in tallies.values():
        newest = f"{span(max(0.0, (now_ns - tally.newest_ns) / NS))} ago" if tally.newest_ns else "–"
        made.add_row(
            cell(tally.name),
            cell(tally.items),
            cell(tally.good, "green" if tally.good else ""),
            cell(tally.broken, "yellow" if tally.broken else ""),
            cell(tally.failed, "red" if tally.failed else ""),
            cell(tally.codes_text(), "yellow"),
            cell(newest, "dim"),
            cell(until(next_ns.get(tally.name), now_ns)),
        )
    notes = [cell(f"{name}: {text}", "yellow") for name, tally in tallies.items() for text in tally.failing()]
    return Group(made, *notes[:FAILURES_SHOWN])


def item_line(feed: str, item: Item[Any]) -> dict[str, Any]:
    """An item as a line of JSON: `feed` is the named feed, `meta.feed` the one that fetched it."""
    return {"feed": feed, "meta": to_builtins(item.meta), "value": to_builtins(item.value)}
