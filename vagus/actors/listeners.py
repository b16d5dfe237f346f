"""The ports and sockets of a node's collector on which other programs' telemetry comes in; see InputSettings."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from vagus.actors.base import Seat
from vagus.actors.datagrams import open_udp, open_unix, own_address
from vagus.actors.intake import Intake
from vagus.actors.listen_datagrams import Datagrams
from vagus.actors.listen_streams import ForwardStreams, LineStreams, Streams
from vagus.config import read_token, socket_path
from vagus.errors import ConfigError
from vagus.inputs.lines import Actions, Splitter, read_at
from vagus.inputs.native import MAX_PARCEL_BYTES, read_parcel
from vagus.model import Event, Sample
from vagus.netlogger import MAX_LINE_BYTES

TRIES = 20
MAX_LINES = 1000  # of one datagram


class Listeners:
    """Opens what the settings name, and the node's own socket `ingest.sock`, which this user's programs write to."""

    def __init__(self, seat: Seat, intake: Intake) -> None:
        self.ports: dict[str, int] = {}
        self._seat = seat
        self._settings = seat.config.inputs
        self._intake = intake
        self._actions = Actions()
        self._datagrams: list[Datagrams] = []
        self._streams: list[Streams] = []
        self._path: Path | None = None

    async def start(self) -> None:
        """Raises ConfigError: a port or the socket cannot be had, or the key file cannot be read."""
        settings = self._settings
        host = "127.0.0.1"
        if settings.bind == "node":
            host = str(self._seat.options.get("address", "")) or own_address()
        path = socket_path(Path(self._seat.home), self._seat.node, "ingest")
        sock = open_unix(path)
        self._path = path
        self._datagrams.append(Datagrams("ingest", sock, self._parcel, MAX_PARCEL_BYTES, self._intake))
        if settings.ulm_port is not None:
            await self._lines(host, settings.ulm_port)
        if settings.forward_port is not None:
            key = settings.forward_key_file
            secret = read_token("forward", key).encode() if key else b""
            streams = ForwardStreams(self._intake, settings.max_connections, secret)
            self._streams.append(streams)
            try:
                self.ports["forward"] = await streams.start(host, settings.forward_port)
            except OSError as error:
                raise _taken("forward_port", host, settings.forward_port, error) from error
        for datagrams in self._datagrams:
            datagrams.start()

    async def stop(self) -> None:
        """Closes everything; what was read is stored before. Idempotent."""
        datagrams, self._datagrams = self._datagrams, []
        streams, self._streams = self._streams, []
        for sock in datagrams:
            await sock.stop()
        for port in streams:
            await port.stop()
        path, self._path = self._path, None
        if path is not None:
            path.unlink(missing_ok=True)

    async def _lines(self, host: str, port: int) -> None:
        """UDP and TCP on one port; when the kernel chooses it, one that is free in both."""
        streams = LineStreams(self._intake, self._settings.max_connections, self._actions)
        self._streams.append(streams)
        for left in range(TRIES - 1, -1, -1):
            udp: socket.socket | None = None
            try:
                udp = open_udp(host, port)
                self.ports["ulm"] = await streams.start(host, udp.getsockname()[1])
                break
            except OSError as error:
                if udp is not None:
                    udp.close()
                if port or not left or error.errno != errno.EADDRINUSE:
                    raise _taken("ulm_port", host, port, error) from error
        assert udp is not None
        self._datagrams.append(Datagrams("ulm", udp, self._datagram, MAX_LINE_BYTES, self._intake))

    def _datagram(self, data: bytes) -> tuple[Sequence[Sample], Sequence[Event]]:
        """One line, or several; a bad one costs only itself."""
        splitter = Splitter()
        lines = [*splitter.feed(data), *splitter.end()]
        if len(lines) > MAX_LINES:
            more = len(lines) - MAX_LINES
            self._intake.bad.note("ulm", "oversize", f"a datagram of more than {MAX_LINES} lines", more)
            del lines[MAX_LINES:]
        if len(lines) == 1:
            return (), (read_at(lines[0], self._intake.node, self._actions),)
        events = []
        for line in lines:
            try:
                events.append(read_at(line, self._intake.node, self._actions))
            except ConfigError as error:
                self._intake.bad.note("ulm", "malformed", str(error))
        return (), events

    def _parcel(self, data: bytes) -> tuple[Sequence[Sample], Sequence[Event]]:
        return read_parcel(data, self._intake.node, time.time_ns())

    def notes(self) -> tuple[str, ...]:
        """Lines for people: which ports are open."""
        return tuple(f"inputs: {name} on port {port}" for name, port in self.ports.items())


def _taken(setting: str, host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot listen on {host}:{port}: {error.strerror or error}; "
        f"set inputs.{setting} in vagus.yaml to a free port, or leave it out to keep it closed"
    )
