"""Memory of queries goes back to the kernel when they are done.

glibc keeps what was freed: after a large array it serves the next ones from its heaps, one for each few threads, which
only shrink at their top. Queries answered in six threads then hold 600 MB where 20 are in use (measured: sixty streams,
24 million values). With a fixed threshold each large array is a mapping of its own, and gone when freed; a scan takes a
fifth longer for the pages that the kernel clears.
"""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import suppress
from pathlib import Path

MAPPED_BYTES = 128 << 10  # glibc's own first threshold, which it would otherwise raise
_M_MMAP_THRESHOLD = -3  # malloc.h
_MADV_DONTNEED = 4


def return_large_blocks() -> bool:
    """Fixes glibc's threshold for this process; False where the C library is another one (it is left alone)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES))


def settle() -> None:
    """What is loaded by now stays: the garbage collector need not look through it each time, which takes 10 to 20 ms.

    What loading left over goes back to the kernel. To be called once, when a process that lives long has begun.
    """
    gc.collect()
    gc.freeze()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def let_go(path: Path) -> int:
    """Unmaps what this process has touched of a file that it maps to read; how many mappings there were.

    The pages stay in the kernel's cache, and come back at a touch. A store's file would else count as this process'
    memory, up to its whole size, since every page that a commit looks at is mapped and stays so.
    """
    name = os.fsencode(path)
    found = 0
    with suppress(OSError, AttributeError, ValueError):
        madvise = ctypes.CDLL(None, use_errno=True).madvise
        with open("/proc/self/maps", "rb") as maps:
            for line in maps:
                if line.rstrip().endswith(name):
                    span, access = line.split(maxsplit=2)[:2]
                    low, high = (int(end, 16) for end in span.split(b"-"))
                    if access == b"r--s" and not madvise(
                        ctypes.c_void_p(low), ctypes.c_size_t(high - low), _MADV_DONTNEED
                    ):
                        found += 1
    return found
