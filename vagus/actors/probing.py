"""The probes' shell on a node: a UDP socket for tokens and echoes, and of the same number a TCP port for transfers.

All messages are sealed with a key made from the cluster's secret; who has none gets no answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from fnmatch import fnmatchcase
from typing import Any

from vagus.actors.base import Seat
from vagus.actors.datagrams import Address, open_udp, own_address, resolve
from vagus.actors.probed import Probed
from vagus.actors.stamps import arrived_at, stamp
from vagus.actors.transfers import MAX_SERVED, Transfers
from vagus.config import seconds
from vagus.errors import ConfigError, PeerUnreachable
from vagus.forecast.timeouts import Timeouts
from vagus.model import Event, Report, Sample
from vagus.probes.clique import Clique, Costs, Directive, Probe, Regenerated, Send
from vagus.probes.latency import GIVE_UP, Responder, Series
from vagus.probes.messages import (
    MAX_MEMBERS,
    Answer,
    Echo,
    Message,
    Ring,
    decode,
    encode,
)
from vagus.probes.schedule import LATENCY
from vagus.sealing import KEY_BYTES, MAX_DATAGRAM_BYTES, Sealer

SLACK_S = 2.0
"""Beside the transfer itself: connecting, asking, answering."""
MAX_PEERS = 4096
PORTS_TRIED = 20
FLOOR_S, FIRST_S, CEILING_S, ROUNDS_CEILING_S = 0.2, 0.5, 2.0, 3600.0
"""Of time-outs: the least, the one before anything is known, the most for an answer and for the token."""

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Probing:
    """Answers others' probes and makes this node's own. `spawn` runs in the background, `failed` is told of mistakes.

    Options of the seat: key (32 bytes or their hex), address (of this node).
    """

    def __init__(self, seat: Seat, spawn: Spawn, failed: Callable[[str, Exception], None]) -> None:
        node, settings = seat.node, seat.config.probes
        self.found = Probed(node)
        self.counts: Counter[str] = Counter()
        self._node = node
        self._seat = seat
        self._spawn = spawn
        self._failed = failed
        every = seconds(settings.latency_every), seconds(settings.bandwidth_every)
        costs = Costs(*every, settings.bandwidth_bytes, seconds(settings.bandwidth_time) + SLACK_S)
        self._enabled = settings.enabled and any(every) and bool(seat.options.get("key"))
        self._answers = Timeouts(FLOOR_S, CEILING_S, first_s=FIRST_S)
        rounds = Timeouts(FLOOR_S, ROUNDS_CEILING_S)
        self._cliques = {c.name: Clique(c.name, node, costs, self._answers, rounds) for c in settings.cliques}
        self._patterns = {c.name: c.nodes for c in settings.cliques}
        self._sealer: Sealer | None = None
        self._transfers: Transfers | None = None
        self._addresses: dict[str, Address] = {}
        self._series: dict[int, tuple[str, Series, asyncio.Event]] = {}
        self._responder = Responder()
        self._udp: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._one = asyncio.Lock()  # also of several cliques, one probe of this node at a time
        self._timer: asyncio.TimerHandle | None = None

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listens. Where that fails there are no probes, and `failed` is told why."""
        if not self._enabled:
            return
        settings = self._seat.config.probes
        try:
            self._sealer = sealer = Sealer(_own_key(self._seat.options["key"]), self._node)
            self._udp, self._tcp = _open(_host(self._seat), settings.port)
        except ConfigError as error:
            self._failed("probes", error)
            return
        limits = settings.bandwidth_bytes, seconds(settings.bandwidth_time)
        self._transfers = transfers = Transfers(sealer, self._answers, self._spawn, *limits)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._udp.fileno(), self._hear)
        loop.add_reader(self._tcp.fileno(), transfers.accept, self._tcp)

    def stop(self) -> None:
        """Hands tokens on and closes the sockets. Idempotent."""
        for clique in self._cliques.values():
            self._perform(clique, clique.leave(time.monotonic()))
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        for sock in (self._udp, self._tcp):
            if sock is not None:
                loop.remove_reader(sock.fileno())
                sock.close()
        self._udp = self._tcp = None
        if self._transfers is not None:
            self._transfers.close()

    def address(self) -> Address | None:
        """Where this node hears probes; None when it makes none."""
        if self._udp is None:
            return None
        host, port = self._udp.getsockname()[:2]
        return str(host), int(port)

    async def set_peers(self, peers: Mapping[str, Address]) -> None:
        """Who can be probed, by node. Raises ConfigError."""
        if len(peers) > MAX_PEERS:
            raise ConfigError(f"{len(peers)} nodes to probe; at most {MAX_PEERS}")
        resolved = {node: await resolve(host, port) for node, (host, port) in peers.items() if node != self._node}
        if self._udp is None:
            return
        self._addresses = resolved
        self.found.forget(set(resolved))
        for name, clique in self._cliques.items():
            members = [n for n in (*resolved, self._node) if any(fnmatchcase(n, p) for p in self._patterns[name])]
            here = self._node in members
            self._perform(clique, clique.members(members if here else (), time.monotonic()))

    async def tell(
        self, put: Callable[[list[Sample], list[Event]], Awaitable[None]], note: Callable[[list[Report]], None]
    ) -> None:
        """Hands over what was found: to the store and to the observer. Raises what `put` raises."""
        samples, events, reports = self.found.take()
        note(reports)
        if samples or events:
            await put(samples, events)

    def figures(self) -> dict[str, float]:
        """Counters since the start."""
        counts, found = self.counts, self.found.counts
        refused = self._sealer.refused.total() if self._sealer else 0
        refused += self._transfers.counts["refused"] if self._transfers else 0
        return {
            "probes_latency": float(found["latency"]),
            "probes_bandwidth": float(found["bandwidth"]),
            "probes_failed": float(found["failed"]),
            "probe_datagrams": float(counts["sent"]),
            "probes_refused": float(refused + counts["refused"]),
        }

    def notes(self) -> tuple[str, ...]:
        """What people should know."""
        if len(self._addresses) >= MAX_MEMBERS:
            return (f"a clique has at most {MAX_MEMBERS} nodes: name several in probes.cliques",)
        return ()

    # --- cliques -----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now_s = time.monotonic()
        for clique in self._cliques.values():
            if clique.wake_s <= now_s:
                self._perform(clique, clique.tick(now_s))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_s = min((clique.wake_s for clique in self._cliques.values()), default=float("inf"))
        if wake_s < float("inf") and self._udp is not None:
            delay_s = max(0.001, wake_s - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _perform(self, clique: Clique, directives: list[Directive]) -> None:
        for directive in directives:
            if isinstance(directive, Send):
                self._send(directive.to, directive.message)
            elif isinstance(directive, Probe):
                self._spawn(self._probe(clique, directive))
            elif isinstance(directive, Regenerated):
                self.found.regenerated(directive)
        self._set_timer()

    async def _probe(self, clique: Clique, probe: Probe) -> None:
        ok, measure = False, self._latency if probe.kind == LATENCY else self._bandwidth
        try:
            async with self._one:
                left_s = probe.until_s - time.monotonic()
                if left_s > 0:  # else another clique's took all the time
                    ok = await asyncio.wait_for(measure(probe), left_s)
        except (asyncio.TimeoutError, TimeoutError):
            self.found.failed(probe, f"it was not done within {left_s:.1f} s")
        except (OSError, PeerUnreachable) as error:
            self.found.failed(probe, str(error))
        except Exception as error:  # a mistake in here must not keep the token for ever
            self._failed(f"probe of {probe.node}", error)
        self._perform(clique, clique.finished(probe, time.monotonic(), ok=ok))

    # --- datagrams ---------------------------------------------------------------------------------------------------

    def _send(self, node: str, message: Message) -> bool:
        address = self._addresses.get(node)
        if address is None or self._sealer is None:
            return False
        return self._send_sealed(self._sealer.seal(encode(message)), address)

    def _send_sealed(self, datagram: bytes, address: Address) -> bool:
        if self._udp is None:
            return False
        try:
            self._udp.sendto(datagram, address)
        except OSError:  # no room, no route: it counts as lost
            return False
        self.counts["sent"] += 1
        return True

    def _hear(self) -> None:
        assert self._udp is not None
        for datagram, address, t_ns in arrived_at(self._udp, MAX_DATAGRAM_BYTES):
            opened = self._sealer.open(datagram) if self._sealer is not None else None
            if opened is None:
                continue
            try:
                message = decode(opened.body)
            except ConfigError:
                self.counts["refused"] += 1
                continue
            if opened.node in self._addresses:
                self._addresses[opened.node] = address  # it may have restarted elsewhere
            if isinstance(message, Echo):
                self._echo(opened.node, message, address, t_ns)
            elif isinstance(message, Answer):
                node, series, more = self._series.get(message.series, ("", None, None))
                if series and more and node == opened.node and series.answered(message, t_ns, time.monotonic_ns()):
                    more.set()
            elif isinstance(message, Ring):
                clique = self._cliques.get(message.clique)
                if clique is not None:
                    self._perform(clique, clique.on_message(opened.node, message, time.monotonic()))

    def _echo(self, node: str, echo: Echo, address: Address, t2_ns: int) -> None:
        assert self._sealer is not None
        datagram = self._sealer.seal(encode(self._responder.answer(node, echo.series, echo.number)))
        t3_ns = time.time_ns()
        if self._send_sealed(datagram, address):
            self._responder.answered(node, echo.series, echo.number, t2_ns, t3_ns)

    async def _latency(self, probe: Probe) -> bool:
        assert self._sealer is not None
        series, more = Series(secrets.randbits(60)), asyncio.Event()
        self._series[series.series] = (probe.node, series, more)
        # what the probe may take is enough to find out that nobody is there
        most_s = (probe.until_s - time.monotonic()) / (GIVE_UP + 1)
        timeout_s, longest_s = min(most_s, self._answers.timeout_s(probe.node)), 0.0
        try:
            while (number := series.next()) is not None and time.monotonic() + timeout_s < probe.until_s:
                more.clear()
                datagram = self._sealer.seal(encode(Echo(series.series, number)))
                begin_ns = time.monotonic_ns()
                series.sent(time.time_ns(), begin_ns)
                self._send_sealed(datagram, self._addresses[probe.node])
                with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                    await asyncio.wait_for(more.wait(), timeout_s)
                    longest_s = max(longest_s, (time.monotonic_ns() - begin_ns) / 1e9)
        except KeyError:
            raise PeerUnreachable(f"node {probe.node} is no longer known") from None
        finally:
            del self._series[series.series]
        if longest_s:
            self._answers.observed(probe.node, longest_s)
        else:
            self._answers.failed(probe.node, timeout_s)
        return self.found.latency(probe, series.result())

    async def _bandwidth(self, probe: Probe) -> bool:
        assert self._transfers is not None
        address = self._addresses.get(probe.node)
        if address is None:
            raise PeerUnreachable(f"node {probe.node} is no longer known")
        return self.found.bandwidth(probe, await self._transfers.measure(probe.node, address))


def _host(seat: Seat) -> str:
    """Where to listen: as the gossip does, only on loopback unless the gateways serve other machines."""
    if seat.config.gateway.bind != "node":
        return "127.0.0.1"
    return str(seat.options.get("address", "")) or own_address()


def _open(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket of the same number. Raises ConfigError."""
    for left in reversed(range(PORTS_TRIED if port == 0 else 1)):
        opened = []
        try:
            udp = open_udp(host, port)
            opened.append(udp)
            stamp(udp)
            tcp = socket.socket(udp.family, socket.SOCK_STREAM)
            opened.append(tcp)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((host, udp.getsockname()[1]))
            tcp.listen(MAX_SERVED)
            tcp.setblocking(False)
            return udp, tcp
        except OSError as error:
            for sock in opened:
                sock.close()
            if not left:
                raise ConfigError(
                    f"cannot bind {host}:{port}: {error.strerror}; set probes.port to a free port, or to 0"
                ) from error
    raise AssertionError("unreachable")


def _own_key(key: bytes | str) -> bytes:
    """The probes' key from the cluster's: a message of the gossip is none of the probes. Raises ConfigError."""
    try:
        whole = bytes.fromhex(key) if isinstance(key, str) else key
    except ValueError as error:
        raise ConfigError("the cluster's secret is not hexadecimal; 64 digits are needed") from error
    return hashlib.blake2b(whole, digest_size=KEY_BYTES, person=b"vagus probes 1").digest()
