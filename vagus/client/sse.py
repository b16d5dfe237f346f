"""Server-sent events out of the lines of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from vagus.errors import PeerUnreachable

MAX_LINE_BYTES = 64 << 20


class Lines(Protocol):
    """An answer that is read line by line."""

    def readline(self, limit: int, /) -> bytes: ...


def events(lines: Lines, url: str) -> Iterator[tuple[str, bytes]]:
    """Name and data of each event, both empty for a comment. Raises PeerUnreachable, also at the end: it has none.

    Data of several lines do not come: a gateway sends JSON, which has no line ends.
    """
    name = ""
    while True:
        try:
            line = lines.readline(MAX_LINE_BYTES)
        except Exception as error:
            raise PeerUnreachable(f"{url} stopped sending ({type(error).__name__}: {error})") from error
        if not line.endswith(b"\n"):  # not even a last word, or half of one, or one without an end
            raise PeerUnreachable(f"{url} stopped sending")
        word, _, rest = line.rstrip(b"\r\n").partition(b":")
        if line.startswith(b":"):
            yield "", b""
        elif word == b"event":
            name = rest.strip().decode("utf-8", "replace")
        elif word == b"data":
            yield name, rest.strip()
            name = ""
