"""What both cgroup versions share: limits as files, targets and their plans."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from vagus.actuators import Plan, Usage, base
from vagus.actuators.hierarchy import Mount, group_of, group_path, mounts, refuse_foreign
from vagus.actuators.process import ProcessTree, total
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, read_text, reason

OWN_GROUP = "vagus-pid-"
DEFAULT_PERIOD_US = 100_000


class Limit(Protocol):
    """One resource's file in a group: how to read it and what to write."""

    controller: str
    file: str

    def read(self, group: Path) -> float | None:
        """The limit in the resource's unit, None without one. Raises OSError, ValueError."""

    def text(self, group: Path, value: float | None) -> str:
        """What to write for `value`; the group may not exist yet."""


class CgroupActuator(ABC):
    """Limits of `cgroup:PATH` (relative to each controller's mount) and of process trees, `pid:N`.

    A process tree gets a group of its own, `vagus-pid-N`, made when first limited; undoing moves the processes
    back and removes it.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 0
    limits: ClassVar[Mapping[str, Limit]] = {}
    dry = False
    kinds: tuple[str, ...] = ("cgroup", "pid")
    resources: tuple[str, ...] = ("cpu_cores", "memory_bytes")

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = Path(root)
        self._trees: dict[int, ProcessTree] = {}
        self._mounts: dict[str, Mount] = {}

    # --- contract --------------------------------------------------------------------------------------------------

    def supports(self, target: Target) -> tuple[str, ...]:
        """The resources of `target` that can be limited here. Raises Unsupported with what to do, when there is none."""
        possible, problems = [], []
        for resource in self._resources(target):
            try:
                self._check(target, resource)
                possible.append(resource)
            except ActuateError as error:
                problems.append(str(error))
        if not possible:
            raise Unsupported("; ".join(dict.fromkeys(problems)))
        return tuple(possible)

    def usage(self, target: Target) -> Usage:
        """Cumulative figures now. Raises ActuateError when the target does not exist."""
        if target.kind == "pid":
            pids = self._tree(target).pids()
            cpu_s, memory_bytes = total(self.root, pids)
            group = self._own_group(target)
            counted = self._counters(group) if group is not None and group.is_dir() else Usage(0.0)
            return Usage(
                cpu_s, counted.periods, counted.throttled_periods, counted.throttled_s, memory_bytes, counted.period_s
            )
        return self._counters(self._group(target, self._mount("cpu")))

    def read(self, target: Target, resource: str) -> float | None:
        """The present limit; None without one. Raises ActuateError, Unsupported."""
        limit = self._limit(target, resource)
        group = self._own_group(target) if target.kind == "pid" else self._group(target, self._mount(limit.controller))
        if group is None or (target.kind == "pid" and not group.is_dir()):
            return None
        try:
            return limit.read(group)
        except (OSError, ValueError) as error:
            raise ActuateError(f"cannot read {group / limit.file}: {_words(error)}") from error

    def plan(self, action: Action) -> Plan:
        """The writes for `action`, nothing touched yet. Raises Rejected, Unsupported, ActuateError."""
        limit = self._limit(action.target, action.resource)
        if action.value is not None and not (math.isfinite(action.value) and action.value > 0):
            raise Rejected(str(action.target), str(action.value), f"{action.resource} must be a finite number above 0")
        mount = self._mount(limit.controller)
        if action.target.kind == "pid":
            return self._plan_tree(action, limit, mount)
        refuse_foreign(mount, group_path(mount, action.target.name))
        group = self._group(action.target, mount)
        self._check(action.target, action.resource)
        return _write_plan(group, limit, action.value)

    def holds(self, target: Target, resource: str) -> bool:
        """Whether the resource's controller is in a hierarchy of this version."""
        limit = self.limits.get(base(resource))
        try:
            return limit is not None and self._mount(limit.controller) is not None
        except ActuateError:
            return False

    # --- targets ---------------------------------------------------------------------------------------------------

    def _resources(self, target: Target) -> tuple[str, ...]:
        if target.kind not in ("cgroup", "pid"):
            raise Unsupported(f"{self.name} limits cgroup:PATH and pid:NUMBER, not {target}")
        return ("cpu_cores",) if target.kind == "pid" else tuple(self.limits)

    def _limit(self, target: Target, resource: str) -> Limit:
        possible = self._resources(target)
        if resource not in possible:
            raise Unsupported(f"{self.name} cannot limit {resource} of {target}, only {', '.join(possible)}")
        return self.limits[resource]

    def _mount(self, controller: str) -> Mount:
        mount = self._mounts.get(controller)
        if mount is not None:
            return mount
        for mount in mounts(self.root):
            if mount.version == self.version and controller in mount.controllers:
                self._mounts[controller] = mount
                return mount
        need = (
            f"mount it: mount -t cgroup -o {controller} cgroup DIR"
            if self.version == 1
            else "the kernel must have it, and no v1 hierarchy or parent container may hold it"
        )
        raise Unsupported(f"no cgroup v{self.version} hierarchy with the {controller} controller is mounted; {need}")

    def _group(self, target: Target, mount: Mount) -> Path:
        group = group_path(mount, target.name)
        if not group.is_dir():
            raise ActuateError(f"the group {group} does not exist; create it or correct the target {target}")
        return group

    def _pid(self, target: Target) -> int:
        if not target.name.isdigit() or not 0 < int(target.name) < 1 << 31:
            raise Unsupported(f"target {target} is not pid:NUMBER")
        return int(target.name)

    def _tree(self, target: Target) -> ProcessTree:
        pid = self._pid(target)
        return self._trees.setdefault(pid, ProcessTree(self.root, pid))

    def _own_group(self, target: Target) -> Path | None:
        """Where the group of a process tree is or would be; None where there is no such hierarchy."""
        try:
            mount = self._mount("cpu")
            return self._place(mount, group_of(self.root, mount, self._pid(target)), OWN_GROUP + target.name)
        except Unsupported:
            return None

    @abstractmethod
    def _place(self, mount: Mount, present: Path, name: str) -> Path:
        """The group `name` for processes that are in `present`."""

    @abstractmethod
    def _counters(self, group: Path) -> Usage:
        """What the group has used so far."""

    def _can_hold_limits(self, mount: Mount, parent: Path, controller: str) -> None:
        """Raises Unsupported when groups below `parent` have no files of that controller: never so in version 1."""
        return

    def _check(self, target: Target, resource: str) -> None:
        """Raises Unsupported with the reason and the remedy when the limit cannot be written."""
        limit = self._limit(target, resource)
        mount = self._mount(limit.controller)
        if not mount.writable:
            raise Unsupported(
                f"{mount.point} is mounted read-only, as in containers; "
                "start the container with a writable cgroup tree, or run vagus on the host"
            )
        if target.kind == "pid":
            group = self._place(mount, group_of(self.root, mount, self._pid(target)), OWN_GROUP + target.name)
            refuse_foreign(mount, group)
            self._can_hold_limits(mount, group.parent, limit.controller)
            place = group if group.is_dir() else group.parent
        else:
            place = self._group(target, mount) / limit.file
            if not place.exists():
                self._can_hold_limits(mount, place.parent.parent, limit.controller)
                raise Unsupported(
                    f"{place} does not exist: this kernel's {limit.controller} controller has no such limit"
                )
        if not os.access(place, os.W_OK):
            raise Unsupported(
                f"user {os.geteuid()} may not write {place}; run vagus as root, or give that group to this user (chown)"
            )

    def _plan_tree(self, action: Action, limit: Limit, mount: Mount) -> Plan:
        self._check(action.target, action.resource)
        first = group_of(self.root, mount, self._pid(action.target))
        group = self._place(mount, first, OWN_GROUP + action.target.name)
        exists = group.is_dir()
        pids = {}
        for pid in self._tree(action.target).pids():
            try:
                pids[pid] = group_of(self.root, mount, pid)
            except ActuateError:
                continue  # it has just ended
        homes = {home for home in pids.values() if home != group and group not in home.parents}
        if len(homes) > 1:
            names = ", ".join(sorted(str(home) for home in homes))
            raise Rejected(
                str(group), str(action.value), f"the processes are in different groups ({names}): limit those"
            )
        outside = [pid for pid, home in pids.items() if home in homes]
        move = tuple(Step("move", str(group / "cgroup.procs"), str(pid)) for pid in outside)
        if exists:
            written = _write_plan(group, limit, action.value)
            return Plan((*written.steps, *move), written.undo)
        write = Step("write", str(group / limit.file), limit.text(group, action.value))
        back = Step("drain", str(group / "cgroup.procs"), str(first / "cgroup.procs"))
        # limited first, then entered: no process runs unlimited in a group that claims to limit it
        return Plan((Step("mkdir", str(group)), write, *move), (back, Step("rmdir", str(group))))


def _write_plan(group: Path, limit: Limit, value: float | None) -> Plan:
    path = str(group / limit.file)
    try:
        before = read_text(path)
        text = limit.text(group, value)
    except (OSError, ValueError) as error:
        raise ActuateError(f"cannot read {path}: {_words(error)}") from error
    return Plan((Step("write", path, text),), (Step("write", path, before),))


def _words(error: OSError | ValueError) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)
