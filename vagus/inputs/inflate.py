"""Gzip from outside: bounded, for a kilobyte may hold a gigabyte."""

from __future__ import annotations

import zlib

from vagus.errors import ConfigError

_GZIP = 31  # zlib's window bits for gzip with its header and checksum


class TooLarge(ConfigError):
    """More comes out than is allowed."""


def inflate(data: bytes, most: int) -> bytes:
    """What was compressed; one gzip member or several. Raises ConfigError; TooLarge beyond `most` bytes."""
    parts: list[bytes] = []
    size = 0
    while data:
        member = zlib.decompressobj(_GZIP)
        try:
            part = member.decompress(data, most - size + 1)
        except zlib.error as error:
            raise ConfigError(f"not gzip: {error}") from error
        parts.append(part)
        size += len(part)
        if size > most:
            raise TooLarge(f"more than {most} bytes come out of the compressed ones; send smaller batches")
        if not member.eof:
            raise ConfigError("the gzip data end before their end")
        data = member.unused_data
    return b"".join(parts)
