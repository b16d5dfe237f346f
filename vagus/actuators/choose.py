"""Which actuator: by configuration, or the one that hands each target to whoever can limit it."""

from __future__ import annotations

from pathlib import Path

from vagus.actuators import ACTUATORS, Actuator


def choose(name: str, root: Path = Path("/")) -> Actuator:
    """The actuator `name`. Permission is not looked at: `supports` says what is missing.

    Raises ConfigError for an unknown name.
    """
    return ACTUATORS.make(name, root)
