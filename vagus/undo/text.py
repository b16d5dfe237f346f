"""Reads small files."""

from __future__ import annotations

import os

_PART_BYTES = 4096  # more than most files of the kernel have
_READ_BYTES = 1 << 20


def read_text(path: str) -> str:
    """A small file's text without surrounding space, at most 1 MiB of it. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = part = os.read(fd, _PART_BYTES)
        while part and len(found) < _READ_BYTES:  # the kernel may give less than was asked for, and more after it
            part = os.read(fd, _PART_BYTES)
            found += part
    finally:
        os.close(fd)
    return found.decode("utf-8", "replace").strip()
