"""The control groups of an application: `vagus-app-NAME/SERVICE/REPLICA` below the cpu controller, version 1 or 2.

Limits of a service are written by whoever steers it; a replica's own only where it was given a size.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from vagus.actuators.hierarchy import Mount, group_path, mounts
from vagus.actuators.limits_cpu import CORES1, CORES2, DEFAULT_PERIOD_US
from vagus.actuators.machine import Machine
from vagus.errors import ActuateError, Unsupported, VagusError
from vagus.undo import Step, perform, reason, undo


class Groups:
    """replica_cores: the quota of each replica; 0: none. Raises Unsupported where this user may make none."""

    def __init__(self, application: str, replica_cores: float = 0.0, root: Path = Path("/")) -> None:
        self.name = f"vagus-app-{application}"
        self.replica_cores = replica_cores
        self._machine = Machine(root)
        self._mount = _cpu(root)
        self._top = group_path(self._mount, self.name)

    def group(self, service: str) -> str:
        """Its name below the controller's mount, as in `cgroup:NAME`."""
        return f"{self.name}/{service}"

    def folder(self, service: str, replica: int | None = None) -> Path:
        """Where the group of a service or of a replica is."""
        folder = self._top / service
        return folder if replica is None else folder / f"replica-{replica}"

    def adopt(self) -> None:
        """Removes what a killed deployment left. Raises VagusError: its processes live still."""
        pids = [pid for file in self._top.glob("**/cgroup.procs") for pid in _text(file).split()]
        if pids:
            raise VagusError(
                f"{self._top} holds processes already ({', '.join(pids[:5])}): the application runs, or its deployer was "
                "killed with its watchdog; end them, or give this one another name"
            )
        folders = [Path(folder) for folder, _, _ in os.walk(self._top)]
        undo(Step("rmdir", str(folder)) for folder in reversed(folders))

    def made(self, services: list[str]) -> list[Step]:
        """The steps that make the groups. The folders of services come after the application's."""
        steps = [Step("mkdir", str(self._top))]
        if self._mount.version == 2:
            steps += [self._control(self._mount.point), self._control(self._top)]
        for service in services:
            steps.append(Step("mkdir", str(self.folder(service))))
            if self._mount.version == 2 and self.replica_cores:
                # only then: a group whose children have limits may hold no processes, such as an injected strain
                steps.append(self._control(self.folder(service)))
        return steps

    def removed(self, services: list[str]) -> list[Step]:
        """The steps that remove them."""
        return [Step("rmdir", str(folder)) for folder in (*map(self.folder, services), self._top)]

    def admit(self, service: str, replica: int) -> None:
        """Makes a replica's group, with its quota. Raises ActuateError."""
        folder = self.folder(service, replica)
        perform(Step("mkdir", str(folder)))
        if self.replica_cores:
            if self._mount.version == 1:
                quota = Step("write", str(folder / CORES1.file), str(round(self.replica_cores * DEFAULT_PERIOD_US)))
            else:
                text = f"{round(self.replica_cores * DEFAULT_PERIOD_US)} {DEFAULT_PERIOD_US}"
                quota = Step("write", str(folder / CORES2.file), text)
            perform(quota)

    def enter(self, service: str, replica: int, pid: int) -> None:
        """Moves a process into its replica's group. Raises ActuateError."""
        perform(Step("move", str(self.folder(service, replica) / "cgroup.procs"), str(pid)))

    def remove(self, service: str, replica: int) -> None:
        """Removes a replica's group once its processes have ended. Raises ActuateError."""
        failed = undo([Step("rmdir", str(self.folder(service, replica)))])
        if failed:
            raise ActuateError(f"cannot remove {failed[0][0].path}: {failed[0][1]}")

    def limit(self, service: str) -> float:
        """The cores that the service's group may use; infinite without a limit. Raises ActuateError."""
        limit = CORES1 if self._mount.version == 1 else CORES2
        folder = self.folder(service)
        try:
            cores = limit.read(folder, "", self._machine)
        except (OSError, ValueError) as error:
            words = reason(error) if isinstance(error, OSError) else str(error)
            raise ActuateError(f"cannot read {folder / limit.file}: {words}") from error
        return math.inf if cores is None else cores

    def _control(self, folder: Path) -> Step:
        return Step("write", str(folder / "cgroup.subtree_control"), "+cpu")


def _cpu(root: Path) -> Mount:
    for mount in mounts(root):
        if "cpu" not in mount.controllers:
            continue
        if not mount.writable or not os.access(mount.point, os.W_OK):
            why = "it is mounted read-only" if not mount.writable else f"user {os.geteuid()} may not write it"
            raise Unsupported(f"no groups below {mount.point}: {why}; run as root, on the host")
        return mount
    raise Unsupported("no cgroup hierarchy with the cpu controller is mounted: no groups can be made")


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
