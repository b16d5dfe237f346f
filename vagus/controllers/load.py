"""From the name of a policy in controller.yaml to a controller: registered, `module:Class`, or `file.py:Class`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from vagus.config import ControllerSettings, hash_text, seconds
from vagus.controllers import Controller
from vagus.controllers.resource import ResourceController
from vagus.errors import ConfigError
from vagus.model import Target
from vagus.policies import LIMIT_POLICIES, LimitPolicy


def load(settings: ControllerSettings, given: object = None) -> Controller:
    """The controller of `settings`; `given` is a user's class or instance that takes the policy's place.

    A class with `period_s` is a Controller, any other a LimitPolicy; both are built with the options as keywords.
    Raises ConfigError.
    """
    if given is None:
        given = find(settings.policy) if ":" in settings.policy else LIMIT_POLICIES.get(settings.policy)
    if isinstance(given, type):
        given = _build(given, settings.options, settings.name)
    if not callable(getattr(given, "step", None)):
        raise ConfigError(f"controller {settings.name}: {type(given).__name__} has no method step(view)")
    period_s = getattr(given, "period_s", None)
    if period_s is None:
        return ResourceController(
            cast("LimitPolicy", given), Target.parse(settings.target), seconds(settings.period), _resource(settings)
        )
    if isinstance(period_s, bool) or not isinstance(period_s, (int, float)) or not 0.01 <= period_s <= 86400:
        raise ConfigError(f"controller {settings.name}: period_s={period_s!r} must be 0.01 to 86400 seconds")
    return cast("Controller", given)


def find(path: str) -> type:
    """The class at `module:Class` or `path/to/file.py:Class`. Raises ConfigError."""
    module_name, _, name = path.rpartition(":")
    try:
        module = _from_file(Path(module_name)) if module_name.endswith(".py") else importlib.import_module(module_name)
        found = getattr(module, name)
    except Exception as error:  # a user's module may raise anything while it loads
        raise ConfigError(f"policy {path!r} does not load: {type(error).__name__}: {error}") from error
    if not isinstance(found, type):
        raise ConfigError(f"policy {path!r} is a {type(found).__name__}, not a class")
    return found


def _from_file(path: Path) -> Any:
    full = path.expanduser().absolute()
    name = f"vagus_user_{full.stem}_{hash_text(str(full)):x}"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None or not full.is_file():
        raise FileNotFoundError(f"{full} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _build(kind: type, options: Mapping[str, Any], name: str) -> object:
    try:
        return kind(**options)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"controller {name}: {kind.__name__} does not take the options {sorted(options)}: "
            f"{type(error).__name__}: {error}"
        ) from error


def calibrated(settings: ControllerSettings) -> ResourceController | None:
    """The rule that steers while the policy, or what it sees, is in doubt: throttle targets, from what the kernel counts
    of the target itself. None where cores are not what is steered, or there is to be none."""
    cores = "cpu_cores" in settings.limits or not settings.limits
    if settings.guard.rule == "none" or not cores:
        return None
    rule: LimitPolicy = LIMIT_POLICIES.make(settings.guard.rule)
    return ResourceController(rule, Target.parse(settings.target), seconds(settings.period), "cpu_cores")


def _resource(settings: ControllerSettings) -> str:
    steered = [name for name in settings.limits if not (settings.scale_out and name == "replicas")]
    if len(steered) > 1:
        raise ConfigError(f"controller {settings.name}: a limit policy sets one resource, but limits names several")
    return next(iter(steered), "cpu_cores")
