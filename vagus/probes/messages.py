"""What probing nodes say to each other: MessagePack arrays, tagged, sealed by the shell. Decoding checks types and sizes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from vagus.errors import ConfigError

MAX_MEMBERS = 256
"""Of one clique: its pairs grow with the square, and a token names them all."""
MAX_ECHOES = 64

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Epoch = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 30)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86400)]


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all."""


class Token(_Message, frozen=True, tag=0):
    """Whoever holds it may probe, for `lease_s` at most. Higher (epoch, leader, hop) replaces lower."""

    clique: Name
    epoch: Epoch
    leader: Name
    hop: Epoch
    lease_s: Seconds
    ring: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_MEMBERS)]


class Taken(_Message, frozen=True, tag=1):
    """The answer to a token: it came, or came before."""

    clique: Name
    epoch: Epoch
    leader: Name
    hop: Epoch


class Alive(_Message, frozen=True, tag=2):
    """The token (epoch, leader) was there `age_s` ago: no other may be made, an older one ends.

    invite: its ring lacks the receiver, who may claim to be let in.
    """

    clique: Name
    epoch: Epoch
    leader: Annotated[str, msgspec.Meta(max_length=200)]  # empty: no token was ever seen
    age_s: Seconds
    invite: bool = False


class Claim(_Message, frozen=True, tag=3):
    """The sender misses the token and would make a new one, as (epoch, sender); or just wants to be in the ring."""

    clique: Name
    epoch: Epoch


class Grant(_Message, frozen=True, tag=4):
    """The answer to a claim: this node misses the token as well."""

    clique: Name
    epoch: Epoch


class Leave(_Message, frozen=True, tag=5):
    """The sender ends; nobody needs to wait for it."""

    clique: Name


class Echo(_Message, frozen=True, tag=6):
    """The `number`-th datagram of a series, to be answered at once."""

    series: Epoch
    number: Annotated[int, msgspec.Meta(ge=0, lt=MAX_ECHOES)]


class Answer(_Message, frozen=True, tag=7):
    """To an Echo. times: of the series' earlier echoes: number, arrival here, departure of the answer, by this clock."""

    series: Epoch
    number: Annotated[int, msgspec.Meta(ge=0, lt=MAX_ECHOES)]
    times: Annotated[tuple[tuple[int, Nanoseconds, Nanoseconds], ...], msgspec.Meta(max_length=MAX_ECHOES)]


class Ask(_Message, frozen=True, tag=8):
    """Over TCP: please receive at most so many bytes, for so long, and say how fast they came."""

    probe: Epoch
    bytes: Bytes
    time_s: Seconds


class Ready(_Message, frozen=True, tag=9):
    """The answer to Ask: go on."""

    probe: Epoch


class Received(_Message, frozen=True, tag=10):
    """What came: a rate (0: too little came to tell), the time from the first to the last byte, how many."""

    probe: Epoch
    bytes_s: Annotated[float, msgspec.Meta(ge=0, le=1e15)]
    duration_s: Seconds
    bytes: Bytes


Ring = Token | Taken | Alive | Claim | Grant | Leave
Message = Ring | Echo | Answer | Ask | Ready | Received

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
encode = msgspec.msgpack.Encoder().encode


def decode(body: bytes) -> Message:
    """A message from its bytes. Raises ConfigError when it is none."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"a datagram of {len(body)} bytes is no message of the probes: {error}") from error
