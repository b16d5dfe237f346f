"""A timer of the kernel's (timerfd), which an event loop can wait for: exact to microseconds, where uvloop's own
timers are to milliseconds.
"""

from __future__ import annotations

import ctypes
import os

from vagus.errors import Unsupported

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_libc = ctypes.CDLL(None, use_errno=True)


class _Setting(ctypes.Structure):
    _fields_ = (
        ("every_s", ctypes.c_long),
        ("every_ns", ctypes.c_long),
        ("at_s", ctypes.c_long),
        ("at_ns", ctypes.c_long),
    )


class Timer:
    """fd: becomes readable at the time of `arm`, in seconds of `time.monotonic`. Raises Unsupported."""

    def __init__(self) -> None:
        self.fd = int(_libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        if self.fd < 0:
            raise Unsupported(f"this kernel makes no timers (timerfd_create: {os.strerror(ctypes.get_errno())})")
        self._setting = _Setting()

    def arm(self, at_s: float) -> None:
        """Once, at that time; at once when it is past."""
        whole = int(at_s)
        self._setting.at_s = whole
        self._setting.at_ns = max(1, int((at_s - whole) * 1e9))  # 0 would disarm it
        _libc.timerfd_settime(self.fd, _ABSOLUTE, ctypes.byref(self._setting), None)

    def clear(self) -> None:
        """Makes it unreadable again."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Gives it back."""
        os.close(self.fd)
