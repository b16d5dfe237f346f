"""Printing that keeps its promise: what is printed is parsed, and must be what it was."""

from __future__ import annotations

from typing import Any

from vagus.errors import NoData
from vagus.feeds.contracts import Format


def inverse(fmt: Format[Any], value: Any, body: bytes) -> bytes:
    """`body`, which was printed of `value`. Raises NoData when it is not read back as the same value."""
    again, found = fmt.parse(body)
    if found.errors or again != value:
        why = f": {found.note}" if found.note else ""
        raise NoData(f"format {fmt.name}: this value cannot be printed so that it is read back the same{why}")
    return body
