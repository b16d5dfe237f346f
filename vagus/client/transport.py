"""How observations, samples and events leave the process: datagrams to the node, else the gateway of the endpoint."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from vagus.client import endpoint
from vagus.client.answers import NotTaken, Refusal
from vagus.errors import NoData, VagusError
from vagus.model import Report, Span

if TYPE_CHECKING:
    from vagus.client.connection import Connection

Item = TypeVar("Item")
MAX_DATAGRAM_BYTES = 60_000
MAX_BATCH = 100
MAX_SPANS = 500  # of one request
SEND_TIMEOUT_S = 0.2
GATEWAY_TIMEOUT_S = 1.0
MAX_SPLITS = 20  # of what was refused, in one sending
_OF_ITEMS = frozenset({"refused", "invalid", "too_large"})  # codes of the gateway that speak of what was sent


class Carrier(Generic[Item]):
    """Finds the node when first needed, and again after a failure. Subclasses say what one batch looks like."""

    socket_name = ""

    def __init__(self, find: Callable[[], endpoint.Endpoint] = endpoint.find) -> None:
        self._find = find
        self._socket: socket.socket | None = None
        self._connection: Connection | None = None
        self._local = False
        self._refused = 0
        self._why = ""
        self._splits = 0

    def pack(self, items: Sequence[Item]) -> bytes:
        """The datagram."""
        raise NotImplementedError

    def post(self, connection: Connection, items: Sequence[Item]) -> None:
        """The same to the gateway. Raises VagusError."""
        raise NotImplementedError

    def send(self, items: Sequence[Item]) -> None:
        """Sends items to the node's socket, else to the gateway. Raises NotTaken: some are refused, the others sent;
        VagusError: nobody takes them."""
        self._refused, self._why, self._splits = 0, "", MAX_SPLITS
        for at in range(0, len(items), MAX_BATCH):
            self._batch(items[at : at + MAX_BATCH])
        if self._refused:
            raise NotTaken(self._refused, self._why)

    def _batch(self, items: Sequence[Item]) -> None:
        body = self.pack(items)
        if len(body) > MAX_DATAGRAM_BYTES and len(items) > 1:
            half = len(items) // 2
            self._batch(items[:half])
            self._batch(items[half:])
            return
        if self._socket is None and self._connection is None:
            self._open(datagrams=True)
        if self._socket is not None:
            try:
                self._socket.send(body)
                return
            except OSError:  # the actor behind restarts, or is behind
                self.close()
                self._open(datagrams=False)
        self._post(items)
        if self._local:
            self.close()  # the socket is cheaper: look for it again next time

    def _post(self, items: Sequence[Item]) -> None:
        """To the gateway; what it refuses is searched by halves, so that it keeps nothing else back."""
        if self._connection is None:
            self._open(datagrams=False)
        assert self._connection is not None
        try:
            self.post(self._connection, items)
        except VagusError as error:
            if not (isinstance(error.__cause__, Refusal) and error.__cause__.code in _OF_ITEMS):
                self.close()  # it may be elsewhere, or have another token: look for it again next time
                raise
            if len(items) > 1 and self._splits > 0:
                self._splits -= 1
                half = len(items) // 2
                self._post(items[:half])
                self._post(items[half:])
                return
            self._refused += len(items)
            self._why = str(error)

    def _open(self, datagrams: bool) -> None:
        found = self._find()
        self._local = found.home is not None
        if datagrams and found.home is not None:
            from vagus import config

            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.settimeout(SEND_TIMEOUT_S)
            try:
                sock.connect(str(config.socket_path(found.home, found.node, self.socket_name)))
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


class Transport(Carrier[Report]):
    """Reports, to the observer's socket, else POST /v1/report."""

    socket_name = "report"

    def __init__(self, find: Callable[[], endpoint.Endpoint] = endpoint.find) -> None:
        super().__init__(find)
        self._asked: tuple[Connection, str] | None = None

    def pack(self, items: Sequence[Report]) -> bytes:
        return msgspec.msgpack.encode(items)

    def post(self, connection: Connection, items: Sequence[Report]) -> None:
        from vagus.client.health import bodies_of

        connection.request("POST", "/v1/report", body=msgspec.msgpack.encode({"reports": bodies_of(items)}))

    def view(self, observer: str, subject: str) -> Sequence[Report]:
        """An observer's last reports on a subject, as the node has them, oldest first. Raises VagusError."""
        from vagus.client.connection import Connection

        if self._asked is None:
            found = self._find()
            self._asked = Connection(found.url, found.token, timeout_s=GATEWAY_TIMEOUT_S), found.node
        connection, node = self._asked
        try:
            return connection.panorama(subject, observer, node).get(observer, ())
        except NoData:
            return ()
        except VagusError:
            connection.close()
            self._asked = None
            raise

    def close(self) -> None:
        super().close()
        if self._asked is not None:
            self._asked[0].close()
            self._asked = None


class Parcels(Carrier["dict[str, Any]"]):
    """Samples and events as bodies of the gateway, to the collector's socket, else POST /v1/samples and /v1/events."""

    socket_name = "ingest"

    def pack(self, items: Sequence[dict[str, Any]]) -> bytes:
        return msgspec.msgpack.encode(_sorted(items))

    def post(self, connection: Connection, items: Sequence[dict[str, Any]]) -> None:
        for name, bodies in _sorted(items).items():
            if bodies:
                connection.request("POST", f"/v1/{name}", body=msgspec.msgpack.encode({name: bodies}))


class SpanPost(Carrier[Span]):
    """Spans as OTLP, to the gateway alone: a datagram holds too few."""

    def send(self, items: Sequence[Span]) -> None:
        self._refused, self._why, self._splits = 0, "", MAX_SPLITS
        for at in range(0, len(items), MAX_SPANS):
            self._post(items[at : at + MAX_SPANS])
        if self._refused:
            raise NotTaken(self._refused, self._why)

    def post(self, connection: Connection, items: Sequence[Span]) -> None:
        from vagus.client.span_otlp import request_of
        from vagus.client.tracer import rejected_of

        body = msgspec.json.encode(request_of(items))
        answer, _ = connection.request("POST", "/v1/traces", body=body, media="application/json")
        rejected, why = rejected_of(answer)
        if rejected:
            self._refused += rejected
            self._why = why


def _sorted(items: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {"samples": [i for i in items if "kind" in i], "events": [i for i in items if "event" in i]}
