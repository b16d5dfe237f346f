"""The controller's side of the watchdog: start it, journal before each write, beat, restore, release."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from vagus.errors import ActuateError
from vagus.undo import Step
from vagus.watchdog.process import MAX_LINE_BYTES

START_TIMEOUT_S = 15.0
REPLY_TIMEOUT_S = 10.0


class Lapsed(ActuateError):
    """The lease ran out: all was restored. Until `Watchdog.restore` nothing is journalled any more."""


class Watchdog:
    """A watchdog process and the line to it; usable from several threads. Methods raise ActuateError when it is gone.

    lease_s: unheard for so long, it restores. A new one on the same folder adopts the journal of a killed one.
    """

    def __init__(self, folder: Path, lease_s: float) -> None:
        self.folder = folder
        self.lease_s = lease_s
        self.pid = 0
        self.adopted = 0  # undo steps found in the journal at start
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._mutex = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether its end of the pipe is open."""
        with self._mutex:
            if self._socket is None:
                return False
            watch = select.poll()
            watch.register(self._socket, select.POLLIN)
            # nothing is sent unasked: what is to be read is an end, or the answer to someone who gave up
            if watch.poll(0):
                self._close()
            return self._socket is not None

    def start(self) -> None:
        """Starts the process and waits until it holds the journal."""
        if self.alive:
            return
        ours, theirs = socket.socketpair()
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
        command = [sys.executable, "-m", "vagus.watchdog", str(self.folder), "--lease", str(self.lease_s), "--detach"]
        launcher: subprocess.Popen[bytes] | None = None
        try:
            with theirs:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                with open(self.folder / "stderr", "wb") as stderr:
                    launcher = subprocess.Popen(
                        command,
                        stdin=theirs.fileno(),
                        stdout=theirs.fileno(),
                        stderr=stderr,
                        cwd="/",
                        env={**os.environ, "PYTHONPATH": path},
                        start_new_session=True,
                    )
            with self._mutex:
                self._socket, self._buffer = ours, b""
                hello = self._receive(START_TIMEOUT_S)
            launcher.wait(START_TIMEOUT_S)  # it forked: only the launcher ends here
            if not hello.get("ok"):
                raise ActuateError(str(hello.get("error")))
        except (OSError, subprocess.TimeoutExpired, ActuateError) as error:
            self.close()
            ours.close()
            if launcher is not None:
                launcher.kill()  # had it forked already, the closed pipe ends its child
                launcher.wait()
            raise ActuateError(f"cannot start the watchdog in {self.folder}: {error}") from error
        self.pid, self.adopted = int(hello["pid"]), int(hello["adopted"])

    def journal(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """Puts undo steps on disk; returns those that were new. Only after this may the limits be written."""
        answer = self._ask({"do": "journal", "steps": [msgspec.to_builtins(s) for s in steps]})
        return tuple(msgspec.convert(answer["new"], list[Step]))

    def forget(self, steps: Sequence[Step]) -> None:
        """Drops entries whose change was undone already."""
        if steps:
            self._ask({"do": "forget", "steps": [msgspec.to_builtins(s) for s in steps]})

    def beat(self) -> None:
        """Renews the lease."""
        self._ask({"do": "beat"})

    def restore(self) -> tuple[str, ...]:
        """Undoes every journalled change now; returns what could not be undone."""
        return tuple(self._ask({"do": "restore"})["failures"])

    def release(self) -> tuple[str, ...]:
        """`restore`, and the process ends."""
        failures = tuple(self._ask({"do": "release"})["failures"])
        self.close()
        return failures

    def close(self) -> None:
        """Closes the pipe: a watchdog still there restores and ends. Idempotent."""
        with self._mutex:
            self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        with self._mutex:
            if self._socket is None:
                raise ActuateError(f"the watchdog of {self.folder} is gone; no limit is written without one")
            try:
                self._socket.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")
                answer = self._receive(REPLY_TIMEOUT_S)
            except (OSError, ActuateError) as error:
                self._close()
                raise ActuateError(f"the watchdog of {self.folder} is gone: {error}") from error
        if answer.get("lapsed"):
            raise Lapsed(f"the watchdog of {self.folder} restored all: nothing was heard for {self.lease_s:g} s")
        if not answer.get("ok"):
            raise ActuateError(f"the watchdog refused: {answer.get('error')}")
        return answer

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        line = self._socket
        assert line is not None
        line.settimeout(timeout_s)
        while b"\n" not in self._buffer:
            data = line.recv(1 << 16)
            if not data:
                self._close()
                raise ActuateError(f"it closed the pipe{_last_words(self.folder)}")
            self._buffer += data
            if len(self._buffer) > MAX_LINE_BYTES:
                raise ActuateError("its answer is too long")
        first, _, self._buffer = self._buffer.partition(b"\n")
        try:
            answer: dict[str, Any] = json.loads(first)
        except ValueError as error:
            raise ActuateError(f"its answer is not JSON: {error}") from error
        return answer


def _last_words(folder: Path) -> str:
    try:
        text = (folder / "stderr").read_bytes()[-300:].decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return f", saying: {text}" if text else ""
