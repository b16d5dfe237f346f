"""Faults from outside: what happens to programs that know nothing of it. All need root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.gray.hosts import Hosts

CGROUPS = Path("/sys/fs/cgroup")
PREFIX = "vagus-gray-"
_PTRACE_SEIZE, _PTRACE_INTERRUPT = 0x4206, 0x4207
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


# --- processes and threads -------------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    """The processes that a process started, oldest first."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def threads(pid: int, name: str) -> list[int]:
    """The threads of a process that carry a name, oldest first."""
    found = (Path(entry) for entry in Path(f"/proc/{pid}/task").iterdir())
    return sorted(int(entry.name) for entry in found if (entry / "comm").read_text().strip() == name)


def stop(pid: int) -> None:
    """A process stands still; its sockets and the kernel behind them do not."""
    os.kill(pid, signal.SIGSTOP)


def freeze_thread(tid: int) -> None:
    """One thread stands still, as in a deadlock, for as long as the calling thread lives. Raises OSError."""
    for request in (_PTRACE_SEIZE, _PTRACE_INTERRUPT):
        if _libc.ptrace(request, tid, None, None):
            raise OSError(ctypes.get_errno(), f"ptrace of thread {tid}")


# --- disks -----------------------------------------------------------------------------------------------------------


def disk(folder: Path, megabytes: int = 160) -> str:
    """Mounts an ext4 file system of its own on `folder`; the loop device (it goes with the mount)."""
    image = folder.with_suffix(".ext4")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,nodiscard", str(image)], check=True)
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", str(image), str(folder)], check=True)
    number = os.stat(folder).st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def make_read_only(folder: Path) -> None:
    """What the kernel does after an I/O error: the journal is aborted, the file system read-only from now on."""
    subprocess.run(["mount", "-o", "remount,abort", str(folder)], check=True)


# --- control groups --------------------------------------------------------------------------------------------------


def cgroup(controller: str, name: str, pids: Iterable[int] = ()) -> Path:
    """A control group (v1) of our own, with these processes and their children in it. Raises OSError."""
    group = CGROUPS / controller / name
    group.mkdir(exist_ok=True)
    for pid in pids:
        (group / "cgroup.procs").write_text(str(pid))
        for child in children(pid):  # those it starts from now on are in the group already
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                (group / "cgroup.procs").write_text(str(child))
    return group


def slow_disk(group: Path, device: str, bytes_per_s: int) -> None:
    """The group writes to the device at this rate, no more."""
    (group / "blkio.throttle.write_bps_device").write_text(f"{device} {bytes_per_s}")


def less_cpu(group: Path, cores: float) -> None:
    """All of the group's processes together get so many cores."""
    (group / "cpu.cfs_period_us").write_text("100000")
    (group / "cpu.cfs_quota_us").write_text(str(round(cores * 100_000)))


# --- network ---------------------------------------------------------------------------------------------------------


def cut_off(hosts: Hosts, name: str, others: Sequence[str]) -> None:
    """What comes from `others` to the host, and from it to them, is lost."""
    there = ", ".join(hosts.addresses[other] for other in others)
    _drop(hosts, name, f"ip saddr {{ {there} }} drop", f"ip daddr {{ {there} }} drop")


def half_open(hosts: Hosts, name: str, port: int, clients: Sequence[str]) -> int:
    """A firewall between forgets the connections that are there: what the host sends on them is lost, new ones work.

    Returns how many.
    """
    listed = hosts.do(name, ["ss", "-Htn", "state", "established", f"sport = :{port}"])
    peers = [line.split()[-1].replace("[::ffff:", "").replace("]", "").rsplit(":", 1) for line in listed.splitlines()]
    known = {hosts.addresses[client] for client in clients}
    rules = [f"ip daddr {there} tcp sport {port} tcp dport {at} drop" for there, at in peers if there in known]
    _drop(hosts, name, "", *rules)
    return len(rules)


def _drop(hosts: Hosts, name: str, arriving: str, *leaving: str) -> None:
    text = "table inet gray {\n"
    for hook, rules in (("input", (arriving,)), ("output", leaving)):
        text += f" chain {hook} {{ type filter hook {hook} priority 0;\n  " + "\n  ".join(rules) + "\n }\n"
    hosts.do(name, ["nft", "-f", "-"], text + "}\n")


# --- time ------------------------------------------------------------------------------------------------------------


def step_clock(file: Path, seconds: float) -> None:
    """The wall clock of programs that libfaketime reads this file for jumps; their monotonic clock does not."""
    replacement = file.with_suffix(".new")
    replacement.write_text(f"{seconds:+.0f}\n")
    replacement.replace(file)


def wait_until(path: Path, timeout_s: float = 10.0) -> None:
    """Until a path is there. Raises TimeoutError."""
    ends = time.monotonic() + timeout_s
    while not path.exists():
        if time.monotonic() > ends:
            raise TimeoutError(f"{path} did not appear within {timeout_s:.0f} s")
        time.sleep(0.02)
