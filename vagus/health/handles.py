"""Handles: numbers that stand for a registered observer, so that nobody else reports under its name with them."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random, SystemRandom

import msgspec

from vagus.errors import ConfigError
from vagus.model import check_name

HANDLE_BITS = 53
"""So that a handle is exact in JSON, and hard to guess."""
MAX_HANDLES = 10_000
"""Registered at a time, and of ended registrations so many are remembered."""


class Handle(msgspec.Struct, frozen=True, array_like=True):
    """A number given to `observer` of `module` (the program's part that observes); active: not unregistered."""

    number: int
    module: str
    observer: str
    active: bool = True

    def __post_init__(self) -> None:
        check_name("module", self.module)
        check_name("observer", self.observer)
        if not 0 < self.number < 1 << HANDLE_BITS:
            raise ConfigError(f"handle {self.number} is not a number above 0 and below 2**{HANDLE_BITS}")


class Handles:
    """Who has which number. A number once given to a pair belongs to it for good, also after `unregister`."""

    def __init__(self, rng: Random | None = None) -> None:
        self._rng = rng or SystemRandom()
        self._by_number: dict[int, Handle] = {}
        self._by_pair: dict[tuple[str, str], int] = {}
        self._active = 0

    def __len__(self) -> int:
        """Observers registered now."""
        return self._active

    def all(self) -> list[Handle]:
        """Every handle that was given, ended registrations too; what `restore` takes back."""
        return list(self._by_number.values())

    def register(self, module: str, observer: str) -> int:
        """The handle of this pair, the same each time. Raises ConfigError for bad names and when there are too many."""
        known = self._by_pair.get((module, observer))
        if known is not None and self._by_number[known].active:
            return known
        if self._active >= MAX_HANDLES:
            raise ConfigError(f"{MAX_HANDLES} observers are registered here; unregister those that have ended")
        number = known or self._unused()
        self._take(Handle(number, module, observer))
        return number

    def unregister(self, handle: int) -> str | None:
        """Ends a registration: the observer's name, or None where there was none."""
        found = self._by_number.get(handle)
        if found is None or not found.active:
            return None
        self._take(msgspec.structs.replace(found, active=False))
        return found.observer

    def restore(self, handles: Iterable[Handle]) -> None:
        """Takes back what `all` gave before a restart, oldest first: of two with one number the later one counts."""
        for handle in handles:
            self._take(handle)

    def wrong(self, handle: int, observer: str) -> str:
        """Why `observer` may not report with this handle; "" if it may."""
        found = self._by_number.get(handle)
        if found is None or not found.active:
            return f"handle {handle} is not registered here: register the observer, then report with its handle"
        if found.observer != observer:
            return f"handle {handle} belongs to {found.observer!r}, not to {observer!r}: each observer has its own"
        return ""

    def observed(self, observer: str) -> bool:
        """Whether an observer of this name is registered, by any module."""
        return any(handle.active and handle.observer == observer for handle in self._by_number.values())

    def _unused(self) -> int:
        number = 0
        while not number or number in self._by_number:
            number = self._rng.getrandbits(HANDLE_BITS)
        return number

    def _take(self, handle: Handle) -> None:
        before = self._by_number.pop(handle.number, None)
        self._active += handle.active - (before is not None and before.active)
        self._by_number[handle.number] = handle
        self._by_pair[handle.module, handle.observer] = handle.number
        if len(self._by_number) - self._active > MAX_HANDLES:
            ended = next(one for one in self._by_number.values() if not one.active)
            del self._by_number[ended.number], self._by_pair[ended.module, ended.observer]
