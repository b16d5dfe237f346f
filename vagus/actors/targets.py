"""The targets of a controller: which process a Ray actor is, and the signals of each since the last step."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from vagus.actors.base import Links
from vagus.actors.claims import started
from vagus.actuators import Actuator
from vagus.clock import NS
from vagus.controllers.resource import Meter
from vagus.controllers.uses import Uses
from vagus.errors import ActuateError, Unsupported
from vagus.model import Sample, Target

SELF = Target("pid", "self")
OF_METER = {"cpu_cores": "usage_cores", "memory_bytes": "memory_bytes"}
SUPPORTED_NS = 30 * NS
"""For so long what an actuator supports is taken to be the same: to ask is half of what a step costs."""


class Targets:
    """targets: that are steered; further: others on which the policy acts, of which only limits are read; resources: the
    steered ones."""

    def __init__(
        self,
        targets: Sequence[Target],
        further: Sequence[Target],
        resources: Sequence[str],
        actuator: Actuator,
        self_pid: int,
        links: Links,
    ) -> None:
        self.targets = tuple(targets)
        self._further = tuple(further)
        self._resources = tuple(resources)
        self._actuator = actuator
        self._self_pid = self_pid
        self._links = links
        self._meters = {target: Meter() for target in self.targets}
        self._uses = Uses(self.targets, self._resources)
        self._ray: dict[Target, Target | ActuateError] = {}
        self._supported: dict[Target, tuple[int, frozenset[str]]] = {}  # until when, and what
        self.selectors = self._uses.selectors

    def resolve(self, target: Target) -> Target:
        """The target as actuators know it. Raises ActuateError."""
        if target == SELF:
            return Target("pid", str(self._self_pid))
        if target.kind != "ray" or target not in self._meters:
            return target
        found = self._ray.get(target)
        if not isinstance(found, Target):
            raise found or ActuateError(f"it is not known yet which process {target} is")
        return found

    async def find_processes(self) -> None:
        """Which processes Ray actors are; asked again when one has ended, since Ray restarts actors."""
        for target in self.targets:
            if target.kind != "ray":
                continue
            found = self._ray.get(target)
            if isinstance(found, Target):
                pid, _, start = found.name.partition(":")
                if started(int(pid)) == start:
                    continue
            try:
                self._ray[target] = await self._links.process_of(target)
            except ActuateError as error:
                self._ray[target] = error

    def read(self, samples: Sequence[Sample]) -> tuple[dict[Target, dict[str, float]], dict[Target, str]]:
        """The signals by target, empty ones at the first reading; and why others cannot be read."""
        self._uses.see(samples)
        signals: dict[Target, dict[str, float]] = {}
        wrong: dict[Target, str] = {}
        for target in self.targets:
            try:
                signals[target] = self._signals(target)
            except ActuateError as error:
                self._supported.clear()
                wrong[target] = f"cannot steer {target}: {error}"
            except Exception as error:  # an actuator may be anyone's: not to see is a doubt, which ends in restoring
                wrong[target] = f"cannot steer {target}: {type(error).__name__}: {error}"[:500]
        for target in self._further:
            try:
                signals[target] = self._limits(target)
            except Exception as error:
                self._supported.clear()
                wrong[target] = f"cannot read {target}: {error}"[:500]
        return signals, wrong

    def _signals(self, target: Target) -> dict[str, float]:
        resolved = self.resolve(target)
        usage = self._actuator.usage(resolved)
        cores = self._actuator.read(resolved, "cpu_cores") if self._knows(resolved, "cpu_cores") else None
        signals = self._meters[target].read(usage, cores, time.monotonic_ns())
        if not signals:
            return {}
        known = {"limit_cpu_cores": signals["limit_cores"]} if "cpu_cores" in self._resources else {}
        limits = {**known, **self._limits(target, except_="cpu_cores")}
        for resource in self._resources:
            if f"limit_{resource}" in limits:
                limit = limits[f"limit_{resource}"]
                metered = OF_METER.get(resource)
                signals[f"use_{resource}"] = signals[metered] if metered else self._uses.of(target, resource, limit)
        return signals | limits

    def _limits(self, target: Target, except_: str = "") -> dict[str, float]:
        resolved, found = self.resolve(target), {}
        for resource in self._resources:
            if resource != except_ and self._knows(resolved, resource):
                limit = self._actuator.read(resolved, resource)
                found[f"limit_{resource}"] = math.nan if limit is None else limit
        return found

    def _knows(self, target: Target, resource: str) -> bool:
        now_ns = time.monotonic_ns()
        until_ns, found = self._supported.get(target, (0, frozenset()))
        if now_ns >= until_ns:
            try:
                found = frozenset(r.partition("@")[0] for r in self._actuator.supports(target))
            except Unsupported:  # perhaps for now only: asked again at the next step
                return resource == "cpu_cores"  # may be read all the same
            self._supported = {t: known for t, known in self._supported.items() if known[0] > now_ns}
            self._supported[target] = (now_ns + SUPPORTED_NS, found)
        return resource.partition("@")[0] in found
