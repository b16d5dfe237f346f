"""Leases of controllers that somebody spawned and must keep alive: who is not heard for so long leaves none behind."""

from __future__ import annotations

MOST_S = 5.0  # a supervisor that did not look for longer was away itself: what is beyond that counts for nobody


class Leases:
    """By controller, how long it may still go unheard. Pure: `now_s` is any clock that only goes forward.

    `ended` is to be asked every few seconds. Times between two askings count for MOST_S at most: a head that hangs,
    or a machine that slept, ends nothing.
    """

    def __init__(self, now_s: float) -> None:
        self._looked_s = now_s
        self._counted_s = 0.0
        self._kept: dict[str, tuple[float, float]] = {}  # by name: its length, and when it ends in time that counts

    def grant(self, name: str, lease_s: float, now_s: float) -> None:
        """A lease from now on; of 0 seconds: none, it stays until it is removed."""
        self._kept.pop(name, None)
        if lease_s > 0:
            self._kept[name] = (lease_s, self._count(now_s) + lease_s)

    def keep(self, name: str, now_s: float) -> None:
        """Renews a lease, if there is one."""
        if name in self._kept:
            self.grant(name, self._kept[name][0], now_s)

    def drop(self, name: str) -> None:
        """Forgets a lease, if there is one."""
        self._kept.pop(name, None)

    def ended(self, now_s: float) -> list[str]:
        """Whose lease has run out; each is told once."""
        self._counted_s, self._looked_s = self._count(now_s), now_s
        names = [name for name, (_, end_s) in self._kept.items() if end_s <= self._counted_s]
        for name in names:
            del self._kept[name]
        return names

    def _count(self, now_s: float) -> float:
        return self._counted_s + min(max(0.0, now_s - self._looked_s), MOST_S)
