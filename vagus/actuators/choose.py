"""Which actuator: by configuration, or the one that hands each target to whoever can limit it."""

from __future__ import annotations

from pathlib import Path

from vagus.actuators import ACTUATORS, Actuator, configure
from vagus.config import ActSettings, home, run_folder


def choose(name: str, root: Path = Path("/"), act: ActSettings | None = None, folder: Path | None = None) -> Actuator:
    """The actuator `name`. Permission is not looked at: `supports` says what is missing.

    act: what some must be told; folder: `config.run_folder` of the state folder in use. Raises ConfigError for an
    unknown name.
    """
    actuator = ACTUATORS.make(name, root)
    if act is not None or folder is not None:
        configure(actuator, act or ActSettings(), folder or run_folder(home()))
    return actuator
