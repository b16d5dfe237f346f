"""The kernel's own clock discipline (adjtimex(2)): how far the machine's time is from its reference, if it has one."""

from __future__ import annotations

import ctypes

from vagus.clock import NS
from vagus.errors import CollectError
from vagus.model import Field, Sample, Stream

READ_NS = 10 * NS
_STA_UNSYNC, _STA_NANO = 0x0040, 0x2000
_TIME_ERROR = 5
_PPM = 65536.0  # frequencies are scaled by it

FIELDS = (
    Field("synchronized", dtype="u4"),
    Field("offset_s", unit="s"),
    Field("frequency_ppm", unit="ppm"),
    Field("max_error_s", unit="s"),
    Field("est_error_s", unit="s"),
    Field("tai_offset_s", unit="s", dtype="i4"),
)


class Timex(ctypes.Structure):
    """struct timex of sys/timex.h."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


def values(state: int, found: Timex) -> tuple[float | int, ...]:
    """In the order of FIELDS, from what adjtimex returned and filled in."""
    unit = 1e9 if found.status & _STA_NANO else 1e6
    synchronized = state != _TIME_ERROR and not found.status & _STA_UNSYNC
    errors = (found.maxerror / 1e6, found.esterror / 1e6)
    return int(synchronized), found.offset / unit, found.freq / _PPM, *errors, found.tai


class ClockOffset:
    """`host.clock`. Reads only: modes is 0, which needs no privilege."""

    source = "adjtimex"

    def __init__(self, node: str) -> None:
        self._stream = Stream(node, "host.clock", FIELDS)
        self._found = Timex()
        self._read_at_ns = 0
        self._ask = ctypes.CDLL(None, use_errno=True).adjtimex

    def read(self, t_ns: int) -> list[Sample]:
        """One sample, every 10 s. Raises CollectError."""
        if 0 < self._read_at_ns - t_ns <= READ_NS:
            return []
        self._read_at_ns = t_ns + READ_NS
        self._found.modes = 0
        state = self._ask(ctypes.byref(self._found))
        if state < 0:
            raise CollectError(f"adjtimex was refused with error {ctypes.get_errno()}: does a sandbox forbid it?")
        return [Sample(self._stream, t_ns, values(state, self._found))]

    def close(self) -> None:
        """Nothing is open."""
