"""From the name of a policy in controller.yaml to a controller: registered, `module:Class`, or `file.py:Class`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from vagus.config import ControllerSettings, hash_text, seconds
from vagus.controllers import Controller
from vagus.controllers.joint import JointController
from vagus.controllers.resource import ResourceController
from vagus.errors import ConfigError
from vagus.model import Target
from vagus.policies import JOINT_POLICIES, LIMIT_POLICIES, Field, JointPolicy, LimitPolicy


def load(settings: ControllerSettings, given: object = None) -> Controller:
    """The controller of `settings`; `given` is a user's class or instance that takes the policy's place.

    A class with `period_s` is a Controller, any other a LimitPolicy; both are built with the options as keywords.
    Raises ConfigError.
    """
    if given is None:
        given = find(settings.policy) if ":" in settings.policy else _registered(settings)
    if isinstance(given, type) and hasattr(given, "in_force") and hasattr(given, "learned"):
        return _joint(cast("type[JointPolicy]", given), settings)
    if isinstance(given, type) and len(settings.targets) > 1 and not hasattr(given, "period_s"):
        policies = {target: _build(given, settings.options, settings.name) for target in targets_of(settings)}
        return _each(policies, settings)
    if isinstance(given, type):
        given = _build(given, settings.options, settings.name)
    if not callable(getattr(given, "step", None)):
        raise ConfigError(f"controller {settings.name}: {type(given).__name__} has no method step(view)")
    period_s = getattr(given, "period_s", None)
    if period_s is None:
        if len(targets := targets_of(settings)) > 1:
            raise ConfigError(
                f"controller {settings.name}: one {type(given).__name__} for several targets; give its class"
            )
        return _each({targets[0]: given}, settings)
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


def _build(kind: Callable[..., object], options: Mapping[str, Any], name: str) -> object:
    try:
        return kind(**options)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"controller {name}: {_named(kind)} does not take the options {sorted(options)}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _named(kind: Callable[..., object]) -> str:
    made = kind.func if isinstance(kind, partial) else kind
    return getattr(made, "__name__", repr(made))


def targets_of(settings: ControllerSettings) -> tuple[Target, ...]:
    """What it steers. Raises ConfigError."""
    found = tuple(map(Target.parse, settings.targets or (settings.target,)))
    if len(set(found)) != len(found):
        raise ConfigError(f"controller {settings.name}: targets names one twice")
    return found


def calibrated(settings: ControllerSettings) -> ResourceController | None:
    """The rule that steers while the policy, or what it sees, is in doubt: throttle targets, from what the kernel counts
    of the target itself. None where cores are not what is steered, or there is to be none."""
    cores = "cpu_cores" in settings.limits or not settings.limits
    if settings.guard.rule == "none" or not cores:
        return None
    rules: dict[Target, LimitPolicy] = {t: LIMIT_POLICIES.make(settings.guard.rule) for t in targets_of(settings)}
    return ResourceController(rules, seconds(settings.period), "cpu_cores")


def _registered(settings: ControllerSettings) -> type[Any]:
    for registry in (JOINT_POLICIES, LIMIT_POLICIES):
        if settings.policy in registry:
            return registry.get(settings.policy)
    known = ", ".join(sorted({*JOINT_POLICIES, *LIMIT_POLICIES}))
    raise ConfigError(
        f"controller {settings.name}: there is no {settings.policy!r}, but {known}; or name file.py:Class"
    )


def _joint(kind: type[JointPolicy], settings: ControllerSettings) -> JointController:
    targets = targets_of(settings)
    bounds = {resource: (limit.min, limit.max) for resource, limit in settings.limits.items()}
    field = Field(tuple(map(str, targets)), bounds)
    rng = np.random.default_rng(hash_text(settings.name))
    policy = _build(partial(kind, field, rng), settings.options, settings.name)
    shielded = bool(kind.learned) and settings.guard.shield == "throttle"
    return JointController(cast("JointPolicy", policy), targets, seconds(settings.period), shielded=shielded)


def _each(policies: Mapping[Target, object], settings: ControllerSettings) -> ResourceController:
    return ResourceController(
        cast("Mapping[Target, LimitPolicy]", policies), seconds(settings.period), _resource(settings)
    )


def _resource(settings: ControllerSettings) -> str:
    steered = [name for name in settings.limits if not (settings.scale_out and name == "replicas")]
    if len(steered) > 1:
        raise ConfigError(f"controller {settings.name}: a limit policy sets one resource, but limits names several")
    return next(iter(steered), "cpu_cores")
