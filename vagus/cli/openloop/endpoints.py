"""Which replica takes the next request: one after the other, of those that there are now."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from vagus.errors import ConfigError

MAX_BYTES = 1 << 20
Place = tuple[str, int]
"""A host and port."""
_HOST = re.compile(
    r"(?!.{254})[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|(?=.*:)[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9_.-]{1,15})?"
)


def place_of(url: str) -> Place:
    """Host and port of `http://HOST[:PORT]`. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if (
        not _HOST.fullmatch(host or "")
        or parts.scheme != "http"
        or parts.path.strip("/")
        or parts.query
        or parts.username is not None
    ):
        raise ConfigError(f"load: {url[:200]!r} is not http://HOST[:PORT]")
    return str(host), port


class Endpoints:
    """Takes turns over `urls`, or over those of `entry` in `file`, which `look` reads again when it was rewritten."""

    def __init__(self, urls: Sequence[str] = (), file: str = "", entry: str = "") -> None:
        self.places = [place_of(url) for url in urls]
        self._file, self._entry = file, entry
        self._seen: tuple[int, int] | None = None
        self._turn = 0
        self.problem = ""  # why the file was not taken the last time

    def next(self) -> Place | None:
        """The one whose turn it is; None: there is none."""
        if not self.places:
            return None
        self._turn += 1
        return self.places[self._turn % len(self.places)]

    def look(self) -> bool:
        """Reads the file if it has changed; whether the places did. What is no such file changes nothing."""
        if not self._file:
            return False
        try:
            status = os.stat(self._file)
            stamp = status.st_mtime_ns, status.st_ino
            if stamp == self._seen:
                return False
            with open(self._file, "rb") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise ConfigError(f"{self._file}: larger than {MAX_BYTES >> 20} MiB")
            urls = json.loads(content)[self._entry]
            if not isinstance(urls, list):
                raise ConfigError(f"{self._file}: {self._entry} is no list of URLs")
            places = [place_of(str(url)) for url in urls]
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
            self.problem = f"{self._file}: {type(error).__name__}: {error}"
            return False
        self._seen, self.problem = stamp, ""
        changed = places != self.places
        self.places = places
        return changed
