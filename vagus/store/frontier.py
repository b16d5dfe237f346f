"""The frontier: which rows of the head are in blocks already, committed together with those blocks."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from vagus.errors import StoreError
from vagus.store import head
from vagus.store.environment import Environment
from vagus.store.files import Txn

_NAME = b"frontier"
_NUMBERS = struct.Struct("<QQ")


class Frontier(NamedTuple):
    """Head records below `floor` are sealed, of those below `until` the streams `done`."""

    floor: int = 0
    until: int = 0
    done: frozenset[int] = frozenset()

    def moved(self, now: Frontier, stream_id: int) -> bool:
        """Whether rows of a stream have gone from the head into blocks between this state and `now`."""
        return self.floor != now.floor or (stream_id in self.done) != (stream_id in now.done)


def load(env: Environment, txn: Txn) -> Frontier:
    """The frontier as committed. Raises StoreError when it is damaged."""
    found = txn.get(_NAME, db=env.db["meta"])
    if found is None:
        return Frontier()
    if len(found) < _NUMBERS.size or len(found) % 4:
        raise StoreError(f"{env.path}: the frontier of the head is damaged: {len(found)} bytes")
    done = array("I", bytes(found[_NUMBERS.size :]))
    floor, until = _NUMBERS.unpack_from(found)
    return Frontier(floor, until, frozenset(done))


def save(env: Environment, txn: Txn, frontier: Frontier) -> None:
    """Commits the frontier with the transaction."""
    packed = _NUMBERS.pack(frontier.floor, frontier.until) + array("I", sorted(frontier.done)).tobytes()
    txn.put(_NAME, packed, db=env.db["meta"])


def entries(env: Environment, txn: Txn, start: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the head from the record `start` on."""
    cursor = txn.cursor(env.db["head"])
    return iter(cursor.iternext()) if cursor.set_range(start.to_bytes(8, "big")) else iter(())


@contextmanager
def explained(env: Environment) -> Iterator[None]:
    """Damage of the head as a StoreError that says of which store, and what to do."""
    try:
        yield
    except StoreError as error:
        if not str(error).startswith("damaged"):
            raise
        raise StoreError(
            f"{env.path}: {error}. Put a copy back, or move the folder away to begin a new store; "
            "`vagus store verify` lists all damage"
        ) from error


def records(env: Environment, txn: Txn, start: int) -> Iterator[head.Record]:
    """The head's records from the record `start` on. Raises StoreError when one is damaged."""
    return head.records(entries(env, txn, start))
