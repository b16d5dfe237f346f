"""The control group that a target runs in, and how much CPU it may use: `cgroup:PATH`, `pid:N`, `systemd:UNIT`,
`container:ID`, of the hierarchy that has the cpu controller (v1 or v2).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vagus.cgroup_names import owner_of
from vagus.errors import ConfigError, Unsupported
from vagus.model import Target
from vagus.undo import read_text

KINDS = ("cgroup", "pid", "systemd", "container")
_MOST_GROUPS = 20_000
_OCTAL = re.compile(r"\\([0-7]{3})")
_FOREIGN = re.compile(r"ray|ray[-_]node.*|process_api")  # others that own their groups wholly


class Tree(NamedTuple):
    """A mounted hierarchy; inside: which part of it is seen at point."""

    point: Path
    inside: str
    version: int


class Group(NamedTuple):
    """Where processes go to share what the target has: its folder, the files to enter, the CPUs that it may use."""

    name: str
    enter: tuple[str, ...]
    cpus: float
    allowed: frozenset[int]
    room_bytes: float  # of memory that more processes in it may take; infinite where that is not theirs


def machine(root: Path) -> Group:
    """The whole machine: no group is entered."""
    allowed = frozenset(os.sched_getaffinity(0)) if root == Path("/") else _list(root / "sys/devices/system/cpu/online")
    return Group("this machine", (), float(len(allowed)), allowed, float("inf"))


def group_of(root: Path, target: str) -> Group:
    """The group of a target; empty: the machine. Raises ConfigError, Unsupported."""
    whole = machine(root)
    if not target:
        return whole
    parsed = Target.parse(target)
    if parsed.kind not in KINDS:
        raise ConfigError(f"target {target[:80]!r}: processes can be put beside {', '.join(f'{k}:…' for k in KINDS)}")
    tree = _tree(root, "cpu")
    inside = _relative(root, tree, parsed)
    folder = tree.point / inside
    if any(_FOREIGN.fullmatch(part) for part in inside.parts):
        raise Unsupported(f"the group {folder} belongs to a program that manages its groups alone; name another target")
    enter = [folder]
    allowed = whole.allowed
    try:
        pinned = folder if tree.version == 2 else _tree(root, "cpuset").point / inside
        name = "cpuset.cpus.effective" if tree.version == 2 else "cpuset.effective_cpus"
        allowed = (_list(pinned / name) & allowed) or allowed
        if tree.version == 1 and inside.parts and (pinned / "cgroup.procs").exists():
            enter.append(pinned)
    except (OSError, Unsupported):
        pass  # no cpuset here: every CPU
    procs = tuple(str(place / "cgroup.procs") for place in enter)
    for file in procs:
        if not os.access(file, os.W_OK):
            raise Unsupported(f"user {os.geteuid()} may not put a process into {file}; run vagus as root")
    quota = _quota(folder, tree.version)
    room = _room(folder) if tree.version == 2 else float("inf")  # v1 has memory in a hierarchy of its own
    return Group(str(folder), procs, min(quota, float(len(allowed))), allowed, room)


def _relative(root: Path, tree: Tree, target: Target) -> PurePosixPath:
    if target.kind == "cgroup":
        parts = [part for part in PurePosixPath(target.name).parts if part.strip("/")]  # `//` is a root of its own
        if ".." in parts or "\0" in target.name or not parts:
            raise ConfigError(f"target {target}: a group is named by its path below {tree.point}, without '..'")
        path = PurePosixPath(*parts)
        if not (tree.point / path).is_dir():
            raise ConfigError(f"target {target}: there is no group {tree.point / path}")
        return path
    if target.kind == "pid":
        return _of_process(root, tree, target)
    found: dict[str, PurePosixPath] = {}  # by whose it is, the outermost group
    for path in _groups(tree):
        owner = owner_of(f"/{path}")
        whose = owner.service if target.kind == "systemd" else owner.container
        if whose == target.name or (target.kind == "container" and whose.startswith(target.name)):
            found.setdefault(whose, path)
    if len(found) != 1:
        many = f"{len(found)} containers are called so: {', '.join(sorted(found)[:3])}; give more of the id"
        raise ConfigError(
            f"target {target}: {many if found else f'no group below {tree.point} belongs to it; does it run here?'}"
        )
    return next(iter(found.values()))


def _of_process(root: Path, tree: Tree, target: Target) -> PurePosixPath:
    if not target.name.isdigit():
        raise ConfigError(f"target {target} is not pid:NUMBER")
    try:
        lines = read_text(f"{root}/proc/{target.name}/cgroup").splitlines()
    except OSError as error:
        raise ConfigError(f"target {target}: there is no such process ({error.strerror})") from error
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (tree.version == 2 and not controllers) or (tree.version == 1 and "cpu" in controllers.split(",")):
            inside = tree.inside.rstrip("/")
            if path.startswith("/..") or not (path == inside or path.startswith(f"{inside}/")):
                raise Unsupported(f"process {target.name} is in {path}, which is not visible below {tree.point}")
            return PurePosixPath(path[len(inside) :].lstrip("/"))
    raise Unsupported(f"process {target.name} is in no group of {tree.point}")


def _groups(tree: Tree) -> Iterator[PurePosixPath]:
    """Every group, the outermost first; at most so many."""
    waiting, seen = [tree.point], 0
    while waiting:
        folder = waiting.pop(0)
        try:
            found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue  # it has just gone
        for name in found:
            seen += 1
            if seen > _MOST_GROUPS:
                return
            waiting.append(folder / name)
            yield PurePosixPath((folder / name).relative_to(tree.point))


def _tree(root: Path, controller: str) -> Tree:
    try:
        text = read_text(str(root / "proc/self/mountinfo"))
    except OSError as error:
        raise Unsupported(f"cannot read {root}/proc/self/mountinfo: {error.strerror}") from error
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if not dash or len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        point, inside = root / _plain(fields[4]).lstrip("/"), _plain(fields[3])
        if kind[0] == "cgroup" and controller in kind[2].split(","):
            return Tree(point, inside, 1)
        if kind[0] == "cgroup2" and controller in _words(point / "cgroup.controllers"):
            return Tree(point, inside, 2)
    raise Unsupported(f"no cgroup hierarchy with the {controller} controller is mounted: leave --target out")


def _plain(path: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), path)


def _words(path: Path) -> list[str]:
    try:
        return read_text(str(path)).split()
    except OSError:
        return []


def _list(path: Path) -> frozenset[int]:
    """A list of CPUs such as `0-3,8`. Raises OSError."""
    found: set[int] = set()
    for part in read_text(str(path)).split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit():
            found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _quota(folder: Path, version: int) -> float:
    """CPUs by quota, of the group and those above it."""
    least = float("inf")
    for place in (folder, *folder.parents):
        try:
            if version == 2:
                quota, period = read_text(str(place / "cpu.max")).split()
            else:
                quota = read_text(str(place / "cpu.cfs_quota_us"))
                period = read_text(str(place / "cpu.cfs_period_us"))
            if quota not in ("max", "-1"):
                least = min(least, int(quota) / int(period))
        except (OSError, ValueError):
            if not (place / "cgroup.procs").exists():
                break  # above the hierarchy
    return least


def _room(folder: Path) -> float:
    """Bytes that may still be charged to a v2 group; what is there could be killed for more."""
    room = float("inf")
    for place in (folder, *folder.parents):
        try:
            limit = read_text(str(place / "memory.max"))
            if limit != "max":
                room = min(room, int(limit) - int(read_text(str(place / "memory.current"))))
        except (OSError, ValueError):
            if not (place / "cgroup.procs").exists():
                break
    return room
