"""How many replicas a service has, `replicas:SERVICE`: by commands of the settings (`act.scale`), or by a tunable named
`replicas` that the service registered, as `vagus.ActorPool` does.

Scaling takes time. A tunable shows the number that is wanted at once. A command's `get` is asked until it prints the
number, for `within` at most; then the old number is set again, and the receipt says what `get` printed.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from vagus.actuators import Plan, Usage
from vagus.actuators.tunable import TunableActuator
from vagus.config import ActSettings, ScaleSettings, seconds
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, reason
from vagus.undo.scaled import count

RESOURCE = "replicas"


class Replicas:
    """Whole numbers within the bounds of the settings, or of the tunable."""

    name = "replicas"
    dry = False
    kinds: tuple[str, ...] = ("replicas",)
    resources: tuple[str, ...] = (RESOURCE,)

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = Path(root)
        self._settings = ActSettings()
        self._tunables = TunableActuator(root)

    def configure(self, settings: ActSettings, folder: Path) -> None:
        """folder: the machine's run folder (`config.run_folder`)."""
        self._settings = settings
        self._tunables.configure(settings, folder)

    def supports(self, target: Target) -> tuple[str, ...]:
        """Raises Unsupported with what to do."""
        if self._commands(target) is None:
            self._registered(target)
        return self.resources

    def usage(self, target: Target) -> Usage:
        """Nothing is known of what they use. Raises Unsupported when nothing scales the service."""
        self.supports(target)
        return Usage(math.nan)

    def read(self, target: Target, resource: str) -> float | None:
        """The present number. Raises ActuateError, Unsupported."""
        _check_resource(target, resource)
        commands = self._commands(target)
        if commands is None:
            return self._tunables.read(self._registered(target), RESOURCE)
        return float(_count(target, commands))

    def whole(self, target: Target, resource: str) -> bool:
        return True

    def plan(self, action: Action) -> Plan:
        """Raises Rejected: no whole number, or out of bounds; Unsupported, ActuateError."""
        _check_resource(action.target, action.resource)
        commands = self._commands(action.target)
        wanted = action.value
        if wanted is None:
            raise Unsupported(f"{action.target} always has a number of replicas; there is no limit to lift")
        if not math.isfinite(wanted) or wanted != int(wanted):
            raise Rejected(str(action.target), f"{wanted:g}", "replicas are a whole number")
        if commands is None:
            return self._tunables.plan(Action(self._registered(action.target), RESOURCE, wanted))
        if not commands.low <= wanted <= commands.high:
            bounds = f"act.scale allows {commands.low} to {commands.high}"
            raise Rejected(str(action.target), f"{wanted:g}", f"replicas are out of bounds: {bounds}")
        before = _count(action.target, commands)
        path, within_s = str(action.target), seconds(commands.within)
        steps = [_set(path, commands, int(wanted))]
        if within_s:
            told = {
                "get": commands.get,
                "is": int(wanted),
                "within_s": within_s,
                "timeout_s": seconds(commands.timeout),
            }
            steps.append(Step("scaled", path, json.dumps(told, separators=(",", ":"))))
        # where it is not waited for, what `get` prints now says nothing: the command's success is all that is known
        return Plan(tuple(steps), (_set(path, commands, before),), wanted if within_s else math.nan, 0.0)

    def _commands(self, target: Target) -> ScaleSettings | None:
        if target.kind not in self.kinds:
            raise Unsupported(f"{self.name} scales replicas:SERVICE, not {target}")
        return self._settings.scale.get(target.name)

    def _registered(self, target: Target) -> Target:
        tunable = Target("tunable", target.name)
        try:
            found = self._tunables.supports(tunable)
        except Unsupported:
            found = ()
        if RESOURCE not in found:
            raise Unsupported(
                f"nothing scales {target}: set act.scale.{target.name[:64]} in vagus.yaml, or register a tunable named "
                f"{RESOURCE!r} of that service (vagus.ActorPool does)"
            )
        return tunable


def _check_resource(target: Target, resource: str) -> None:
    if resource != RESOURCE:
        raise Unsupported(f"replicas cannot set {resource} of {target}, only {RESOURCE}")


def _count(target: Target, commands: ScaleSettings) -> int:
    try:
        return count(commands.get, seconds(commands.timeout))
    except OSError as error:
        raise ActuateError(f"cannot count {target}: {reason(error)}") from error


def _set(path: str, commands: ScaleSettings, number: int) -> Step:
    argv = [argument.replace("{replicas}", str(number)) for argument in commands.set]
    return Step("run", path, json.dumps(argv, separators=(",", ":")))
