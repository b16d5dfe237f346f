"""The hands of the injector on this machine: processes that strain, their groups, the watchdog's journal."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from vagus.actuators import Plan
from vagus.actuators.apply import apply
from vagus.errors import ActuateError
from vagus.undo import Step, reason, undo
from vagus.undo.processes import named
from vagus.watchdog import Watchdog

REAP_S = 5.0
MAX_LINE_BYTES = 1 << 16
_LAST_WORDS = 2000


class Process:
    """A process that strains: its pipes, and where its errors go."""

    def __init__(self, child: subprocess.Popen[bytes], words: IO[bytes]) -> None:
        self.child = child
        self.words = words
        self.rest = b""

    @property
    def output(self) -> IO[bytes]:
        assert self.child.stdout is not None
        return self.child.stdout

    def lines(self) -> tuple[list[dict[str, object]], bool]:
        """What it said since, and whether it still can say something."""
        data = os.read(self.output.fileno(), MAX_LINE_BYTES)
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.rest = self.rest[-MAX_LINE_BYTES:]
        found = []
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                said = json.loads(line)
                if isinstance(said, dict):
                    found.append(said)
        return found, bool(data)

    def last_words(self) -> str:
        """Why it ended, after its output ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(1.0)
        self.words.seek(0)
        said = self.words.read()[-_LAST_WORDS:].decode("utf-8", "replace").strip().splitlines()
        code = self.child.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"status {code}"
        return f"{said[-1]} ({how})" if said else how

    def close(self) -> None:
        """Reaps it and closes its pipes."""
        assert self.child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(REAP_S)
        self.output.close()
        self.words.close()


class SystemHands:
    """Touches this machine; see `session.Hands`. Each undo step goes to the watchdog first."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog

    def start(self, command: Sequence[str]) -> Process:
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
        words = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process; a pipe could fill, and stop it
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                cwd="/",
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            words.close()
            raise ActuateError(f"cannot start {command[0]}: {reason(error)}") from error
        return Process(child, words)

    def ends(self, process: Process) -> Step:
        try:
            return Step("kill", named(process.child.pid))
        except OSError as error:
            raise ActuateError(f"a process that strains ended at once: {process.last_words()}") from error

    def journal(self, steps: Sequence[Step]) -> None:
        new = self._watchdog.journal(steps)
        if len(new) < len({step.key for step in steps}):
            self._watchdog.forget(new)
            raise ActuateError(
                "another injection in force changes the same thing; one must end before the other begins"
            )

    def enter(self, procs: str, process: Process) -> None:
        try:
            fd = os.open(procs, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"%d\n" % process.child.pid)
            finally:
                os.close(fd)
        except OSError as error:
            raise ActuateError(f"cannot put a process into {procs}: {reason(error)}") from error

    def release(self, process: Process) -> None:
        assert process.child.stdin is not None
        try:
            process.child.stdin.write(b"\n")
        except OSError as error:
            raise ActuateError(f"a process that strains ended at once: {process.last_words()}") from error

    def perform(self, steps: Sequence[Step], undo: Sequence[Step]) -> None:
        apply(Plan(tuple(steps), tuple(undo)))

    def undo(self, steps: Sequence[Step]) -> tuple[str, ...]:
        failed = undo(steps)
        left = {step.key for step, _ in failed}
        with contextlib.suppress(ActuateError):  # it is gone: a new one does it again, which changes nothing
            self._watchdog.forget([step for step in steps if step.key not in left])
        return tuple(f"{step.op} {step.path}: {why}"[:500] for step, why in failed)
