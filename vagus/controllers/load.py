"""From the name of a policy in controller.yaml to a controller: registered, `module:Class`, or `file.py[:Class]`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from vagus.config import ControllerSettings, hash_text, seconds
from vagus.controllers import Controller
from vagus.controllers.joint import JointController
from vagus.controllers.resource import ResourceController
from vagus.errors import ConfigError
from vagus.model import Target
from vagus.policies import JOINT_POLICIES, LIMIT_POLICIES, Field, JointPolicy, LimitPolicy

FROM_FILE = "vagus_user_"  # how modules are called that are the file of a user


def load(settings: ControllerSettings, given: object = None) -> Controller:
    """The controller of `settings`; `given` is a user's class or instance that takes the policy's place.

    A class with `period_s` is a Controller, any other a LimitPolicy; both are built with the options as keywords.
    Raises ConfigError.
    """
    if given is None:
        given = find(settings.policy) if is_code(settings.policy) else _registered(settings)
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


def is_code(policy: str) -> bool:
    """Whether a policy is a user's class, and not the name of a registered one."""
    return ":" in policy or policy.endswith(".py")


def file_of(policy: str) -> str:
    """The Python file that a policy names, as it is written there; empty when it names none."""
    path = policy if policy.endswith(".py") else policy.rpartition(":")[0]
    return path if path.endswith(".py") else ""


def find(path: str) -> type:
    """The class at `module:Class` or `path/to/file.py:Class`; of a file alone the only one there that has a `step`.

    Raises ConfigError.
    """
    file, name = file_of(path), path.rpartition(":")[2]
    try:
        module = _from_file(Path(file)) if file else importlib.import_module(path.rpartition(":")[0])
        found = _only_class(module, file) if path == file else getattr(module, name)
    except ConfigError:
        raise
    except Exception as error:  # a user's module may raise anything while it loads
        raise ConfigError(f"policy {path!r} does not load: {type(error).__name__}: {error}") from error
    if not isinstance(found, type):
        raise ConfigError(f"policy {path!r} is a {type(found).__name__}, not a class")
    return found


def travelling(kind: type) -> list[ModuleType]:
    """The modules that are nowhere but where a class of a file was loaded: its own, and those beside it in the folder."""
    own = sys.modules.get(kind.__module__)
    if own is None or not own.__name__.startswith(FROM_FILE) or own.__file__ is None:
        return []
    folder = Path(own.__file__).parent
    known = [m for n, m in list(sys.modules.items()) if isinstance(m, ModuleType) and "." not in n and n != "__main__"]
    beside = [
        m for m in known if m is not own and (file := getattr(m, "__file__", None)) and Path(file).parent == folder
    ]
    return [own, *beside]


def _only_class(module: ModuleType, file: str) -> type:
    own = {
        name: one
        for name, one in vars(module).items()
        if isinstance(one, type) and one.__module__ == module.__name__ and callable(getattr(one, "step", None))
        if not name.startswith("_") and not inspect.isabstract(one)
    }
    if len(own) != 1:
        what = f"it has several: {', '.join(own)}; name one" if own else "it has none; name it"
        raise ConfigError(
            f"{file}: which class steers? One with a method `step` is looked for, and {what}, as {file}:Class"
        )
    return next(iter(own.values()))


def _from_file(path: Path) -> ModuleType:
    full = path.expanduser().absolute()
    name = f"{FROM_FILE}{full.stem}_{hash_text(str(full)):x}"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None or not full.is_file():
        raise FileNotFoundError(f"{full} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    sys.path.append(str(full.parent))  # for what it imports from beside it; at the end: it replaces nothing installed
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(full.parent))
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
