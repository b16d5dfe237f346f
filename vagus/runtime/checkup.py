"""What a check of `vagus doctor` is given (a machine seen from a root folder) and gives back (a Check)."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

Answer = Literal["yes", "no", "degraded"]


class Check(msgspec.Struct, frozen=True):
    """One answer: ok, what was found, what its lack costs, what would change that (both empty when all is well).

    Names are dotted; `resctrl.cmt` is a detail of `resctrl`.
    """

    name: str
    ok: Answer
    value: str
    cost: str = ""
    needs: str = ""


@dataclass(frozen=True)
class ClockState:
    """What the kernel says of its clock: synchronised, and within how many seconds of true time."""

    synchronised: bool
    max_error_s: float


class _Timex(ctypes.Structure):
    """The head of `struct timex` (adjtimex(2)); the rest is padding."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("padding", ctypes.c_byte * 256),
    )


def kernel_clock() -> ClockState | None:
    """adjtimex(2) with modes 0, which changes nothing and needs no privilege; None where there is no such call."""
    try:
        timex = _Timex()
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
            return None
    except (AttributeError, OSError):
        return None
    unsynchronised = 0x40  # STA_UNSYNC
    return ClockState(not timex.status & unsynchronised, timex.maxerror / 1e6)


PORTS: Mapping[str, int] = {"gateway": 7117, "ray": 6379, "dashboard": 8265}


@dataclass(frozen=True)
class Machine:
    """A machine as files below `root`; everything that is no file is passed in, so that tests can fake all of it."""

    root: Path = Path("/")
    home: Path | None = None  # the state folder of vagus
    ray_address: str = field(default_factory=lambda: os.environ.get("RAY_ADDRESS", ""))
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))
    time_ns: Callable[[], int] = time.time_ns
    clock_state: Callable[[], ClockState | None] = kernel_clock

    def path(self, name: str) -> Path:
        """The file `name` (without leading slash) of this machine."""
        return self.root / name

    def read(self, name: str, limit: int = 1 << 20) -> str:
        """At most `limit` bytes of a file as text; empty when it is absent or may not be read."""
        try:
            with open(self.path(name), "rb") as file:
                return file.read(limit).decode("utf-8", "replace")
        except OSError:
            return ""

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return os.path.exists(self.path(name))

    def names(self, folder: str) -> list[str]:
        """The sorted names in a folder; none when it is absent or may not be read."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except OSError:
            return []

    def pids(self) -> list[str]:
        """The process numbers in proc/."""
        return [name for name in self.names("proc") if name.isdigit()]
