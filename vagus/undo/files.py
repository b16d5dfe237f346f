"""Steps on files of the kernel: groups are folders, limits are files, membership is a file of process ids."""

from __future__ import annotations

import errno
import os
import stat
import time

from vagus.undo import Step
from vagus.undo.text import read_text

_DRAIN_ROUNDS = 50
_BUSY_TRIES = 20
_BUSY_WAIT_S = 0.01


def write(step: Step) -> None:
    """Raises OSError."""
    _put(step.path, step.value, os.O_WRONLY | os.O_TRUNC)


def _put(path: str, value: str, flags: int) -> None:
    # one write() of the whole value, as kernel files want it; never O_CREAT, since a missing file means no such limit
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode() + b"\n")
    finally:
        os.close(fd)


def clear(step: Step) -> None:
    """Empties a list, such as cpuset.cpus; while processes use it the kernel does not allow that (ENOSPC), and value, all
    that there is, stands for the same. Raises OSError."""
    try:
        _put(step.path, "", os.O_WRONLY | os.O_TRUNC)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _put(step.path, step.value, os.O_WRONLY | os.O_TRUNC)


def mkdir(step: Step) -> None:
    """A folder that is there is fine. Raises OSError."""
    try:
        os.mkdir(step.path)
    except FileExistsError:
        pass


def rmdir(step: Step) -> None:
    """Raises OSError."""
    for attempt in range(_BUSY_TRIES):
        try:
            os.rmdir(step.path)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or attempt == _BUSY_TRIES - 1:
                raise
        time.sleep(_BUSY_WAIT_S)  # a process that was moved away a moment ago may still hold the group


def unlink(step: Step) -> None:
    """Removes a regular file; never a folder, a device or what a link leads to. Raises OSError."""
    if not stat.S_ISREG(os.lstat(step.path).st_mode):
        raise OSError(errno.EINVAL, f"{step.path} is no regular file")
    os.unlink(step.path)


def move(step: Step) -> None:
    """Raises OSError."""
    try:
        _put(step.path, step.value, os.O_WRONLY)
    except ProcessLookupError:
        pass  # it has ended since: nothing left to move


def drain(step: Step) -> None:
    """Into the nearest group above where the one they came from is gone, since their limits must end. Raises OSError."""
    home = step.value
    for _ in range(_DRAIN_ROUNDS):  # processes may fork while we move them
        pids = read_text(step.path).split()
        if not pids:
            return
        for pid in pids:
            try:
                move(Step("move", home, pid))
            except FileNotFoundError:
                home = _above(home)
                move(Step("move", home, pid))
    raise OSError(errno.EBUSY, f"processes keep appearing in {step.path}")


def _above(procs: str) -> str:
    """The file of process ids of the nearest group above that is there. Raises OSError, and never that it is gone."""
    folder, name = os.path.split(procs)
    while folder not in ("", "/"):
        folder = os.path.dirname(folder)
        if os.path.exists(f"{folder}/{name}"):
            return f"{folder}/{name}"
    raise OSError(errno.EBUSY, f"no group above {procs} is there to take the processes back")
