"""Numbers that services let be steered: `tunable:SERVICE[/INSTANCE]`, the resource is the tunable's name.

A service of several instances is steered as one: all are set, and its value is the least of theirs.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from vagus.actuators import Plan, Usage
from vagus.actuators.announced import Announced, announced
from vagus.config import ActSettings, home, run_folder
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, reason
from vagus.undo.http import request
from vagus.undo.tunable import ask

READ_S = 2.0
_REFUSED = "Connection refused"  # an endpoint whose service has ended


class TunableActuator:
    """Reads and sets by the service's own socket or endpoint; a service that has ended has nothing to be restored."""

    name = "tunable"
    dry = False
    kinds: tuple[str, ...] = ("tunable",)
    resources: tuple[str, ...] = ("*",)

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = Path(root)
        self.folder = run_folder(home()) / "tunables"

    def configure(self, settings: ActSettings, folder: Path) -> None:
        """folder: the machine's run folder (`config.run_folder`)."""
        self.folder = folder / "tunables"

    def supports(self, target: Target) -> tuple[str, ...]:
        """The names that the service registered. Raises Unsupported, saying which services did."""
        return tuple(dict.fromkeys(one.name for one in self._of(target)))

    def usage(self, target: Target) -> Usage:
        """Nothing is known of what it uses. Raises Unsupported when there is none."""
        self._of(target)
        return Usage(math.nan)

    def read(self, target: Target, resource: str) -> float | None:
        """The present value, the least of all instances. Raises ActuateError, Unsupported."""
        return min(value(one) for one in self._named(target, resource))

    def whole(self, target: Target, resource: str) -> bool:
        """Whether only whole numbers are taken. Raises Unsupported."""
        return any(one.whole for one in self._named(target, resource))

    def plan(self, action: Action) -> Plan:
        """Raises Rejected: outside the bounds that the service gave; Unsupported, ActuateError."""
        chosen = self._named(action.target, action.resource)
        wanted = action.value
        if wanted is None:
            raise Unsupported(f"{action.resource} of {action.target} always has a value; it has no limit to lift")
        for one in chosen:
            _check(one, wanted, action)
        before = [value(one) for one in chosen]
        return Plan(
            tuple(_step(one, wanted) for one in chosen),
            tuple(_step(one, was) for one, was in zip(chosen, before, strict=True)),
            wanted,
        )

    def _of(self, target: Target) -> list[Announced]:
        service, slash, instance = target.name.partition("/")
        if target.kind not in self.kinds:
            raise Unsupported(f"{self.name} sets tunable:SERVICE and tunable:SERVICE/INSTANCE, not {target}")
        every = announced(self.folder)
        found = [one for one in every if one.service == service and instance in ("", one.instance)]
        if not found:
            there = ", ".join(sorted({one.target if slash else f"tunable:{one.service}" for one in every})[:20])
            raise Unsupported(
                f"no service registered {target} on this machine (vagus.tunable); "
                + (f"there are: {there}" if there else f"there are none in {self.folder}")
            )
        return found

    def _named(self, target: Target, resource: str) -> list[Announced]:
        every = self._of(target)
        found = [one for one in every if one.name == resource]
        if not found:
            there = ", ".join(dict.fromkeys(one.name for one in every))
            raise Unsupported(f"{self.name} cannot set {resource} of {target}, only {there}")
        return found


def value(one: Announced) -> float:
    """The tunable's present value, asked of its service. Raises ActuateError."""
    try:
        if one.endpoint:
            answer = request(one.endpoint, token_file=one.token_file, ca_file=one.ca_file, timeout_s=READ_S)
            if answer.status != 200:
                raise ActuateError(f"cannot read {one.name} of {one.target}: {answer.words()}")
            told = json.loads(answer.body)
        else:
            told = ask(one.socket, {"do": "get", **_key(one)}, READ_S)
    except OSError as error:
        raise ActuateError(f"cannot read {one.name} of {one.target}: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ActuateError(f"cannot read {one.name} of {one.target}: {one.endpoint} answers no JSON") from error
    found = told.get("value") if isinstance(told, dict) else None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        said = told.get("error", told) if isinstance(told, dict) else told
        raise ActuateError(f"cannot read {one.name} of {one.target}: it says {str(said)[:300]!r}")
    return float(found)


def _check(one: Announced, wanted: float, action: Action) -> None:
    place = f"{one.target} {one.name}"
    if not (math.isfinite(wanted) and one.low <= wanted <= one.high):
        bounds = f"its service takes {one.low:g} to {one.high:g} {one.unit}".rstrip()
        raise Rejected(place, f"{wanted:g}", f"{action.resource} is out of bounds: {bounds}")
    if one.whole and wanted != int(wanted):
        raise Rejected(place, f"{wanted:g}", f"{action.resource} is a whole number")


def _key(one: Announced) -> dict[str, Any]:
    return {"service": one.service, "instance": one.instance, "name": one.name}


def _step(one: Announced, wanted: float) -> Step:
    number: float = int(wanted) if one.whole else wanted
    if not one.endpoint:
        return Step("tunable", one.socket, _json({**_key(one), "value": number}), "/".join(_key(one).values()))
    told: dict[str, Any] = {
        "method": "PUT",
        "headers": {"Content-Type": "application/json"},
        "body": _json({"value": number}),
        "gone": [_REFUSED],
    }
    files = {"token_file": one.token_file, "ca_file": one.ca_file}
    return Step("http", one.endpoint, _json(told | {key: path for key, path in files.items() if path}))


def _json(told: dict[str, Any]) -> str:
    return json.dumps(told, separators=(",", ":"))
