"""Text as it is: decoded, each undecodable byte counted and replaced."""

from __future__ import annotations

from vagus.errors import ConfigError, NoData
from vagus.feeds.contracts import Shape
from vagus.feeds.formats.inverse import inverse
from vagus.feeds.item import Data, Descriptor, State

ENCODINGS = ("utf-8", "ascii", "latin-1", "cp1252", "utf-16")  # none of them can give half of a surrogate pair


class Text:
    """A body as one string. encoding: one of ENCODINGS. Raises ConfigError for another."""

    name = "text"
    shape = Shape("string")

    def __init__(self, encoding: str = "utf-8") -> None:
        if encoding not in ENCODINGS:
            raise ConfigError(f"format text: encoding {encoding!r} is not one of {', '.join(ENCODINGS)}")
        self._encoding = encoding

    def parse(self, body: bytes) -> tuple[str | None, Descriptor]:
        """The text; Syntax and the number of replacement characters when not all of it could be decoded."""
        size = len(body)
        try:
            return body.decode(self._encoding), Descriptor(end=size)
        except UnicodeError:
            text = body.decode(self._encoding, errors="replace")
            errors = max(1, text.count("\ufffd"))
            note = f"bytes that are not {self._encoding}"
            return text, Descriptor(State.PARTIAL, errors, Data.SYNTAX, 0, size, (), note)

    def print(self, value: str) -> bytes:
        """The inverse of parse. Raises NoData for what the encoding cannot say."""
        try:
            body = value.encode(self._encoding)
        except (UnicodeError, AttributeError) as error:
            raise NoData(f"format text cannot print {value!r:.200} as {self._encoding}: {error}") from error
        return inverse(self, value, body)
