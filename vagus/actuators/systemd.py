"""Limits of what systemd owns: units, and containers whose runtime asked systemd for a scope.

Read from the control group's files; written by `systemctl set-property --runtime`, since systemd undoes what others
write at its next reload. It has the files of a controller only while some unit nearby uses it: no file, no limit.
Undoing sets the properties to what they were, writes what the group's files said (unsetting a property has left old
values behind), and removes the drop-in, so that the unit's own file counts again. systemctl(1), systemd.resource-control(5)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vagus.actuators import Plan, Usage, base
from vagus.actuators.cgroup import CgroupActuator, check_value, steps_of
from vagus.actuators.cgroup1 import Cgroup1
from vagus.actuators.cgroup2 import Cgroup2
from vagus.actuators.hierarchy import Mount, refuse_foreign
from vagus.actuators.owners import refuse_pods, systemd_runs, unit_of
from vagus.actuators.systemd_properties import PROPERTIES, Property
from vagus.errors import ActuateError, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step
from vagus.undo.command import output

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*\.(service|scope|slice|socket|mount|swap)\Z")
_KEPT = ("init.scope",)
_NO_FILE: Mapping[str, float | None] = {"cpu_weight": 100.0}


class Place(NamedTuple):
    """A unit's group in the hierarchy of a resource, with who reads its files."""

    unit: str
    files: CgroupActuator
    mount: Mount
    group: Path


