"""One change of the system as data, and how to perform and undo it: shared by actuators and the watchdog.

Needs only the standard library and msgspec, since the watchdog must start fast and depend on nothing that can fail.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable

import msgspec

from vagus.errors import Rejected

_READ_BYTES = 1 << 20
_GONE = (errno.ENOENT, errno.ENODEV, errno.ENOTDIR)
_DRAIN_ROUNDS = 50
_BUSY_TRIES = 20
_BUSY_WAIT_S = 0.01


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One change of the system.

    op: `write` value to the existing file path; `mkdir` path; `rmdir` path; `move` the process with id value into the
    group whose procs file is path; `drain` every process of the group whose procs file is path into the one whose
    procs file is value. Undoing a move is a drain: a process id may by then be someone else's.
    """

    op: str
    path: str
    value: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What it changes: two writes to one file are the same change, whatever they write."""
        return (self.op, self.path, self.value if self.op == "move" else "")


def read_text(path: str) -> str:
    """A small file's text without surrounding space. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(_READ_BYTES).decode("utf-8", "replace").strip()


def perform(step: Step) -> None:
    """Performs one step. Raises Rejected with the kernel's words."""
    try:
        _OPS[step.op](step)
    except KeyError:
        raise Rejected(step.path, step.value, f"no step is called {step.op!r}") from None
    except OSError as error:
        raise Rejected(step.path, step.value, reason(error)) from error


def undo(steps: Iterable[Step]) -> list[tuple[Step, str]]:
    """Performs undo steps in order, tolerantly: what has vanished is undone. Returns what failed, and why."""
    failed = []
    for step in steps:
        try:
            perform(step)
        except Rejected as error:
            cause = error.__cause__
            if not (isinstance(cause, OSError) and cause.errno in _GONE):
                failed.append((step, error.reason))
    return failed


def reason(error: OSError) -> str:
    """The kernel's words and the name of the error: `Invalid argument (EINVAL)`."""
    return f"{error.strerror} ({errno.errorcode.get(error.errno or 0, str(error.errno))})"


def _write(step: Step) -> None:
    _put(step.path, step.value, os.O_WRONLY | os.O_TRUNC)


def _put(path: str, value: str, flags: int) -> None:
    # one write() of the whole value, as kernel files want it; never O_CREAT, since a missing file means no such limit
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode() + b"\n")
    finally:
        os.close(fd)


def _mkdir(step: Step) -> None:
    try:
        os.mkdir(step.path)
    except FileExistsError:
        pass


def _rmdir(step: Step) -> None:
    for attempt in range(_BUSY_TRIES):
        try:
            os.rmdir(step.path)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or attempt == _BUSY_TRIES - 1:
                raise
        time.sleep(_BUSY_WAIT_S)  # a process that was moved away a moment ago may still hold the group


def _move(step: Step) -> None:
    try:
        _put(step.path, step.value, os.O_WRONLY)
    except ProcessLookupError:
        pass  # it has ended since: nothing left to move


def _drain(step: Step) -> None:
    for _ in range(_DRAIN_ROUNDS):  # processes may fork while we move them
        pids = read_text(step.path).split()
        if not pids:
            return
        for pid in pids:
            _move(Step("move", step.value, pid))
    raise OSError(errno.EBUSY, f"processes keep appearing in {step.path}")


_OPS = {"write": _write, "mkdir": _mkdir, "rmdir": _rmdir, "move": _move, "drain": _drain}
