"""Acts on nothing: for machines without any cgroup hierarchy, and to watch a controller think."""

from __future__ import annotations

import math
from pathlib import Path

from vagus.actuators import Plan, Usage
from vagus.actuators.process import ProcessTree, total
from vagus.errors import Rejected
from vagus.model import Action, Target


class Dry:
    """Every plan is empty. Usage of `pid:N` is real; of other targets unknown."""

    name = "dry"
    dry = True
    kinds: tuple[str, ...] = ("*",)
    resources: tuple[str, ...] = ("*",)

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = Path(root)
        self._trees: dict[str, ProcessTree] = {}

    def supports(self, target: Target) -> tuple[str, ...]:
        return ("cpu_cores", "memory_bytes")

    def usage(self, target: Target) -> Usage:
        """Raises ActuateError when the process does not exist."""
        if target.kind != "pid":
            return Usage(math.nan)
        tree = self._trees.get(target.name)
        if tree is None:
            tree = self._trees[target.name] = ProcessTree.named(self.root, target.name)
        cpu_s, memory_bytes = total(self.root, tree.pids())
        return Usage(cpu_s, memory_bytes=memory_bytes)

    def read(self, target: Target, resource: str) -> float | None:
        return None

    def plan(self, action: Action) -> Plan:
        """No steps. Raises Rejected for values that no kernel would take."""
        if action.value is not None and not (math.isfinite(action.value) and action.value > 0):
            raise Rejected(str(action.target), str(action.value), f"{action.resource} must be a finite number above 0")
        return Plan((), ())
