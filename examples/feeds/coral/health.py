"""What counts as a sick node of Coral: more than one request in ten fails at it. (One that is silent: `missing`.)"""

from __future__ import annotations

from vagus.feeds import Item
from vagus.feeds.formats.weblog import CombinedLog

MOST_FAILURES = 0.1


def is_sick(item: Item[list[CombinedLog]]) -> bool:
    """For the tool `alert`, which asks only of logs that came."""
    lines = item.value or []
    failed = sum(1 for line in lines if line is not None and (line.status or 0) >= 500)
    return failed > MOST_FAILURES * len(lines)
