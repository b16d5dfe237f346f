"""A hash of text that is the same everywhere."""

from __future__ import annotations


def hash_text(text: str) -> int:
    """A 64-bit hash that is the same in every process and on every machine."""
    import hashlib

    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
