"""Ids of decisions: random, so that nobody guesses them, and made in bulk, so that they cost next to nothing."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

from vagus.errors import ConfigError

MAX_PREFIX = 32
LENGTH = 32
LEAST_RANDOM = 24  # hexadecimal characters: 96 bits
BLOCK = 512


class Makes(Protocol):
    """Who makes ids: `ready` is popped by whoever is in a hurry; when it is empty, `more` fills it and gives one."""

    ready: list[str]

    def more(self) -> str: ...


class Ids:
    """Texts of 32 hexadecimal characters; with a prefix (which may name a node) that stands in place of the first.

    At least 24 characters are random, of the operating system, whatever the seed of anything. A forked child makes its
    own.
    """

    def __init__(self, prefix: str = "") -> None:
        if len(prefix) > MAX_PREFIX or not (prefix.isascii() and prefix.isprintable()):
            raise ConfigError(f"an id's prefix must be at most {MAX_PREFIX} printable ASCII characters, not {prefix!r}")
        self.prefix = prefix
        self.ready: list[str] = []
        self._random = max(LENGTH - len(prefix), LEAST_RANDOM)
        _MAKERS.add(self)

    def more(self) -> str:
        """Fills `ready`, and gives one."""
        step, prefix = self._random, self.prefix
        text = os.urandom(BLOCK * step // 2).hex()  # one more than is kept where step is odd
        made = [text[at : at + step] for at in range(0, len(text) - step + 1, step)]
        self.ready += [prefix + one for one in made] if prefix else made
        return self.ready.pop()


_MAKERS: WeakSet[Ids] = WeakSet()


def _after_fork() -> None:
    for maker in _MAKERS:
        maker.ready.clear()


os.register_at_fork(after_in_child=_after_fork)