class Systemd:
    """`systemd:UNIT` (`nginx.service`; without an ending a service), and `container:ID` in scopes of systemd's."""

    name = "systemd"
    dry = False
    kinds: tuple[str, ...] = ("systemd", "container")
    resources: tuple[str, ...] = tuple(PROPERTIES)

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = Path(root)
        self._versions: tuple[CgroupActuator, ...] = (Cgroup2(self.root), Cgroup1(self.root))
        self._groups: dict[str, str] = {}  # of units, below the hierarchies' mounts

    def supports(self, target: Target) -> tuple[str, ...]:
        """Raises Unsupported with what to do when there is none."""
        possible, problems = [], []
        for resource in self.resources:
            try:
                self._place(target, resource)
                possible.append(resource)
            except ActuateError as error:
                problems.append(str(error))
        if not possible:
            raise Unsupported("; ".join(dict.fromkeys(problems)))
        return tuple(possible)

    def usage(self, target: Target) -> Usage:
        """Cumulative figures now. Raises ActuateError when the unit does not run."""
        place = self._place(target, "cpu_cores")
        return place.files.counters(place.group)

    def read(self, target: Target, resource: str) -> float | None:
        """What the group's file says, whatever systemd believes. Raises ActuateError, Unsupported."""
        place = self._place(target, resource)
        if not (place.group / place.files.limits[base(resource)].file).exists():
            return _NO_FILE.get(base(resource))
        return place.files.read_at(place.group, resource)

    def plan(self, action: Action) -> Plan:
        """Raises Rejected, Unsupported, ActuateError."""
        check_value(action)
        place, known = self._place(action.target, action.resource), PROPERTIES[base(action.resource)]
        refuse_foreign(place.mount, place.group)
        if action.target.kind == "container":
            refuse_pods(place.mount, place.group, action.resource)
        value = None if action.value is None else known.rounded(action.value)
        change = place.files.change_at(place.group, action.resource, value)
        found = self._show(place.unit, (known.shown, "Transient"))
        before = found.get(known.shown, [])
        name = f"systemd:{place.unit}"
        steps = (
            Step("run", name, _set(place.unit, known.assign(value, change.writes, before)), known.name),
            # answered only after the group's files are written
            Step("run", name, json.dumps(["systemctl", "show", "-p", "Id", "--", place.unit]), "written"),
        )
        back = Step("run", name, _set(place.unit, known.restore(before)), known.name)
        dropin = self._dropin(place.unit, known, found.get("Transient") == ["yes"])
        left = () if dropin.exists() else (Step("unlink", str(dropin)),)
        return Plan(steps, (back, *steps_of(place.group, change.undo), *left), change.expected)

    def holds(self, target: Target, resource: str) -> bool:
        """Whether it is a unit, or a container in one."""
        if target.kind == "systemd":
            return True
        try:
            self._place(target, resource)
            return True
        except ActuateError:
            return False

    def whole(self, target: Target, resource: str) -> bool:
        """Whether only whole numbers are taken."""
        return base(resource) == "cpuset_cpus"

    # --- units -----------------------------------------------------------------------------------------------------

    def _place(self, target: Target, resource: str) -> Place:
        """Raises ActuateError, Unsupported."""
        known = PROPERTIES.get(base(resource))
        if target.kind not in self.kinds:
            raise Unsupported(f"systemd limits systemd:UNIT and container:ID, not {target}")
        if known is None:
            why = (
                "cpu_burst_s has no property"
                if base(resource) == "cpu_burst_s"
                else "it can only " + ", ".join(PROPERTIES)
            )
            raise Unsupported(f"systemd cannot limit {resource} of {target}: {why}")
        if not systemd_runs(self.root):
            raise Unsupported(f"systemd does not manage this machine; name {target} by its group, cgroup:PATH")
        problem: ActuateError | None = None
        for files in self._versions:
            try:
                limit = files.limits.get(base(resource))
                if limit is None or (files.version == 1 and known.only_2):
                    continue
                mount = files.mount(limit.controller)
            except ActuateError as error:
                problem = problem or error
                continue
            return self._located(target, files, mount)
        raise problem or Unsupported(f"systemd limits {resource} only with cgroup version 2")

    def _located(self, target: Target, files: CgroupActuator, mount: Mount) -> Place:
        if target.kind == "container":
            group = files.group(target, mount)
            unit = unit_of(self.root, mount, group)
            if not unit or "/" in unit:
                raise Unsupported(f"{target} is in {group}, which systemd does not own")
            return Place(unit, files, mount, group)
        unit = target.name if "." in target.name else target.name + ".service"
        if not _UNIT.match(unit) or unit in _KEPT:
            raise Unsupported(f"{target} is not systemd:UNIT, such as systemd:nginx.service, or is systemd's own")
        group = mount.point / self._groups.get(unit, "?")
        if not group.is_dir():
            group = mount.point / self._ask(unit)
            if not group.is_dir():
                raise ActuateError(f"the unit {unit} has no group {group}: it does not run")
            self._groups[unit] = str(group.relative_to(mount.point))
        return Place(unit, files, mount, group)

    def _ask(self, unit: str) -> str:
        found = self._show(unit, ("ControlGroup", "LoadState"))
        path = "".join(found.get("ControlGroup", []))
        if not path.strip("/"):
            state = "".join(found.get("LoadState", []))
            raise ActuateError(
                f"the unit {unit} does not run (systemd says: {state or 'nothing'}); start it, or correct it"
            )
        return path.lstrip("/")

    def _show(self, unit: str, properties: tuple[str, ...]) -> dict[str, list[str]]:
        """Their values; of lists each entry. Raises ActuateError."""
        asked = [word for name in properties for word in ("-p", name)]
        try:
            text = output(["systemctl", "show", "--no-pager", *asked, "--", unit])
        except OSError as error:
            raise ActuateError(f"cannot ask systemd of {unit}: {error.strerror}") from error
        found: dict[str, list[str]] = {}
        for line in text.splitlines():
            name, equals, value = line.partition("=")
            if equals and name in properties:
                found.setdefault(name, []).append(value)
        return found

    def _dropin(self, unit: str, known: Property, transient: bool) -> Path:
        where = "transient" if transient else "system.control"
        return self.root / "run/systemd" / where / f"{unit}.d" / f"50-{known.name}.conf"


def _set(unit: str, assignments: tuple[str, ...]) -> str:
    return json.dumps(["systemctl", "--no-ask-password", "set-property", "--runtime", "--", unit, *assignments])
