"""resctrl: ways of the L3 and L2 caches, memory bandwidth, and monitoring groups, of Intel RDT and AMD QoS.

Source: Documentation/filesystems/resctrl.rst. A refused write is quoted with info/last_cmd_status.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import msgspec
from msgspec.structs import replace

from vagus.actuators import Plan, Usage, base
from vagus.actuators.process import ProcessTree, total
from vagus.actuators.resctrl_groups import LINES, Machine, domain_of, schemata_of
from vagus.actuators.resctrl_machine import Cache, Range, bandwidth, caches, how_to_mount, in_mbps, mounted, ranges
from vagus.actuators.resctrl_schemata import line_text
from vagus.actuators.resctrl_tasks import FIXED, KINDS, Homes, own_name, source
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, read_text, reason
from vagus.undo.resctrl import Source, tasks_of

_MONITOR = "monitor"


class Resctrl:
    """Limits of `resctrl:GROUP` in place (`/`: the default group, which has whatever is in no other), and of process
    trees, cgroups, units and containers, which get a control group of their own, `vagus-KIND-NAME`; undoing gives
    their tasks back and removes it.

    Ways are counted in each cache domain, bandwidth is for each domain; `@ID` behind a resource means only that one.
    `memory_bandwidth_percent` is rounded up as the kernel does; `memory_bandwidth_bytes_s` is there with the mount
    option mba_MBps, and on AMD. `monitor` at 1 makes a monitoring group for the target's tasks.
    """

    name = "resctrl"
    dry = False
    kinds: tuple[str, ...] = ("resctrl", *KINDS)
    resources: tuple[str, ...] = (*LINES, _MONITOR)

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = Path(root)
        self.folder = self.root / "sys/fs/resctrl"
        self._trees: dict[str, ProcessTree] = {}
        # what the processor is does not change; a remount may divide code and data, which are lines of other names
        self._caches: dict[str, Cache] = {}
        self._ranges: dict[str, Range] = {}

    # --- contract --------------------------------------------------------------------------------------------------

    def holds(self, target: Target, resource: str) -> bool:
        """Whether resctrl is mounted, and the question is one for it: a service's cores are others' matter."""
        return (target.kind == "resctrl" or base(resource) in self.resources) and mounted(self.folder)

    def supports(self, target: Target) -> tuple[str, ...]:
        """The resources that can be limited here. Raises Unsupported with what to do, ActuateError."""
        self._check(target)
        control = self._control(target)
        if target.kind != "resctrl":
            source(self.root, target)
        place = control / "schemata" if control.is_dir() else self.folder
        if not os.access(place, os.W_OK):
            raise Unsupported(f"user {os.geteuid()} may not write {place}; run vagus as root")
        machine = self._look(self.folder)
        possible = [resource for resource in LINES if machine.names(resource)]
        if target.kind != "resctrl" and (self.folder / "info/L3_MON").is_dir():
            possible.append(_MONITOR)
        if not possible:
            raise Unsupported(f"{self.folder}/info names nothing that can be limited or monitored")
        return tuple(possible)

    def usage(self, target: Target) -> Usage:
        """CPU time and memory of its processes. Raises ActuateError when it does not exist."""
        if target.kind == "resctrl":
            self._check(target)
            tasks = self._read_tasks(self._control(target))
        else:
            self._known(target)
            tasks = tasks_of(source(self.root, target))
        leaders = {int(name) for name in os.listdir(self.root / "proc") if name.isdigit()}
        cpu_s, memory_bytes = total(self.root, tasks & leaders)
        return Usage(cpu_s, memory_bytes=memory_bytes)

    def read(self, target: Target, resource: str) -> float | None:
        """The present limit: the tightest of the domains; None without one. Raises ActuateError, Unsupported."""
        self._check(target, resource)
        if base(resource) == _MONITOR:
            homes = Homes(self.folder)
            there = any(homes.path(control, own_name(target)).is_dir() for control in homes.controls)
            return 1.0 if there else None
        control = self._control(target)
        if not control.is_dir():
            return None
        machine = self._look(control, all_groups=False)
        lines = machine.lines(resource, target)
        return machine.tightest(lines, machine.shown(lines), domain_of(resource))

    def plan(self, action: Action) -> Plan:
        """The steps for `action`, nothing touched yet. Raises Rejected, Unsupported, ActuateError."""
        target, resource, value = action.target, action.resource, action.value
        self._check(target, resource)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise Rejected(str(target), str(value), f"{resource} must be a finite number above 0")
        if base(resource) == _MONITOR:
            return self._plan_monitor(target, value is not None)
        control = self._control(target)
        exists = control.is_dir()
        if value is None and not exists:
            return Plan((), (), None)
        machine = self._look(control)
        lines = machine.lines(resource, target)
        wanted = machine.wanted(lines, resource, value, control)
        domain = domain_of(resource)
        expected = machine.tightest(lines, wanted, domain)
        path = str(control / "schemata")
        part = "+".join(lines) + ("" if domain is None else f"@{domain}")
        write = Step("write", path, "\n".join(line_text(name, wanted[name]) for name in lines), part)
        if not os.access(path if exists else self.folder, os.W_OK):
            raise Unsupported(f"user {os.geteuid()} may not write {path}; run vagus as root")
        if exists:
            now = machine.shown(lines)
            before = {name: {d: now[name][d] for d in wanted[name]} for name in lines}
            back = Step("write", path, "\n".join(line_text(name, before[name]) for name in lines), part)
            enter = () if target.kind == "resctrl" else self._enter(target, control)
            return Plan((write, *enter), (back,), expected)
        entering, leaving = self._plan_group(target, control)
        # limited first, then entered: no task runs unlimited in a group that claims to limit it
        return Plan((Step("mkdir", str(control)), write, *entering), leaving, expected)

    def _look(self, control: Path, all_groups: bool = True) -> Machine:
        """What the machine can do, with the schemata of all groups, or only of `control` and the default one."""
        groups = [Homes(self.folder).path(name) for name in Homes(self.folder).controls] if all_groups else []
        found = {path: read for path in [self.folder, control, *groups] if (read := schemata_of(path)) is not None}
        if self.folder not in found:
            raise Unsupported(f"{self.folder} has no schemata: this machine monitors, and limits nothing")
        lines = found[self.folder].lines
        if not lines.keys() <= self._caches.keys() | self._ranges.keys():
            self._caches, self._ranges = caches(self.folder), ranges(self.folder)
        if not all_groups and any(not self._ranges[name].linear for name in lines if name in self._ranges):
            return self._look(control)  # the end of AMD's range is only seen in some group without a limit
        bandwidths = {}
        for name in lines:
            if name in self._ranges:
                highest = max(
                    (unit for group in found.values() for unit in group.lines.get(name, {}).values()), default=0
                )
                mbps = name == "MB" and highest <= 100 and in_mbps(self.root, self.folder)
                bandwidths[name] = bandwidth(name, self._ranges[name], highest, mbps)
        return Machine(found, self.folder, control, self._caches, bandwidths)

    # --- targets ---------------------------------------------------------------------------------------------------

    def _known(self, target: Target) -> None:
        if target.kind not in self.kinds:
            raise Unsupported(
                f"resctrl limits {', '.join(f'{kind}:…' for kind in self.kinds)} and cgroup:PATH, not {target}"
            )

    def _check(self, target: Target, resource: str = "llc_ways") -> None:
        self._known(target)
        if base(resource) not in self.resources:
            raise Unsupported(f"resctrl cannot limit {resource} of {target}, only {', '.join(self.resources)}")
        if not mounted(self.folder):
            raise Unsupported(how_to_mount(self.root, self.folder))
        if target.kind == "pid" and target.name.isdigit():
            if target.name not in self._trees:
                self._trees[target.name] = ProcessTree.named(self.root, target.name)
            self._trees[target.name].check()  # its group outlives it: another process must not be put in there

    def _control(self, target: Target) -> Path:
        """The control group that is written; of our own it may not exist."""
        if target.kind != "resctrl":
            return self.folder / own_name(target)
        name = target.name.strip("/")
        if not name:
            return self.folder
        if "/" in name or name in FIXED or name in (".", ".."):
            raise Unsupported(f"target {target} is not resctrl:GROUP, a control group's name, or resctrl:/")
        if not (self.folder / name).is_dir():
            raise ActuateError(f"the control group {self.folder / name} does not exist; make it, or correct the target")
        return self.folder / name

    def _read_tasks(self, group: Path) -> set[int]:
        try:
            return set(map(int, read_text(str(group / "tasks")).split()))
        except OSError as error:
            raise ActuateError(f"cannot read {group / 'tasks'}: {reason(error)}") from error

    def _plan_group(self, target: Target, control: Path) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """How its tasks get into a new control group, and how they come back to where they were."""
        where = source(self.root, target)
        homes = Homes(self.folder)
        found = homes.of(tasks_of(where))
        first = {home for home, _ in found}
        if len(first) > 1:
            names = ", ".join(sorted(name or "/" for name in first))
            raise Rejected(
                str(control), "", f"its tasks are in different control groups ({names}): limit those, resctrl:NAME"
            )
        home = next(iter(first), "")
        entering: list[Step] = []
        leaving: list[Step] = []
        for _, monitor in found:
            if monitor:  # whoever monitors them goes on doing so when they are back, and we meanwhile
                old, new = homes.path(home, monitor), control / "mon_groups" / monitor
                entering.append(Step("mkdir", str(new)))
                entering.append(_gather(new, where, within=old))
                leaving.append(Step("return", str(new / "tasks"), str(old / "tasks")))
        entering.append(_gather(control, where))
        if home:
            leaving.append(Step("return", str(control / "tasks"), str(homes.path(home) / "tasks")))
        return tuple(entering), (*leaving, Step("rmdir", str(control)))

    def _enter(self, target: Target, group: Path) -> tuple[Step, ...]:
        """What is needed for tasks that are outside the target's group; nothing when all are in."""
        where = source(self.root, target)
        return (_gather(group, where),) if tasks_of(where) - self._read_tasks(group) else ()

    def _plan_monitor(self, target: Target, on: bool) -> Plan:
        if target.kind == "resctrl":
            raise Unsupported(f"{target} is a control group, which is monitored as it is: see its mon_data")
        if not (self.folder / "info/L3_MON").is_dir():
            raise Unsupported(
                "this processor or kernel monitors nothing: info/L3_MON is missing (flags cqm_llc, cqm_mbm_total)"
            )
        name = own_name(target)
        homes = Homes(self.folder)
        there = [path for control in homes.controls if (path := homes.path(control, name)).is_dir()]
        if not on:
            undone = [Step("mkdir", str(path)) for path in there]
            undone += [_gather(path, source(self.root, target)) for path in there[:1]]
            return Plan(tuple(Step("rmdir", str(path)) for path in there), tuple(undone), None)
        where = source(self.root, target)
        found = homes.of(tasks_of(where))
        others = sorted(monitor for _, monitor in found if monitor not in ("", name))
        if others:
            raise Rejected(
                str(target), "1", f"its tasks are monitored already, in {', '.join(others)}: read those groups"
            )
        steps: list[Step] = []
        for control in dict.fromkeys(control for control, monitor in found if not monitor):
            path = homes.path(control, name)
            steps += [] if path in there else [Step("mkdir", str(path))]
            steps.append(_gather(path, where, within=homes.path(control)))
        if not found and not there:
            raise ActuateError(f"{target} has no tasks to monitor")
        return Plan(tuple(steps), tuple(Step("rmdir", s.path) for s in steps if s.op == "mkdir"), 1.0)


def _gather(group: Path, where: Source, within: Path | None = None) -> Step:
    wanted = where if within is None else replace(where, within=str(within / "tasks"))
    return Step("gather", str(group / "tasks"), msgspec.json.encode(wanted).decode())
