"""What members say to each other: MessagePack arrays, each with the sender's incarnation and news of others.

All names and tuples are bounded by their types, so that decoding is the check.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec

MAX_NAME = 180
"""Of a member, so that `vagus:observer@NAME` is a name too."""
MAX_UPDATES = 64
MAX_ACCUSERS = 8
MAX_INCARNATION = 1 << 62

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
Incarnation = Annotated[int, msgspec.Meta(ge=0, le=MAX_INCARNATION)]
Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class State(IntEnum):
    """SWIM's states of a member; `left` is dead on purpose: nobody is to be told."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3

    def __str__(self) -> str:
        return self.name.lower()


class Update(msgspec.Struct, frozen=True, array_like=True):
    """News of a member: in which state it is, in which of its incarnations, and of a suspect who accuses it."""

    member: Name
    state: State
    incarnation: Incarnation
    by: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_ACCUSERS)] = ()

    @property
    def size_bytes(self) -> int:
        """About as much as it takes in a message."""
        return 16 + sum(len(name.encode()) + 3 for name in (self.member, *self.by))


Updates = Annotated[tuple[Update, ...], msgspec.Meta(max_length=MAX_UPDATES)]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Are you there? direct: asked for the sender itself, not for another."""

    incarnation: Incarnation
    updates: Updates
    number: Number
    direct: bool = True


class PingReq(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Ping this member for me."""

    incarnation: Incarnation
    updates: Updates
    number: Number
    member: Name


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The one that was asked about is there. vouch: tell the others so, please: nobody has of late."""

    incarnation: Incarnation
    updates: Updates
    number: Number
    vouch: bool = False


class Nack(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """I asked for you, and have no answer so far: but you and I can talk."""

    incarnation: Incarnation
    updates: Updates
    number: Number


class Tell(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """News alone."""

    incarnation: Incarnation
    updates: Updates


Message = Ping | PingReq | Ack | Nack | Tell

encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def decode(body: bytes) -> Message | None:
    """A message, or None for anything else. Never raises."""
    try:
        return _decoder.decode(body)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors; nesting may exhaust the stack
        return None
