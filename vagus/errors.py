"""Every error that vagus raises on purpose. Each message says what was wrong, where, and what to do.

Foreign exceptions (OSError, lmdb.Error, RayError, aiohttp.ClientError) are mapped to these once, at the seam
where they come in.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path


class VagusError(Exception):
    """Base of all errors of vagus; `str()` is a sentence that a user can act on."""


class ConfigError(VagusError, ValueError):
    """A setting, selector, or record from a user is wrong; the message names the key or position."""


class NoData(VagusError, LookupError):
    """Nothing stored answers the question; the message says what exists instead."""


class CollectError(VagusError):
    """A collector could not read its source. It is a signal of its own, and stops nothing else."""


class StoreError(VagusError):
    """The store refused or failed: full map, full disk, corruption, a second writer."""


class PeerUnreachable(VagusError):
    """A node or service did not answer. Evidence about it, not a failure of the caller."""


class Refused(VagusError):
    """The access rules do not allow it; the message says who, what and where, and which rule would."""


class PolicyError(VagusError):
    """A policy could not decide; whoever asked holds the last safe action."""


class ActuateError(VagusError):
    """A limit could not be read, set or restored."""


class Unsupported(ActuateError):
    """This machine, kernel or user cannot do it; the message says what would make it possible."""


class Rejected(ActuateError):
    """The kernel refused a write. Attributes: path, value, reason (the kernel's own words)."""

    def __init__(self, path: str, value: str, reason: str) -> None:
        super().__init__(f"writing {value!r} to {path} was refused: {reason}")
        self.path = path
        self.value = value
        self.reason = reason


def unreadable(path: Path | str, error: Exception, otherwise: str = "") -> str:
    """`cannot read PATH: WHY`, and what to do. otherwise: that for a file which is not there, where more is known."""
    why = getattr(error, "strerror", None) or str(error)
    match error:
        case FileNotFoundError() | NotADirectoryError():
            here = "" if os.path.isabs(path) else f"; looked for in {os.getcwd()}"
            todo = f"{here}; {otherwise}" if otherwise else here or "; check the path"
        case IsADirectoryError():
            todo = "; name a file in it"
        case PermissionError():
            todo = "; give this user the right to read it, or run as its owner"
        case _:
            todo = ""
    return f"cannot read {path}: {why}{todo}"


def unwritable(path: Path | str, error: OSError, otherwise: str = "name another place") -> str:
    """`cannot write PATH: WHY`, and what to do. otherwise: that where making room does not help."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"cannot write {path}: {error.strerror or error}; {'make room there' if full else otherwise}"
