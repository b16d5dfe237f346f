"""Reads small files."""

from __future__ import annotations

_READ_BYTES = 1 << 20


def read_text(path: str) -> str:
    """A small file's text without surrounding space. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(_READ_BYTES).decode("utf-8", "replace").strip()
