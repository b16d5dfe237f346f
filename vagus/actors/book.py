"""A small map that survives restarts and retention: kept as states of the store, in parts, so that a change writes little."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from vagus.config import hash_text
from vagus.store import Store

PARTS = 64

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class Book:
    """Values by key, under a name. Changes are made here at once, and on disk by what `put` and `drop` return."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._parts: list[dict[str, bytes]] = [{} for _ in range(PARTS)]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def keys(self) -> set[str]:
        """Every key."""
        return set().union(*self._parts)

    def read(self, store: Store) -> dict[str, bytes]:
        """All of it, as the store has it. Raises StoreError, ValueError when it is damaged."""
        for at in range(PARTS):
            packed = store.load(f"{self.name}/{at}")
            self._parts[at] = _decode(packed) if packed else {}
        return {key: value for part in self._parts for key, value in part.items()}

    def put(self, key: str, value: bytes) -> Callable[[Store], None]:
        """Sets a value; what is returned saves it."""
        at = hash_text(key) % PARTS
        self._parts[at][key] = value
        return self._saver(at)

    def drop(self, keys: Iterable[str]) -> Callable[[Store], None]:
        """Removes keys, as far as they are there; what is returned saves that."""
        changed = set()
        for key in keys:
            at = hash_text(key) % PARTS
            if self._parts[at].pop(key, None) is not None:
                changed.add(at)
        return self._saver(*changed)

    def _saver(self, *changed: int) -> Callable[[Store], None]:
        packed = [(at, _encode(self._parts[at])) for at in changed]

        def save(store: Store) -> None:
            for at, content in packed:
                store.save(f"{self.name}/{at}", content)

        return save
