"""Telling all peers that interest has grown, again until each has acknowledged it, or did not for long."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random

from vagus.health.gossip_messages import Want

MAX_TOLD = 1000
"""Subjects remembered: a peer that lags behind by more starts anew with us."""
TRIES = frozenset((1, 2, 3, 5, 9, 17, 33, 65))
"""The calls of `pending` that speak, after interest grew; after that a peer learns of it by digests."""
WANT_BYTES = 1000


class Announcing:
    """The epoch of this node's interest, which counts its growth, and up to where each peer is known to follow.

    Epochs begin at random, so that a peer can tell a restart.
    """

    def __init__(self, rng: Random) -> None:
        self.epoch = self._first = 1 + rng.getrandbits(40)
        self._grown: deque[tuple[int, str]] = deque(maxlen=MAX_TOLD)
        self._told: dict[str, int] = {}
        self._tries: dict[str, int] = {}

    def grow(self, subjects: Iterable[str]) -> None:
        """Interest has grown by these names or globs."""
        for subject in subjects:
            self.epoch += 1
            self._grown.append((self.epoch, subject))
        self._tries.clear()

    def acknowledged(self, peer: str, epoch: int) -> None:
        """A peer has taken note up to `epoch`."""
        if self._told.get(peer, self._first) < epoch <= self.epoch:
            self._told[peer] = epoch

    def pending(self, peers: Iterable[str]) -> list[tuple[tuple[str, ...], Want]]:
        """What to say to which of `peers`."""
        lagging: dict[int, list[str]] = {}
        if self.epoch > self._first:
            for peer in peers:
                told = self._told.get(peer, self._first)
                if told < self.epoch:
                    self._tries[peer] = tries = self._tries.get(peer, 0) + 1
                    if tries in TRIES:
                        lagging.setdefault(told, []).append(peer)
        return [(tuple(to), want) for told, to in lagging.items() for want in self._wants(told)]

    def only(self, peers: Iterable[str]) -> None:
        """Forgets all other peers; a new one has nothing to unlearn, or sees by a digest that it has."""
        self._told = {peer: self._told.get(peer, self.epoch) for peer in peers}
        self._tries = {peer: tries for peer, tries in self._tries.items() if peer in self._told}

    def _wants(self, told: int) -> list[Want]:
        since = max(told, self._grown[0][0] - 1)
        wants: list[Want] = []
        subjects: list[str] = []
        size = 0
        for epoch, subject in self._grown:
            if epoch > told:
                subjects.append(subject)
                size += 4 * len(subject) + 2
                if size > WANT_BYTES or epoch == self.epoch:
                    wants.append(Want(tuple(subjects), since, epoch))
                    since, subjects, size = epoch, [], 0
        return wants
