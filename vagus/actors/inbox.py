"""The unix datagram socket `report.sock`: reports of local programs that wait for no answer."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from vagus.access import Principal
from vagus.actors.datagrams import arrived_from, open_unix
from vagus.errors import ConfigError, Refused
from vagus.health.inbox import MAX_INBOX_BYTES, read_reports
from vagus.model import Report

TURN_REPORTS = 500
"""Reports taken before others get their turn: a thousand in a datagram take some 40 ms."""


class Inbox:
    """Reads datagrams; `counts`: bad, refused. `allowed` raises Refused; what `take` raises goes to `failed`."""

    def __init__(
        self,
        allowed: Callable[[Principal, Sequence[Report]], None],
        take: Callable[[Sequence[Report]], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.last_bad = ""
        self._allowed = allowed
        self._take = take
        self._failed = failed
        self._path: Path | None = None
        self._socket: socket.socket | None = None

    def start(self, path: Path) -> None:
        """Listens, in the running loop. Raises ConfigError."""
        self._socket, self._path = open_unix(path), path
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def stop(self) -> None:
        """Closes and removes the socket. Idempotent."""
        if self._socket is not None and self._path is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._path.unlink(missing_ok=True)
            self._socket = None

    def _readable(self) -> None:
        taken = 0
        for data, uid in arrived_from(self._socket, MAX_INBOX_BYTES):
            try:
                reports = read_reports(data)
                self._allowed(Principal("uid", str(uid)), reports)
                self._take(reports)
                taken += len(reports)
            except Refused:
                self.counts["refused"] += 1
            except ConfigError as error:
                self.counts["bad"] += 1
                self.last_bad = f"{error}"[:500]
            except Exception as error:
                self._failed("report socket", error)
            if taken >= TURN_REPORTS:
                return  # the loop comes back for what still waits
