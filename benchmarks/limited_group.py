"""A control group of a benchmark's own whose limit of processor time can be watched, and is removed at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from vagus.actuators.hierarchy import mounts
from vagus.errors import ActuateError

FILES = {1: "cpu.cfs_quota_us", 2: "cpu.max"}
EMPTY_S = 5.0


class Group(NamedTuple):
    """path: its folder; file: of the limit; original: what stood there at first."""

    path: Path
    file: Path
    original: str

    @property
    def target(self) -> str:
        """As a controller names it."""
        return f"cgroup:{self.path.name}"


@contextmanager
def limited_group(name: str) -> Iterator[Group]:
    """An empty group `vagus-NAME-PID` for limits of `cpu`. Raises ActuateError where this user may not make one."""
    mount = next((m for m in mounts(Path("/")) if "cpu" in m.controllers), None)
    if mount is None or not os.access(mount.point, os.W_OK):
        raise ActuateError("needs root and a cgroup hierarchy with the cpu controller")
    group = mount.point / f"vagus-{name}-{os.getpid()}"
    group.mkdir()
    try:
        file = group / FILES[mount.version]
        yield Group(group, file, file.read_text())
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    deadline_s = time.monotonic() + EMPTY_S
    while True:
        try:
            group.rmdir()
        except OSError:  # a process in it is still ending
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
            continue
        return
