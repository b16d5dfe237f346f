"""The process that sends a load, from outside: started, listened to, ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import msgspec

from vagus.cli.openloop.plan import Plan, check
from vagus.errors import VagusError

STOP_S = 20.0
MAX_LINE_BYTES = 1 << 20


class Process:
    """Starts it; within `with`, it is ended at the latest at the end. environment: where it finds vagus to `sample`.

    Raises ConfigError.
    """

    def __init__(self, plan: Plan, environment: Mapping[str, str] | None = None) -> None:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  # a pipe could fill, and stop it
        with tempfile.NamedTemporaryFile(prefix="vagus-load-", suffix=".json") as file:
            file.write(msgspec.json.encode(check(plan)))
            file.flush()
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "vagus.cli.openloop", file.name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._words,
                env=None if environment is None else dict(environment),
                start_new_session=True,  # Ctrl-C is for whoever started it
            )
            assert self.popen.stdout is not None
            self._first = self.popen.stdout.readline(MAX_LINE_BYTES)  # it has read its plan by then

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_S)
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        self._words.close()

    def stop(self) -> None:
        """Asks it to end: it writes its log, and `lines` end."""
        if self.popen.poll() is None:
            self.popen.terminate()

    def lines(self) -> Iterator[dict[str, Any]]:
        """What it prints, until its end; see the package. Raises VagusError when it ended too early, with its words."""
        assert self.popen.stdout is not None
        line, ended = self._first, False
        while line:
            found = json.loads(line)
            ended = ended or "ended" in found
            yield found
            line = self.popen.stdout.readline(MAX_LINE_BYTES)
        status = self.popen.wait()
        if status or not ended:
            self._words.seek(0)
            words = self._words.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
            raise VagusError(f"the load ended early: {words[-1] if words else f'with status {status}'}")
