"""Settings of controllers whose words are known only here: policies with their options, actuators, targets, resources."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from vagus.actuators import ACTUATORS
from vagus.config import ControllerSettings
from vagus.controllers.load import is_code, load, targets_of
from vagus.errors import ConfigError

OF_RUNTIME = ("ray",)  # kinds that are looked up before an actuator is asked
HANDS_ON = ("auto", "dry")  # they take all kinds and resources, since others know them


def check_controllers(controllers: Sequence[ControllerSettings], origin: str) -> None:
    """Raises ConfigError for a policy, actuator, kind of target or resource that there is not, and for options that a
    registered policy does not take. A policy in a file or module is not run. `origin` names the file in it.
    """
    for settings in controllers:
        try:
            _check(settings)
        except ConfigError as error:
            text = str(error)
            where = "" if text.startswith(f"controller {settings.name}") else f"controller {settings.name}: "
            raise ConfigError(f"{origin}: {where}{text}") from error


def _check(settings: ControllerSettings) -> None:
    if settings.actuator not in ACTUATORS:
        raise _none("actuator", settings.actuator, list(ACTUATORS))
    mine = settings.actuator
    known = [ACTUATORS.get(name) for name in ACTUATORS if name not in HANDS_ON and mine in (name, *HANDS_ON)]
    kinds = {kind for actuator in known for kind in actuator.kinds} | set(OF_RUNTIME)
    targets = targets_of(settings)
    for target in targets:
        if target.kind not in kinds:
            raise _none("kind of target", target.kind, kinds)
    resources = {resource for actuator in known for resource in actuator.resources}
    own_names = any(target.kind == "tunable" for target in targets) or is_code(settings.policy)  # acts on any target
    for resource in settings.limits:
        if resource.partition("@")[0] not in resources and not own_names:
            raise _none("resource", resource, resources - {"*"})
    if not is_code(settings.policy):
        load(settings)


def _none(what: str, given: str, known: Collection[str]) -> ConfigError:
    close = difflib.get_close_matches(given, sorted(known), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known))}"
    return ConfigError(f"there is no {what} {given[:80]!r}; {hint}")
