"""Tells the node's gateway of injections, in a thread: no gateway may hold an injection up."""

from __future__ import annotations

import queue
import threading
import time

import msgspec

from vagus.client.connection import Connection
from vagus.client.endpoint import Endpoint
from vagus.errors import VagusError
from vagus.model import Event, to_builtins

TIMEOUT_S = 5.0
TRIES = 3
RETRY_S = 0.5


class Telling:
    """Sends events in order; the gateway's answer means that they are stored. `problem`: why some were not."""

    def __init__(self, found: Endpoint) -> None:
        self.told = 0
        self.problem = ""
        self._found = found
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="vagus inject", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Queues an event."""
        self._queue.put(event)

    def close(self) -> None:
        """Waits until all are told, for a while."""
        self._queue.put(None)
        self._thread.join(TIMEOUT_S * TRIES + 1)
        if self._thread.is_alive():
            self.problem = self.problem or "the gateway does not answer in time"

    def _run(self) -> None:
        with Connection(self._found.url, self._found.token, timeout_s=TIMEOUT_S) as connection:
            while (event := self._queue.get()) is not None:
                for attempt in range(TRIES):
                    try:
                        connection.request("POST", "/v1/events", body=msgspec.msgpack.encode(_body(event)))
                        self.told += 1
                        break
                    except VagusError as error:
                        if attempt == TRIES - 1:
                            self.problem = f"{event.event} was not stored: {error}"
                        else:
                            time.sleep(RETRY_S)


def _body(event: Event) -> dict[str, object]:
    body: dict[str, object] = to_builtins(event)
    body.pop("node")  # the gateway's
    return body
