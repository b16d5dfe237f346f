"""Network traffic of a group whose processes have a network of their own, from /proc/PID/net/dev of one of them.

A cgroup counts no packets; containers have a network namespace instead. Containers of one Kubernetes pod share theirs,
and each then shows all of it. Formats: proc_pid_net(5), namespaces(7).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vagus.clock import NS
from vagus.collectors.table import check_range
from vagus.errors import CollectError
from vagus.model import MAX_LABEL_VALUE, Field, Sample, Stream

EVERY_S = 5
MAX_TRIED = 8  # processes of a group that are looked at for one in a namespace of its own
MAX_PROCS_BYTES = 4096
MAX_DEV_BYTES = 1 << 16
MAX_ENVIRON_BYTES = 1 << 15
_COLUMNS = (0, 8, 1, 9, 2, 10, 3, 11)  # receive: bytes packets errs drop …; transmit begins at column 8
FIELDS = tuple(
    Field(f"{way}_{what}", unit="bytes" if what == "bytes" else "", dtype="u8", counter=True)
    for what in ("bytes", "packets", "errors", "dropped")
    for way in ("rx", "tx")
)


def parse_dev(data: bytes) -> tuple[int, ...]:
    """net/dev as FIELDS, summed over all devices but the loopback. Raises ValueError."""
    sums = [0] * len(_COLUMNS)
    lines = data.split(b"\n")[2:]
    for line in lines:
        name, colon, rest = line.rpartition(b":")  # names may hold a colon (aliases)
        if not colon or name.strip() == b"lo":
            continue
        numbers = rest.split()
        if len(numbers) < 16:
            raise ValueError(f"{line[:80]!r} has {len(numbers)} columns instead of 16")
        for at, column in enumerate(_COLUMNS):
            sums[at] += int(numbers[column])
    return tuple(sums)


class NetSource:
    """Stream `cgroup.net` of one group: the counters of the namespace that `pid` is in.

    The file is opened for each reading: one that stays open would keep a container's network from being removed.
    """

    keep = False
    pause_ns = (EVERY_S - 1) * NS

    def __init__(self, proc: str, pid: str, namespace: str, stream: Stream) -> None:
        self.stream = stream
        self.read_ns = -1
        self._path = f"{proc}/{pid}/net/dev"
        self._link = f"{proc}/{pid}/ns/net"
        self._namespace = namespace

    def sample(self, t_ns: int) -> Sample:
        """Raises CollectError, ValueError."""
        values = parse_dev(read_beginning(self._path, MAX_DEV_BYTES))
        check_range(values)
        if _link(self._link) != self._namespace:  # after reading: the process ended, and its id may be another's
            raise CollectError(f"{self._link}: the process is gone")
        return Sample(self.stream, t_ns, values)

    def close(self) -> None:
        """Nothing stays open."""

    def count(self) -> int:
        return 0

    def gone(self) -> bool:
        """Whether the process is gone, or is another: no failure."""
        return _link(self._link) != self._namespace

    def problem(self, error: Exception) -> str:
        """The error as a sentence that names the file."""
        return str(error) if isinstance(error, CollectError) else f"{self._path}: {error!r}"


def processes(folders: Sequence[str]) -> list[str]:
    """The first processes of a group, which has a folder in each hierarchy; none where it is empty or unreadable."""
    for folder in folders:
        try:
            found = read_beginning(f"{folder}/cgroup.procs", MAX_PROCS_BYTES).split()
        except CollectError:
            continue
        if found:
            return [pid.decode("ascii", "replace") for pid in found[:MAX_TRIED] if pid != b"0"]
    return []


def apart(root: Path, pids: Sequence[str]) -> tuple[str, str] | None:
    """The first process whose network is not this process' own, and its namespace; None when there is none."""
    own = _link(f"{root}/proc/self/ns/net")
    for pid in pids:
        namespace = _link(f"{root}/proc/{pid}/ns/net")
        if own and namespace and namespace != own:
            return pid, namespace
    return None


def hostname(root: Path, pid: str) -> str:
    """What a container's process is told its host is called (a Kubernetes pod's name); empty where it is not said.

    From its environment: the file in its own tree could lead anywhere.
    """
    try:
        data = read_beginning(f"{root}/proc/{pid}/environ", MAX_ENVIRON_BYTES)
    except CollectError:
        return ""
    for entry in data.split(b"\0"):
        if entry.startswith(b"HOSTNAME="):
            name = entry[9:].decode("utf-8", "replace")
            return name if name.isprintable() and len(name) <= min(253, MAX_LABEL_VALUE) else ""
    return ""


def read_beginning(path: str, most: int) -> bytes:
    """The file's beginning, up to `most` bytes. Raises CollectError."""
    data = b""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            while len(data) < most and (chunk := os.read(fd, most - len(data))):
                data += chunk
        finally:
            os.close(fd)
    except OSError as error:
        raise CollectError(f"cannot read {path}: {error.strerror}") from error
    return data


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
