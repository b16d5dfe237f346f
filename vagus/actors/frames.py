"""Frames of `observer.sock`: a length (4 bytes, big-endian) and a body; what the answers to them look like."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from vagus.model import Ack

LENGTH = struct.Struct(">I")
MAX_ERROR = 1000
"""Characters of an answer that says what was wrong."""

Answer = int | bytes
"""To a frame: how many of the acks are its reports', or the answer's own frame."""

_pack = msgspec.msgpack.Encoder().encode


class _Greeting(msgspec.Struct, forbid_unknown_fields=True):
    handle: int


_greeting = msgspec.msgpack.Decoder(_Greeting)


def frame(body: bytes) -> bytes:
    """A body with its length before it."""
    return LENGTH.pack(len(body)) + body


ACCEPTED = frame(_pack([Ack.ACCEPTED]))
EMPTY = frame(_pack([]))


def is_greeting(body: bytes) -> bool:
    """Whether a body is a MessagePack map, and so no report."""
    return bool(body) and 0x80 <= body[0] <= 0x8F


def read_greeting(body: bytes) -> int:
    """The handle of a map `{"handle": N}`. Raises ValueError."""
    return _greeting.decode(body).handle


def refusal(problem: str) -> bytes:
    """The answer to a frame that is not taken."""
    return frame(_pack({"error": problem[:MAX_ERROR]}))


def framed(answers: Sequence[Answer], acks: Sequence[Ack]) -> bytes:
    """The answers' bytes: acks are dealt out, in order, to the frames that had reports."""
    parts: list[bytes] = []
    at = 0
    for answer in answers:
        if isinstance(answer, bytes):
            parts.append(answer)
            continue
        dealt = acks[at : at + answer]
        at += answer
        parts.append(ACCEPTED if answer == 1 and dealt[0] is Ack.ACCEPTED else frame(_pack(dealt)))
    return b"".join(parts)
