"""What a peer lacks, put into datagrams.

Each says with its reports which other numbers of their origins need not be sent. Only what travels in one datagram
vouches for its range, so that a lost one leaves a gap that is asked for again, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from vagus.health.gossip_messages import Cover, Push, encode
from vagus.health.known import Gap
from vagus.health.origin import Origin

MAX_COVERS = 16
"""Told of one range; what more there is will be asked for again."""


class _Datagrams:
    """Push messages under way: the open one, and those that are full."""

    def __init__(self, chunk_bytes: int, epoch: int) -> None:
        self.chunk_bytes = chunk_bytes
        self.epoch = epoch
        self.full: list[Push] = []
        self._reports: list[msgspec.Raw] = []
        self._covers: list[Cover] = []
        self._bytes = 0

    def fits(self, size: int) -> bool:
        return not self._bytes or self._bytes + size <= self.chunk_bytes

    def add(self, data: bytes) -> None:
        self._reports.append(msgspec.Raw(data))
        self._bytes += len(data)

    def cover(self, name: str, origin: Origin, first: int, last: int, foreign: bool) -> None:
        for count, (low, high) in enumerate(origin.vouched(first, last)):
            if count == MAX_COVERS:
                break
            self._covers.append(Cover(name, high, high - low + 1, foreign))
            self._bytes += 4 * len(name) + 20

    def flush(self) -> None:
        if self._bytes:
            self.full.append(Push(tuple(self._reports), tuple(self._covers), self.epoch))
        self._reports, self._covers, self._bytes = [], [], 0


def fill(
    ranges: Iterable[tuple[str, Origin, Gap]],
    wants: Callable[[str], bool],
    *,
    chunk_bytes: int,
    budget: int,
    epoch: int,
) -> list[Push]:
    """The reports held in `ranges` (name, origin, first and last number) whose subject the peer wants; at most `budget` messages.

    If there is more than that, the last message says so. `epoch`: of the peer's interest that `wants` goes by.
    """
    out = _Datagrams(chunk_bytes, epoch)
    for name, origin, (first, last) in ranges:
        start, foreign = first, False
        for report in origin.between(first, last):
            if not wants(report.subject):
                foreign = True
                continue
            data = encode(report)
            if not out.fits(len(data)):
                out.cover(name, origin, start, report.seq - 1, foreign)
                out.flush()
                start, foreign = report.seq, False
                if len(out.full) >= budget:
                    break
            out.add(data)
        else:
            out.cover(name, origin, start, last, foreign)
            if not out.fits(0):
                out.flush()
        if len(out.full) >= budget:
            out.full[-1] = msgspec.structs.replace(out.full[-1], more=True)
            return out.full
    out.flush()
    return out.full
