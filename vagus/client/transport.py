"""How observations leave the process: datagrams to the node's observer, else the gateway of the endpoint."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from vagus.client import endpoint
from vagus.model import Report

if TYPE_CHECKING:
    from vagus.client.connection import Connection

MAX_DATAGRAM_BYTES = 60_000
MAX_BATCH = 100
SEND_TIMEOUT_S = 0.2
GATEWAY_TIMEOUT_S = 1.0


class Transport:
    """Finds the node when first needed, and again after a failure."""

    def __init__(self, find: Callable[[], endpoint.Endpoint] = endpoint.find) -> None:
        self._find = find
        self._socket: socket.socket | None = None
        self._connection: Connection | None = None
        self._local = False

    def send(self, reports: list[Report]) -> None:
        """Sends reports: MessagePack records to the socket, else POST /v1/report. Raises VagusError."""
        for at in range(0, len(reports), MAX_BATCH):
            self._batch(reports[at : at + MAX_BATCH])

    def _batch(self, reports: list[Report]) -> None:
        body = msgspec.msgpack.encode(reports)
        if len(body) > MAX_DATAGRAM_BYTES and len(reports) > 1:
            half = len(reports) // 2
            self._batch(reports[:half])
            self._batch(reports[half:])
            return
        if self._socket is None and self._connection is None:
            self._open(datagrams=True)
        if self._socket is not None:
            try:
                self._socket.send(body)
                return
            except OSError:  # the observer restarts, or is behind
                self.close()
                self._open(datagrams=False)
        assert self._connection is not None
        items = [
            {
                "observer": report.observer,
                "subject": report.subject,
                "t_ns": report.t_ns,
                "contexts": {name: (metric.status.name, metric.score) for name, metric in report.contexts.items()},
            }
            for report in reports
        ]
        self._connection.request("POST", "/v1/report", body=msgspec.msgpack.encode({"reports": items}))
        if self._local:
            self.close()  # the socket is cheaper: look for it again next time

    def _open(self, datagrams: bool) -> None:
        found = self._find()
        self._local = found.home is not None
        if datagrams and found.home is not None:
            from vagus import config

            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.settimeout(SEND_TIMEOUT_S)
            try:
                sock.connect(str(config.socket_path(found.home, found.node, "report")))
                self._socket = sock
                return
            except OSError:
                sock.close()
        from vagus.client.connection import Connection

        self._connection = Connection(found.url, found.token, timeout_s=GATEWAY_TIMEOUT_S)

    def close(self) -> None:
        """Forgets both ways."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
