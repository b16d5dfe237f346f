"""Streams through memory: copies between arrays that no cache holds."""

from __future__ import annotations

import os
import time

import numpy as np

from vagus.injector.pacing import Pace
from vagus.injector.strain import Line

_PIECE = 1 << 19  # numbers of 8 bytes: 4 MiB
CALIBRATE_S = 0.3


def strain(line: Line, array_bytes: int, share: float = 1.0, bytes_s: float = 0.0, nice: int = 0) -> None:
    """share: of what this process reaches without rest (measured first), or bytes_s, read and written.

    Figures: bytes_s; reached_bytes_s without rest, where a share was asked for.
    """
    os.nice(nice)
    pieces = max(2, array_bytes // (8 * _PIECE))
    source = np.ones(pieces * _PIECE)
    sink = np.zeros(pieces * _PIECE)  # written once, so that every page is there
    sink[::512] = 1.0
    at, moved = 0, 2.0 * 8 * _PIECE

    def piece() -> None:
        nonlocal at
        part = slice(at * _PIECE, (at + 1) * _PIECE)
        np.copyto(sink[part], source[part])
        at = (at + 1) % pieces

    reached = 0.0
    rate: float | None = bytes_s or None
    if not bytes_s:
        begin, count = time.monotonic(), 0
        while (took := time.monotonic() - begin) < CALIBRATE_S:
            piece()
            count += 1
        reached = count * moved / took
        rate = reached * share if share < 1 else None
    line.begun()
    total, pace = 0.0, Pace(rate, time.monotonic())
    while True:
        piece()
        total += moved
        wait_s = pace.wait_s(moved, time.monotonic())
        if wait_s > 0:
            time.sleep(wait_s)
        if line.due():
            figures = {"bytes_s": total / line.age_s}
            line.tell(**figures, **({"reached_bytes_s": reached} if reached else {}))
