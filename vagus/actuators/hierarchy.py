"""Where cgroup hierarchies are mounted and which group is which: v1, v2, hybrid, and what containers show of them.

Sources: the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst, proc(5) for mountinfo and cgroup.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.undo import read_text, reason

_FOREIGN = re.compile(r"ray|ray[-_]node.*|process_api")  # Ray's isolation and this machine's supervisor own theirs
_OCTAL = re.compile(r"\\([0-7]{3})")
_MAX_MOUNTINFO = 1 << 20


class Mount(NamedTuple):
    """A mounted cgroup hierarchy. inside: which part of it is seen at point (not `/` in containers)."""

    point: Path
    inside: str
    version: int
    controllers: frozenset[str]
    writable: bool


def mounts(root: Path) -> list[Mount]:
    """Every cgroup hierarchy in ROOT/proc/self/mountinfo: v1, v2, or both (hybrid). Raises ActuateError."""
    try:
        with open(root / "proc/self/mountinfo", "rb") as file:
            text = file.read(_MAX_MOUNTINFO).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ActuateError(f"cannot read {root}/proc/self/mountinfo: {error.strerror}") from error
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if not separator or len(fields) < 6 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        point = root / _unescape(fields[4]).lstrip("/")
        writable = "ro" not in fields[5].split(",") and "ro" not in kind[2].split(",")
        if kind[0] == "cgroup2":
            controllers = frozenset(_text_or_empty(point / "cgroup.controllers").split())
        else:
            controllers = frozenset(kind[2].split(","))
        found.append(Mount(point, _unescape(fields[3]), 1 if kind[0] == "cgroup" else 2, controllers, writable))
    return found


def _unescape(path: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), path)


def _text_or_empty(path: Path) -> str:
    try:
        return read_text(str(path))
    except OSError:
        return ""


def group_path(mount: Mount, name: str) -> Path:
    """The folder of group `name`, relative to the mount. Raises Rejected for the root group and for `..`."""
    parts = [part for part in PurePosixPath(name).parts if part.strip("/")]  # `//` is a root of its own
    if ".." in parts or "\0" in name:
        raise Rejected(str(mount.point), name, "a group is named by its path below the mount, without '..'")
    if not parts:
        raise Rejected(str(mount.point), name, "the root group holds the whole machine; name a group below it")
    return mount.point.joinpath(*parts)


def refuse_foreign(mount: Mount, group: Path) -> None:
    """Raises Rejected for groups that others own: Ray's isolation writes its own."""
    for part in group.relative_to(mount.point).parts:
        if _FOREIGN.fullmatch(part):
            raise Rejected(str(group), "", f"the group {part!r} belongs to another program, which sets its own limits")


def group_of(root: Path, mount: Mount, pid: int) -> Path:
    """The group that a process is in now. Raises ActuateError, Unsupported."""
    try:
        lines = read_text(f"{root}/proc/{pid}/cgroup").splitlines()
    except OSError as error:
        raise ActuateError(f"process {pid} does not exist: {error.strerror}") from error
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (mount.version == 2 and controllers == "") or (
            mount.version == 1 and mount.controllers & set(controllers.split(","))
        ):
            inside = mount.inside.rstrip("/")
            if path.startswith("/..") or not (path == inside or path.startswith(inside + "/")):
                raise Unsupported(f"process {pid} is in the group {path}, which is not visible below {mount.point}")
            return mount.point / path[len(inside) :].lstrip("/")
    raise Unsupported(f"process {pid} is in no group of the hierarchy at {mount.point}")


def key_values(path: Path) -> dict[str, int]:
    """A flat keyed file such as cpu.stat; lines that are not `key number` are skipped. Raises ActuateError."""
    try:
        text = read_text(str(path))
    except OSError as error:
        raise ActuateError(f"cannot read {path}: {reason(error)}") from error
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[key] = int(value)
    return found


def number(path: Path) -> float:
    """A file with one number; NaN when it is missing or is none."""
    try:
        return float(read_text(str(path)))
    except (OSError, ValueError):
        return float("nan")
