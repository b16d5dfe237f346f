"""A small network on one machine: hosts with names, addresses and packet filters of their own, on one bridge."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NETWORK = "10.77.0"


class Hosts:
    """Makes the hosts; call it in mount, network and host name namespaces that are to go away with everything."""

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self.addresses = {name: f"{NETWORK}.{number}" for number, name in enumerate(names, 1)}
        self.folder = folder
        folder.mkdir()
        lines = ["link set lo up", "link add br0 type bridge", "link set br0 up"]
        for name in names:
            for kind in ("net", "uts"):
                (folder / f"{name}.{kind}").touch()
            places = [f"--{kind}={folder / name}.{kind}" for kind in ("net", "uts")]
            subprocess.run(["unshare", *places, "hostname", name], check=True)
            there = f"{folder / name}.net"
            lines += [f"link add to-{name} type veth peer name eth0 netns {there}", f"link set to-{name} master br0 up"]
        _ip(lines)
        for name, address in self.addresses.items():
            up = ["link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up"]
            _ip(up, self._enter(name))

    def _enter(self, name: str) -> list[str]:
        return ["nsenter", f"--net={self.folder / name}.net", f"--uts={self.folder / name}.uts", "--"]

    def start(
        self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Starts a program on a host; its pid is the program's own."""
        return subprocess.Popen(
            [*self._enter(name), *argv], env={**os.environ, **(environment or {})}, text=True, **options
        )

    def do(self, name: str, argv: Sequence[str], given: str | None = None) -> str:
        """Runs a command on a host to its end; what it printed. Raises subprocess.CalledProcessError."""
        return subprocess.run(
            [*self._enter(name), *argv], input=given, check=True, text=True, stdout=subprocess.PIPE
        ).stdout


def _ip(lines: Sequence[str], prefix: Sequence[str] = ()) -> None:
    subprocess.run([*prefix, "ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)
