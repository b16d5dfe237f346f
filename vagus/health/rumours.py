"""Which news a node still passes on: each so often that it reaches everybody, then no more."""

from __future__ import annotations

import math
from heapq import nsmallest

from vagus.health.swim_messages import MAX_UPDATES, Update

SPREAD = 4
"""SWIM's lambda: of n members each passes on what is new to it lambda * log10(n) times."""
BUDGET_BYTES = 900
"""Of news in a message: a datagram that no network has to cut up."""


class Rumours:
    """The latest update about each member, with how often it was sent; what was sent least goes first.

    Source: Das, Gupta, Motivala, SWIM (2002), section 4.1.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[int, int, Update]] = {}  # by member: times sent, size, update

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, update: Update) -> None:
        """To be told; replaces what was to be told of the same member."""
        self._waiting[update.member] = (0, update.size_bytes, update)

    def drop(self, member: str) -> None:
        """Nothing more about this member."""
        self._waiting.pop(member, None)

    def take(self, members: int, copies: int = 1) -> tuple[Update, ...]:
        """For a message that goes to `copies` of so many members: as much as fits, and at least one if there is any."""
        if not self._waiting:
            return ()
        enough = SPREAD * math.ceil(math.log10(members + 1))
        taken: list[Update] = []
        left_bytes = BUDGET_BYTES
        for sent, size_bytes, update in nsmallest(MAX_UPDATES // 2, self._waiting.values(), key=lambda item: item[0]):
            if taken and size_bytes > left_bytes:
                break
            left_bytes -= size_bytes
            taken.append(update)
            if sent + copies >= enough:
                del self._waiting[update.member]
            else:
                self._waiting[update.member] = (sent + copies, size_bytes, update)
        return tuple(taken)
