"""An ensemble file: which server has which address, as ZooKeeper's zoo.cfg says it.

A line is `server.ID=HOST:PORT:PORT` (a role and a client's port may follow, several addresses stand between `|`);
all other lines are ignored, so that zoo.cfg itself works.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from vagus.errors import ConfigError

MAX_ENSEMBLE_BYTES = 1 << 20
MAX_SERVERS = 10_000

_SERVER = re.compile(r"\s*server\.(?P<id>[A-Za-z0-9_.-]{1,100})\s*=\s*(?P<addresses>\S.*)")
_ADDRESS = re.compile(r"\[(?P<v6>[0-9A-Fa-f:.%]{2,60})\]|(?P<host>[A-Za-z0-9_.-]{1,255})(?=[:;]|\Z)")
_NOWHERE = frozenset({"", "0.0.0.0", "::", "0:0:0:0:0:0:0:0"})  # noqa: S104  compared with, not bound


def is_own(host: str) -> bool:
    """Whether an address in a log means the server that wrote it: none, or the unspecified one."""
    return host.strip("[]") in _NOWHERE


class Ensemble:
    """Servers' ids by address. `resolve` gives a host name's addresses; without it names are known as names only."""

    def __init__(self, ids: dict[str, str]) -> None:
        self._ids = ids

    @classmethod
    def parse(cls, data: bytes, origin: str, resolve: Callable[[str], Iterable[str]] = lambda host: ()) -> Ensemble:
        """Raises ConfigError for a file without servers, or with an address that two of them have."""
        if len(data) > MAX_ENSEMBLE_BYTES:
            raise ConfigError(f"{origin}: an ensemble file has at most {MAX_ENSEMBLE_BYTES} bytes")
        ids: dict[str, str] = {}
        for line in data.decode("utf-8", "replace").splitlines():
            server = _SERVER.match(line)
            for found in map(_ADDRESS.match, server["addresses"].split("|") if server else ()):
                if server is None or found is None:
                    raise ConfigError(f"{origin}: {line.strip()[:100]!r} is not server.ID=HOST:PORT:PORT")
                host = (found["v6"] or found["host"]).lower()
                for address in {host, *resolve(host)} if not is_own(host) else ():
                    if ids.setdefault(address, server["id"]) != server["id"]:
                        raise ConfigError(
                            f"{origin}: server.{ids[address]} and server.{server['id']} both are {address}"
                        )
            if len(ids) > MAX_SERVERS:
                raise ConfigError(f"{origin}: more than {MAX_SERVERS} servers")
        if not ids:
            raise ConfigError(f"{origin}: no line server.ID=HOST:PORT:PORT in it; is that the ensemble file?")
        return cls(ids)

    def id_of(self, host: str) -> str:
        """The id of the server with that address; empty when there is none."""
        return self._ids.get(host.strip("[]").lower(), "")
