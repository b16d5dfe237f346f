"""The one UDP socket between observers: sealed datagrams out, and in to whoever hears their first byte.

Gossip's bodies are MessagePack arrays (first byte from 0x90), those of membership begin with `S`. Nothing queues here:
what the kernel does not take now is dropped and counted, and the protocols above make up for it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping

from vagus.actors.datagrams import Address, arrived, open_udp
from vagus.errors import ConfigError, PeerUnreachable
from vagus.sealing import MAX_DATAGRAM_BYTES, Sealer

MAX_PEERS = 4096
TURN_BYTES = 128 << 10
"""Heard before others get their turn: more than a burst of usual datagrams."""
GOSSIP = range(0x90, 0x100)
"""First bytes of gossip's bodies; of membership's it is `SWIM`."""
SWIM = b"S"

SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")  # linux/sock_diag.h: the last one is SK_MEMINFO_DROPS

_FOREIGN = {
    "forged": "it has another key: copy HOME/secret from one to the other",
    "stale": "its clock is off, or this one's",
    "version": "it runs another version of vagus",
}

Hearer = Callable[[str, bytes], None]
"""Takes the node that sealed a body, and the body. What it raises goes to `failed`."""


class Wire:
    """Addresses of the peers, the sealer, and the socket of one observer.

    `counts`: sent, dropped (the kernel's buffer was full, or no route), received, unsealed (not of this cluster),
    unheard (of a kind that nobody here hears), unknown (to a node without an address), namesakes (from another
    observer that has this node's name; `namesake` says where it is).
    """

    def __init__(self, node: str, failed: Callable[[str, BaseException], None]) -> None:
        self.node = node
        self.counts: Counter[str] = Counter()
        self.addresses: dict[str, Address] = {}
        self.sealer: Sealer | None = None
        self.namesake: Address | None = None
        self.foreign: dict[Address, str] = {}
        """Peers' addresses from which something comes that cannot be opened, with what is probably wrong."""
        self.met: list[Callable[[str], None]] = []
        """Called with a node that spoke to us and was not known, once it has an address."""
        self.drained: list[Callable[[], None]] = []
        """Called when what came together has been heard: the place for one commit."""
        self._failed = failed
        self._hearers: list[tuple[Container[int], Hearer]] = []
        self._udp: socket.socket | None = None
        self._key = b""

    def hear(self, first: Container[int], hearer: Hearer) -> None:
        """Bodies whose first byte is in `first` go to `hearer`."""
        self._hearers.append((first, hearer))

    def open(self, host: str, port: int) -> None:
        """Binds and listens, in the running loop. Raises ConfigError."""
        try:
            self._udp = open_udp(host, port)
        except OSError as error:
            elsewhere = error.errno == errno.EADDRNOTAVAIL
            remedy = "name an address of this machine" if elsewhere else "set health.port to a free port, or to 0"
            raise ConfigError(f"cannot bind UDP {host}:{port} for gossip: {error.strerror}; {remedy}") from error
        asyncio.get_running_loop().add_reader(self._udp.fileno(), self._readable)

    def close(self) -> None:
        """Closes the socket; what is sent from then on goes nowhere. Idempotent."""
        if self._udp is not None:
            asyncio.get_running_loop().remove_reader(self._udp.fileno())
            self._udp.close()
            self._udp = None

    def address(self) -> Address:
        """Where this node hears. Raises PeerUnreachable before `open`."""
        if self._udp is None:
            raise PeerUnreachable(f"the observer of {self.node} is not started: it has no gossip address yet")
        host, port = self._udp.getsockname()[:2]
        return str(host), int(port)

    def lost(self) -> int:
        """Datagrams that came when the socket's buffer was full, since this process hung or was slow."""
        if self._udp is None:
            return 0
        told = self._udp.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(told)[-1]) if len(told) == _MEMINFO.size else 0

    def connect(self, addresses: Mapping[str, Address], key: bytes | str = b"") -> list[str]:
        """Takes the peers' numeric addresses and, if it changed, the key (bytes, or hex); whom to greet.

        Raises ConfigError.
        """
        known = set(self.addresses)
        try:
            key = bytes.fromhex(key) if isinstance(key, str) else key
        except ValueError as error:
            raise ConfigError("the gossip key is not hexadecimal; 64 digits are needed") from error
        if key and key != self._key:
            self.sealer, self._key, known = Sealer(key, self.node), key, set()
        self.addresses = {node: address for node, address in addresses.items() if node != self.node}
        return sorted(self.addresses.keys() - known)

    def send(self, to: Iterable[str], body: bytes) -> None:
        """Seals a body once and sends it to these nodes, as far as they have an address. Never blocks."""
        sealer, udp = self.sealer, self._udp
        if sealer is None or udp is None:
            return
        datagram = sealer.seal(body)
        for node in to:
            address = self.addresses.get(node)
            if address is None:
                self.counts["unknown"] += 1
                continue
            try:
                udp.sendto(datagram, address)
                self.counts["sent"] += 1
            except OSError:  # the socket's buffer is full, or no route
                self.counts["dropped"] += 1

    def _readable(self) -> None:
        heard_bytes = 0
        for datagram, address in arrived(self._udp, MAX_DATAGRAM_BYTES):
            self.counts["received"] += 1
            self._open(datagram, address)
            heard_bytes += len(datagram)
            if heard_bytes >= TURN_BYTES:
                break  # the loop comes back for what still waits
        for callback in self.drained:
            try:
                callback()
            except Exception as error:
                self._failed("gossip", error)

    def _open(self, datagram: bytes, address: Address) -> None:
        opened = self.sealer.open(datagram) if self.sealer else None
        if opened is None:
            self.counts["unsealed"] += 1
            why = _FOREIGN.get(self.sealer.last_refused) if self.sealer else None
            if why and address[:2] in self.addresses.values():
                self.foreign[address[:2]] = why
        elif opened.node == self.node:
            self.counts["namesakes"] += 1
            self.namesake = address[:2]
        else:
            self.foreign.pop(address[:2], None)
            try:
                self._meet(opened.node, address)
                self._dispatch(opened.node, opened.body)
            except Exception as error:
                self._failed("gossip", error)

    def _dispatch(self, node: str, body: bytes) -> None:
        for first, hearer in self._hearers:
            if body and body[0] in first:
                hearer(node, body)
                return
        self.counts["unheard"] += 1

    def _meet(self, node: str, address: Address) -> None:
        """Notes where a datagram that this cluster sealed came from: a new peer, or one that restarted elsewhere."""
        known = node in self.addresses
        if not known and len(self.addresses) >= MAX_PEERS:
            return
        self.addresses[node] = address[:2]
        if not known:
            for callback in self.met:
                callback(node)
