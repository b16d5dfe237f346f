"""The step that ends a process: never another one that got its id since."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time

from vagus.undo import Step

TERM_S = 0.5  # for ending by itself; a stopped process does not
KILL_S = 3.0
_POLL_S = 0.005


def kill(step: Step) -> None:
    """Ends the process `process:PID:STARTTIME`, gently, then not, and waits until it has ended. One that is not there,
    or has become another process, is done. Raises OSError."""
    pid, start = _read(step.path)
    with contextlib.ExitStack() as stack:
        held = _hold(pid, stack)
        if start_ticks(pid) != start:
            return
        for number, wait_s in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, KILL_S)):
            try:
                if held is None:
                    os.kill(pid, number)
                else:
                    signal.pidfd_send_signal(held, number)
            except ProcessLookupError:
                return
            if _ended(pid, start, wait_s):
                return
    raise OSError(errno.EBUSY, f"process {pid} does not end although it was killed: it hangs in the kernel")


def named(pid: int) -> str:
    """The path of a step that ends this process. Raises ProcessLookupError."""
    start = start_ticks(pid)
    if start is None:
        raise ProcessLookupError(errno.ESRCH, f"process {pid} does not exist")
    return f"process:{pid}:{start}"


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since the boot (proc(5)); None where none is, or only its remains."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read(4096)
        fields = text[text.rindex(b")") + 2 :].split()
        return None if fields[0] in (b"Z", b"X", b"x") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _read(path: str) -> tuple[int, int]:
    kind, _, rest = path.partition(":")
    pid, _, start = rest.partition(":")
    if kind != "process" or not (pid.isdigit() and start.isdigit()) or int(pid) <= 1 or int(pid) == os.getpid():
        raise OSError(errno.EINVAL, f"{path[:80]!r} names no process to end, as process:PID:STARTTIME")
    return int(pid), int(start)


def _hold(pid: int, stack: contextlib.ExitStack) -> int | None:
    """A descriptor of the process, so that a signal reaches this one or none; None where the kernel has none (< 5.3)."""
    try:
        fd = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
    stack.callback(os.close, fd)
    return fd


def _ended(pid: int, start: int, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while start_ticks(pid) == start:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
