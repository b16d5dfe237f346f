"""How many fetches go on at once: of each host, and in all. Who finds no slot waits in line; pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class _Host(Generic[T]):
    __slots__ = ("going", "waiting")

    def __init__(self) -> None:
        self.going = 0
        self.waiting: deque[T] = deque()


class Slots(Generic[T]):
    """`take` returns whether this one may go now; else it waits, and `free` of another gives it out.

    Hosts that wait for the total limit take turns.
    """

    def __init__(self, most: int, most_per_host: int) -> None:
        self._most = most
        self._most_per_host = most_per_host
        self._hosts: dict[str, _Host[T]] = {}
        self._ready: dict[str, _Host[T]] = {}  # those that wait and are below their own limit, in order
        self.going = self.waiting = 0

    def take(self, host: str, waiter: T) -> bool:
        """Whether a slot was free, and is taken now."""
        held = self._hosts.get(host)
        if held is None:
            held = self._hosts[host] = _Host()
        if held.going < self._most_per_host and self.going < self._most and not held.waiting:
            held.going += 1
            self.going += 1
            return True
        held.waiting.append(waiter)
        self.waiting += 1
        if held.going < self._most_per_host:
            self._ready[host] = held
        return False

    def free(self, host: str) -> list[T]:
        """Gives a slot back; those that take it, to be started."""
        held = self._hosts[host]
        held.going -= 1
        self.going -= 1
        if held.waiting:
            self._ready[host] = held
        elif not held.going:
            del self._hosts[host]
        started: list[T] = []
        while self._ready and self.going < self._most:
            name, ready = next(iter(self._ready.items()))
            del self._ready[name]
            waiter = ready.waiting.popleft()
            ready.going += 1
            self.going += 1
            self.waiting -= 1
            if ready.waiting and ready.going < self._most_per_host:
                self._ready[name] = ready  # at the end of the line
            started.append(waiter)
        return started
