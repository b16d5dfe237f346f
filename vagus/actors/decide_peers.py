"""Parcels between the decide actors of the nodes: one under way to each, sent when there is something to say."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from vagus.actors.base import Links
from vagus.controllers.decide.leading import Leading
from vagus.controllers.decide.mail import Parcel, Receipt
from vagus.controllers.decide.parcels import Parcels
from vagus.errors import ConfigError, PeerUnreachable, VagusError

TURN_S = 0.05
CALL_S = 2.0
BIG_CALL_S = 20.0  # with a part of a replica, or a Plan
MAX_PARCEL_BYTES = 256 << 20

_parcel = msgspec.msgpack.Decoder(Parcel)
_receipt = msgspec.msgpack.Decoder(Receipt)


class Peers:
    """`turn` sends what there is; `take` answers what comes. Never waits for a peer."""

    def __init__(
        self,
        links: Links,
        leading: Leading,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._links = links
        self._leading = leading
        self.parcels = Parcels(leading, time.monotonic)
        self._spawn = spawn
        self._failed = failed
        self._busy: set[str] = set()
        self.sent_bytes = 0
        self.unanswered = 0

    def turn(self) -> None:
        """Sends to each peer that is not busy."""
        for peer in self._leading.view.peers:
            if peer not in self._busy:
                parcel = self.parcels.parcel(peer, time.monotonic())
                if parcel is not None:
                    self._busy.add(peer)
                    self._spawn(self._send(peer, parcel))

    async def _send(self, peer: str, parcel: Parcel) -> None:
        answer: bytes | None = None
        try:
            packed = msgspec.msgpack.encode(parcel)
            self.sent_bytes += len(packed)
            timeout_s = BIG_CALL_S if parcel.replica is not None or parcel.plan is not None else CALL_S
            answer = await self._links.call(f"vagus:decide@{peer}", "exchange", packed, timeout_s=timeout_s)
            self.parcels.answered(parcel, _receipt.decode(answer), time.monotonic())
        except PeerUnreachable:
            self.unanswered += 1
        except (VagusError, msgspec.DecodeError) as error:  # it refused, or is of another version
            answer = None
            self._failed(f"telling {peer}", error)
        finally:
            self._busy.discard(peer)
            if answer is None:
                self.parcels.failed(parcel, peer)
        if answer is not None and peer not in self._busy:  # there may be more
            self.turn()

    def take(self, packed: bytes) -> bytes:
        """A peer's parcel; the receipt. Raises ConfigError for what is no parcel."""
        if len(packed) > MAX_PARCEL_BYTES:
            raise ConfigError(f"a parcel of {len(packed)} bytes; at most {MAX_PARCEL_BYTES}")
        try:
            parcel = _parcel.decode(packed)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ConfigError(f"not a parcel of a node that decides: {error}") from error
        return msgspec.msgpack.encode(self.parcels.receive(parcel, time.monotonic()))
