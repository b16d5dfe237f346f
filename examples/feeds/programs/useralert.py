"""Functions of a user for the tools `alert` and `accum`: a few lines of Python, named in a YAML file.

PYTHONPATH=. vagus feed run useralert.yaml --for 1m
"""

from __future__ import annotations

from vagus.feeds import Item
from vagus.feeds.formats.uptime import UptimeLine
from vagus.feeds.tools.accumulator import Accumulator


def is_rising(item: Item[UptimeLine]) -> bool | None:
    """For `alert`: the load of the last minute is twice that of the last fifteen; None where it cannot be told."""
    line = item.value
    if line is None or line.load1 is None or line.load15 is None:
        return None
    return line.load1 > 2 * line.load15


def each_tenth(item: Item[UptimeLine], seen: Accumulator) -> str:
    """For `accum`: a notice with each tenth item; no text is no notice."""
    return f"{seen.items} items so far" if seen.items % 10 == 0 else ""
