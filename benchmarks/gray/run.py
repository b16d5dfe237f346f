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
import signal
import subprocess
import sys
import tempfile
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
    with tempfile.TemporaryDirectory(prefix=f"{tag}-") as folder:
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--uts", "--ipc"]
        argv += [sys.executable, "-m", "benchmarks.gray.stage", json.dumps({**options, "folder": folder, "tag": tag})]
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


def sweep(owner: int = 0) -> None:
    """Removes the control groups of `owner`, and of benchmarks that are no more."""
    for controller in CGROUPS.iterdir() if CGROUPS.is_dir() else ():
        for group in controller.glob(f"{PREFIX}*"):
            pid = group.name[len(PREFIX) :].partition("-")[0]
            if pid.isdecimal() and (int(pid) == owner or not Path("/proc", pid).exists()):
                with contextlib.suppress(OSError):
                    group.rmdir()
