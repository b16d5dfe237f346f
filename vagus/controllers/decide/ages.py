"""Who was active least lately, of very many: exact, and paid for only when somebody has to go."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from vagus.controllers.decide.banked import Group


class Ages:
    """A heap of the groups by when each was last known to be active; looked up again when one comes to the top."""

    def __init__(self, groups: Mapping[str, Group]) -> None:
        self._groups = groups
        self._heap: list[tuple[int, int, Group]] = []  # empty until it is needed

    def add(self, group: Group) -> None:
        """A group that is new."""
        if self._heap:
            heapq.heappush(self._heap, (_seen(group), id(group), group))

    def oldest(self) -> Group:
        """The one that was active least lately; there must be one."""
        groups = self._groups
        if not self._heap or len(self._heap) > 2 * len(groups) + 1000:
            self._heap = [(_seen(group), id(group), group) for group in groups.values()]
            heapq.heapify(self._heap)
        while True:
            age, _, group = heapq.heappop(self._heap)
            if groups.get(group.name) is not group:
                continue
            if _seen(group) == age:
                return group
            heapq.heappush(self._heap, (_seen(group), id(group), group))


def _seen(group: Group) -> int:
    return int(group.banked.seen[group.row])
