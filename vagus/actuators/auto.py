"""Whichever actuator fits the target and the resource: so that one controller may limit cores, cache and network."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path

from vagus.actuators import ACTUATORS, Actuator, Plan, Usage, base, configure
from vagus.actuators.dry import Dry
from vagus.config import ActSettings
from vagus.errors import ActuateError, Unsupported
from vagus.model import Action, Target

_NOT_ASKED = ("auto", "dry")


class Auto:
    """Hands each question to the registered actuator whose `kinds` and `resources` have it, made when first needed.

    Where several do (both cgroup versions may be mounted, a container may be systemd's), the first whose `holds` says
    so. Where none can, a target's usage is still looked at, and it has no limits: a controller may think, not act.
    """

    name = "auto"
    dry = False
    kinds: tuple[str, ...] = ("*",)
    resources: tuple[str, ...] = ("*",)

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = Path(root)
        self._made: dict[str, Actuator] = {}
        self._watching = Dry(self.root)
        self._told: tuple[ActSettings, Path] | None = None

    def configure(self, settings: ActSettings, folder: Path) -> None:
        """Hands on what some must be told; folder: the machine's run folder."""
        self._told = (settings, folder)
        self._made.clear()

    def supports(self, target: Target) -> tuple[str, ...]:
        """The union of what each can. Raises Unsupported with all that they say, when none can anything."""
        possible: dict[str, None] = {}
        problems: dict[str, None] = {}
        for actuator in self._of_kind(target):
            try:
                possible.update(dict.fromkeys(actuator.supports(target)))
            except ActuateError as error:
                problems[str(error)] = None
        if not possible:
            raise Unsupported("; ".join(problems) or self._unknown(target))
        return tuple(possible)

    def usage(self, target: Target) -> Usage:
        """From the first that knows the target's CPU time. Raises ActuateError when it does not exist."""
        asked = self._of_kind(target)
        asked = [actuator for actuator in asked if _holds(actuator, target, "cpu_cores")] or asked
        problem: ActuateError | None = None
        for actuator in asked:
            try:
                found = actuator.usage(target)
            except Unsupported:
                continue
            except ActuateError as error:
                problem = problem or error
                continue
            if not math.isnan(found.cpu_s):
                return found
        if problem is not None:
            raise problem
        return self._watching.usage(target)

    def read(self, target: Target, resource: str) -> float | None:
        """Raises ActuateError, Unsupported."""
        found = self._find(target, resource)
        if found is not None:
            return found.read(target, resource)
        for actuator in self._fitting(target, resource):
            try:
                return actuator.read(target, resource)
            except Unsupported:
                continue
        return None

    def plan(self, action: Action) -> Plan:
        """Raises Rejected, Unsupported, ActuateError."""
        found = self._find(action.target, action.resource)
        if found is None:  # any of them says what the machine lacks
            found = self._fitting(action.target, action.resource)[0]
        return found.plan(action)

    def who(self, target: Target, resource: str) -> str:
        """The name of the actuator that would act; `dry` where none would."""
        try:
            found = self._find(target, resource)
        except ActuateError:
            return self.name
        return "dry" if found is None else found.name

    def whole(self, target: Target, resource: str) -> bool:
        """Whether only whole numbers are taken. Raises Unsupported."""
        whole = getattr(self._find(target, resource), "whole", None)
        return whole is not None and bool(whole(target, resource))

    # --- which -----------------------------------------------------------------------------------------------------

    @cached_property
    def _known(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Kinds and resources of each registered actuator that says so: others are used by their name only."""
        found = {}
        for name in ACTUATORS:
            if name not in _NOT_ASKED:
                made = ACTUATORS.get(name)
                kinds, resources = getattr(made, "kinds", ()), getattr(made, "resources", ())
                if kinds:
                    found[name] = (tuple(kinds), tuple(resources))
        return found

    def _make(self, name: str) -> Actuator:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = ACTUATORS.make(name, self.root)
            if self._told is not None:
                configure(made, *self._told)
        return made

    def _of_kind(self, target: Target) -> list[Actuator]:
        return [self._make(name) for name, (kinds, _) in self._known.items() if target.kind in kinds]

    def _unknown(self, target: Target, resource: str = "") -> str:
        possible = sorted({name for kinds, names in self._known.values() if target.kind in kinds for name in names})
        if possible:
            return f"no actuator can limit {resource} of {target}, only {', '.join(possible)}"
        kinds = sorted({kind for kinds, _ in self._known.values() for kind in kinds})
        return f"no actuator limits {target}: it limits {', '.join(f'{kind}:…' for kind in kinds)}"

    def _fitting(self, target: Target, resource: str) -> list[Actuator]:
        name = base(resource)
        return [
            self._make(actuator)
            for actuator, (kinds, resources) in self._known.items()
            if target.kind in kinds and ("*" in resources or name in resources)
        ]

    def _find(self, target: Target, resource: str) -> Actuator | None:
        """Who is asked; None where the machine has nothing that could. Raises Unsupported for what nobody knows."""
        fitting = self._fitting(target, resource)
        for actuator in fitting:
            if _holds(actuator, target, resource):
                return actuator
        if not fitting:
            raise Unsupported(self._unknown(target, resource))
        return None


def _holds(actuator: Actuator, target: Target, resource: str) -> bool:
    holds = getattr(actuator, "holds", None)
    return holds is None or bool(holds(target, resource))
