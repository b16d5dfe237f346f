"""Which tasks a target has, as a source for `gather` steps (vagus/undo/resctrl.py), and which resctrl group has them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from vagus.actuators.hierarchy import group_path, mounts
from vagus.actuators.owners import Containers
from vagus.errors import ActuateError, Unsupported
from vagus.model import Target
from vagus.undo import read_text, reason
from vagus.undo.resctrl import Source

KINDS = ("pid", "cgroup", "systemd", "container")
FIXED = frozenset({"info", "mon_data", "mon_groups"})
_MAX_PROCESSES = 100_000


def own_name(target: Target) -> str:
    """The name of a group of our own for a target: `vagus-cgroup-web`."""
    wanted = f"vagus-{target.kind}-{target.name}"
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", wanted)[:100]
    return safe if safe == wanted else f"{safe}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def source(root: Path, target: Target) -> Source:
    """Where a target's tasks are found, again and again. Raises ActuateError, Unsupported when there are none."""
    proc = str(root / "proc")
    if target.kind == "pid":
        if not target.name.isdigit() or not 0 < int(target.name) < 1 << 31:
            raise Unsupported(f"target {target} is not pid:NUMBER")
        if not os.path.isdir(f"{proc}/{target.name}"):
            raise ActuateError(f"process {target.name} does not exist; name a running one, or a cgroup:PATH")
        return Source(proc, pid=int(target.name))
    groups = _groups(root, target)
    if not groups:
        raise ActuateError(f"no group of {target} is on this machine; start it, or correct the target")
    return Source(proc, groups=tuple(groups))


def _groups(root: Path, target: Target) -> list[str]:
    """Its control groups, in every hierarchy: whichever holds its processes."""
    found: list[str] = []
    units = _unit_paths(root, target) if target.kind == "systemd" else []
    containers = Containers(root)
    for mount in mounts(root):
        if target.kind == "container":
            try:
                found.append(str(containers.group(mount, target.name)))
            except ActuateError:
                continue  # not in this hierarchy
        elif target.kind == "cgroup":
            found.append(str(group_path(mount, target.name)))
        else:
            inside = mount.inside.rstrip("/")
            found += [f"{mount.point}{path[len(inside) :]}" for path in units if path.startswith(f"{inside}/")]
    return [folder for folder in dict.fromkeys(found) if os.path.isdir(folder)]


def _unit_paths(root: Path, target: Target) -> list[str]:
    """Where a unit's processes say that they are, in /proc/PID/cgroup."""
    unit = target.name if "." in target.name else f"{target.name}.service"
    found: dict[str, None] = {}
    for process in os.listdir(root / "proc")[:_MAX_PROCESSES]:
        if process.isdigit():
            try:
                lines = read_text(f"{root}/proc/{process}/cgroup").splitlines()
            except OSError:
                continue  # it has just ended
            for line in lines:
                before, slash, _ = f"{line.split(':', 2)[-1]}/".partition(f"/{unit}/")
                if slash:
                    found[f"{before}/{unit}"] = None
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
