"""Controllers of one's own, run and supervised like vagus' own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from vagus.config import ControllerSettings
from vagus.controllers.load import travelling
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.model import ActorStatus
from vagus.runtime import cluster as ray_cluster
from vagus.runtime.cluster import ClusterFile
from vagus.runtime.connect import call, connected, supervisor
from vagus.runtime.travel import pack

KEEP_TIMEOUT_S = 5.0


class Supervised:
    """What the supervisor does for who spawns, over one connection. All methods raise PeerUnreachable."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def spawn(self, settings: ControllerSettings, user_class: Any, lease_s: float = 0.0, owner: str = "") -> list[str]:
        """Adds a controller; returns its actors' names, which start now. See Fleet.spawn. Raises ConfigError."""
        given = user_class
        if given is not None:
            given = pack(given, travelling(given if isinstance(given, type) else type(given)))
        names: list[str] = call(self._handle.spawn.remote(settings, given, lease_s, owner))
        return names

    def keep(self, name: str, owner: str = "", timeout_s: float = KEEP_TIMEOUT_S) -> list[ActorStatus] | None:
        """Renews its lease; the state of its actors, or None: there is none of that name, and of that owner if given."""
        said: list[ActorStatus] | None = call(self._handle.keep.remote(name, owner), timeout_s)
        return said

    def remove(self, name: str, owner: str = "") -> bool:
        """Ends a spawned controller everywhere and restores its limits; False when there is none, as of `keep`."""
        return bool(call(self._handle.remove.remote(name, owner)))


@contextmanager
def supervised(home: Path) -> Iterator[Supervised]:
    """The supervisor of this machine's cluster; of the one that a job runs in. Raises PeerUnreachable."""
    cluster = ray_cluster.read(home)
    if cluster is None and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:  # a job, on a node where no `vagus up` ran
        cluster = ClusterFile(id="", address=os.environ.get("RAY_ADDRESS", "auto"), started_ray=False)
    if cluster is None:
        raise PeerUnreachable(f"no running vagus found under {home}: run `vagus up`")
    with connected(home, cluster):
        yield Supervised(supervisor())


def spawn(home: Path, settings: ControllerSettings, user_class: Any, *, timeout_s: float = 30.0) -> list[str]:
    """Runs a user's controller, supervised like vagus' own; returns the actors' names once all are healthy.

    Raises ConfigError (name taken, no such node, it does not start), PeerUnreachable.
    """
    with supervised(home) as there:
        names = there.spawn(settings, user_class)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            actors = {a.name: a for a in there.keep(settings.name, timeout_s=timeout_s) or ()}
            if all(n in actors and actors[n].state == "HEALTHY" for n in names):
                return names
            failed = [a for n, a in actors.items() if n in names and a.state == "UNHEALTHY"]
            if failed:
                there.remove(settings.name)
                raise ConfigError(f"controller {settings.name!r} does not start: {failed[0].last_error}")
            time.sleep(0.1)
        raise VagusError(f"controller {settings.name!r} is not healthy after {timeout_s:.0f} s; see `vagus status`")


def remove(home: Path, name: str) -> bool:
    """Ends a spawned controller everywhere and restores its limits; False when there is none of that name."""
    with supervised(home) as there:
        return there.remove(name)


def settings_for(name: str, on: str, **options: Any) -> ControllerSettings:
    """Settings of a controller that is spawned from Python. Raises ConfigError."""
    try:
        return msgspec.convert({"name": name, "on": on, **options}, ControllerSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"spawn {name!r}: {error}") from error
