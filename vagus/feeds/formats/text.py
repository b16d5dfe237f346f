"""Text as it is: decoded, each undecodable byte counted and replaced."""

from __future__ import annotations

from typing import Any

from vagus.errors import ConfigError, NoData
from vagus.feeds.contracts import ANY_SHAPE
from vagus.feeds.item import Data, Descriptor, described

ENCODINGS = ("utf-8", "ascii", "latin-1", "cp1252", "utf-16")  # none of them can give half of a surrogate pair


class Text:
    """A body as one string. encoding: one of ENCODINGS. Raises ConfigError for another."""

    name = "text"

    def __init__(self, encoding: str = "utf-8") -> None:
        if encoding not in ENCODINGS:
            raise ConfigError(f"format text: encoding {encoding!r} is not one of {', '.join(ENCODINGS)}")
        self._encoding = encoding

    shape = ANY_SHAPE

    def parse(self, body: bytes) -> tuple[str | None, Descriptor]:
        """The value and its descriptor; None when nothing could be made of the body."""
        value, code, errors = self._parse(body)
        return value, described(code, errors, len(body))

    def print(self, value: Any) -> bytes:
        """Raises NoData: not printed yet."""
        raise NoData(f"format {self.name} cannot be printed")

    def _parse(self, body: bytes) -> tuple[str, Data, int]:
        """The text; Syntax and the number of replacement characters when not all of it could be decoded."""
        try:
            return body.decode(self._encoding), Data.GOOD, 0
        except UnicodeError:
            text = body.decode(self._encoding, errors="replace")
            return text, Data.SYNTAX, max(1, text.count("\ufffd"))
