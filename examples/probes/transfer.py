"""An instrumented transfer: every step says when it starts and ends, and all of them name the same guid.

python examples/probes/transfer.py        then, with a running vagus: vagus events --event 'transfer*'
"""

from __future__ import annotations

import logging
import secrets
import socket
import sys
import threading
import time

import vagus

SIZE_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
log = logging.getLogger("transfer")


class Step:
    """An action in vagus, and the same two lines in the log, in NetLogger's form."""

    def __init__(self, name: str, guid: str, **fields: object) -> None:
        self._name, self._fields = name, {"guid": guid, **fields}
        self._action = vagus.action(name, **self._fields)

    def __enter__(self) -> vagus.action:
        log.info("begins", extra={"event": f"{self._name}.start", **self._fields})
        self._begun_s = time.perf_counter()
        return self._action.__enter__()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._action.__exit__(kind, error, traceback)  # type: ignore[arg-type]
        ended = {"status": 0 if error is None else -1, "duration_s": time.perf_counter() - self._begun_s}
        log.info("ends", extra={"event": f"{self._name}.end", **self._fields, **ended})


def receive(listener: socket.socket, guid: str) -> None:
    """The other end."""
    connection, _ = listener.accept()
    with connection, Step("transfer.receive", guid) as step:
        got = 0
        while chunk := connection.recv(CHUNK_BYTES):
            got += len(chunk)
        step.note(bytes=got)


def main() -> None:
    handler = vagus.NetLoggerHandler(sys.stdout)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    guid, content = secrets.token_hex(8), memoryview(bytes(CHUNK_BYTES))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = threading.Thread(target=receive, args=(listener, guid))
        other.start()
        with Step("transfer", guid, bytes=SIZE_BYTES) as whole:
            with Step("transfer.connect", guid):
                connection = socket.create_connection(listener.getsockname())
            begun_s = time.perf_counter()
            with connection, Step("transfer.send", guid):
                for _ in range(SIZE_BYTES // CHUNK_BYTES):
                    connection.sendall(content)
            other.join()
            rate = SIZE_BYTES / (time.perf_counter() - begun_s)
            whole.note(bytes_s=rate)
            vagus.sample("transfer", {"dst": "127.0.0.1"}, bytes_s=rate)  # a series: vagus forecasts it
    print(f"# {SIZE_BYTES >> 20} MiB at {rate / 1e6:.0f} MB/s")


if __name__ == "__main__":
    main()
