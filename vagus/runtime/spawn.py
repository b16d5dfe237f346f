"""Controllers of one's own, run and supervised like vagus' own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from vagus.config import ControllerSettings
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.runtime import cluster as ray_cluster
from vagus.runtime.connect import call, connected, supervisor


@contextmanager
def _supervisor(home: Path) -> Iterator[Any]:
    cluster = ray_cluster.read(home)
    if cluster is None:
        raise PeerUnreachable(f"no cluster runs from {home}; start one with `vagus up`")
    with connected(home, cluster):
        yield supervisor()


def spawn(home: Path, settings: ControllerSettings, user_class: Any, *, timeout_s: float = 30.0) -> list[str]:
    """Runs a user's controller, supervised like vagus' own; returns the actors' names once all are healthy.

    Raises ConfigError (name taken, no such node, it does not start), PeerUnreachable.
    """
    with _supervisor(home) as handle:
        names: list[str] = call(handle.spawn.remote(settings, user_class))
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            actors = {a.name: a for a in call(handle.describe.remote())["actors"]}
            if all(n in actors and actors[n].state == "HEALTHY" for n in names):
                return names
            failed = [a for n, a in actors.items() if n in names and a.state == "UNHEALTHY"]
            if failed:
                call(handle.remove.remote(settings.name))
                raise ConfigError(f"controller {settings.name!r} does not start: {failed[0].last_error}")
            time.sleep(0.1)
        raise VagusError(f"controller {settings.name!r} is not healthy after {timeout_s:.0f} s; see `vagus status`")


def remove(home: Path, name: str) -> bool:
    """Ends a spawned controller everywhere and restores its limits; False when there is none of that name."""
    with _supervisor(home) as handle:
        return bool(call(handle.remove.remote(name)))


def settings_for(name: str, on: str, **options: Any) -> ControllerSettings:
    """Settings of a controller that is spawned from Python. Raises ConfigError."""
    try:
        return msgspec.convert({"name": name, "on": on, **options}, ControllerSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"spawn {name!r}: {error}") from error
