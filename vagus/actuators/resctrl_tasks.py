"""Which tasks a target has, as a source for `gather` steps (vagus/undo/resctrl.py), and which resctrl group has them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from vagus.actuators.hierarchy import group_path, mounts
from vagus.cgroup_names import owner_of
from vagus.errors import ActuateError, Unsupported
from vagus.model import Target
from vagus.undo import read_text, reason

KINDS = ("pid", "cgroup", "systemd", "container")
FIXED = frozenset({"info", "mon_data", "mon_groups"})
_MAX_PROCESSES = 100_000


def own_name(target: Target) -> str:
    """The name of a group of our own for a target: `vagus-cgroup-web`."""
    wanted = f"vagus-{target.kind}-{target.name}"
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", wanted)[:100]
    return safe if safe == wanted else f"{safe}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def source(root: Path, target: Target) -> dict[str, Any]:
    """Where a target's tasks are found, again and again. Raises ActuateError, Unsupported when there are none."""
    proc = str(root / "proc")
    if target.kind == "pid":
        if not target.name.isdigit() or not 0 < int(target.name) < 1 << 31:
            raise Unsupported(f"target {target} is not pid:NUMBER")
        if not os.path.isdir(f"{proc}/{target.name}"):
            raise ActuateError(f"process {target.name} does not exist; name a running one, or a cgroup:PATH")
        return {"proc": proc, "pid": int(target.name)}
    paths = [target.name] if target.kind == "cgroup" else _paths_of(root, target)
    groups = []
    for mount in mounts(root):
        for path in paths:
            inside = mount.inside.rstrip("/")
            if target.kind != "cgroup" and path.startswith(inside + "/"):
                path = path[len(inside) :]
            folder = group_path(mount, path)
            if folder.is_dir():
                groups.append(str(folder))
    if not groups:
        raise ActuateError(f"the group of {target} does not exist; start it, or correct the target")
    return {"proc": proc, "groups": groups}


def _paths_of(root: Path, target: Target) -> list[str]:
    """The control groups of a unit or a container, from what its processes say in /proc/PID/cgroup."""
    wanted = target.name if target.kind == "container" or "." in target.name else f"{target.name}.service"
    found: dict[str, None] = {}
    for process in os.listdir(root / "proc")[:_MAX_PROCESSES]:
        if not process.isdigit():
            continue
        try:
            lines = read_text(f"{root}/proc/{process}/cgroup").splitlines()
        except OSError:
            continue  # it has just ended
        for line in lines:
            path = line.split(":", 2)[-1]
            parts = path.split("/")
            for end in range(2, len(parts) + 1):
                owner = owner_of("/".join(parts[:end]))
                known = owner.container if target.kind == "container" else parts[end - 1]
                if known == wanted or (target.kind == "container" and len(wanted) >= 8 and known.startswith(wanted)):
                    found["/".join(parts[:end])] = None
                    break
    if not found:
        raise ActuateError(f"no process runs in {target}; start it, or correct the target")
    return list(found)


class Homes:
    """The groups of a resctrl tree at one moment, and the tasks in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.controls = ["", *_folders(folder)]

    def path(self, control: str, monitor: str = "") -> Path:
        """The folder of a control group (empty: the default one), or of a monitoring group in it."""
        folder = self.folder / control if control else self.folder
        return folder / "mon_groups" / monitor if monitor else folder

    def of(self, tasks: set[int]) -> dict[tuple[str, str], set[int]]:
        """Which of these tasks are where, by control and monitoring group. Raises ActuateError."""
        left, found = set(tasks), {}
        for control in [*self.controls[1:], ""]:
            # what no other group has the default one has: its own list is as long as the machine's
            here = left & _tasks(self.path(control)) if control else set(left)
            left -= here
            for monitor in _folders(self.path(control) / "mon_groups") if here else ():
                within = here & _tasks(self.path(control, monitor))
                if within:
                    found[control, monitor] = within
                    here -= within
            if here:
                found[control, ""] = here
        return found


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if e.name not in FIXED and e.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _tasks(group: Path) -> set[int]:
    try:
        return set(map(int, read_text(str(group / "tasks")).split()))
    except FileNotFoundError:
        return set()  # it was removed while we looked
    except (OSError, ValueError) as error:
        words = reason(error) if isinstance(error, OSError) else str(error)
        raise ActuateError(f"cannot read {group / 'tasks'}: {words}") from error
