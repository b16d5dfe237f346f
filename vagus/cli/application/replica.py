"""One process of a service: started, asked whether it is ready, ended; what it used."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from vagus.errors import VagusError
from vagus.undo.processes import named

HEALTHZ_S = 1.0
_PORTS = range(20_000, 32_000)  # below those that the kernel gives to outgoing connections
_TAIL_BYTES = 600
_OK = re.compile(rb"HTTP/1\.[01] 200[ \r\n]")
# waits for a byte, which never comes where the deployer died before it had the process journalled
_HELD = """
import os, sys
fd, command = int(sys.argv[1]), sys.argv[2:]
if not os.read(fd, 1):
    os._exit(1)
os.close(fd)
try:
    os.execvp(command[0], command)
except OSError as error:
    print(f"cannot start {command[0]!r}: {error.strerror}", flush=True)
    os._exit(127)
"""


def free_port(taken: Container[int] = ()) -> int:
    """A port of loopback on which nobody listens now, and none of those that others have been given but may not listen on
    yet. Raises VagusError."""
    for port in random.sample(_PORTS, 200):
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise VagusError(f"none of 200 ports between {_PORTS.start} and {_PORTS.stop} of 127.0.0.1 is free")


class Held:
    """A process in a session of its own that begins its command at `go`: until then nothing but its id is in the world, so
    that it can be journalled first. One whose deployer is killed before ends by itself. A command that cannot be started
    ends with 127, as in a shell, and says why. path: names it for a step that ends it.
    """

    def __init__(
        self, command: Sequence[str], log: Path, life: int, folder: Path, environment: Mapping[str, str]
    ) -> None:
        waits, self._go = os.pipe()
        try:
            with open(log, "ab", buffering=0) as to:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _HELD, str(waits), *command],
                    stdin=life,
                    stdout=to,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    env=dict(environment),
                    pass_fds=(waits,),
                    start_new_session=True,  # Ctrl-C is for the deployer, which ends them
                )
        except BaseException:
            os.close(self._go)
            raise
        finally:
            os.close(waits)
        self.pid, self.path = self.process.pid, ""
        with contextlib.suppress(ProcessLookupError):  # it may be a zombie by now
            self.path = named(self.pid)

    def go(self) -> None:
        """It may begin."""
        if self._go >= 0:
            with contextlib.suppress(BrokenPipeError):  # it was killed meanwhile
                os.write(self._go, b"\n")
            self.drop()

    def end(self, gently: bool) -> None:
        """Asks it, or kills it with all that it started; not after it was waited for."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM if gently else signal.SIGKILL)

    def drop(self) -> None:
        """It will not begin any more, unless it has."""
        if self._go >= 0:
            os.close(self._go)
            self._go = -1


class Replica:
    """A process of a service. life: a descriptor that becomes its standard input, which ends when the deployer does. It
    begins at `go`. Raises OSError."""

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
        self._held = Held(command, log, life, folder, environment)
        self.pid, self.path = self._held.pid, self._held.path
        self.go = self._held.go

    def ready(self) -> bool:
        """Whether it answers GET /healthz with 200, and that soon: one that drips must not hold the others up."""
        until_s = time.monotonic() + HEALTHZ_S
        found = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), HEALTHZ_S) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                while b"\n" not in found and len(found) < 1000 and (left_s := until_s - time.monotonic()) > 0:
                    connection.settimeout(left_s)
                    more = connection.recv(1000)
                    if not more:
                        break
                    found += more
        except OSError:
            return False
        return _OK.match(found) is not None

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
            self._status = self._held.process.returncode = os.waitstatus_to_exitcode(status)
            self._held.drop()
        return self._status

    def cpu_s(self) -> float:
        """CPU seconds since it was ready."""
        if self._status is None and self.start_took_s:
            self._cpu_s = max(self._cpu_s, self._clock())
        return max(0.0, self._cpu_s - self._cpu_before_s) if self.start_took_s else 0.0

    def end(self, gently: bool) -> None:
        """Asks it, or kills it with all that it started."""
        if self._status is None:
            self._held.end(gently)

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
