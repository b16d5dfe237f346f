"""Which peers want to hear of which subjects: learned from what they say, forgotten when it may no longer be so."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from vagus.health.interest import Named

MAX_IGNORED = 100_000
"""Pairs of a subject and a peer; beyond that nothing more is learned, which costs datagrams and nothing else."""


class Audience:
    """What peers ignore, each for `lease_ns`, by the epoch of their interest: a peer's other epoch starts anew."""

    def __init__(self, lease_ns: int) -> None:
        self.lease_ns = lease_ns
        self._ignored: dict[str, dict[str, int]] = {}  # subject -> peer -> until
        self._epochs: dict[str, int] = {}
        self._pairs = 0
        self._next_ns = 0

    def __len__(self) -> int:
        return self._pairs

    def ignoring(self, subject: str, now_ns: int) -> Collection[str]:
        """The peers that do not want reports on a subject."""
        found = self._ignored.get(subject)
        if not found:
            return ()
        return [peer for peer, until_ns in found.items() if until_ns > now_ns]

    def wants(self, peer: str, subject: str, now_ns: int) -> bool:
        """Whether a peer has not said otherwise."""
        found = self._ignored.get(subject)
        return not found or found.get(peer, 0) <= now_ns

    def epoch(self, peer: str) -> int:
        """Up to where a peer's interest is known here; 0 for not at all."""
        return self._epochs.get(peer, 0)

    def ignore(self, peer: str, subjects: Iterable[str], epoch: int, now_ns: int) -> None:
        """A peer does not want these; what it said in another epoch is not heard."""
        if self._epochs.setdefault(peer, epoch) != epoch:
            return
        for subject in subjects:
            peers = self._ignored.get(subject, {})
            if peer not in peers:
                if self._pairs >= MAX_IGNORED:
                    return
                self._ignored[subject] = peers
                self._pairs += 1
            peers[peer] = now_ns + self.lease_ns

    def want(self, peer: str, subjects: Iterable[str], since: int, epoch: int) -> bool:
        """A peer's interest grew; False if that is known. After something missed all that it ignored is forgotten."""
        known = self._epochs.get(peer)
        if known == epoch:
            return False
        if known != since:
            self.meet(peer, epoch)
            return True
        self._epochs[peer] = epoch
        wanted = Named(subjects)
        for subject in [subject for subject, peers in self._ignored.items() if peer in peers and wanted(subject)]:
            self._remove(subject, peer)
        return True

    def meet(self, peer: str, epoch: int) -> None:
        """A peer speaks of its interest at `epoch`: another one than is known here starts anew."""
        if self._epochs.get(peer) != epoch:
            self.forget(peer)
            self._epochs[peer] = epoch

    def forget(self, peer: str) -> None:
        """Nothing is known of a peer any more."""
        self._epochs.pop(peer, None)
        for subject in [subject for subject, peers in self._ignored.items() if peer in peers]:
            self._remove(subject, peer)

    def only(self, peers: Collection[str]) -> None:
        """Forgets all other peers."""
        for peer in [peer for peer in self._epochs if peer not in peers]:
            self.forget(peer)

    def expire(self, now_ns: int) -> None:
        """Drops leases that have ended, now and then."""
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + self.lease_ns // 8
        for subject, peers in list(self._ignored.items()):
            for peer in [peer for peer, until_ns in peers.items() if until_ns <= now_ns]:
                self._remove(subject, peer)

    def _remove(self, subject: str, peer: str) -> None:
        del self._ignored[subject][peer]
        self._pairs -= 1
        if not self._ignored[subject]:
            del self._ignored[subject]
