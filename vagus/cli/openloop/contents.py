"""What requests ask: paths and bodies with their placeholders filled in. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random

from vagus.config import RequestSettings
from vagus.errors import ConfigError

PLACEHOLDERS = ("user", "user2", "number", "text")
_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z_0-9]*)\}")
WORDS = (
    *("about", "again", "all", "blue", "bread", "bridge", "bright", "by", "city", "cloud", "coffee", "cold", "day"),
    *("early", "every", "far", "field", "fine", "first", "friend", "garden", "good", "green", "hill", "home", "house"),
    *("lake", "last", "late", "letter", "light", "long", "market", "morning", "near", "new", "night", "old", "on"),
    *("other", "over", "quiet", "rain", "red", "river", "road", "sea", "small", "snow", "song", "stone", "street"),
    *("summer", "sun", "table", "through", "today", "town", "train", "tree", "under", "walk", "warm", "water", "wind"),
    *("window", "winter", "with", "word", "world", "yellow", "young"),
)
SENTENCE = (6, 24)  # words, evenly


class Contents:
    """Draws what each request asks. users: `{user}` and `{user2}` are 1 to so many. Raises ConfigError."""

    def __init__(self, requests: Sequence[RequestSettings], users: int, seed: int) -> None:
        self._rng = Random(f"{seed}/contents")
        self._users = users
        self._number = 0
        self._made = [_Request(request) for request in requests]

    def next(self, type_: int) -> tuple[bytes, bytes, bytes]:
        """Method, path with query, and body (empty: none) of the next request, which is of this type."""
        made, rng = self._made[type_], self._rng
        self._number += 1
        values = {"number": str(self._number)}
        for name in made.names:  # drawn only where they are asked for
            if name == "text":
                values[name] = " ".join(rng.choices(WORDS, k=rng.randint(*SENTENCE))).capitalize() + "."
            elif name != "number":
                values[name] = str(rng.randint(1, self._users))
        return made.method, made.path(values).encode(), made.body(values).encode()


class _Request:
    def __init__(self, request: RequestSettings) -> None:
        self.method = request.method.encode()
        path, body = _PLACE.split(request.path), _PLACE.split(request.body)
        for name in (*path[1::2], *body[1::2]):
            if name not in PLACEHOLDERS:
                raise ConfigError(
                    f"request {request.name}: there is no {{{name}}}; there are {', '.join(PLACEHOLDERS)}"
                )
        if not request.path.isascii() or any(not c.isprintable() or c == " " for c in request.path):
            raise ConfigError(f"request {request.name}: path {request.path[:80]!r} must be printable ASCII; use %20")
        if request.method == "GET" and request.body:
            raise ConfigError(f"request {request.name}: a GET with a body; give method: POST")
        self.names = tuple(name for name in PLACEHOLDERS if name in (*path[1::2], *body[1::2]))
        self.path = _filler(path, lambda text: text.replace(" ", "%20"))
        self.body = _filler(body, lambda text: text)  # sentences have nothing that JSON would escape
        try:
            json.loads(self.body(dict.fromkeys(PLACEHOLDERS, "1")) or "null")
        except ValueError as error:
            raise ConfigError(f"request {request.name}: body is no JSON: {error}") from error


def _filler(parts: Sequence[str], written: Callable[[str], str]) -> Callable[[dict[str, str]], str]:
    def filled(values: dict[str, str]) -> str:
        return "".join(written(values[part]) if n % 2 else part for n, part in enumerate(parts))

    return filled
