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
_TAIL_BYTES = 600


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
    """A process of a service, in a session of its own. life: a descriptor that becomes its standard input, which ends
    when the deployer does. A command that cannot be started is a process that has ended, as in a shell; its log says why.
    path: names it for a step that ends it; empty where it has ended already.
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
        self._process: subprocess.Popen[bytes] | None = None
        self.pid, self.path = 0, ""
        with open(log, "ab", buffering=0) as to:
            try:
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
                to.write(f"cannot start {command[0]!r}: {error.strerror}\n".encode())
                self._status = 127
                return
        self.pid = self._process.pid
        with contextlib.suppress(ProcessLookupError):  # it may be a zombie by now
            self.path = named(self.pid)

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
        """Its exit status, negative for a signal; None while it runs. What it started ends with it."""
        if self._status is None and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            self.end(gently=False)  # before its id may become another's
            _, status, used = os.wait4(self.pid, 0)
            self._cpu_s = used.ru_utime + used.ru_stime
            self._status = os.waitstatus_to_exitcode(status)
            if self._process is not None:
                self._process.returncode = self._status
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

    def _clock(self) -> float:
        """All threads of the process, to the nanosecond: clock_getcpuclockid(3)."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:  # it is a zombie; wait4 will tell
            return self._cpu_s


def last_words(log: Path) -> str:
    """The end of a log."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""
