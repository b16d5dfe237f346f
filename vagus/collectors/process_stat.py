"""/proc/PID/stat (proc_pid_stat(5)): what a process is, how long it ran, how large it is. Pure but for `read_stat`."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

MAX_STAT_BYTES = 2048
_PF_KTHREAD = 0x00200000
# names that end in a number of their own for each process are one name: kworker/0:1-events, worker-17, ray::IDLE_3
_NUMBERED = re.compile(r"[-_:#/.]+\d+\Z")


class Stat(NamedTuple):
    """cpu_ticks: user and system; start_ticks: since boot, tells a reused pid apart."""

    comm: str
    state: str
    kernel: bool
    cpu_ticks: int
    threads: int
    start_ticks: int
    rss_pages: int


def read_stat(folder: int, pid: str) -> bytes:
    """The content of PID/stat below an open /proc. Raises OSError when the process is gone."""
    fd = os.open(f"{pid}/stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(fd, MAX_STAT_BYTES)
    finally:
        os.close(fd)


def parse_stat(data: bytes) -> Stat:
    """Raises ValueError, IndexError when it is none. The name may itself hold parentheses and spaces."""
    begin, end = data.index(b"("), data.rindex(b")")
    fields = data[end + 2 :].split()
    return Stat(
        data[begin + 1 : end].decode("utf-8", "replace"),
        fields[0].decode("ascii"),
        bool(int(fields[6]) & _PF_KTHREAD),
        int(fields[11]) + int(fields[12]),
        int(fields[17]),
        int(fields[19]),
        max(0, int(fields[21])),
    )


def program(stat: Stat) -> str:
    """The name under which processes of one kind are added up."""
    comm = "".join(c if c.isprintable() else "?" for c in stat.comm)
    if stat.kernel:
        return f"[{comm.partition('/')[0]}]"
    return _NUMBERED.sub("", comm) or comm or "?"
