"""Who owns a control group, and so how its limits are written: systemd's units, containers, Ray, nobody.

systemd allows one writer for each group: what is written beside it is undone by its next reload. Below a unit with
Delegate=yes others may write (it marks such groups by an extended attribute). A container's group is systemd's where
its runtime asked systemd for a scope (docker-ID.scope), else the runtime made it itself and writes it only when told
to: then it is written directly, since the runtimes' own `update` would outlive a restoring.
Sources: systemd's docs/CGROUP_DELEGATION.md, runc's cgroup managers, cri-o's and podman's.
"""

from __future__ import annotations

import os
import re
import shutil
from itertools import islice
from pathlib import Path

from vagus.actuators import base
from vagus.actuators.hierarchy import Mount
from vagus.cgroup_names import owner_of
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.undo.command import output

_UNIT = re.compile(r"[^/]+\.(service|scope|slice|socket|mount|swap)\Z")
_USER = re.compile(r"user@(\d+)\.service\Z")
_ID = re.compile(r"[0-9a-f]{12,64}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}\Z")
_DELEGATED = ("user.delegate", "trusted.delegate")
_OF_PODS = ("cpu_cores", "memory_bytes")
_RUNTIMES = ("docker", "podman", "nerdctl")
_NAMING_S = 5.0
_MAX_GROUPS = 100_000


def systemd_runs(root: Path) -> bool:
    """Whether systemd manages this machine, as sd_booted(3) asks."""
    return (root / "run/systemd/system").is_dir()


def unit_of(root: Path, mount: Mount, group: Path) -> str:
    """The unit whose group this is, or lies in without being delegated; empty where nobody owns it.

    A unit of a user's own systemd is named with it: `user@1000.service/web.service`.
    """
    if not systemd_runs(root):
        return ""
    parts = group.relative_to(mount.point).parts
    units = [i for i, part in enumerate(parts) if _UNIT.fullmatch(part)]
    if not units:
        return ""
    last = units[-1]
    if last < len(parts) - 1 and (
        parts[last].endswith(".slice") or _delegated(mount.point.joinpath(*parts[: last + 1]))
    ):
        return ""  # a group that someone made beside or below the units
    user = next((parts[i] for i in units if i < last and _USER.fullmatch(parts[i])), "")
    return f"{user}/{parts[last]}" if user else parts[last]


def refuse_owned(root: Path, mount: Mount, group: Path, resource: str) -> None:
    """Raises Rejected for a group whose limits its owner writes, saying which target to name instead."""
    refuse_pods(mount, group, resource)
    unit = unit_of(root, mount, group)
    if "/" in unit:
        user, _, unit = unit.partition("/")
        why = f"the unit {unit} belongs to the systemd of {user}: run vagus as that user with Delegate=yes in the unit"
        raise Rejected(str(group), "", why)
    if unit:
        why = f"systemd owns the unit {unit} and would undo it; name systemd:{unit}, or set Delegate=yes in the unit"
        raise Rejected(str(group), "", why)


def refuse_inside(root: Path, mount: Mount, group: Path) -> None:
    """Raises Rejected for processes in a unit that is not delegated: moved out, systemd would lose them."""
    unit = unit_of(root, mount, group)
    if unit:
        why = (
            f"its processes are in systemd's unit {unit}: name systemd:{unit.rpartition('/')[2]}, which limits all of it, "
            "or give it Delegate=yes and run them in a group below"
        )
        raise Rejected(str(group), "", why)


def refuse_pods(mount: Mount, group: Path, resource: str) -> None:
    """Raises Rejected for what kubelet sets in groups of pods."""
    if base(resource) in _OF_PODS and owner_of(str(group.relative_to(mount.point))).pod:
        why = "kubelet sets a pod's cores and memory; name the pod, pod:NAMESPACE/NAME, which is resized in place"
        raise Rejected(str(group), "", why)


def _delegated(group: Path) -> bool:
    for name in _DELEGATED:
        try:
            if os.getxattr(group, name).strip(b"\0\n ") == b"1":
                return True
        except OSError:
            continue
    return False


class Containers:
    """Finds containers' groups by id (12 to 64 digits) or name; remembers where, for as long as the group is there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[tuple[Path, str], Path] = {}
        self._ids: dict[str, str] = {}

    def group(self, mount: Mount, name: str) -> Path:
        """The container's group in a hierarchy. Raises ActuateError, Unsupported for what is no id or name."""
        key = (mount.point, name)
        found = self._found.get(key)
        if found is not None and found.is_dir():
            return found
        found = self._search(mount, self._id(name), name)
        self._found[key] = found
        return found

    def _search(self, mount: Mount, wanted: str, name: str) -> Path:
        matches = []
        for folder, below, _ in islice(os.walk(mount.point), _MAX_GROUPS):
            known = owner_of(os.path.basename(folder)).container
            if known and known.startswith(wanted):
                matches.append(Path(folder))
                below.clear()  # what runs in it is its own
        if not matches:
            self._ids.pop(name, None)
            raise ActuateError(f"no group of container {name} is below {mount.point}; is it running on this machine?")
        if len(matches) > 1:
            there = ", ".join(str(match) for match in matches[:5])
            raise ActuateError(f"container {name} means several groups ({there}): give more digits of its id")
        return matches[0]

    def _id(self, name: str) -> str:
        if _ID.match(name):
            return name
        known = self._ids.get(name)
        if known is None:
            known = self._ids[name] = _ask(name)
        return known


def _ask(name: str) -> str:
    """The id of the container with this name, from the runtimes that are here. Raises ActuateError, Unsupported."""
    if not _NAME.match(name):
        raise Unsupported(
            f"container:{name[:80]} is neither an id (12 to 64 hexadecimal digits) nor a container's name"
        )
    said = []
    for program in _RUNTIMES:
        if shutil.which(program):
            try:
                found = output([program, "inspect", "--format", "{{.Id}}", name], _NAMING_S).strip()
            except OSError as error:
                said.append(str(error.strerror))
                continue
            if _ID.match(found):
                return found
            said.append(f"{program}: its answer {found[:80]!r} is no id")
    if not said:
        raise Unsupported(f"none of {', '.join(_RUNTIMES)} is here to say which container {name!r} is; give its id")
    raise ActuateError(f"container {name} is not known: {'; '.join(said)}")
