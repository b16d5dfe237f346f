"""The demo's processes and groups: two services and a hog, each in its own cgroup where that is permitted."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from vagus.cli.demo.unbroken import unbroken
from vagus.errors import VagusError

ROOT = "vagus-demo"
START_TIMEOUT_S = 20.0
HOG_SHARES = "16384"  # a neighbour that claims far more than its share


def cpu_mount() -> Path | None:
    """The cpu controller's tree, version 1 or 2, if this user may make groups in it."""
    for path in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/cpu,cpuacct"), Path("/sys/fs/cgroup")):
        controllers = path / "cgroup.controllers"
        v2 = controllers.exists() and "cpu" in controllers.read_text().split()
        if (v2 or (path / "cpu.shares").exists() or (path / "cpu.cfs_quota_us").exists()) and os.access(path, os.W_OK):
            return path
    return None


def _end(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    processes.clear()


class Stage:
    """Starts and ends what the demo needs; `close` leaves nothing behind. Context manager."""

    def __init__(self, work_ms: float) -> None:
        self._work_ms = work_ms
        self._processes: list[subprocess.Popen[str]] = []
        self.hogs: list[subprocess.Popen[str]] = []
        self.mount = cpu_mount()
        self._root = self.mount / ROOT if self.mount else None
        self.url = ""

    def __enter__(self) -> Stage:
        self._remove_groups()
        try:
            db = self._serve("db")
            self.url = self._serve("web", db)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def target(self) -> str:
        """What a controller is to limit: the hog's group, or without permission its process tree."""
        if self.mount is not None:
            return f"cgroup:{ROOT}/hog"
        return f"pid:{self.hogs[0].pid}" if self.hogs else "pid:self"

    def hog(self, count: int) -> None:
        """Starts `count` processes that take all the CPU they get."""
        group = self._group("hog")
        if group is not None:
            for name, value in (("cpu.shares", HOG_SHARES), ("cpu.weight", "6000")):
                with contextlib.suppress(OSError):
                    if (group / name).exists():
                        (group / name).write_text(value)
        for _ in range(count):
            self._start(["hog"], group, self.hogs)

    def end_hog(self) -> None:
        """Ends the hog, as its owner would."""
        _end(self.hogs)

    def close(self) -> None:
        with unbroken():
            self.end_hog()
            _end(self._processes)
            self._remove_groups()

    def _serve(self, name: str, next_url: str = "") -> str:
        arguments = [name, str(self._work_ms), *([next_url] if next_url else [])]
        process = self._start(arguments, self._group(name), self._processes)
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
        port = process.stdout.readline().strip() if ready else ""
        if not port.isdigit():
            raise VagusError(
                f"the demo's service {name} did not start; run `{sys.executable} -m vagus.cli.demo.service {name} 5`"
            )
        return f"http://127.0.0.1:{port}/"

    def _start(
        self, arguments: list[str], group: Path | None, among: list[subprocess.Popen[str]]
    ) -> subprocess.Popen[str]:
        with unbroken():  # a process that nobody knows of could not be ended
            process = subprocess.Popen(
                [sys.executable, "-m", "vagus.cli.demo.service", *arguments],
                stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is for the story, which ends them
            )
            among.append(process)
            if group is not None:
                try:
                    (group / "cgroup.procs").write_text(str(process.pid))
                except OSError as error:
                    raise VagusError(f"cannot move a process into {group}: {error.strerror}; try --dry") from error
        return process

    def _group(self, name: str) -> Path | None:
        if self.mount is None:
            return None
        group = self.mount / ROOT / name
        try:
            group.mkdir(parents=True, exist_ok=True)
            if (self.mount / "cgroup.subtree_control").exists():
                (self.mount / ROOT / "cgroup.subtree_control").write_text("+cpu")
        except OSError:
            self.mount = None  # read-only, or not delegated: go on unconfined
            return None
        return group

    def _remove_groups(self) -> None:
        root = self._root  # also when making them failed half-way
        if root is None:
            return
        for group in [*sorted(root.glob("*/")), root]:
            for _ in range(50):  # a group empties a moment after its last process has died
                try:
                    group.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)
