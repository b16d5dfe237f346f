"""One change of the system as data, and how to perform and undo it: shared by actuators and the watchdog.

Needs only the standard library and msgspec, since the watchdog must start fast and depend on nothing that can fail.

To add a kind of step: a file with a function that performs one, and a line in `_OPS`. It raises OSError, whose words
are kept (`ENOENT`, `ENODEV`, `ESRCH` mean that what it would have changed is gone), or Rejected; performing it twice
does what performing it once does, since a watchdog that was killed half-way begins anew.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from typing import cast

import msgspec

from vagus.errors import Rejected
from vagus.undo.text import read_text

__all__ = ["Step", "outlives_boot", "perform", "read_text", "reason", "undo"]

_GONE = (errno.ENOENT, errno.ENODEV, errno.ENOTDIR, errno.ESRCH)
_OPS = {
    "write": "vagus.undo.files:write",
    "clear": "vagus.undo.files:clear",
    "mkdir": "vagus.undo.files:mkdir",
    "rmdir": "vagus.undo.files:rmdir",
    "move": "vagus.undo.files:move",
    "drain": "vagus.undo.files:drain",
    "run": "vagus.undo.command:run",
    "unlink": "vagus.undo.files:unlink",
    "kill": "vagus.undo.processes:kill",
    "netlink": "vagus.undo.netlink:netlink",
    "http": "vagus.undo.http:send",
    "tunable": "vagus.undo.tunable:tunable",
    "scaled": "vagus.undo.scaled:scaled",
    "resized": "vagus.undo.resized:resized",
    "gather": "vagus.undo.resctrl:gather",
    "return": "vagus.undo.resctrl:give_back",
}


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One change of the system.

    op: `write` value to the existing file path; `mkdir` path; `rmdir` path; `move` the process with id value into the
    group whose procs file is path; `drain` every process of the group whose procs file is path into the one whose
    procs file is value. Undoing a move is a drain: a process id may by then be someone else's. Other ops: their files.
    part: which part of path is changed, where writing changes only one: a device's line, a cache's domain.
    """

    op: str
    path: str
    value: str = ""
    part: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What it changes: two writes to one part of one file are the same change, whatever they write."""
        return (self.op, self.path, self.value if self.op == "move" else self.part)


def perform(step: Step) -> None:
    """Performs one step. Raises Rejected with the kernel's words."""
    if step.op not in _OPS:
        raise Rejected(step.path, step.value, f"no step is called {step.op!r}")
    try:
        _performer(step.op)(step)
    except OSError as error:
        raise Rejected(step.path, step.value, reason(error) + _more(step.path, error)) from error
    except Rejected:
        raise
    except Exception as error:  # a kernel, a server or a journal that says what no one expected: this step alone fails
        raise Rejected(step.path, step.value, f"{type(error).__name__}: {error}"[:500]) from error


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


def outlives_boot(step: Step) -> bool:
    """Whether what it undoes is in force still after this machine has booted: a pod's limits, a service's replicas."""
    return step.path.startswith("replicas:") or (step.op == "http" and "/pods/" in step.path)


def reason(error: OSError) -> str:
    """The kernel's words and the name of the error: `Invalid argument (EINVAL)`."""
    return f"{error.strerror} ({errno.errorcode.get(error.errno or 0, str(error.errno))})"


def _more(path: str, error: OSError) -> str:
    """What resctrl says of it beyond the number."""
    if not path.startswith("/"):
        return ""
    from vagus.undo.resctrl import last_words

    words = last_words(path, error.errno)
    return f": {words}" if words else ""


@cache
def _performer(op: str) -> Callable[[Step], None]:
    module, _, function = _OPS[op].partition(":")
    return cast("Callable[[Step], None]", getattr(import_module(module), function))
