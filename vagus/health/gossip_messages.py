"""What observers say to each other: MessagePack arrays that begin with a tag.

A tag belongs to one form of one message for good: a message that changes beyond fields at its end gets a new one, so
that nodes of different versions understand each other where they can, and count the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import msgspec

from vagus.health.known import Gap
from vagus.model import MAX_NAME

Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
"""Of an origin or a subject, bounded, so that what is learned of a peer and told on always fits a datagram."""
Names = Annotated[tuple[Name, ...], msgspec.Meta(max_length=1000)]

Entry = tuple[Name, int, tuple[int, ...]]
"""An origin, the highest number known of it, and the gaps below: from the highest down how far and how long."""


class Cover(msgspec.Struct, frozen=True, array_like=True):
    """With the reports beside it, all numbers of `origin` from first to last (last - count + 1) need not be sent.

    foreign: some because the receiver does not want their subject; else because newer reports supersede them.
    """

    origin: Name
    last: int
    count: int
    foreign: bool = False


class Push(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Reports, each in MessagePack. covers: what is told of other numbers; epoch: of the interest that they go by.

    more: the sender has more that the receiver lacks.
    """

    reports: tuple[msgspec.Raw, ...]
    covers: tuple[Cover, ...] = ()
    epoch: int = 0
    more: bool = False


class Digest(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """What the sender knows of the origins after `after` up to `upto` ("": no bound), those not named: nothing.

    answer: send a digest back if you lack something; epoch: of the sender's interest.
    """

    after: Name
    upto: Name
    entries: tuple[Entry, ...]
    answer: bool
    epoch: int = 0


class Ignore(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """The sender does not want reports on these subjects, since `epoch` of its interest."""

    subjects: Names
    epoch: int


class Want(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """From epoch `since` to `epoch` the sender's interest grew by these subjects, names or globs."""

    subjects: Names
    since: int
    epoch: int


class Wanted(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """The sender has taken note of your interest up to `epoch`."""

    epoch: int


Message = Push | Digest | Ignore | Want | Wanted
TAGS = frozenset(range(8, 13))

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Message).decode


def is_unknown(payload: bytes) -> bool:
    """Whether a payload is a message with a tag that this version does not know."""
    return len(payload) > 1 and 0x91 <= payload[0] <= 0x9F and payload[1] < 0x80 and payload[1] not in TAGS


def pack_gaps(high: int, gaps: Sequence[Gap]) -> tuple[int, ...]:
    """Gaps, lowest first, as small numbers: highest first, each the distance from what is above it and its length."""
    packed: list[int] = []
    for first, last in reversed(gaps):
        packed += (high - last, last - first + 1)
        high = first
    return tuple(packed)


def unpack_gaps(high: int, packed: Sequence[int]) -> tuple[Gap, ...]:
    """The reverse. Raises ValueError for what is not made of numbers above 0, or goes below 1."""
    gaps = []
    for distance, count in zip(packed[::2], packed[1::2], strict=True):
        last = high - distance
        high = last - count + 1
        if distance < 1 or count < 1 or high < 1:
            raise ValueError(f"a gap of {count} numbers {distance} below the last")
        gaps.append((high, last))
    return tuple(reversed(gaps))


def chunks(encoded: Iterable[bytes], chunk_bytes: int) -> Iterator[tuple[msgspec.Raw, ...]]:
    """Reports in groups of at most `chunk_bytes`; a larger one goes alone."""
    chunk: list[msgspec.Raw] = []
    size = 0
    for data in encoded:
        if chunk and size + len(data) > chunk_bytes:
            yield tuple(chunk)
            chunk, size = [], 0
        chunk.append(msgspec.Raw(data))
        size += len(data)
    if chunk:
        yield tuple(chunk)
