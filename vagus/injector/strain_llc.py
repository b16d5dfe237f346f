"""Fills a last-level cache: reads every line of an array of its size again and again, in random order."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from vagus.injector.strain import Line

LINE_BYTES = 64
_PIECE = 1 << 14  # lines


def strain(line: Line, array_bytes: int, cpus: Sequence[int] = (), nice: int = 0) -> None:
    """cpus: those that share the cache; empty: any. Figure: lines_s, lines of cache read per second."""
    os.nice(nice)
    if cpus:
        os.sched_setaffinity(0, cpus)
    lines = max(_PIECE, array_bytes // LINE_BYTES)
    array = np.ones(lines * (LINE_BYTES // 8))
    # random, so that no prefetcher hides the misses; whole pieces, each line once
    order = np.random.default_rng().permutation(lines) * (LINE_BYTES // 8)
    pieces = [order[at : at + _PIECE] for at in range(0, lines - _PIECE + 1, _PIECE)]
    found = np.empty(_PIECE)
    line.begun()
    read = 0
    while True:
        for piece in pieces:
            np.take(array, piece, out=found, mode="clip")
            read += _PIECE
            if line.due():
                line.tell(lines_s=read / line.age_s)
