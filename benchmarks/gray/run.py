"""Runs one scenario in mount, process, network and host name namespaces of its own, and takes what it found.

Whatever happens, also when this process is killed, the first process in the namespaces dies with its parent, all
others with it, and mounts, loop devices and networks with them. Control groups are removed here, and those that a
killed benchmark left behind, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.gray.faults import CGROUPS, PREFIX

ROOT = Path(__file__).parents[2]
LIMIT_S = 150.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run(options: dict[str, Any]) -> dict[str, Any]:
    """What `stage` found for these options, which are its Options; {"error": why} if it could not."""
    tag = f"{PREFIX}{os.getpid()}"
    sweep()
    with folder() as place:
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--uts", "--ipc"]
        argv += [sys.executable, "-m", "benchmarks.gray.stage", json.dumps({**options, "folder": place, "tag": tag})]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VAGUS_")}
        with subprocess.Popen(
            argv,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  this process has no threads of its own
        ) as stage:
            try:
                out, err = stage.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                stage.kill()
                out, err = stage.communicate()
                err += f"\nended after {LIMIT_S:.0f} s"
    sweep(os.getpid())
    try:
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": (err.strip() or out.strip() or "it said nothing")[-2000:]}
    return found


def folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder whose name says which process made it; others may look into it."""
    made = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-")
    os.chmod(made.name, 0o755)
    return made


def sweep(owner: int = 0) -> None:
    """Removes the control groups of `owner`; those of benchmarks that are no more, with their folders."""

    def left(places: Iterable[Path]) -> Iterator[Path]:
        for place in places:
            pid = place.name[len(PREFIX) :].partition("-")[0]
            if pid.isdecimal() and not Path("/proc", pid).exists():
                yield place

    for place in left(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        shutil.rmtree(place, ignore_errors=True)
    for controller in ("blkio", "cpu"):
        groups = list((CGROUPS / controller).glob(f"{PREFIX}*"))
        for group in [*left(groups), *(group for group in groups if group.name.startswith(f"{PREFIX}{owner}-"))]:
            with contextlib.suppress(OSError):
                group.rmdir()
