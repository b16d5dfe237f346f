"""Strains a disk: a process that reads or writes a file without a name, past the page cache."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import ClassVar

from vagus.errors import ConfigError, Unsupported
from vagus.injector import Prepared
from vagus.injector.cpu import DEFAULT, nice_level
from vagus.injector.reading import BYTES_S, PERCENT, amount, share
from vagus.injector.strain import command
from vagus.undo import Step, read_text

FOLDER = "/var/tmp"  # noqa: S108  a folder on a disk everywhere; the file in it has no name
SIZE_BYTES = 256 << 20
LEAST_BYTES = 16 << 20
FREE_SHARE = 0.1  # of what is free, at most
NO_DISK = frozenset({"tmpfs", "ramfs", "proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "hugetlbfs", "devpts"})


class Disk:
    """Disk: `50 MB/s`, `200 IOPS` of 4 KiB, or 80% of what one stream reaches, in the file system of the target folder."""

    name = "disk"
    default = DEFAULT
    options: ClassVar[dict[str, str]] = {
        "mode": "read or write.",
        "workers": "Processes at once.",
        "nice": "Nice level of the processes, -20 to 19.",
    }

    def __init__(self, root: Path = Path("/"), *, mode: str = "write", workers: int = 1, nice: int = 0) -> None:
        self.root = root
        if mode not in ("read", "write"):
            raise ConfigError(f"disk: the mode {mode[:40]!r} is neither read nor write")
        if not 1 <= workers <= 64:
            raise ConfigError(f"disk: {workers} workers; 1 to 64 can be asked for")
        self.mode, self.workers, self.nice = mode, workers, nice_level("disk", nice)

    def prepare(self, intensity: str, target: str, duration_s: float) -> Prepared:
        """target: a folder. Raises ConfigError, Unsupported."""
        value, unit = amount(
            "disk",
            intensity or DEFAULT,
            {**PERCENT, "IOPS": 1.0, **BYTES_S},
            "50 MB/s, 200 IOPS, or a share such as 80%",
        )
        folder = target or FOLDER
        if not os.path.isabs(folder) or not os.path.isdir(folder):
            raise ConfigError(f"disk: the target {folder[:200]!r} is not the absolute path of a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise Unsupported(f"disk: user {os.geteuid()} may not write in {folder}; name another folder")
        kind = self._kind(folder)
        if kind in NO_DISK:
            raise Unsupported(f"disk: {folder} is of {kind}, which has no disk; name a folder on one")
        free = os.statvfs(folder)
        size = min(SIZE_BYTES, int(free.f_bavail * free.f_frsize * FREE_SHARE / self.workers)) >> 20 << 20
        if size < LEAST_BYTES:
            raise Unsupported(
                f"disk: {folder} has {free.f_bavail * free.f_frsize / 2**20:.0f} MiB free; a tenth of that is too little "
                f"for {self.workers} × {LEAST_BYTES >> 20} MiB"
            )
        how: dict[str, float]
        if unit == "%":
            how, what = {"share": share("disk", value)}, f"{value:.0%} of what it reaches"
        elif unit == "IOPS":
            how, what = {"ops_s": value / self.workers}, f"{value:g} IOPS of 4 KiB"
        else:
            how, what = {"bytes_s": value / self.workers}, f"{value / 1e6:.3g} MB/s"
        names = [os.path.join(folder, f".vagus-inject-{secrets.token_hex(8)}") for _ in range(self.workers)]
        return Prepared(
            commands=tuple(
                command(
                    "disk", duration_s, folder=folder, name=n, size_bytes=size, mode=self.mode, nice=self.nice, **how
                )
                for n in names
            ),
            undo=tuple(Step("unlink", n) for n in names),  # of file systems whose files always have names
            says=f"{self.workers} × {self.mode} {what}, a file of {size >> 20} MiB in {folder} ({kind})",
        )

    def _kind(self, folder: str) -> str:
        """The type of the file system that holds a folder."""
        device = os.stat(folder).st_dev
        name = f"{os.major(device)}:{os.minor(device)}"
        try:
            for line in read_text(str(self.root / "proc/self/mountinfo")).splitlines():
                left, _, right = line.partition(" - ")
                if left.split()[2:3] == [name]:
                    return right.split()[0]
        except OSError:
            pass
        return "an unknown file system"
