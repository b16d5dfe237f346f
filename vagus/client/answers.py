"""What comes back: lists that know what is missing, and refusals as the errors of vagus."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from vagus.errors import ConfigError, NoData, PeerUnreachable, PolicyError, StoreError, Unsupported, VagusError

T = TypeVar("T")


class Answer(list[T]):
    """A list over the cluster. missing: (node, why) of each node that did not answer."""

    def __init__(self, items: Iterable[T], missing: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(items)
        self.missing = list(missing)

    @property
    def partial(self) -> bool:
        """Whether any node's part is missing."""
        return bool(self.missing)


def missing_of(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The missing nodes from the headers of an answer whose body has no place for them."""
    if headers.get("X-Vagus-Partial") != "true":
        return []
    try:
        return [(str(entry["node"]), str(entry["error"])) for entry in json.loads(headers.get("X-Vagus-Missing", ""))]
    except (ValueError, KeyError, TypeError):
        return [("?", "the gateway did not say")]


_ERRORS: Mapping[str, type[VagusError]] = {
    "unreachable": PeerUnreachable,
    "timeout": PeerUnreachable,
    "busy": PeerUnreachable,
    "store": StoreError,
    "policy": PolicyError,
    "unsupported": Unsupported,
    "no_data": NoData,
    "internal": VagusError,
    "failed": VagusError,
}


class NotTaken(ConfigError):
    """Some of many things sent are refused, and will be the next time; the others are delivered. count: of those."""

    def __init__(self, count: int, why: str) -> None:
        super().__init__(why)
        self.count = count


class Refusal(Exception):
    """The parts of a gateway's refusal: the cause of the error that `error_of` makes, for who words it otherwise."""

    def __init__(self, code: str, message: str, where: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.hint = hint


def error_of(status: int, body: bytes, url: str) -> VagusError:
    """The gateway's refusal as one of vagus' own errors: what, where, and the hint in one sentence.

    Its `__cause__` is the Refusal.
    """
    try:
        detail = json.loads(body)["error"]
        code, message, where, hint = (str(detail[name]) for name in ("code", "message", "where", "hint"))
    except (ValueError, KeyError, TypeError):
        return PeerUnreachable(f"{url} answered {status} without saying why; is it a vagus gateway?")
    text = "".join((message, f" (at {where})" if where else "", f"; {hint}" if hint else ""))
    error = _ERRORS.get(code, ConfigError if status < 500 else VagusError)(text)
    error.__cause__ = Refusal(code, message, where, hint)
    return error


def decode(body: bytes, kind: type[T]) -> T:
    """MessagePack of the gateway. Raises VagusError."""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise VagusError(f"the gateway's answer cannot be read: {error}; are both of one version?") from error


def decode_json(body: bytes, kind: type[T]) -> T:
    """JSON of the gateway. Raises VagusError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise VagusError(f"the gateway's answer cannot be read: {error}; are both of one version?") from error
