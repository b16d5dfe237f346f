"""What both cgroup versions share: limits as files, targets and their plans."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from vagus.actuators import Plan, Usage, base
from vagus.actuators.hierarchy import Mount, group_of, group_path, mounts, refuse_foreign
from vagus.actuators.limits import Change, Limit, Write
from vagus.actuators.machine import Machine
from vagus.actuators.owners import Containers, refuse_inside, refuse_owned, unit_of
from vagus.actuators.process import ProcessTree, total
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, reason

OWN_GROUP = "vagus-pid-"


class CgroupActuator(ABC):
    """Limits of `cgroup:PATH` (relative to each controller's mount), of `container:ID` and of process trees, `pid:N`.

    A process tree gets a group of its own in each hierarchy that it is limited in, `vagus-pid-N`, made when first
    limited; undoing moves the processes back and removes it. What they used before is not counted there.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 0
    limits: ClassVar[Mapping[str, Limit]] = {}
    impossible: ClassVar[Mapping[str, str]] = {}  # resources that this version has not, and what to do
    dry = False
    kinds: tuple[str, ...] = ("cgroup", "pid", "container")
    resources: tuple[str, ...] = ()

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = Path(root)
        self.machine = Machine(self.root)
        self._containers = Containers(self.root)
        self._trees: dict[str, ProcessTree] = {}
        self._mounts: dict[str, Mount] = {}
        self._named: dict[tuple[Path, str], Path] = {}  # groups whose names were found to be good

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
        if target.kind != "pid":
            return self.counters(self.group(target, self.mount("cpu")))
        cpu_s, memory_bytes = total(self.root, self._tree(target).pids())
        try:
            group = self._own_group(target, self.mount("cpu"))
            counted = self.counters(group) if group.is_dir() else Usage(0.0)
        except Unsupported:
            counted = Usage(0.0)
        return Usage(
            cpu_s, counted.periods, counted.throttled_periods, counted.throttled_s, memory_bytes, counted.period_s
        )

    def read(self, target: Target, resource: str) -> float | None:
        """The present limit; None without one. Raises ActuateError, Unsupported."""
        limit = self._limit(target, resource)
        mount = self.mount(limit.controller)
        if target.kind != "pid":
            return self.read_at(self.group(target, mount), resource)
        self._tree(target).check()
        try:
            group = self._own_group(target, mount)
        except Unsupported:
            return None
        return self.read_at(group, resource) if group.is_dir() else None

    def plan(self, action: Action) -> Plan:
        """The writes for `action`, nothing touched yet. Raises Rejected, Unsupported, ActuateError."""
        limit = self._limit(action.target, action.resource)
        check_value(action)
        mount = self.mount(limit.controller)
        group = self._check(action.target, action.resource)
        if action.target.kind == "pid":
            return self._plan_tree(action, mount)
        change = self.change_at(group, action.resource, action.value)
        return Plan(steps_of(group, change.writes), steps_of(group, change.undo), change.expected)

    def holds(self, target: Target, resource: str) -> bool:
        """Whether the resource's controller is in a hierarchy of this version, and the target not another's."""
        limit = self.limits.get(base(resource))
        try:
            if limit is None:
                return False
            mount = self.mount(limit.controller)
            return target.kind != "container" or not unit_of(self.root, mount, self.group(target, mount))
        except ActuateError:
            return False

    def whole(self, target: Target, resource: str) -> bool:
        """Whether only whole numbers are taken."""
        return base(resource) == "cpuset_cpus"

    # --- groups, whoever owns them ---------------------------------------------------------------------------------

    def read_at(self, group: Path, resource: str) -> float | None:
        """The limit in a folder. Raises ActuateError."""
        limit, part = self.limits[base(resource)], resource.partition("@")[2]
        try:
            return limit.read(group, part, self.machine)
        except (OSError, ValueError) as error:
            raise ActuateError(f"cannot read {group / limit.file}: {_words(error)}") from error

    def change_at(self, group: Path, resource: str, value: float | None) -> Change:
        """What changes the limit in a folder. Raises Rejected, ActuateError."""
        limit, part = self.limits[base(resource)], resource.partition("@")[2]
        try:
            return limit.change(group, value, part, self.machine)
        except (OSError, ValueError) as error:
            raise ActuateError(f"cannot read {group / limit.file}: {_words(error)}") from error

    @abstractmethod
    def counters(self, group: Path) -> Usage:
        """What the group has used so far. Raises ActuateError."""

    # --- targets ---------------------------------------------------------------------------------------------------

    def _resources(self, target: Target) -> tuple[str, ...]:
        if target.kind not in self.kinds:
            raise Unsupported(f"{self.name} limits cgroup:PATH, pid:NUMBER and container:ID, not {target}")
        return tuple(name for name, limit in self.limits.items() if limit.tree or target.kind != "pid")

    def _limit(self, target: Target, resource: str) -> Limit:
        possible, name = self._resources(target), base(resource)
        if name not in possible:
            why = self.impossible.get(name, "")
            raise Unsupported(
                f"{self.name} cannot limit {resource} of {target}{': ' + why if why else ', only ' + ', '.join(possible)}"
            )
        if name != resource and not name.startswith("io_"):
            raise Unsupported(f"{name} has no parts: {resource!r} names one")
        return self.limits[name]

    def mount(self, controller: str) -> Mount:
        """Where the controller's hierarchy is. Raises Unsupported."""
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

    def group(self, target: Target, mount: Mount) -> Path:
        """The folder of a group or container. Raises ActuateError, Rejected."""
        if target.kind == "container":
            return self._containers.group(mount, target.name)
        key = (mount.point, target.name)
        group = self._named.get(key)
        if group is None:
            group = group_path(mount, target.name)
            refuse_foreign(mount, group)
            self._named[key] = group
        if not os.path.isdir(group):
            raise ActuateError(f"the group {group} does not exist; create it or correct the target {target}")
        return group

    def _tree(self, target: Target) -> ProcessTree:
        tree = self._trees.get(target.name)
        if tree is None:
            tree = self._trees[target.name] = ProcessTree.named(self.root, target.name)
        return tree

    def _own_group(self, target: Target, mount: Mount) -> Path:
        """Where the group of a process tree is or would be. Raises ActuateError, Unsupported."""
        pid = self._tree(target).pid
        return self._place(mount, group_of(self.root, mount, pid), f"{OWN_GROUP}{pid}")

    @abstractmethod
    def _place(self, mount: Mount, present: Path, name: str) -> Path:
        """The group `name` for processes that are in `present`."""

    def _can_hold_limits(self, mount: Mount, parent: Path, controller: str) -> None:
        """Raises Unsupported when groups below `parent` have no files of that controller: never so in version 1."""
        return

    def _check(self, target: Target, resource: str) -> Path:
        """The group. Raises Unsupported with the reason and the remedy when the limit cannot be written, Rejected for
        others' groups."""
        limit = self._limit(target, resource)
        mount = self.mount(limit.controller)
        if not mount.writable:
            raise Unsupported(
                f"{mount.point} is mounted read-only, as in containers; "
                "start the container with a writable cgroup tree, or run vagus on the host"
            )
        if target.kind == "pid":
            tree = self._tree(target)
            tree.check()
            present = group_of(self.root, mount, tree.pid)
            refuse_foreign(mount, present)
            if self.version == 2:  # its group would stand among systemd's
                refuse_inside(self.root, mount, present)
            group = self._own_group(target, mount)
            self._can_hold_limits(mount, group.parent, limit.controller)
            place = group if group.is_dir() else group.parent
            like = place if self.version == 1 else present  # the root group of version 2 has no limits to look at
            if like != mount.point and not (like / limit.file).exists():
                self._no_file(like / limit.file, limit.controller)
        else:
            group = self.group(target, mount)
            refuse_owned(self.root, mount, group, resource)
            place = group / limit.file
            if not place.exists():
                self._can_hold_limits(mount, group.parent, limit.controller)
                self._no_file(place, limit.controller)
        if not os.access(place, os.W_OK):
            raise Unsupported(
                f"user {os.geteuid()} may not write {place}; run vagus as root, or give that group to this user (chown)"
            )
        return group

    def _no_file(self, path: Path, controller: str) -> None:
        raise Unsupported(f"{path} does not exist: this kernel's {controller} controller has no such limit")

    def _plan_tree(self, action: Action, mount: Mount) -> Plan:
        tree = self._tree(action.target)
        first = group_of(self.root, mount, tree.pid)
        group = self._own_group(action.target, mount)
        pids = {}
        for pid in tree.pids():
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
        move = tuple(Step("move", str(group / "cgroup.procs"), str(pid)) for pid in pids if pids[pid] in homes)
        change = self.change_at(group, action.resource, action.value)
        if group.is_dir():
            return Plan((*steps_of(group, change.writes), *move), steps_of(group, change.undo), change.expected)
        back = Step("drain", str(group / "cgroup.procs"), str(first / "cgroup.procs"))
        # limited first, then entered: no process runs unlimited in a group that claims to limit it. Undone by lifting the
        # limit first, too: the group stays while another controller has one below it, or its processes' home is gone
        steps = (Step("mkdir", str(group)), *steps_of(group, change.writes), *move)
        undo = (*steps_of(group, change.undo), back, Step("rmdir", str(group)))
        return Plan(steps, undo, change.expected)


def check_value(action: Action) -> None:
    """Raises Rejected for what no limit can be."""
    if action.value is not None and not (math.isfinite(action.value) and action.value > 0):
        raise Rejected(str(action.target), str(action.value), f"{action.resource} must be a finite number above 0")


def steps_of(group: Path, writes: tuple[Write, ...]) -> tuple[Step, ...]:
    """Writes as steps."""
    return tuple(Step(write.op, str(group / write.file), write.text, write.part) for write in writes)


def _words(error: OSError | ValueError) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)
