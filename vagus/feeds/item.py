"""What flows in a feed: items with their meta, raw bytes, parse descriptors."""

from __future__ import annotations

import enum
from typing import Any, Generic, TypeVar

import msgspec

from vagus.model import Data, Meta, Net, Origin

__all__ = ["Data", "Descriptor", "Fetched", "Item", "Meta", "Net", "Origin", "Raw", "State"]

T = TypeVar("T")


class Item(msgspec.Struct, Generic[T], frozen=True, array_like=True):
    """Meta and the typed value; None after a failure, and where nothing could be parsed."""

    meta: Meta
    value: T | None = None


class Raw(msgspec.Struct, frozen=True, array_like=True):
    """The archived form: meta and the bytes as they came, before they were preprocessed or parsed."""

    meta: Meta
    body: bytes


class Fetched(msgspec.Struct, frozen=True, array_like=True):
    """What a source returns; retry_after_s: how long the far side asks to be left alone (0: it does not)."""

    net: Net
    body: bytes = b""
    note: str = ""
    retry_after_s: float = 0.0


class State(str, enum.Enum):
    """PADS' parse state: all of it was read; parts are missing or broken; the rest was skipped to the next record."""

    NORMAL = "normal"
    PARTIAL = "partial"
    PANIC = "panic"


class Descriptor(msgspec.Struct, frozen=True, array_like=True):
    """PADS' parse descriptor of a value: state, number of errors (those inside included), code, span in bytes.

    inside: descriptors of the parts that are not good, by field name, entry key or index; the good ones are left out.
    A broken part makes its record NESTED; SYNTAX and SEMANTIC are of the part itself. MAYBE: nothing is known to be
    wrong, but not everything was looked at.
    """

    state: State = State.NORMAL
    errors: int = 0
    code: Data = Data.GOOD
    start: int = 0
    end: int = 0
    inside: tuple[tuple[str | int, Descriptor], ...] = ()
    note: str = ""  # of a SYNTAX or SEMANTIC part: what was wrong, shortly

    def part(self, key: str | int) -> Any:
        """The descriptor of a part; None when it is good."""
        return next((descriptor for name, descriptor in self.inside if name == key), None)


GOOD = Descriptor()
