"""The contestants of `vagus experiment slo`, by name, and the controller's settings that each gets. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vagus.cli.openloop.windows import field_of
from vagus.config import ControllerSettings, GuardSettings, LimitSettings, ObjectiveSettings, VariantSettings, seconds
from vagus.errors import ConfigError

FOLDER = "{folder}"
"""In an option: where app.yaml is."""
MAX_REPLICAS = 8
MOST_COOLDOWN_S = 0.5  # whose steps are closer may act at each
MOST_OVERCOMMIT = 1000.0
MAX_RISE = 10.0  # of a limit at once, where no guard holds it

START_CORES = 0.2  # ten services share two processors
# The baselines run as people run them: what they wish is written. What is theirs to tune is in `variants.yaml`, tuned on
# another part of the trace than they are compared on.
KNOWN: Mapping[str, VariantSettings] = {
    variant.name: variant
    for variant in (
        VariantSettings(name="none"),
        VariantSettings(name="hpa", policy="hpa", guarded=False, replica_cores=0.2, start_cores=0.3),
        VariantSettings(name="aimd", policy="aimd", guarded=False, start_cores=START_CORES),
        VariantSettings(name="captain", policy="throttle", period="200ms", start_cores=START_CORES),
        VariantSettings(
            name="throttle",
            policy="tower",
            period="200ms",
            start_cores=START_CORES,
            options={"trained": f"{FOLDER}/trained/tower.json"},
        ),
        VariantSettings(
            name="ddpg",
            policy="ddpg",
            period="200ms",
            start_cores=START_CORES,
            options={"checkpoint": f"{FOLDER}/trained/ddpg.npz"},
        ),
        VariantSettings(
            name="ddpg-unguarded",
            policy="ddpg",
            period="200ms",
            guarded=False,
            start_cores=START_CORES,
            options={"checkpoint": f"{FOLDER}/trained/ddpg.npz"},
        ),
    )
}
MAY_BE_ABSENT = ("trained",)
"""Options that name a file without which a policy begins with nothing learned; left out where there is none."""


def chosen(names: Sequence[str], given: Sequence[VariantSettings]) -> tuple[VariantSettings, ...]:
    """The variants with these names: as given, else as known; all that are given where no name is. Raises ConfigError."""
    by_name: dict[str, VariantSettings] = dict(KNOWN)
    seen = [variant.name for variant in given]
    if len(set(seen)) != len(seen):
        raise ConfigError(f"variants: two have one name; there are {', '.join(seen)}")
    by_name.update({variant.name: variant for variant in given})
    names = names or seen
    if len(set(names)) != len(names):
        raise ConfigError(f"policies: one is named twice: {', '.join(names)}")
    for name in names:
        if name not in by_name:
            raise ConfigError(f"there is no variant {name!r}; there are {', '.join(by_name)}")
    if not names:
        raise ConfigError("policies: there are none")
    for name in names:
        _check(by_name[name])
    return tuple(by_name[name] for name in names)


def _check(variant: VariantSettings) -> None:
    """Raises ConfigError for what contradicts itself."""
    if not variant.min_cores <= variant.start_cores <= variant.max_cores:
        raise ConfigError(
            f"variant {variant.name}: start_cores {variant.start_cores:g} is not between min_cores {variant.min_cores:g} "
            f"and max_cores {variant.max_cores:g}"
        )
    if variant.replica_cores and not variant.policy:
        raise ConfigError(f"variant {variant.name}: replica_cores without a policy: nobody would scale")


def check_variants(variants: Sequence[VariantSettings], origin: str) -> None:
    """Raises ConfigError for contestants that contradict themselves, or have a policy or options that there are not.
    Files beside app.yaml are not looked for: `origin`, which is what is checked, may be anywhere."""
    from vagus.controllers.checked import check_controllers

    try:
        chosen([variant.name for variant in variants], variants)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from error
    for variant in variants:
        found = controller(variant, variant.name, {"web": "shop/web"}, ["web"], objective_of("shop", 0.2, ("buy",)))
        if found is not None and not any(str(value).startswith(FOLDER) for value in variant.options.values()):
            check_controllers((found,), origin)


def with_files(variant: VariantSettings, folder: Path) -> VariantSettings:
    """The variant with whole paths in its options. Raises ConfigError when a file is not there that must be."""
    options: dict[str, Any] = {}
    for name, value in variant.options.items():
        if isinstance(value, str) and value.startswith(FOLDER):
            path = Path(value.replace(FOLDER, str(folder.absolute()), 1))
            if not path.exists():
                if name in MAY_BE_ABSENT:
                    continue
                raise ConfigError(
                    f"variant {variant.name}: {name}: there is no file {path}; `vagus train` makes it, or leave the "
                    "variant out"
                )
            value = str(path)
        options[name] = value
    return msgspec.structs.replace(variant, options=options)


def controller(
    variant: VariantSettings,
    name: str,
    targets: Mapping[str, str],
    replicas: Sequence[str],
    objective: ObjectiveSettings,
) -> ControllerSettings | None:
    """The settings of a variant's controller; None for one that limits nothing. Raises ConfigError.

    targets: control groups by service, those that the policy may limit; replicas: the services that it may scale instead
    (where replicas have a size of their own).
    """
    if not variant.policy:
        return None
    scales = bool(variant.replica_cores)
    cooldown = f"{min(seconds(variant.period), MOST_COOLDOWN_S):g}s"
    rise: dict[str, Any] = {"cooldown": cooldown} if variant.guarded else {"step_ratio": MAX_RISE, "cooldown": "0s"}
    if scales:
        limits = {"replicas": LimitSettings(min=1, max=MAX_REPLICAS, **rise)}
    else:
        limits = {"cpu_cores": LimitSettings(min=variant.min_cores, max=variant.max_cores, **rise)}
    steered = [targets[service] for service in replicas] if scales else list(targets.values())
    if not steered:
        raise ConfigError(f"variant {variant.name}: the application has no service that may have replicas")
    options = variant.options
    if scales and "request_cores" not in options:
        options = {**options, "request_cores": variant.replica_cores}
    # as people run autoscalers: nothing but bounds; limits may add up to more than the node has
    unguarded = GuardSettings(confidence=0.0, rule="none", shield="none", swings=0, overcommit=MOST_OVERCOMMIT)
    return ControllerSettings(
        name=name,
        policy=variant.policy,
        on="head",
        targets=tuple(f"cgroup:{group}" for group in steered),
        period=variant.period,
        armed=True,
        limits=limits,
        options=options,
        objective=objective,
        guard=GuardSettings() if variant.guarded else unguarded,
    )


def objective_of(application: str, slo_s: float, requests: Sequence[str]) -> ObjectiveSettings:
    """What the load says of itself, as a controller's objective."""

    def series(field: str) -> str:
        return f'ingress.{field}{{app="{application}"}}'

    return ObjectiveSettings(
        latency=series("p99_s"),
        slo=slo_s,
        rate=series("rate_hz"),
        mix=tuple(series(f"{field_of(name)}_hz") for name in requests),
    )
