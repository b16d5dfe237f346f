"""The watchdog: a plain process that undoes a controller's limits when the controller is gone.

It reads JSON lines on standard input (one end of a unix socket pair) and answers each on standard output:

    {"do": "journal", "steps": [[op, path, value], …]}   → {"ok": true, "new": [...]}: on disk, the write may follow
    {"do": "forget", "steps": [...]}                     → {"ok": true}
    {"do": "beat"}                                       → {"ok": true}
    {"do": "restore"}                                    → {"ok": true, "undone": 2, "failures": []}
    {"do": "release"}                                    → like restore; then it ends

When the pipe closes without `release`, it undoes what is journalled and ends. When nothing is heard for the lease, it
undoes it and keeps the journal: who was silent may be stopped just before a write, so that it undoes all once more each
lease, and when the pipe closes. Whatever is asked meanwhile is refused with `lapsed`, until `restore`.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

import msgspec

from vagus.errors import ActuateError, VagusError
from vagus.undo import Step, undo
from vagus.watchdog.journal import Journal

MAX_LINE_BYTES = 1 << 20
LOCK_WAIT_S = 5.0


class Process:
    """The protocol over a journal: one message in, one answer out; no I/O of its own but the journal's."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.released = False
        self.lapsed = False

    def answer(self, line: bytes) -> dict[str, Any]:
        """The answer to one line; `ok` is false, with an `error`, when it could not be done."""
        try:
            message = json.loads(line)
            todo = message["do"]
            if self.lapsed and todo not in ("restore", "release"):
                return {"ok": False, "lapsed": True, "error": "nothing was heard for the lease: all was restored"}
            if todo == "journal":
                new = self.journal.add(_steps(message))
                return {"ok": True, "new": [msgspec.to_builtins(s) for s in new]}
            if todo == "forget":
                self.journal.forget(_steps(message))
                return {"ok": True}
            if todo == "beat":
                return {"ok": True}
            if todo in ("restore", "release"):
                done = self.journal.restore(todo)
                self.released, self.lapsed = todo == "release", False
                return {"ok": True, "undone": done.undone, "failures": list(done.failures)[:50]}
            return {"ok": False, "error": f"unknown message {str(todo)[:40]!r}"}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return {"ok": False, "error": f"malformed message: {type(error).__name__}: {error}"[:300]}
        except VagusError as error:
            return {"ok": False, "error": str(error)[:500]}

    def lapse(self, why: str) -> None:
        """Undoes all, keeps the journal, and refuses until restored."""
        if not self.lapsed:
            self.journal.restore(why, keep=True)
        else:
            undo(self.journal.steps())  # nothing new to tell
        self.lapsed = True


def _steps(message: dict[str, Any]) -> list[Step]:
    return msgspec.convert(message["steps"], list[Step])


def serve(process: Process, lease_s: float) -> str:
    """Answers until released; returns why it stopped: `released`, `pipe closed`, a signal."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)  # seen through the wakeup pipe
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    os.set_blocking(1, False)  # a stopped controller must not be able to stop its watchdog
    poller = select.poll()
    poller.register(0, select.POLLIN)
    poller.register(woken, select.POLLIN)
    buffer = b""
    due = time.monotonic() + lease_s
    while True:
        ready = {fd for fd, _ in poller.poll(max(0.0, due - time.monotonic()) * 1000)}
        if woken in ready:
            return "terminated by a signal"
        if not ready:
            process.lapse(f"no heartbeat for {lease_s:g} s")
            due = time.monotonic() + lease_s
            continue
        try:
            data = os.read(0, 1 << 16)
        except OSError:
            data = b""
        if not data:
            return "pipe closed"
        buffer += data
        *lines, buffer = buffer.split(b"\n")
        if len(buffer) > MAX_LINE_BYTES:
            return f"a message longer than {MAX_LINE_BYTES} bytes"
        for line in lines:
            if not _reply(process.answer(line)):
                return "pipe closed"
            if process.released:
                return "released"
        if lines and not process.lapsed:
            due = time.monotonic() + lease_s


def _reply(answer: dict[str, Any]) -> bool:
    try:
        os.write(1, json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        return True
    except OSError:
        return False


def main(argv: list[str] | None = None) -> int:
    """`python -m vagus.watchdog DIR --lease SECONDS [--detach]`."""
    parser = argparse.ArgumentParser(prog="vagus.watchdog", description="Restores limits when a controller is gone.")
    parser.add_argument("folder", type=Path, help="where the journal is kept")
    parser.add_argument("--lease", type=float, default=5.0, help="seconds without a word after which to restore")
    parser.add_argument("--detach", action="store_true", help="go on in a child of init, in a session of its own")
    options = parser.parse_args(argv)
    if not 0.05 <= options.lease <= 86400:
        parser.error("--lease must be between 0.05 and 86400 seconds")
    if options.detach:
        # Ray ends a worker's children and its process group with it; a daemon is neither
        if os.fork():
            os._exit(0)
        os.setsid()
        os.chdir("/")
    _survive_memory_pressure()
    try:
        journal = Journal(options.folder, wait_s=LOCK_WAIT_S)
    except ActuateError as error:
        _reply({"ok": False, "error": str(error)})
        return 1
    with journal:
        process = Process(journal)
        _reply({"ok": True, "pid": os.getpid(), "adopted": len(journal.steps()), "notes": journal.notes})
        try:
            why = serve(process, options.lease)
        except Exception as error:  # whatever it is: what is in force is undone
            why = f"{type(error).__name__}: {error}"
        failures: tuple[str, ...] = ()
        if not process.released:
            failures = journal.restore(why).failures
    return 1 if failures else 0


def _survive_memory_pressure() -> None:
    # Ray marks its workers as the first to be killed, and children inherit that
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("0")
    except OSError:
        pass
