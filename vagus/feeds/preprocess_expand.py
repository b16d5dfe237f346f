"""Decompression: gzip, bz2, xz, zstd. What is cut short or broken is an error; a bomb ends at the limit."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol

CHUNK_BYTES = 64 << 10
MAX_STREAMS = 10_000  # of one body, one behind the other; with chunks, this keeps millions of empty ones cheap
XZ_MEMORY_BYTES = 128 << 20  # what `xz -9` needs is half of it
ZSTD_WINDOW_LOG = 27  # what `zstd --ultra -22` makes; libzstd's own limit


class _Stream(Protocol):
    """What zlib, bz2, lzma and zstd have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Expand:
    """A step that decompresses; subclasses say how a stream is opened and what it raises."""

    name = ""
    _broken: tuple[type[Exception], ...] = ()
    _open: Callable[[], _Stream]

    def apply(self, body: bytes, max_bytes: int) -> bytes:
        """What the compressed streams in `body` hold, in order; zero bytes behind the last one are padding.

        Memory: what is made, at most `max_bytes`, and the stream's own window. Raises ValueError for bytes that are not of this
        kind, cut short, damaged, or of which more than `max_bytes` come.
        """
        if not body:
            raise ValueError(f"there is nothing: an empty body is not {self.name}")
        made: list[bytes] = []
        left, at, streams = max_bytes + 1, 0, 0
        while at < len(body) and not (streams and _padding(body, at)):
            streams += 1
            if streams > MAX_STREAMS:
                raise ValueError(f"more than {MAX_STREAMS} {self.name} streams in one body")
            stream = self._open()
            while not stream.eof:
                chunk = body[at : at + CHUNK_BYTES]
                if not chunk:
                    raise ValueError(f"cut short: its {len(body)} bytes end before the {self.name} stream does")
                try:
                    piece = stream.decompress(chunk, left)
                except self._broken as error:
                    raise ValueError(
                        f"not {self.name}, or damaged, at byte {at} to {at + len(chunk)}: {error}"
                    ) from error
                at += len(chunk)
                left -= len(piece)
                if left <= 0:
                    raise ValueError(f"it holds more than max_bytes={max_bytes}")
                made.append(piece)
            at -= len(stream.unused_data)
        return b"".join(made)


def _padding(body: bytes, at: int) -> bool:
    """Whether only zeros follow; looks at all of them only where there can be no further stream."""
    return body[at] == 0 and not body[at:].strip(b"\0")


class Gzip(_Expand):
    """gzip (RFC 1952), as `gzip`, web servers and log rotation make it."""

    name = "gzip"

    def __init__(self) -> None:
        import zlib

        self._broken = (zlib.error,)
        self._open = lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)


class Bz2(_Expand):
    """bzip2."""

    name = "bz2"

    def __init__(self) -> None:
        import bz2

        self._broken = (OSError, ValueError)
        self._open = bz2.BZ2Decompressor


class Xz(_Expand):
    """The .xz container of LZMA."""

    name = "xz"

    def __init__(self) -> None:
        import lzma

        self._broken = (lzma.LZMAError,)
        self._open = lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)


class Zstd(_Expand):
    """Zstandard (RFC 8878), without a dictionary."""

    name = "zstd"

    def __init__(self) -> None:
        try:
            zstd = importlib.import_module("compression.zstd")  # Python 3.14 and later
        except ImportError:
            zstd = importlib.import_module("backports.zstd")
        options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        self._broken = (zstd.ZstdError,)
        self._open = lambda: zstd.ZstdDecompressor(options=options)
