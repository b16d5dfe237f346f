"""One command from start to end, in a thread of its own: bounded in time and bytes, killed whole.

In a thread because starting it there costs least: subprocess uses vfork, while uvloop forks, which in a process of
300 MB took 7 ms and held up everything else that long.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Sequence

from vagus.feeds import Fetched, Net
from vagus.feeds.location import printable

MAX_STDERR_BYTES = 4096
MAX_NOTE = 300
READ_BYTES = 1 << 16
LOOK_S = 0.1  # how often a kernel without pidfd is asked whether the fetch was given up
REAP_S = 1.0  # what was killed and does not end hangs in the kernel


class Command:
    """`run` blocks; `cancel` may come from another thread, before, during or after it."""

    def __init__(self, words: Sequence[str], deadline_s: float, max_bytes: int, good_exits: Collection[int]) -> None:
        self._words = words
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes
        self._good_exits = good_exits
        self._cancelled = False
        self._lock = threading.Lock()  # a process that was waited for is not killed: its id may be another's by then
        self._process: subprocess.Popen[bytes] | None = None

    def cancel(self) -> None:
        """Kills the command; `run` returns at once."""
        self._cancelled = True
        self._kill()

    def run(self) -> Fetched:
        """What it printed; TIMEOUT, TOO_LARGE and a cancelled one leave nothing of its process group."""
        if self._cancelled or time.monotonic() >= self._deadline_s:
            return Fetched(Net.TIMEOUT, note="it was not started in time: too many commands run")
        name = self._words[0][:80]
        try:
            process = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", "") or error
            return Fetched(Net.FAILED, note=f"cannot run {name!r}: {why}"[:MAX_NOTE])
        with self._lock:
            self._process = process
        try:
            return self._fetched(process)
        finally:
            self._reap(process)

    def _fetched(self, process: subprocess.Popen[bytes]) -> Fetched:
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.fileno(), process.stderr.fileno()
        body, errors = bytearray(), b""
        poller = select.poll()
        left = {out, err}
        ending = _pidfd(process.pid)
        if ending is not None:
            left.add(ending)
        for handle in left:
            poller.register(handle, select.POLLIN)
        try:
            while left:
                wait_s = self._deadline_s - time.monotonic()
                if wait_s <= 0 or self._cancelled:
                    self._kill()
                    return self._late()
                for handle, _ in poller.poll(1000 * (wait_s if ending is not None else min(wait_s, LOOK_S)) + 1):
                    data = os.read(handle, READ_BYTES) if handle != ending else b""
                    if not data:
                        poller.unregister(handle)
                        left.discard(handle)
                    elif handle == err:
                        errors = (errors + data)[-MAX_STDERR_BYTES:]
                    else:
                        body += data
                        if len(body) > self._max_bytes:
                            self._kill()
                            note = f"more than max_bytes={self._max_bytes} on standard output; killed"
                            return Fetched(Net.TOO_LARGE, note=note)
        finally:
            if ending is not None:
                os.close(ending)
        while (status := self._status(process)) is None:  # only without pidfd: the pipes are closed, it goes on
            if self._cancelled or time.monotonic() >= self._deadline_s:
                self._kill()
                return self._late()
            time.sleep(LOOK_S)
        note = " ".join(printable(errors.decode("utf-8", errors="replace")).split())[-MAX_NOTE:]
        if status in self._good_exits:
            return Fetched(Net.OK, bytes(body), note)
        told = f"exit status {status}" if status >= 0 else f"killed by signal {-status}"
        return Fetched(Net.STATUS, bytes(body), f"{told}: {note}" if note else told)

    def _late(self) -> Fetched:
        return Fetched(Net.TIMEOUT, note=f"{self._words[0][:80]} did not end in its time and was killed")

    def _status(self, process: subprocess.Popen[bytes]) -> int | None:
        with self._lock:
            return process.poll()

    def _kill(self) -> None:
        # start_new_session made the child the leader of its own group: the group's id is the child's
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process is not None and self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        # a descendant that left the group may hold the pipes open: they are closed, not read to their end
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        if process.returncode is None:
            with self._lock, contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(REAP_S)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # an older kernel, or a sandbox
        return None
