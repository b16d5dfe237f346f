"""The standard library's logging as events of the node, or as NetLogger lines (CEDPS): to a file, a stream, by UDP."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from typing import Any, TextIO

from vagus.client import emit
from vagus.errors import VagusError
from vagus.model import MAX_NAME, Event, Level, Scalar
from vagus.netlogger import write_cedps

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OWN = frozenset({"ts", "event", "level", "host", "prog"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*\Z")
_LEVELS = (
    (logging.CRITICAL, Level.FATAL),
    (logging.ERROR, Level.ERROR),
    (logging.WARNING, Level.WARNING),
    (logging.INFO, Level.INFO),
)


class NetLoggerHandler(logging.Handler):
    """Each record is one line: its logger's name is the event (or the `event` given in `extra`), the message `msg`.

    to: None for the node, as `vagus.event` does it; else a path that is appended to, an open text stream, or a (host, port) that takes lines by UDP, such as a node's
    `inputs.ulm_port`. Further values in `extra` become typed fields; an exception becomes `error`. Errors go the way of
    logging's own: `handleError`.
    """

    def __init__(
        self, to: str | os.PathLike[str] | TextIO | tuple[str, int] | None = None, level: int = logging.NOTSET
    ) -> None:
        super().__init__(level)
        self._host = socket.gethostname()
        self._prog = os.path.basename(sys.argv[0] if sys.argv else "") or "python"
        self._sock: socket.socket | None = None
        self._stream: TextIO | None = None
        self._owned = isinstance(to, (str, os.PathLike))
        self._to_node = to is None
        if isinstance(to, (str, os.PathLike)):
            self._stream = open(to, "a", encoding="utf-8", buffering=1)  # noqa: SIM115  # closed by `close`
        elif isinstance(to, tuple):
            family, kind, _, _, address = socket.getaddrinfo(*to, type=socket.SOCK_DGRAM)[0]
            self._sock = socket.socket(family, kind)
            self._sock.connect(address)
        else:
            self._stream = to

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end. Raises VagusError."""
        return write_cedps(self._event(record))

    def _event(self, record: logging.LogRecord) -> Event:
        fields: dict[str, Scalar] = {"msg": record.getMessage()}
        given: dict[str, Any] = {k: v for k, v in vars(record).items() if k not in _STANDARD}
        name = str(given.pop("event", record.name))[:MAX_NAME] or "root"
        for key, value in given.items():
            if _NAME.match(key) and key not in _OWN:
                fields[key] = value if isinstance(value, (str, int, float)) else str(value)
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        level = next((level for least, level in _LEVELS if record.levelno >= least), Level.DEBUG)
        t_ns = round(record.created * 1e6) * 1000
        return Event(t_ns, name, self._host, level, self._prog, fields)

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one event, or writes one line; never raises."""
        try:
            if self._to_node:
                emit.put(self._event(record))
                return
            line = self.format(record)
            if self._sock is not None:
                self._sock.send(line.encode("utf-8", "replace"))
            elif self._stream is not None:
                self._stream.write(line + "\n")
        except (OSError, ValueError, TypeError, VagusError):
            self.handleError(record)

    def close(self) -> None:
        """Closes what it opened itself."""
        if self._sock is not None:
            self._sock.close()
        if self._stream is not None and self._owned:
            self._stream.close()
        super().close()
