"""One process of a service: started, asked whether it is ready, ended; what it used."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vagus.errors import VagusError
from vagus.undo.processes import named

HEALTHZ_S = 1.0
_PORTS = range(20_000, 32_000)  # below those that the kernel gives to outgoing connections
_TAIL_BYTES = 2000


def free_port() -> int:
    """A port of loopback on which nobody listens now. Raises VagusError."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise VagusError(f"none of 200 ports between {_PORTS.start} and {_PORTS.stop} of 127.0.0.1 is free")


class Replica:
    """A running process of a service. life: a descriptor that is its standard input; closed when the deployer is gone.

    Raises VagusError when the command cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        life: int,
        folder: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self.started_s = time.monotonic()
        self.start_took_s = 0.0
        self._cpu_before_s = 0.0  # what its start cost, of which no request is the reason
        self._cpu_s = 0.0
        self._status: int | None = None
        try:
            with open(log, "ab") as to:
                self._process = subprocess.Popen(
                    command,
                    stdin=life,
                    stdout=to,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    env=dict(environment),
                    start_new_session=True,  # Ctrl-C is for the deployer, which ends them
                )
        except OSError as error:
            raise VagusError(f"cannot start {command[0]!r}: {error.strerror}") from error
        self.pid = self._process.pid
        self.path = named(self.pid)  # a zombie at least is there: nobody else waits for it

    def ready(self) -> bool:
        """Whether it answers GET /healthz with 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HEALTHZ_S)
        try:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            answer.read(1 << 16)
            return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def settled(self) -> None:
        """It is ready: what it used until now was its start."""
        self.start_took_s = time.monotonic() - self.started_s
        self._cpu_before_s = self._clock()

    def ended(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        if self._status is None:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._cpu_s = used.ru_utime + used.ru_stime
                self._status = self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._status

    def cpu_s(self) -> float:
        """CPU seconds since it was ready."""
        if self._status is None and self.start_took_s:
            self._cpu_s = max(self._cpu_s, self._clock())
        return max(0.0, self._cpu_s - self._cpu_before_s) if self.start_took_s else 0.0

    def end(self, gently: bool) -> None:
        """Asks it, or kills it with all that it started."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM if gently else signal.SIGKILL)

    def last_words(self) -> str:
        """The end of its log."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
                return file.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def _clock(self) -> float:
        """All threads of the process, to the nanosecond: clock_getcpuclockid(3)."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:  # it is a zombie; wait4 will tell
            return self._cpu_s
