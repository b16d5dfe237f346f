"""`vagus.connect()`, `vagus.up()`, `vagus.down()`: the Python API of a program that uses vagus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vagus import config as configuration
from vagus.client.connection import Connection
from vagus.client.endpoint import Endpoint, find
from vagus.config import Config, load


class Vagus(Connection):
    """A connection to the node's gateway that can also spawn controllers (which loads Ray when called)."""

    home: Path = Path()

    def spawn(self, controller: Any, name: str, *, on: str = "every-node", **settings: Any) -> list[str]:
        """Runs a controller class (see vagus.controllers.Controller) as supervised actors; returns their names.

        on: `every-node`, `head` or a node's name; settings: keys of controller.yaml, such as target, period, limits,
        armed. Raises ConfigError when the name is taken or the class does not start.
        """
        from vagus.runtime.spawn import settings_for, spawn

        return spawn(self.home, settings_for(name, on, **settings), controller)

    def remove(self, name: str) -> bool:
        """Stops a spawned controller everywhere and restores its limits; False when there is none of that name."""
        from vagus.runtime.spawn import remove

        return remove(self.home, name)


def connect(url: str = "", token: str = "", *, home: str = "", timeout_s: float = 10.0) -> Vagus:
    """A connection to this node's gateway, or to the given one. Loads neither Ray nor numpy. Raises PeerUnreachable."""
    folder = configuration.home(Config(home=home))
    return _connected(find(url, token, home=folder), folder, timeout_s)


def connect_here(home: str = "", *, timeout_s: float = 10.0) -> Vagus:
    """As `connect`, to this machine's own node even where $VAGUS_URL names another gateway. Raises PeerUnreachable."""
    folder = configuration.home(Config(home=home))
    return _connected(find(home=folder, here=True), folder, timeout_s)


def _connected(endpoint: Endpoint, folder: Path, timeout_s: float) -> Vagus:
    connection = Vagus(endpoint.url, endpoint.token, timeout_s=timeout_s)
    connection.home = folder
    return connection


def up(
    config: Config | str | Path | None = None,
    *,
    address: str = "",
    arm: bool | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Vagus:
    """Makes sure that vagus runs on this machine, as `vagus up` does, and connects; `say` is told each step.

    arm: True lets controllers act, False stops them and restores, None leaves it as configured.

    Raises VagusError.
    """
    from vagus.runtime import launch

    settings = load(config, Config) if isinstance(config, (str, Path)) else config or Config()
    launch.up(settings, address=address, arm=arm, say=say)
    return connect_here(settings.home)


def down(*, home: str = "") -> list[str]:
    """Stops vagus on this machine, as `vagus down` does; returns what could not be undone."""
    from vagus.runtime import launch

    return launch.down(configuration.home(Config(home=home)))
