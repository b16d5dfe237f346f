"""Which actuator for this machine: by configuration, or the one whose hierarchy has the cpu controller."""

from __future__ import annotations

from pathlib import Path

from vagus.actuators import ACTUATORS, Actuator
from vagus.actuators.hierarchy import mounts
from vagus.errors import ActuateError


def choose(name: str, root: Path = Path("/")) -> Actuator:
    """The actuator `name`; for `auto` cgroup1 or cgroup2, whichever has the cpu controller, else dry.

    Permission is not looked at: `supports` says what is missing. Raises ConfigError for an unknown name.
    """
    if name != "auto":
        return ACTUATORS.make(name, root)
    try:
        versions = {mount.version for mount in mounts(root) if "cpu" in mount.controllers}
    except ActuateError:
        versions = set()
    return ACTUATORS.make("cgroup1" if 1 in versions else "cgroup2" if 2 in versions else "dry", root)
